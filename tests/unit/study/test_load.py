"""A valid config becomes a study, and its numbers are what they are written as."""

import json

import jsonschema
import pytest
import yaml

from tests.support.paths import ROOT
from vlmscale.errors import UserError
from vlmscale.study.load import json_schema, load_any_study, load_study, validate


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_config_is_valid_and_named_after_its_study(path):
    assert load_any_study(path).study == path.stem


def test_the_two_tiers_of_the_miniature_differ_in_their_cells_only():
    mini, full = (
        load_study(ROOT / f"config/{name}.yaml").model_dump() for name in ("mini", "mini-full")
    )
    for study in (mini, full):
        for key in ("study", "grid"):
            del study[key]
        del study["laws"]["series"]
    assert mini == full


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.stem)
def test_editors_accept_each_config_and_see_a_misspelled_key_of_its_kind(path):
    study = yaml.safe_load(path.read_text())
    jsonschema.validate(study, json_schema())
    (part, *_) = study["llms" if "llms" in study else "models"].values()
    part["recipee"] = 1
    with pytest.raises(jsonschema.ValidationError, match="'recipee' was unexpected"):
        jsonschema.validate(study, json_schema())


def test_schema_file_is_current():
    found = json.loads((ROOT / "config/schema.json").read_text())
    assert found == json_schema(), "run `make schema`"


@pytest.mark.parametrize(
    "value", [True, "16", "on", 16.0, 1.5, float("inf"), float("nan"), None, [16]]
)
@pytest.mark.parametrize(
    "key",
    ["stage1.batch_size", "stage2.batch_size", "world.seed", "data.stage1.scenes", "tower.layers"],
)
def test_a_count_is_a_whole_number_and_nothing_that_becomes_one(raw, key, value):
    *parents, last = key.split(".")
    part = raw
    for parent in parents:
        part = part[parent]
    part[last] = value
    with pytest.raises(UserError, match=key):
        validate(raw, "x")


@pytest.mark.parametrize(
    "value", [True, "0.1", float("inf"), float("nan"), -1, 0, 1e-320, 1e300, 10**400]
)
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_a_rate_is_a_finite_number(raw, stage, value):
    raw[stage]["learning_rate"] = value
    with pytest.raises(UserError, match=rf"{stage}\.learning_rate"):
        validate(raw, "x")


def test_a_whole_number_is_a_number_too(raw):
    raw["world"]["difficulty"] = 1
    raw["cluster"] = {"hours": 3}
    assert validate(raw, "x").cluster.hours == 3


@pytest.mark.parametrize("value", [False, 0.0, 2.0, "2", None])
def test_a_choice_of_numbers_is_one_of_them(raw, value):
    raw["stage2"]["execution"] = {"zero": value}
    with pytest.raises(UserError, match=r"stage2\.execution\.zero"):
        validate(raw, "x")
