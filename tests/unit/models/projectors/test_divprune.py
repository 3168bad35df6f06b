"""DivPrune against its rule written out patch by patch, in plain Python."""

from itertools import combinations

import pytest
import torch

from tests.support.projectors import make_features, make_projector, select_images
from vlmscale.models.projectors.divprune import choose_diverse


def draw_tokens(seed, b=1, p=12, n=6):
    return torch.randn(b, p, n, generator=torch.Generator().manual_seed(seed))


def find_distances(tokens):
    """One minus the cosine of every pair of tokens (p, n), as a list of lists."""
    rows = tokens.double().tolist()
    norms = [sum(x * x for x in row) ** 0.5 for row in rows]
    return [
        [
            1 - sum(x * y for x, y in zip(a, b, strict=True)) / (norm_a * norm_b)
            for b, norm_b in zip(rows, norms, strict=True)
        ]
        for a, norm_a in zip(rows, norms, strict=True)
    ]


def choose_by_hand(tokens, count):
    """The rule in words, one image at a time: indices in the order of their choice."""
    distance = find_distances(tokens)
    everyone = range(len(distance))
    chosen = []
    while len(chosen) < count:
        reach = {
            i: min(distance[i][j] for j in (chosen or everyone) if j != i)
            for i in everyone
            if i not in chosen
        }
        farthest = max(reach.values())
        chosen.append(min(i for i, value in reach.items() if value == farthest))
    return chosen


@pytest.mark.parametrize("count", [1, 2, 5, 11, 12])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_rule_written_out(seed, count):
    tokens = draw_tokens(seed, b=3)
    expected = [choose_by_hand(image, count) for image in tokens]
    assert choose_diverse(tokens, count).tolist() == expected


def test_the_projector_keeps_these_in_the_order_of_the_image():
    features = make_features()
    whole = make_projector("mlp", 36)
    for v in (1, 4, 9, 36):
        pruned = make_projector("divprune", v)
        pruned.load_state_dict(whole.state_dict())
        with torch.no_grad():
            tokens, out = whole(features), pruned(features)
        for image in range(2):
            kept = sorted(choose_by_hand(tokens[image], v))
            assert torch.equal(out[image], tokens[image, kept])
    assert torch.equal(out, tokens)  # every patch: LLaVA-1.5's projector to the bit


def test_the_greedy_choice_is_at_least_half_as_diverse_as_the_best():
    """Farthest-first keeps this bound for angles, a metric; here from the best first patch of all."""
    for seed in range(5):
        tokens = draw_tokens(seed, p=9)
        distance = find_distances(tokens[0])

        def spread(chosen, distance=distance):
            return min(distance[i][j] for i, j in combinations(chosen, 2))

        best = max(spread(chosen) for chosen in combinations(range(9), 3))
        greedy = spread(choose_diverse(tokens, 3)[0].tolist())
        angle = torch.acos(1 - torch.tensor([greedy, best]).clamp(0, 2))
        assert angle[0] >= angle[1] / 2


def test_of_equal_tokens_the_earlier_ones_win():
    same = torch.ones(1, 6, 4)
    assert choose_diverse(same, 4).tolist() == [[0, 1, 2, 3]]
    twins = draw_tokens(0, p=5).repeat(1, 2, 1)
    kept = choose_diverse(twins, 5)[0]
    assert sorted(kept.tolist()) == list(range(5))


def test_the_length_of_a_token_does_not_matter():
    tokens = draw_tokens(2)
    scales = torch.linspace(0.1, 9, 12)[None, :, None]
    assert torch.equal(choose_diverse(tokens, 6), choose_diverse(tokens * scales, 6))


def test_the_choice_moves_with_the_patches():
    tokens = draw_tokens(3)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    moved = choose_diverse(tokens[:, order], 5)[0]
    assert order[moved].tolist() == choose_diverse(tokens, 5)[0].tolist()


def test_a_larger_count_keeps_what_a_smaller_one_keeps():
    tokens = draw_tokens(4, b=2)
    assert torch.equal(choose_diverse(tokens, 9)[:, :4], choose_diverse(tokens, 4))


def test_images_choose_alone():
    features = make_features(b=4)
    projector = make_projector("divprune", 7)
    with torch.no_grad():
        together = projector(features)
        alone = [projector(select_images(features, slice(i, i + 1))) for i in range(4)]
    torch.testing.assert_close(together, torch.cat(alone))
