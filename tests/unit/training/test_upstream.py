"""docs/upstream.md names the versions of other libraries, and every method of Trainer that training replaces."""

import re
from importlib.metadata import version

import pytest
from transformers import Trainer

from tests.support.paths import ROOT
from vlmscale.training.trainer import BatchTrainer

PAGE = (ROOT / "docs/upstream.md").read_text()


@pytest.mark.parametrize("library", ["accelerate", "deepspeed", "lmms-eval"])
def test_the_page_is_about_the_installed_version(library):
    (tested,) = re.findall(rf"\*\*{library} (\d+\.\d+)\*\*", PAGE)
    installed = version(library)
    assert installed.startswith(f"{tested}."), (
        f"{library} {installed} is installed, but training and evaluation were tested with {tested}. Check "
        "what docs/upstream.md lists, adapt our side, then correct the page."
    )


def test_the_page_lists_every_replaced_method_of_trainer():
    own = {name for name in vars(BatchTrainer) if not name.startswith("__")}
    replaced = {name for name in own if hasattr(Trainer, name)}
    assert "_prepare_for_training" in replaced
    assert replaced <= set(re.findall(r": BatchTrainer\.(\w+)`", PAGE))
