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
