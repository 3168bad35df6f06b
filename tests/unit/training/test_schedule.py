"""Steps and learning rates of the recipes in the paper's configs."""

import math

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from tests.support.paths import ROOT
from vlmscale.settings import Recipe
from vlmscale.study.load import load_study
from vlmscale.training import loop
from vlmscale.training.spec import Paths

STAGE1, STAGE2 = 558_128, 665_298  # samples of LLaVA-Pretrain and of the v1.5 mixture
CONFIG = ROOT / "config"


class Counted(Dataset):
    """As long as the real data; nothing in it is ever read."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    @property
    def lengths(self):
        return [1] * self.length

    def __getitem__(self, index):
        raise AssertionError("no sample is needed")


class Ready(Exception):
    """Training would begin here."""


@pytest.fixture
def trainer(monkeypatch, tmp_path):
    """trainer(samples, recipe) -> what would train, as `optimise` makes it."""
    made = []

    def train(self, *args, **kwargs):
        made.append(self)
        raise Ready

    monkeypatch.setattr(loop.BatchTrainer, "train", train)

    def make(samples, recipe):
        with pytest.raises(Ready):
            loop.optimise(
                nn.Linear(1, 1),
                Counted(samples),
                list,
                recipe,
                seed=0,
                paths=Paths(work=tmp_path / f"{len(made)}", tensorboard=tmp_path / "tb"),
            )
        return made[-1]

    return make


@pytest.mark.parametrize(
    ("study", "stage", "samples", "batch_size", "peak", "steps", "warmup"),
    [
        ("paper", "stage1", STAGE1, 256, 1e-3, 2181, 66),
        ("paper", "full", STAGE2, 256, 2e-5, 2599, 78),  # twice LLaVA-1.5's batch
        ("table1", "stage1", STAGE1, 256, 1e-3, 2181, 66),
        ("table1", "full", STAGE2, 128, 2e-5, 5198, 156),  # LLaVA-1.5's
        ("table1", "two_epochs", STAGE2, 128, 2e-5, 10396, 312),  # MQT's
    ],
)
def test_steps_and_learning_rates_of_the_recipes(
    trainer, study, stage, samples, batch_size, peak, steps, warmup
):
    study = load_study(CONFIG / f"{study}.yaml")
    recipe, data = study.stage1, study.data.stage1
    if stage != "stage1":
        recipe, data = study.get_recipe("stage2", stage), study.data.stage2
    assert data.samples == samples
    assert recipe.order == ("shuffled" if stage == "stage1" else "grouped")
    made = trainer(samples, recipe)
    assert made.get_total_train_batch_size(made.args) == batch_size
    max_steps = made.set_initial_training_values(made.args, made.get_train_dataloader())[-1]
    assert max_steps == steps
    assert made.args.get_warmup_steps(steps) == warmup
    made.create_optimizer_and_scheduler(num_training_steps=steps)
    (group,) = made.optimizer.param_groups
    rates = [group["lr"]]  # with which the step after this many is taken
    for _ in range(steps):
        made.optimizer.step()
        made.lr_scheduler.step()
        rates.append(group["lr"])
    assert rates[0] == 0  # the first step moves nothing, as in the released trainings
    assert rates[1] == pytest.approx(peak / warmup)
    assert rates[warmup] == max(rates) == pytest.approx(peak)
    half = steps // 2
    passed = (half - warmup) / (steps - warmup)
    assert rates[half] == pytest.approx(peak * (1 + math.cos(math.pi * passed)) / 2)
    assert rates[half] / peak == pytest.approx(0.525, abs=0.003)
    assert rates[steps] == pytest.approx(0, abs=peak * 1e-9)
    assert 0 < rates[steps - 1] < peak * 1e-6


def test_weight_decay_betas_and_epsilon_are_the_recipes(trainer):
    made = trainer(STAGE1, Recipe(epochs=1, batch_size=256, learning_rate=1e-3))
    optimizer = made.create_optimizer()
    assert isinstance(optimizer, torch.optim.AdamW)
    (group,) = optimizer.param_groups
    settings = {key: group[key] for key in ("betas", "eps", "weight_decay")}
    assert settings == {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0}
    assert made.args.max_grad_norm == 1
