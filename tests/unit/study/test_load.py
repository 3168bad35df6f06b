"""A bad config ends in one message that names file, key, value and what is allowed."""

import csv
import json

import pytest
import yaml

from tests.support.paths import ROOT
from vlmscale.errors import UserError
from vlmscale.study.grid import expand_grid, list_laws, list_stage1_trainings, write_cells
from vlmscale.study.load import json_schema, load_study, validate
from vlmscale.study.selection import Selection


@pytest.fixture
def raw():
    return yaml.safe_load((ROOT / "config/smoke.yaml").read_text())


def cells(method, visual_tokens):
    return {"methods": [method], "llms": ["d32"], "visual_tokens": visual_tokens, "seeds": [0]}


def add_series(raw, name):
    raw["methods"][name] = {"method": "mlp"}
    raw["laws"]["series"]["x"] = [name]


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_config_is_valid_and_named_after_its_study(path):
    assert load_study(path).study == path.stem


def test_the_two_tiers_of_the_miniature_differ_in_their_cells_only():
    mini, full = (
        load_study(ROOT / f"config/{name}.yaml").model_dump() for name in ("mini", "mini-full")
    )
    for study in (mini, full):
        for key in ("study", "grid"):
            del study[key]
        del study["laws"]["series"]
    assert mini == full


@pytest.fixture
def paper():
    return yaml.safe_load((ROOT / "config/paper.yaml").read_text())


def test_released_backbones_have_the_shapes_of_their_rows(paper):
    study = validate(paper, "x")
    assert (study.grid_side, study.tower_shape.hidden_size) == (24, 1024)
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


def test_the_suites_of_the_papers_study(paper):
    """Nine for reasoning, DocVQA and TextVQA for OCR; VizWiz and VQAv2 belong to neither."""
    with (ROOT / "src/vlmscale/resources/benchmarks.csv").open() as file:
        families = {row["benchmark"]: row["family"] for row in csv.DictReader(file)}
    asked = paper["evaluation"]["benchmarks"]
    by_family = {f: {b for b in asked if families[b] == f} for f in ("reasoning", "ocr", "other")}
    assert by_family == {
        "reasoning": {
            *("mme", "gqa", "ai2d", "mmbench", "mmmu", "scienceqa", "mathvista", "pope", "chartqa")
        },
        "ocr": {"docvqa", "textvqa"},
        "other": set(),
    }
    assert families["vizwiz"] == families["vqav2"] == "other"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda r: r["llms"]["Qwen1.5-7B"].update(architecture="Qwen1.5-8B"),
            [
                "no decoder is called 'Qwen1.5-8B'",
                "Qwen1.5-7B",
                "resources/architectures.csv",
            ],
        ),
        (
            lambda r: r["tower"].update(architecture="Qwen1.5-7B"),
            ["no tower is called 'Qwen1.5-7B'", "CLIP-ViT-L/14-336"],
        ),
        (
            lambda r: r["llms"]["Qwen1.5-7B"].update(revision="main"),
            ["\n  llms.Qwen1.5-7B.revision: ", "(got 'main')"],
        ),
        (
            lambda r: r["llms"]["Qwen1.5-7B"].pop("revision"),
            ["\n  llms.Qwen1.5-7B.revision: Field required"],
        ),
        (
            lambda r: r["llms"]["Qwen1.5-7B"].update(layers=3),
            ["\n  llms.Qwen1.5-7B.layers: unknown key"],
        ),
        (
            lambda r: r["tower"].update(repository="https://huggingface.co/x"),
            ["\n  tower.repository: "],
        ),
        (lambda r: r["tower"].update(feature_layers=[25]), ["feature_layers: 25", "layers=24"]),
        (lambda r: r["data"]["stage1"].update(dataset="laion"), ["data.stage1.dataset", "'laion'"]),
        (
            lambda r: r["data"]["stage1"].update(text_only=558128),
            ["data.stage1", "leaves no image"],
        ),
        (lambda r: r["data"].pop("stage1"), ["\n  data.stage1: Field required"]),
        (
            lambda r: r.update(pickled=["tower", "Vicuna-7B"]),
            ["pickled: 'Vicuna-7B' is not fetched: tower, Qwen1.5-0.5B"],
        ),
        (lambda r: r.update(world={}), ["data: must be made, in a study with a world"]),
        (
            lambda r: r["llms"].update(
                tiny={
                    "hidden_size": 8,
                    "layers": 2,
                    "heads": 2,
                    "intermediate_size": 8,
                    "recipe": {"steps": 1, "batch_size": 1, "learning_rate": 1},
                }
            ),
            ["llms.tiny: must be released, in a study without a world"],
        ),
    ],
)
def test_errors_about_released_backbones_and_data(paper, change, words):
    change(paper)
    with pytest.raises(UserError) as caught:
        validate(paper, "config/x.yaml")
    for word in ["config/x.yaml", *words]:
        assert word in str(caught.value)
    assert "<" not in str(caught.value)


def test_schema_file_is_current():
    found = json.loads((ROOT / "config/schema.json").read_text())
    assert found == json_schema(), "run `make schema`"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.update(sede=1), ["sede", "unknown key"]),
        (lambda r: r["stage2"].update(lerning_rate=1), ["stage2.lerning_rate", "unknown key"]),
        (
            lambda r: r["stage2"].update(execution={"zero": 1}),
            ["stage2.execution.zero", "0, 2 or 3"],
        ),
        (lambda r: r["stage1"].update(precision="fp16"), ["stage1.precision", "'fp32' or 'bf16'"]),
        # the tiny backbones are trained by one process
        (
            lambda r: r["tower"]["recipe"].update(execution={}),
            ["tower.recipe.execution", "unknown key"],
        ),
        (
            lambda r: r.update(budgets={"short": {"steps": 1, "execution": {"zero": 2}}}),
            ["budgets.short.execution", "belongs to stage2"],
        ),
        (
            lambda r: r["grid"][0].update(visual_tokens=[1, 5]),
            ["grid.0.visual_tokens", "5 visual tokens", "6 x 6", "1, 4, 9, 36"],
        ),
        (lambda r: r["grid"][0].update(methods=["magic"]), ["grid.0.methods", "magic", "quecc"]),
        (lambda r: r["grid"][0].update(llms=["d1"]), ["grid.0.llms", "d1", "d32"]),
        (
            lambda r: r.update(methods={"quecc": {"query_turn": "third"}}),
            ["methods.quecc.query_turn", "third", "first, last, random"],
        ),
        (lambda r: r.update(methods={"mlp": {"x": "y"}}), ["methods.mlp.x", "no such option"]),
        (lambda r: r["stage1"].update(epochs=1), ["stage1", "either epochs or steps"]),
        (lambda r: r["tower"].update(patch_size=7), ["48", "not a multiple", "7"]),
        (lambda r: r["tower"].update(feature_layers=[9]), ["feature_layers", "layers=3"]),
        (lambda r: r["laws"].update(holdout=["d1"]), ["laws.holdout", "d1"]),
        (
            lambda r: r["laws"].update(size="nominal"),
            ["laws.size: nominal", "total and non_embedding"],
        ),
        (lambda r: r.update(study="published"), ["study", "the paper's released numbers"]),
        (lambda r: r["world"].update(colours=99), ["world.colours", "99"]),
        (lambda r: r["world"].update(objects=4), ["world", "objects 4 must be fewer"]),
        (lambda r: r["data"].update(corpus={"scenes": 3}), ["data", "corpus: needs some of text"]),
        (lambda r: r["data"].update(test={}), ["data", "test: needs some of pages, scenes"]),
        (lambda r: r["grid"][0].update(seeds=[-1]), ["grid.0.seeds", "-1"]),
        (lambda r: r["laws"].update(baseline="m4"), ["laws.baseline", "'m4' is not in the grid"]),
        (
            lambda r: r.update(exclude=[{"method": "quec"}]),
            ["exclude.0.method", "'quec' is not in the grid"],
        ),
        (lambda r: r.update(exclude=[{"llm": "d9"}]), ["exclude.0.llm", "d9", "d32"]),
        (
            lambda r: r["laws"].update(holdout=["d32", "d64"]),
            ["laws.series.tokenpacker", "held out, none is fitted"],
        ),
        (lambda r: r["llms"]["d32"].update(layers=1), ["fastv acts between layers", "d32 has one"]),
        (
            lambda r: r["methods"].update(mlp={"method": "avgpool"}),
            ["served by the method mlp", "Give the latter another name"],
        ),
        (lambda r: add_series(r, "unused"), ["laws.series.x", "no cell"]),
        (
            lambda r: r["grid"].append(cells("repeat", [6])),
            ["visual_tokens", "repeat cannot give 6", "4 to 36 in steps of 4"],
        ),
        (
            lambda r: r["grid"].append(cells("random", [37])),
            ["random cannot give 37", "1 to 36"],
        ),
        (
            lambda r: r["methods"].update(repeat={"query_resize": "avgpool"}),
            ["repeat has query_resize: avgpool, but tokenpacker", "bilinear"],
        ),
        (
            lambda r: r["methods"].update(mine={"method": "magic"}),
            ["methods.mine", "no method 'magic'"],
        ),
        (
            lambda r: r["tower"].update(feature_layers=[1, 3]),
            ["reads the tower's last block", "feature_layers must have 2"],
        ),
        (lambda r: r.pop("world"), ["data: must be released, in a study without a world"]),
        (lambda r: r["laws"]["series"].update({"a/b": ["mlp"]}), ["laws.series", "a/b"]),
        (lambda r: r["tower"].update(hidden_size=60), ["tower.hidden_size 60", "multiple of 8"]),
        (
            lambda r: r.update(budgets={"short": {"stepz": 1}}),
            ["\n  budgets.short.stepz: unknown key"],
        ),
        (lambda r: r.update(budgets={"short": {"steps": -1}}), ["budgets.short.steps", "got -1"]),
        (
            lambda r: r.update(budgets={"short": {"steps": 1, "epochs": 1}}),
            ["\n  budgets.short: give either epochs or steps"],
        ),
        (
            lambda r: r.update(budgets={"short": {"steps": 300}}),
            ["budgets.short: changes nothing of stage2"],
        ),
        (
            lambda r: r.update(budgets={"full": {"steps": 9}}),
            ["budgets.full", "means stage2 unchanged"],
        ),
        (
            lambda r: r["grid"][0].update(budgets=["full", "shrot"]),
            ["grid.0.budgets", "'shrot'", "There are: full."],
        ),
        (lambda r: r["grid"][0].update(budgets=[]), ["grid.0.budgets", "at least 1"]),
        (
            lambda r: r["methods"]["prumerge_tuned"].update(count="adaptive"),
            ["methods.prumerge_tuned", "stage2.turns: joined"],
        ),
        (
            lambda r: r.update(
                cluster={"cpus_per_gpu": 4}, stage1={**r["stage1"], "execution": {"workers": 4}}
            ),
            ["stage1.execution.workers: 4", "cluster.cpus_per_gpu 4", "at most 3"],
        ),
        (
            lambda r: r.update(exclude=[{"budget": "shrot"}], budgets={"short": {"steps": 9}}),
            ["exclude.0.budget", "'shrot'", "There are: full, short."],
        ),
    ],
)
def test_errors_name_file_key_and_cure(raw, change, words):
    change(raw)
    with pytest.raises(UserError) as caught:
        validate(raw, "config/x.yaml")
    for word in ["config/x.yaml", *words]:
        assert word in str(caught.value)


def test_unknown_and_repeated_benchmarks(raw):
    known = {name: {"task": "world", "family": "ocr"} for name in ("exist", "char")}
    for names, words in (
        (["exits"], "'exits' is not in resources/benchmarks.csv. There are: exist, char"),
        (["char"] * 2, "'char' is listed twice"),
    ):
        raw["evaluation"]["benchmarks"] = names
        with pytest.raises(UserError, match=words):
            validate(raw, "x").count_questions(known)


def test_a_file_that_is_no_yaml(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("a: [")
    with pytest.raises(UserError, match=r"x\.yaml cannot be read as YAML"):
        load_study(file)


def test_an_error_is_told_once(raw):
    raw["grid"][0]["sedes"] = raw["grid"][0].pop("seeds")
    raw["grid"][1]["seeds"] = []
    with pytest.raises(UserError) as caught:
        validate(raw, "x")
    keys = [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]]
    assert sorted(keys) == ["grid.0.sedes", "grid.0.seeds", "grid.1.seeds"]


def test_cells_and_runs(study, tmp_path):
    cells, runs = expand_grid(study)
    # elastic and training-free methods add cells, not runs
    assert len(cells) == 33
    assert len(runs) == 24
    served = {cell.method: cell.run for cell in cells.values() if cell.run != cell.cell}
    assert set(served) == {
        *("m3", "mqt", "prumerge", "prumerge_plus", "random", "fastv", "repeat"),
        *("avgpool_free", "downsample_free"),
    }
    assert served["m3"] == "d32__m3__v36__s0"
    assert served["fastv"] == served["avgpool_free"] == "d32__mlp__v36__s0"
    assert served["repeat"] == "d32__tokenpacker__v4__s0"
    assert runs["d32__quecc__v4__s0"].visual_tokens == 4
    assert {cell.run for cell in cells.values()} == set(runs)
    write_cells(tmp_path / "cells.csv", study.study, cells.values())
    lines = (tmp_path / "cells.csv").read_text().splitlines()
    assert lines[0] == "study,cell,run,llm,method,visual_tokens,seed,budget,role"
    assert len(lines) == 1 + 33


def test_exclusions_and_holdout(raw):
    raw["exclude"] = [{"method": "quecc", "llm": "d64"}, {"visual_tokens": 9}]
    raw["laws"]["holdout"] = ["d64"]
    cells, _ = expand_grid(validate(raw, "x"))
    assert not [c for c in cells.values() if c.method == "quecc" and c.llm == "d64"]
    assert not [c for c in cells.values() if c.visual_tokens == 9]
    assert {c.role for c in cells.values() if c.llm == "d64"} == {"holdout"}


def test_a_cell_listed_twice_and_an_empty_grid(raw):
    twice = {**raw, "grid": [raw["grid"][0], raw["grid"][0]]}
    with pytest.raises(UserError, match="listed twice"):
        expand_grid(validate(twice, "x"))
    with pytest.raises(UserError, match="every cell is excluded"):
        expand_grid(validate({**raw, "exclude": [{"seed": 0}]}, "x"))


@pytest.fixture
def budgets(raw):
    """The smoke study with two more budgets: mlp and tokenpacker have one, m3 nothing but one."""
    raw["budgets"] = {"short": {"steps": 100, "learning_rate": 0.01}, "long": {"epochs": 2}}
    raw["grid"][0] |= {"methods": ["tokenpacker"], "budgets": ["full", "short"]}
    raw["grid"][1]["budgets"] = ["short", "full", "long"]
    raw["grid"] = [*raw["grid"][:2], cells("quecc", [1, 4]), cells("fastv", [9])]
    raw["grid"] += [{**cells("m3", [4, 36]), "budgets": ["short"]}]
    raw["grid"][3]["budgets"] = ["long"]
    raw["laws"]["series"] = {"packed": ["tokenpacker", "mlp"]}
    return raw


def test_a_budget_changes_what_it_names_of_stage_2(budgets):
    study = validate(budgets, "x")
    assert study.get_recipe("stage2", "full") == study.stage2
    short, long = study.get_recipe("stage2", "short"), study.get_recipe("stage2", "long")
    assert (short.steps, short.epochs, short.learning_rate) == (100, None, 0.01)
    assert (long.steps, long.epochs, long.learning_rate) == (None, 2, 0.003)
    assert short.batch_size == long.batch_size == study.stage2.batch_size


def test_runs_of_all_budgets_share_stage_1(budgets):
    cells, runs = expand_grid(validate(budgets, "x"))
    assert {"d64__tokenpacker__v9__s0", "d64__tokenpacker__v9__s0__short"} <= set(runs)
    assert cells["d32__fastv__v9__s0__long"].run == "d32__mlp__v36__s0__long"
    assert cells["d32__m3__v4__s0__short"].run == "d32__m3__v36__s0__short"
    assert runs["d32__m3__v36__s0__short"].budget == "short"
    assert len(runs) == 2 * 6 + 3 * 2 + 2 + 1
    trainings = list_stage1_trainings(runs.values())
    assert [run.stage1 for run in trainings.values()] == list(trainings)
    assert len(trainings) == 6 + 2 + 2 + 1
    assert "d32__m3__v36__s0" in trainings  # of which no run has the full budget
    assert trainings["d64__mlp__v36__s0"].llm == "d64"


def test_a_budget_can_be_excluded(budgets):
    budgets["exclude"] = [{"budget": "short", "llm": "d64"}]
    kept, _ = expand_grid(validate(budgets, "x"))
    assert {c.llm for c in kept.values() if c.budget == "short"} == {"d32"}
    assert {c.llm for c in kept.values() if c.budget == "full"} == {"d32", "d64"}


def laws(raw):
    study = validate(raw, "x")
    return list_laws(study, expand_grid(study)[0].values())


def test_each_budget_that_determines_a_law_has_one(budgets):
    methods = ("tokenpacker", "mlp")
    assert laws(budgets) == {
        "packed": Selection(methods, "full"),
        "packed_short": Selection(methods, "short"),
    }  # at budget long there is one number of visual tokens


def test_a_series_that_no_budget_determines_is_refused(budgets):
    budgets["laws"]["series"] = {"few": ["m3"]}
    with pytest.raises(UserError, match=r"laws\.series\.few: no law can be fitted.*two LLMs"):
        laws(budgets)


def test_a_study_without_a_series_has_no_law(budgets):
    del budgets["laws"]["series"]
    assert laws(budgets) == {}


def test_laws_without_cells_or_with_one_name(budgets):
    series = budgets["laws"]["series"]
    series["packed_short"] = ["tokenpacker"]
    with pytest.raises(UserError, match="both called packed_short"):
        laws(budgets)
    del series["packed_short"]
    budgets["exclude"] = [{"method": "mlp"}, {"method": "tokenpacker"}]
    budgets["laws"]["baseline"] = "quecc"
    with pytest.raises(UserError, match=r"laws\.series\.packed: `exclude` leaves none"):
        laws(budgets)
