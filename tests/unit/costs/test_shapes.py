"""Shapes of models from their released configs, and what is said of a broken one."""

import shutil
from dataclasses import replace

import pytest
import torch
from common import load_backbone_config
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel, CLIPConfig, CLIPModel

from vlmscale.costs.shapes import Decoder, Tower, find_shape, load_shapes, read_tower
from vlmscale.errors import UserError
from vlmscale.resources import find_resource


def test_llms_come_by_family_and_size_and_towers_last():
    shapes = load_shapes()
    qwen = [f"Qwen1.5-{size}B" for size in ("0.5", "1.8", "4", "7", "14")]
    llama = ["Llama-3.2-1B", "Llama-3.2-3B"]
    two_and_a_half = [f"Qwen2.5-{size}B" for size in ("0.5", "1.5", "3", "7", "14", "32")]
    three = [f"Qwen3-{size}B" for size in ("0.6", "1.7", "4", "8", "14")]
    small = [f"SmolLM2-{size}" for size in ("135M", "360M", "1.7B")]
    vicuna = ["Vicuna-7B", "Vicuna-13B"]
    llms = [*llama, *qwen, *two_and_a_half, *three, *small, *vicuna]
    dinov2 = [f"DINOv2-{name}" for name in ("L/14-518", "L/14-518-registers", "S/14-518")]
    assert list(shapes) == [*llms, "CLIP-ViT-L/14-336", *dinov2, "SigLIP2-SO400M/14-384"]


def test_shapes_are_those_of_the_released_configs():
    assert load_shapes()["Qwen1.5-0.5B"] == Decoder(
        0.5, 24, 1024, 2816, 16, 16, 151_936, tied_head=True, qkv_bias=True, released_gb=1.24
    )
    assert load_shapes()["Vicuna-13B"] == Decoder(
        13, 40, 5120, 13_824, 40, 40, 32_000, tied_head=False, qkv_bias=False
    )
    assert load_shapes()["CLIP-ViT-L/14-336"] == Tower(24, 1024, 4096, 336, 14, released_gb=1.71)


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
        ('"qwen2"', '"mamba"', "'mamba' must be one of llama, qwen2, qwen3"),
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


def test_downloads_count_what_the_released_files_hold_more_than_once_in_sixteen_bits():
    """Qwen1.5-0.5B stores its head beside the embedding that it is; CLIP's file has the text tower, in 32."""
    shapes = load_shapes()
    embedding = 151_936 * 1024
    assert shapes["Qwen1.5-0.5B"].download_gb == pytest.approx(
        2 * (463_987_712 + embedding) / 1e9, rel=2e-3
    )
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
    vision = load_backbone_config("clip-vit-large-patch14-336").to_dict()
    with torch.device("meta"):
        clip = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=768))
    assert shapes["CLIP-ViT-L/14-336"].download_gb == pytest.approx(
        4 * clip.num_parameters() / 1e9, rel=2e-3
    )
    assert shapes["Vicuna-7B"].download_gb == 2 * shapes["Vicuna-7B"].total_b


@pytest.mark.parametrize(
    ("name", "parameters", "positions"),
    [
        ("clip-vit-large-patch14-336", 303_507_456, 577),
        ("siglip2-so400m-patch14-384", 428_225_600 - 15_238_352, 729),  # released with its head
        ("dinov2-small", 22_056_576, 1370),
        ("dinov2-large", 304_368_640, 1370),
        ("dinov2-with-registers-large", 304_368_640 + 4 * 1024, 1374),
    ],
)
def test_parameters_positions_and_flops_of_towers(name, parameters, positions):
    """As transformers builds them, also for images of another size than their own."""
    config = load_backbone_config(name)
    shape = read_tower(config.to_dict())
    for size in (config.image_size, 336):
        config.image_size = size
        shape = replace(shape, image_size=size)
        with torch.device("meta"):
            tower = AutoModel.from_config(config)
        assert tower.num_parameters() == round(1e9 * shape.total_b)
        pixels = torch.zeros(1, 3, size, size, device="meta")
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as count:
            states = tower(pixels, output_hidden_states=True).hidden_states
        assert states[0].shape[1] == shape.special_positions + shape.patches
        assert count.get_total_flops() / 1e9 == pytest.approx(shape.gflops(), rel=0.02)
        if size == read_tower(load_backbone_config(name).to_dict()).image_size:
            assert (states[0].shape[1], tower.num_parameters()) == (positions, parameters)
            assert round(1e9 * find_shape(load_shapes(), NAMES[name], Tower).total_b) == parameters


NAMES = {
    "clip-vit-large-patch14-336": "CLIP-ViT-L/14-336",
    "siglip2-so400m-patch14-384": "SigLIP2-SO400M/14-384",
    "dinov2-small": "DINOv2-S/14-518",
    "dinov2-large": "DINOv2-L/14-518",
    "dinov2-with-registers-large": "DINOv2-L/14-518-registers",
}


def test_a_gated_mlp_in_a_tower_is_refused():
    config = load_backbone_config("dinov2-large").to_dict() | {"use_swiglu_ffn": True}
    with pytest.raises(UserError, match="use_swiglu_ffn is true"):
        read_tower(config)


@pytest.mark.parametrize("name", ["Qwen1.5-3B", "CLIP-ViT-L/14-336"])
def test_unknown_names_are_explained(name):
    with pytest.raises(UserError, match=r"no decoder .* known are .*Qwen1.5-0.5B, .*Vicuna-13B"):
        find_shape(load_shapes(), name, Decoder)
