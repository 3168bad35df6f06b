"""Shapes of models from their released configs, and what is said of a broken one."""

import shutil

import pytest

from vlmscale.costs.shapes import Decoder, Tower, find_shape, load_shapes
from vlmscale.errors import UserError
from vlmscale.resources import find_resource


def test_llms_come_by_family_and_size_and_towers_last():
    shapes = load_shapes()
    qwen = [f"Qwen1.5-{size}B" for size in ("0.5", "1.8", "4", "7", "14")]
    assert list(shapes) == [*qwen, "Vicuna-7B", "Vicuna-13B", "CLIP-ViT-L/14-336"]


def test_shapes_are_those_of_the_released_configs():
    assert load_shapes()["Qwen1.5-0.5B"] == Decoder(
        0.5, 24, 1024, 2816, 16, 16, 151_936, tied_head=True, gated_mlp=True, qkv_bias=True
    )
    assert load_shapes()["Vicuna-13B"] == Decoder(
        13, 40, 5120, 13_824, 40, 40, 32_000, tied_head=False, gated_mlp=True, qkv_bias=False
    )
    assert load_shapes()["CLIP-ViT-L/14-336"] == Tower(24, 1024, 4096, False, 336, 14)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '"num_hidden_layers": 24',
            '"num_hidden_layers": "many"',
            "layers is 'many', must be a whole",
        ),
        (
            '"tie_word_embeddings": true,',
            "",
            "tie_word_embeddings is None, must be .* true or false",
        ),
        ('"Qwen1.5-0.5B"', '"Qwen1.5-4B"', "another file has the name 'Qwen1.5-4B'"),
        ('"qwen2"', '"mamba"', "'mamba' must be one of llama, qwen2"),
        ('"nominal_b": 0.5,', "", "0.5B-Chat.json: nominal_b is missing"),
    ],
)
def test_a_broken_file_is_explained(tmp_path, old, new, message):
    folder = shutil.copytree(find_resource("backbones"), tmp_path / "backbones")
    file = folder / "Qwen1.5-0.5B-Chat.json"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=message):
        load_shapes(folder)


@pytest.mark.parametrize("name", ["Qwen1.5-3B", "CLIP-ViT-L/14-336"])
def test_unknown_names_are_explained(name):
    with pytest.raises(UserError, match=r"no decoder .* known are Qwen1.5-0.5B, .*Vicuna-13B"):
        find_shape(load_shapes(), name, Decoder)
