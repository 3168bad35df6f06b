"""Batches reach a GPU without making the host wait."""

from types import SimpleNamespace

import pytest
import torch

from vlmscale.settings import Execution, Recipe
from vlmscale.training.batch_split import BatchSplit
from vlmscale.training.trainer import BatchTrainer, training_arguments


@pytest.mark.parametrize("pinned", [True, False])
def test_pinned_memory_is_copied_without_waiting(monkeypatch, pinned):
    copies = []
    copy = torch.Tensor.to

    def note(self, *args, **kwargs):
        copies.append(kwargs.get("non_blocking", False))
        return copy(self, *args, **kwargs)

    trainer = BatchTrainer.__new__(BatchTrainer)
    trainer.args = SimpleNamespace(device=torch.device("cpu"))
    trainer.is_deepspeed_enabled = False
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda self: pinned)
    monkeypatch.setattr(torch.Tensor, "to", note)
    batch = {"labels": torch.ones(2), "sample_ids": ["a", "b"], "nested": [torch.zeros(1)]}
    moved = trainer._prepare_input(batch)
    assert moved["sample_ids"] == ["a", "b"]
    assert torch.equal(moved["labels"], batch["labels"])
    # Trainer's own call follows each; the tensor is there by then.
    assert copies == [pinned, False, pinned, False]


@pytest.fixture
def arguments(tmp_path):
    recipe = Recipe(steps=2, batch_size=4, learning_rate=1e-3)
    return training_arguments(
        recipe, Execution(), BatchSplit(4, 1, 1), zero=0, width=0, seed=0, work=tmp_path
    )


def test_trainer_does_not_wait_for_each_loss(arguments):
    """Ours stops at one that is not finite."""
    assert not arguments.logging_nan_inf_filter


def test_adamw_is_fused():
    trainer = BatchTrainer.__new__(BatchTrainer)
    trainer.model, trainer.projector, trainer.optimizer = torch.nn.Linear(2, 2), None, None
    trainer.recipe = Recipe(steps=2, batch_size=4, learning_rate=1e-3)
    assert all(group["fused"] for group in trainer.create_optimizer().param_groups)
