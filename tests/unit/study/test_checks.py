"""A contradiction in a config ends in one message that names file, key, value and what is allowed."""

import pytest

from tests.support.configs import make_block
from vlmscale.errors import UserError
from vlmscale.study.load import validate


def add_series(raw, name):
    raw["methods"][name] = {"method": "mlp"}
    raw["laws"]["series"]["x"] = [name]


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
        (
            lambda r: r["data"].update(stage2={"text": 9}),
            ["data", "stage2: needs some of pages, scenes, and nothing but pages, scenes, text"],
        ),
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
        (
            lambda r: (
                r["tower"].update(feature_layers=[0, 2]),
                r.update(grid=[make_block("visionzip", [4])], methods={}),
            ),
            ["visionzip reads the block that gives the patches", "feature_layers must have 1"],
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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r["grid"][0].update(seeds=[2**32]), ["grid.0.seeds.0", "4294967296"]),
        (lambda r: r["grid"][0].update(seeds=[True]), ["grid.0.seeds.0", "got True"]),
        (
            lambda r: r["llms"]["d32"].update(hidden_size=36, heads=4),
            ["llms.d32: hidden_size / heads is 9", "even"],
        ),
        (lambda r: r["data"].update(test={"pages": 9}), ["asks about scenes; data.test has none"]),
        (lambda r: r["data"].update(test={"scenes": 30}), ["asks about pages; data.test has none"]),
        (lambda r: r["world"].update(difficulty=0), ["rel needs scenes of two objects"]),
        (lambda r: r["world"].update(difficulty=1e-9), ["rel needs scenes of two objects"]),
        (lambda r: r["world"].update(objects=1), ["rel needs scenes of two objects"]),
        (lambda r: r["world"].update(relations=1), ["fact needs facts that stage 2 holds out"]),
        (lambda r: r["stage1"].update(max_length=36), ["stage1.max_length: 36 leaves no room"]),
        (
            lambda r: r.update(
                budgets={"short": {"max_length": 30}},
                grid=[
                    {
                        **r["grid"][0],
                        "methods": ["mlp"],
                        "visual_tokens": [36],
                        "budgets": ["short"],
                    }
                ],
                laws={"series": {}},
            ),
            ["stage2.max_length: 30 leaves no room for text beside the 36 visual tokens of grid.0"],
        ),
        (
            lambda r: r["laws"].update(text_tokens=list(range(13))),
            ["laws.text_tokens", "at most 12"],
        ),
        (
            lambda r: r["tower"].update(feature_layers=[2, 2, 3]),
            ["feature_layers: a layer stands twice"],
        ),
        (lambda r: r["laws"].update(text_tokens=[]), ["laws.text_tokens", "at least 1"]),
        (lambda r: r["laws"].update(text_tokens=[5, 5]), ["laws.text_tokens", "5 stands twice"]),
        (
            lambda r: r["laws"]["series"].update(all=["mlp", "mlp"]),
            ["laws.series.all", "mlp stands twice"],
        ),
        (lambda r: r["laws"].update(holdout=["d32", "d32"]), ["laws.holdout", "d32 stands twice"]),
        (lambda r: r.update(cluster={"hours": 1e-320}), ["cluster.hours", "0.000000001"]),
        (lambda r: r.update(study="Published"), ["the paper's released numbers"]),
        (lambda r: r.update(study="downloads"), ["the folder of downloaded files"]),
        (lambda r: r["llms"].update(Tower=r["llms"]["d32"]), ["llms: Tower", "rename the LLM"]),
        (
            lambda r: r["llms"].update(D32=r["llms"]["d32"]),
            ["llms: D32 and d32 differ in case alone"],
        ),
        (
            lambda r: r["grid"][0].update(seeds=list(range(20_000))),
            ["grid: ", "cells are more than 10,000"],
        ),
        (
            lambda r: (r["world"].update(image_size=1024), r["tower"].update(patch_size=2)),
            ["tower.patch_size: 512 patches a side"],
        ),
        (
            lambda r: r["methods"].update(quecc={"query_turn": 1}),
            ["methods.quecc.query_turn", "got 1; put it in quotes"],
        ),
        (lambda r: r["stage1"].update(batch_size="x" * 9999), ["stage1.batch_size", "xxx...xxx"]),
        (
            lambda r: r.update({f"k{n}": 1 for n in range(1000)}),
            ["k0: unknown key", "and 980 more"],
        ),
    ],
)
def test_what_would_fail_later_is_refused_now(raw, change, words):
    change(raw)
    with pytest.raises(UserError) as caught:
        validate(raw, "config/x.yaml")
    for word in ["config/x.yaml", *words]:
        assert word in str(caught.value)


def test_questions_before_the_image_cannot_stand_apart(raw):
    raw["prompt_layout"] = "text_first"
    with pytest.raises(
        UserError, match=r"prompt_layout: text_first .* Take turns: joined in stage1"
    ):
        validate(raw, "config/x.yaml")
    raw["stage2"]["turns"] = "joined"
    assert validate(raw, "x").prompt_layout == "text_first"
