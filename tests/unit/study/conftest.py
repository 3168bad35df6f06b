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


SIGLIP2 = {
    "repository": "google/siglip2-so400m-patch14-384",
    "revision": "e8e487298228002f3d8a82e0cd5c8ea9c567f57f",
    "architecture": "SigLIP2-SO400M/14-384",
    "feature_layers": [13, 20, 25, 26],
}


@pytest.fixture
def siglip(paper):
    """The paper's study with a tower of 24 x 24 patches without a CLS position."""
    paper["tower"] = {**SIGLIP2, "image_size": 336}
    paper["pickled"] = []
    return paper


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
