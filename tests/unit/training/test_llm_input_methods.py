"""Methods that rewrite what the LLM is given train in both stages, also in 16 bits, and resume."""

import pytest
import torch
from safetensors.torch import load_file

from tests.support.trainings import last_complete, weights
from vlmscale.methods import find_method
from vlmscale.models.checkpoint import load
from vlmscale.training.stages import train_stage
from vlmscale.training.trainer import BatchTrainer

METHODS = ["voco", "llava_mini"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", METHODS)
def test_both_stages_train_and_the_folder_answers(
    spec, splits, tmp_path, images, method, precision
):
    recipe = {"steps": 3, "batch_size": 4, "learning_rate": 1e-3, "precision": precision}
    shared = {
        "method": method,
        "options": find_method(method).complete_options({}),
        "recipe": recipe,
    }
    first = spec("first", kind="stage1", data=splits["stage1"], **shared)
    first = first.model_copy(update={"output": tmp_path / "projector.safetensors"})
    train_stage(first)
    second = spec("second", projector=first.output, **shared)
    train_stage(second)
    before = load_file(first.output)
    model, processor = load(second.output)
    after = model.model.multi_modal_projector.state_dict()
    assert set(before) == set(after)
    moved = [key for key in after if not torch.equal(after[key].float(), before[key].float())]
    assert len(moved) > len(after) / 2
    inputs = processor.ask(images, ["how many ?"] * 3)
    out = model.generate(**inputs, max_new_tokens=3, eos_token_id=None)
    assert out.shape[1] == inputs["input_ids"].shape[1] + 3


@pytest.mark.parametrize("method", METHODS)
def test_resumes_after_a_kill_with_the_same_weights(spec, monkeypatch, method):
    changes = {
        "method": method,
        "options": find_method(method).complete_options({}),
        "recipe": {"steps": 5, "batch_size": 4, "learning_rate": 1e-3, "checkpoint_every": 2},
    }
    whole, killed = spec("whole", **changes), spec("killed", **changes)
    train_stage(whole)
    computed = BatchTrainer.compute_loss

    def stop_at_third(self, *args, **kwargs):
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return computed(self, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(BatchTrainer, "compute_loss", stop_at_third)
        with pytest.raises(KeyboardInterrupt):
            train_stage(killed)
    assert last_complete(killed.paths.work) == 2
    train_stage(killed)
    assert weights(killed) == weights(whole)
