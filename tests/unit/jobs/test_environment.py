"""What would make every job fail is refused before the first."""

import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from vlmscale.errors import UserError
from vlmscale.jobs.environment import check_checkout, check_interpreter, check_profile


@pytest.mark.parametrize(
    "path",
    ["/home/me/vlm/.venv/bin/python", "/opt/a-b_c.d/x+y@2:1,z=~%/bin/python3.11", "/ä/python"],
)
def test_a_path_of_letters_is_accepted(path):
    check_interpreter(path)


@pytest.mark.parametrize("character", [*" '\"$`;&|()<>*?[]{}!#\\\t\n", "^"])
def test_a_path_with_a_character_of_the_shell_is_refused(character):
    with pytest.raises(UserError, match=r"Move the checkout .* and run `make setup` there"):
        check_interpreter(f"/home/me/my{character}work/.venv/bin/python")


@pytest.mark.parametrize(
    "name", ["a b", "quo'te", "dol$lar", "ä", "new\nline", "-dash", "per%cent", "[b]"]
)
def test_a_checkout_may_have_any_name_without_braces(name):
    check_checkout(Path("/home/me") / name)
    for brace in ("{a}", "{", "}"):
        with pytest.raises(UserError, match="to a folder without braces"):
            check_checkout(Path("/home/me") / (name + brace))


def test_placeholders_of_a_profile_are_refused_with_their_lines(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("jobs: 3\ndefault-resources:\n  slurm_account: CHANGE_ME # who pays\n")
    with pytest.raises(UserError) as caught:
        check_profile(config)
    assert str(config) in str(caught.value)
    assert str(caught.value).endswith("line 3: slurm_account: CHANGE_ME # who pays")
    config.write_text("jobs: 3 # CHANGE_ME is gone\n")
    check_profile(config)


def test_only_the_example_profile_has_placeholders():
    for profile in (ROOT / "profiles").glob("*/config.yaml"):
        if profile.parent.name != "kubernetes":
            check_profile(profile)
    with pytest.raises(UserError, match=re.escape("container-image: CHANGE_ME")):
        check_profile(ROOT / "profiles/kubernetes/config.yaml")
