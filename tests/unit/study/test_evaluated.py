"""A study of released VLMs: its cells and laws, and what it refuses."""

import copy

import pytest

from tests.support.paths import ROOT
from vlmscale.errors import UserError
from vlmscale.study.evaluated import EvaluatedStudy
from vlmscale.study.load import load_any_study, load_study, validate
from vlmscale.study.reader import read_config

CONFIG = ROOT / "config/released-vlms.yaml"


@pytest.fixture
def raw():
    return copy.deepcopy(read_config(CONFIG))


def test_a_cell_is_a_model_at_a_budget_and_a_law_one_family():
    study = load_any_study(CONFIG)
    assert isinstance(study, EvaluatedStudy)
    cells = study.list_cells()
    assert len(cells) == 6 * 5 + 9 * 4 + 2 * 4
    cell = cells["InternVL3-2B__v768"]
    assert (cell.llm, cell.method, cell.visual_tokens) == ("InternVL3-2B", "internvl3", 768)
    assert {name: law.methods for name, law in study.list_laws().items()} == {
        family: (family,)
        for family in ("qwen2_5_vl", "qwen3_vl", "internvl3", "internvl3_5", "llava_onevision")
    }


def test_n_is_that_of_the_llm_without_embedding_and_head():
    decoders = load_any_study(CONFIG).decoders
    # The makers' numbers of Qwen2.5-3B and Qwen3-8B; "2B" is an LLM of 1.5 and a tower.
    assert decoders["Qwen2.5-VL-3B"].non_embedding_b == pytest.approx(2.77, abs=0.01)
    assert decoders["Qwen3-VL-8B"].non_embedding_b == pytest.approx(6.95, abs=0.01)
    assert decoders["InternVL3-2B"].non_embedding_b == pytest.approx(1.31, abs=0.01)


def test_a_family_of_one_fitted_model_has_no_law(raw):
    raw["laws"] = {"holdout": ["LLaVA-OneVision-7B"]}
    study = validate(raw, "x.yaml")
    assert "llava_onevision" not in study.list_laws()
    assert study.list_cells()["LLaVA-OneVision-7B__v1458"].role == "holdout"


def change(raw, key, value):
    *path, last = key
    for part in path:
        raw = raw[part]
    raw[last] = value


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (
            ("grid", 1, "visual_tokens"),
            [64],
            "grid.1.visual_tokens: InternVL3-1B cannot be given a budget of 64 visual tokens. Its family, "
            "internvl3, has: 256, 768, 1024",
        ),
        (
            ("grid", 2, "visual_tokens"),
            [729],
            "budget of 729 visual tokens. Its family, llava_onevision",
        ),
        (("grid", 0, "visual_tokens"), [2], "qwen2_5_vl, has: any number from 4 to 16384"),
        (("grid", 0, "models"), ["GPT"], "grid.0.models: 'GPT' is not under models"),
        (("laws", "holdout"), ["GPT"], "laws.holdout: 'GPT' is not under models"),
        (("models", "Qwen3-VL-2B", "llm"), "GPT", "models.Qwen3-VL-2B.llm: no decoder is called"),
        (("models", "Qwen3-VL-2B", "tower"), "x", "models.Qwen3-VL-2B.tower: no tower 'x'"),
        (("models", "Qwen3-VL-2B", "family"), "gpt", "models.Qwen3-VL-2B.family: "),
        (("models", "Qwen3-VL-2B", "revision"), "main", "models.Qwen3-VL-2B.revision: "),
        (("laws", "series"), {"all": ["qwen3_vl", "internvl3"]}, "laws.series: unknown key"),
        (("evaluation", "benchmarks"), ["exist"], "'exist' is of a study that needs a world"),
        (("evaluation", "protocol"), "llava15", "evaluation.protocol: "),
        (("stage1",), {"steps": 3}, "stage1: unknown key"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(raw, key, value, words):
    change(raw, key, value)
    with pytest.raises(UserError) as error:
        validate(raw, "x.yaml")
    assert words in str(error.value)


def test_a_cell_listed_twice_is_refused(raw):
    raw["grid"].append({"models": ["Qwen3-VL-2B"], "visual_tokens": [64]})
    with pytest.raises(UserError, match="cell Qwen3-VL-2B__v64 is listed twice"):
        validate(raw, "x.yaml").list_cells()


def test_what_needs_trainings_says_so():
    with pytest.raises(UserError, match=r"released-vlms.yaml evaluates released models and trains"):
        load_study(CONFIG)
