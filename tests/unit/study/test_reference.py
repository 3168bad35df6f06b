"""The configuration reference explains every key of every config model."""

import pytest

from tests.support.paths import ROOT
from vlmscale.study.load import load_study
from vlmscale.study.reference import config_models, own_fields, write_config_reference


@pytest.mark.parametrize("model", config_models(), ids=lambda model: model.__name__)
def test_every_key_is_described(model):
    assert model.__doc__
    assert not [key for key, field in own_fields(model).items() if not field.description]


def test_every_key_has_a_row_below_the_title_of_its_model():
    page = write_config_reference()
    for model in config_models():
        for key in own_fields(model):
            assert f"\n| `{key}` | " in page
    assert "## Generated studies" in page
    assert "| `objects` | integer from 1 to 4 | `3` | most objects in a scene |" in page
    assert "| `llms` | name -> [Released](#released) | required | name -> a released LLM |" in page
    assert "| `baseline` | string | none |" in page
    assert "&lt;&#124;im_end&#124;>" in page  # neither a tag nor the end of a table cell


@pytest.mark.parametrize("name", ["smoke", "paper"])
def test_no_model_of_a_study_is_missing(name):
    study, known = load_study(ROOT / f"config/{name}.yaml"), config_models()
    parts = [study.tower, *study.llms.values(), study.stage1.execution, study.cluster, *study.grid]
    assert not [part for part in parts if type(part) not in known]
