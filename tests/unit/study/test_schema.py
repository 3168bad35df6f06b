"""What a study tells its callers, whatever its kind."""

import pytest

from tests.support.paths import ROOT
from tests.support.studies import TRAINED
from vlmscale.errors import UserError
from vlmscale.resources import read_benchmark_rows
from vlmscale.study.load import load_study, validate
from vlmscale.study.reader import read_config


def test_released_backbones_have_the_shapes_of_their_rows(paper):
    study = validate(paper, "x")
    assert (study.tower_shape.grid_side, study.tower_shape.hidden_size) == (24, 1024)
    assert list(study.decoders) == list(study.llms)
    assert round(study.decoders["Qwen1.5-7B"].total_b * 1e9) == 7_721_324_544
    assert validate(study.model_dump(mode="json"), "again") == study


def test_n_of_the_papers_study_is_the_size_in_the_llms_names(paper):
    study = validate(paper, "x")
    sizes = (0.5, 1.8, 4, 7, 14)
    assert study.size_axis == "nominal"
    assert study.nominal_sizes == {f"Qwen1.5-{n:g}B": n for n in sizes}
    paper["laws"]["size"] = "non_embedding"
    assert validate(paper, "x").size_axis == "non_embedding"
    made = load_study(ROOT / "config/smoke.yaml")
    assert (made.size_axis, made.nominal_sizes) == ("total", {})


def test_the_papers_study_asks_nine_reasoning_and_two_ocr_benchmarks(paper):
    families = {name: row["family"] for name, row in read_benchmark_rows().items()}
    benchmarks = paper["evaluation"]["benchmarks"]
    by_family = {
        f: {b for b in benchmarks if families[b] == f} for f in ("reasoning", "ocr", "other")
    }
    assert by_family == {
        "reasoning": {
            *("mme", "gqa", "ai2d", "mmbench", "mmmu", "scienceqa", "mathvista", "pope", "chartqa")
        },
        "ocr": {"docvqa", "textvqa"},
        "other": set(),
    }
    assert families["vizwiz"] == families["vqav2"] == "other"


def test_unknown_and_repeated_benchmarks_are_refused(raw):
    for names, words in (
        (["exits"], "'exits' is not in resources/benchmarks.csv. Choose from: exist, attr"),
        (["char"] * 2, "'char' is listed twice"),
    ):
        raw["evaluation"]["benchmarks"] = names
        with pytest.raises(UserError, match=words):
            validate(raw, "x").count_questions()


def test_methods_that_are_in_no_series_are_known(raw):
    raw["laws"]["series"] = {"x": ["tokenpacker", "mlp"]}
    names = validate(raw, "x").methods_without_law
    assert "quecc" in names
    assert not {"tokenpacker", "mlp"} & set(names)
    raw["laws"]["series"] = {}
    assert validate(raw, "x").methods_without_law == []


@pytest.mark.parametrize("path", TRAINED, ids=lambda p: p.stem)
def test_a_method_on_top_of_a_shipped_study_changes_no_baseline(path):
    raw = read_config(path)
    before = validate(raw, "x").baseline
    added = {
        **raw["grid"][0],
        "methods": ["mlp"],
        "visual_tokens": [raw_side(raw) ** 2],
        "seeds": [99],
    }
    assert validate({**raw, "grid": [added, *raw["grid"]]}, "x").baseline == before


def raw_side(raw):
    return validate(raw, "x").tower_shape.grid_side


def test_a_budget_changes_what_it_names_of_stage_2(budgets):
    study = validate(budgets, "x")
    assert study.get_recipe("stage2", "full") == study.stage2
    short, long = study.get_recipe("stage2", "short"), study.get_recipe("stage2", "long")
    assert (short.steps, short.epochs, short.learning_rate) == (100, None, 0.01)
    assert (long.steps, long.epochs, long.learning_rate) == (None, 2, 0.003)
    assert short.batch_size == long.batch_size == study.stage2.batch_size


def test_each_seed_draws_its_own_sample_of_a_world(study):
    assert study.list_samples([0, 2]) == {
        **{split: (split, 0) for split in ("corpus", "tower", "test")},
        **{f"{stage}_s{seed}": (stage, seed) for stage in ("stage1", "stage2") for seed in (0, 2)},
    }
    assert study.choose_sample("stage1", 2) == ("stage1_s2", 2)


def test_all_seeds_read_the_same_released_data(paper):
    study = validate(paper, "x")
    splits = ("test", "stage1", "stage2")
    assert study.list_samples([0, 2]) == {split: (split, 0) for split in splits}
    assert study.choose_sample("stage1", 2) == ("stage1", 0)


def test_images_are_counted_without_text_only_samples(study, paper):
    assert [study.count_images(split, 7) for split in ("corpus", "stage2", "test")] == [
        0,
        1300,
        200,
    ]
    released = validate(paper, "x")
    assert released.count_images("stage2", 7) == 665298 - 40688
    assert released.count_images("test", 7) == 7


def test_only_a_generated_study_pretrains_backbones(study, paper):
    assert study.pretrainings["tower"] == (study.tower.recipe, study.data.tower)
    assert study.pretrainings["d64"] == (study.llms["d64"].recipe, study.data.corpus)
    assert set(study.pretrainings) == {"tower", "d32", "d64"}
    assert validate(paper, "x").pretrainings == {}


def test_a_world_has_as_many_questions_as_its_test_split_has_images_of_the_family(raw):
    raw["data"]["test"] = {"scenes": 30, "pages": 20}
    counts = validate(raw, "x").count_questions()
    assert (counts["exist"], counts["char"]) == (30, 20)
