"""The configuration reference explains every key of every config model."""

import pytest

from vlmscale.study.load import json_schema
from vlmscale.study.reference import write_config_reference

MODELS = json_schema()["$defs"]


@pytest.mark.parametrize("model", MODELS)
def test_every_model_and_every_key_is_described(model):
    assert MODELS[model]["description"]
    properties = MODELS[model]["properties"].items()
    assert not [key for key, value in properties if not value.get("description")]


def test_every_key_has_a_row_and_every_model_a_title():
    page = write_config_reference()
    for model in MODELS.values():
        assert not [key for key in model["properties"] if f"\n| `{key}` | " not in page]
    titles = {line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")}
    studies = {"Every study", "Generated studies", "Released studies"}
    studies |= {"Studies of released VLMs"}
    assert titles - studies == MODELS.keys() - {"GeneratedStudy", "ReleasedStudy", "EvaluatedStudy"}


def test_rows_give_type_default_and_meaning():
    page = write_config_reference()
    assert "| `objects` | integer from 1 to 7 | `3` | most objects in a scene |" in page
    assert "| `llms` | name -> [Released](#released) | required | name -> a released LLM |" in page
    assert "| `baseline` | string | none |" in page
    assert "&lt;&#124;im_end&#124;>" in page  # neither a tag nor the end of a table cell


def test_a_model_lists_only_what_it_adds_to_the_one_it_extends():
    page = write_config_reference()
    assert "All keys of [Recipe](#recipe), and:" in page
    assert page.count("| `learning_rate` |") == 1
