"""Specs of tiny trainings, and what they leave."""

import re

from vlmscale.methods import find_method
from vlmscale.training.spec import StageSpec

STEPS = 24


def stage_spec(backbones, splits, folder, **changes):
    """A stage-2 spec that trains from pixels into `folder`."""
    values = {
        "kind": "stage2",
        "run": folder.name,
        "method": "tokenpacker",
        "visual_tokens": 4,
        "options": find_method(changes.get("method", "tokenpacker")).complete_options({}),
        "seed": 3,
        "template": "qa",
        "feature_layers": (1, 2, 3),
        "recipe": {
            "steps": STEPS,
            "batch_size": 4,
            "learning_rate": 1e-3,
            "projector_learning_rate": 2e-3,
            "checkpoint_every": 4,
        },
        "fingerprint": "f00",
        "llm": backbones["llm"],
        "tower": backbones["tower"],
        "data": splits["stage2"],
        "features": None,
        "projector": None,
        "output": folder / "model",
        "record": folder / "run.json",
        "paths": {"work": folder / "work", "tensorboard": folder / "tb"},
    }
    return StageSpec(**{**values, **changes})


def last_step(shown, steps):
    """The step that a progress bar of `steps` has reached, in what a training printed."""
    return max((int(done) for done in re.findall(rf"\b(\d+)/{steps}\b", shown)), default=0)


def weights(spec):
    """The bytes of the trained weights."""
    return (spec.output / "model.safetensors").read_bytes()


def last_complete(work):
    """The step of the newest complete checkpoint in `work`, 0 without one."""
    return max((int(p.parent.name[11:]) for p in work.glob("checkpoint-*/complete")), default=0)
