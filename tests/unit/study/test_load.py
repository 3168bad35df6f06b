"""A bad config ends in one message that names file, key, value and what is allowed."""

import json

import jsonschema
import pytest
import yaml

from tests.support.configs import make_block
from tests.support.paths import ROOT
from vlmscale.errors import UserError
from vlmscale.study.load import json_schema, load_study, validate


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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda r: r["llms"]["Qwen1.5-7B"].update(architecture="Qwen1.5-8B"),
            [
                "no decoder is called 'Qwen1.5-8B'",
                "Qwen1.5-7B",
                "resources/backbones",
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


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.stem)
def test_editors_accept_each_config_and_see_a_misspelled_key_of_its_kind(path):
    study = yaml.safe_load(path.read_text())
    jsonschema.validate(study, json_schema())
    (llm, *_) = study["llms"].values()
    llm["recipee"] = 1
    with pytest.raises(jsonschema.ValidationError, match="'recipee' was unexpected"):
        jsonschema.validate(study, json_schema())


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
        (
            lambda r: r["tower"].update(patch_size=7),
            ["tower.patch_size 7 must divide world.image_size 48"],
        ),
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
            lambda r: r["grid"].append(make_block("repeat", [6])),
            ["visual_tokens", "repeat cannot give 6", "4 to 36 in steps of 4"],
        ),
        (
            lambda r: r["grid"].append(make_block("random", [37])),
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
        (
            lambda r: r.pop("world"),
            ["\n  llms.d32: must be released", "\n  tower: must be released"],
        ),
        (lambda r: r.update(world=None), ["world: unknown key"]),
        (lambda r: r.update(pickled=["d32"]), ["pickled: unknown key"]),
        (
            lambda r: r.update(tower={"architecture": "CLIP-ViT-L/14-336"}),
            ["\n  tower: must be made, in a study with a world"],
        ),
        (lambda r: r["llms"].update(tokenizer=r["llms"]["d32"]), ["llms: ", "rename the LLM"]),
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


def test_a_file_that_is_not_yaml_is_refused(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("a: [")
    with pytest.raises(UserError, match=r"x\.yaml cannot be read as YAML"):
        load_study(file)


def test_each_mistake_is_reported_once(raw):
    raw["grid"][0]["sedes"] = raw["grid"][0].pop("seeds")
    raw["grid"][1]["seeds"] = []
    with pytest.raises(UserError) as caught:
        validate(raw, "x")
    keys = [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]]
    assert sorted(keys) == ["grid.0.sedes", "grid.0.seeds", "grid.1.seeds"]
