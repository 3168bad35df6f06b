"""Visual tokens of released VLMs, against the image processors of transformers."""

import numpy as np
import pytest
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from vlmscale.costs.image_tokens import IMAGE_TOKENS, VlmTower, find_vlm_tower
from vlmscale.errors import UserError

SIZES = [(336, 336), (640, 480), (480, 640), (1024, 768), (200, 200), (1700, 2200), (90, 1200)]
SIZES += [(31, 44), (449, 448)]


def image(width, height):
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("budget", [4, 64, 144, 1024])
@pytest.mark.parametrize(("family", "patch"), [("qwen2_5_vl", 14), ("qwen3_vl", 16)])
def test_resized_images(family, patch, budget, size):
    tokens = IMAGE_TOKENS[family]
    processor = Qwen2VLImageProcessorPil(patch_size=patch, **tokens.make_arguments(budget))
    _, rows, columns = processor(image(*size))["image_grid_thw"][0].tolist()
    assert tokens.count_tokens(*size, budget) == rows * columns // 4


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("budget", [256, 768, 1280, 1792, 3328])
def test_tiled_images(budget, size):
    tokens = IMAGE_TOKENS["internvl3"]
    processor = GotOcr2ImageProcessorPil(size={"height": 448, "width": 448}, crop_to_patches=True)
    shown = processor(image(*size), **tokens.make_arguments(budget))["num_patches"][0]
    assert tokens.count_tokens(*size, budget) == 256 * int(shown)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("budget", [1458, 2187, 3645, 7290])
def test_padded_tiles(budget, size):
    tokens = IMAGE_TOKENS["llava_onevision"]
    given = tokens.make_arguments(budget)
    # The count is the processor's own; its tokenizer takes no part in it.
    processor = LlavaOnevisionProcessor.__new__(LlavaOnevisionProcessor)
    processor.image_processor = LlavaOnevisionImageProcessorPil(image_grid_pinpoints=given["grid"])
    processor.num_image_tokens = 729
    processor.vision_aspect_ratio = given["vision_aspect_ratio"]
    width, height = size
    expected = processor._get_number_of_features(height, width, 384, 384)
    assert tokens.count_tokens(*size, budget) == expected
    assert expected <= budget * 1.21 + 27 * 9  # scaled down from 1.1 times the side


def test_budgets_are_those_that_a_family_can_give():
    assert IMAGE_TOKENS["internvl3"].list_budgets()[:3] == [256, 768, 1024]
    assert IMAGE_TOKENS["llava_onevision"].describe_budgets().startswith("1458, 2187, 2916")
    assert IMAGE_TOKENS["qwen3_vl"].describe_budgets() == "any number from 4 to 16384"
    # The tower runs on a tile for every 256 tokens of InternVL, and on all patches of Qwen's images.
    assert IMAGE_TOKENS["internvl3"].list_passes(768) == [1024] * 3
    assert IMAGE_TOKENS["qwen2_5_vl"].list_passes(64) == [256]


def test_the_tower_costs_what_its_matrices_do():
    tower = VlmTower(
        layers=2,
        windowed_layers=1,
        window=4,
        hidden_size=8,
        intermediate_size=16,
        mlp_matrices=3,
        patch_size=2,
        frames=2,
        special=0,
        merge=2,
        mergers=1,
        wide_merger=1,
    )
    patches, width = 16, 10
    embedding = patches * 24 * 8
    layers = 2 * patches * (4 * 8 * 8 + 3 * 8 * 16)
    attention = 2 * 8 * patches * (16 + 4)
    merger = 4 * (32 * 32 + 32 * 10)
    expected = 2 * (embedding + layers + attention + merger) / 1e9
    assert tower.gflops([patches], width) == pytest.approx(expected)
    assert tower.gflops([patches] * 3, width) == pytest.approx(3 * expected)


@pytest.mark.parametrize(
    ("name", "billions"),
    # Qwen2.5-VL's report, InternVL's name, SigLIP's 428M less its pooling head and last block.
    [("Qwen2.5-VL-ViT", 0.63), ("InternViT-300M", 0.30), ("SigLIP-SO400M-26", 0.40)],
)
def test_towers_have_about_their_published_size(name, billions):
    assert find_vlm_tower(name).total_b == pytest.approx(billions, rel=0.03)


def test_an_unknown_tower_is_named():
    with pytest.raises(UserError, match=r"no tower 'x' in resources/vlm_towers.csv. There are: Q"):
        find_vlm_tower("x")
