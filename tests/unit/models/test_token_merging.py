"""ToMe in a tower against its rule written out patch by patch, and its price against torch's count."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPVisionConfig, CLIPVisionModel

from tests.support.towers import FAMILIES, make_tower
from vlmscale.costs.merging import merging_tower_gflops, plan_merges, split_rounds
from vlmscale.costs.shapes import Tower
from vlmscale.models.token_merging import compute_merged_patches, merge_patches
from vlmscale.models.tower import compute_tower_features, count_special_positions

WIDTH, HEADS, PATCH = 32, 4, 4


def make_clip(side=6, layers=4):
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        image_size=side * PATCH,
        patch_size=PATCH,
    )
    tower = CLIPVisionModel(config).eval()
    for parameter in tower.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    pixels = torch.randn(3, 3, side * PATCH, side * PATCH)
    return tower, pixels


def merge_by_hand(rows, sizes, keys, merged):
    """One image's patches: lists of rows (d), sizes and keys (e); the most similar pairs become means."""
    unit = [key / key.norm() for key in keys]
    looking, others = range(1, len(rows), 2), range(0, len(rows), 2)
    partner = {i: max(others, key=lambda j: (float(unit[i] @ unit[j]), -j)) for i in looking}
    leaving = sorted(looking, key=lambda i: (-float(unit[i] @ unit[partner[i]]), i))[:merged]
    order = [i for i in looking if i not in leaving] + list(others)
    out = []
    for j in order:
        members = [j] + [i for i in leaving if partner[i] == j and j in others]
        total = sum(sizes[i] for i in members)
        means = [sum(sizes[i] * each[i] for i in members) / total for each in (rows, keys)]
        out.append((means[0], total, means[1]))
    return [list(each) for each in zip(*out, strict=True)]


@pytest.mark.parametrize("count", [1, 2, 5, 9, 20, 35, 36])
@pytest.mark.parametrize("layer", [2, 4])
def test_equals_the_rule_written_out(layer, count):
    tower, pixels = make_clip()
    found = compute_merged_patches(tower, pixels, count, layer=layer)
    assert found.shape == (3, count, WIDTH)
    for image in range(3):
        with torch.no_grad():
            hidden = tower.pre_layrnorm(tower.embeddings(pixels[image : image + 1]))[0]
            sizes = [1] * len(hidden)
            for block, merged in zip(
                tower.encoder.layers, plan_merges(36, count, layer), strict=False
            ):
                normed = block.layer_norm1(hidden)
                q, k, v = (
                    projection(normed).reshape(len(hidden), HEADS, -1).transpose(0, 1)
                    for projection in (
                        block.self_attn.q_proj,
                        block.self_attn.k_proj,
                        block.self_attn.v_proj,
                    )
                )
                scores = q @ k.transpose(1, 2) / (WIDTH / HEADS) ** 0.5
                weights = (scores + torch.tensor(sizes).float().log()).softmax(-1)
                mixed = (weights @ v).transpose(0, 1).reshape(len(hidden), WIDTH)
                hidden = hidden + block.self_attn.out_proj(mixed)
                rows, keys = list(hidden[1:]), list(k.mean(0)[1:])
                sizes = sizes[1:]
                for part in split_rounds(len(rows), merged):
                    rows, sizes, keys = merge_by_hand(rows, sizes, keys, part)
                sizes = [1, *sizes]
                hidden = torch.stack([hidden[0], *rows])
                hidden = hidden + block.mlp(block.layer_norm2(hidden))
        torch.testing.assert_close(found[image], hidden[1:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_patches_are_the_tower_s_own_in_every_family(family):
    made = make_tower(family)[0]
    tower = getattr(made, "vision_model", made).eval()
    side, layers = tower.config.image_size, tower.config.num_hidden_layers
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    special = count_special_positions(tower.config)
    expected = compute_tower_features(tower, pixels, [layers])[:, special:]
    found = compute_merged_patches(tower, pixels, expected.shape[1], layer=layers)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    few = compute_merged_patches(tower, pixels, 3, layer=layers)
    assert few.shape == (2, 3, expected.shape[2])
    alone = compute_merged_patches(tower, pixels[1:], 3, layer=layers)
    torch.testing.assert_close(few[1:], alone, atol=1e-5, rtol=1e-4)


def test_sizes_sum_to_the_patches_and_special_positions_stay():
    hidden = torch.randn(2, 14, 8, generator=torch.Generator().manual_seed(0))
    size, total = torch.ones(2, 14, 1), hidden.sum(dim=1)
    metric, special = hidden[..., :4], hidden[:, :2]
    for merged in (5, 3, 1):
        hidden, size, metric = merge_patches(hidden, size, metric, 2, merged)
    assert hidden.shape == (2, 5, 8)
    assert torch.equal(hidden[:, :2], special)
    assert (size[:, 2:].sum(dim=1) == 12).all()
    torch.testing.assert_close((hidden * size).sum(dim=1), total)


def test_of_equal_patches_the_earlier_ones_merge():
    hidden = torch.ones(1, 8, 4)
    _, size, _ = merge_patches(hidden, torch.ones(1, 8, 1), hidden, 0, 2)
    assert size[0, :, 0].tolist() == [1, 1, 3, 1, 1, 1]


@pytest.mark.parametrize("blocks", [1, 3, 23, 24])
def test_plans_end_at_every_count(blocks):
    for count in range(1, 577, 1 if blocks == 23 else 25):
        plan, left = plan_merges(576, count, blocks), 576
        for merged in plan[:-1]:
            assert 0 <= merged <= left // 2
            left -= merged
        assert left - plan[-1] == count
        assert sum(split_rounds(left, plan[-1])) == plan[-1]
    assert plan_merges(576, 576 - 23 * 8, 23) == [8] * 23


@pytest.mark.parametrize("count", [1, 6, 20, 64, 144])
def test_the_price_is_what_torch_counts(count):
    tower, pixels = make_clip(side=12, layers=5)
    shape = Tower(5, WIDTH, 48, 12 * PATCH, PATCH, heads=HEADS)
    tower.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        compute_merged_patches(tower, pixels[:1], count, layer=5)
    counted = counter.get_total_flops() / 1e9
    assert merging_tower_gflops(shape, count) == pytest.approx(counted, rel=0.02)
    if count == 144:
        assert merging_tower_gflops(shape, count) == pytest.approx(shape.gflops())
