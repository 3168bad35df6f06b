"""Configs of studies as YAML gives them, to be changed."""

import pytest
import yaml

from tests.support.configs import make_block
from tests.support.paths import ROOT


@pytest.fixture
def raw():
    return yaml.safe_load((ROOT / "config/smoke.yaml").read_text())


@pytest.fixture
def paper():
    return yaml.safe_load((ROOT / "config/paper.yaml").read_text())


@pytest.fixture
def budgets(raw):
    """The smoke study with two more budgets: mlp and tokenpacker have one, m3 nothing but one."""
    raw["budgets"] = {"short": {"steps": 100, "learning_rate": 0.01}, "long": {"epochs": 2}}
    raw["grid"][0] |= {"methods": ["tokenpacker"], "budgets": ["full", "short"]}
    raw["grid"][1]["budgets"] = ["short", "full", "long"]
    raw["grid"] = [*raw["grid"][:2], make_block("quecc", [1, 4]), make_block("fastv", [9])]
    raw["grid"] += [{**make_block("m3", [4, 36]), "budgets": ["short"]}]
    raw["grid"][3]["budgets"] = ["long"]
    raw["laws"]["series"] = {"packed": ["tokenpacker", "mlp"]}
    return raw
