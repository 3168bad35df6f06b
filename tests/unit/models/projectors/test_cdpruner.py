"""CDPruner against determinants computed anew for every candidate."""

from dataclasses import replace
from itertools import combinations

import pytest
import torch

from tests.support.projectors import make_features, make_projector
from vlmscale.costs.flops import answer_gflops
from vlmscale.costs.shapes import Decoder, Tower, find_shape, load_shapes
from vlmscale.models.projectors.cdpruner import choose_by_volume, scale_relevance


def draw_kernel(seed, p=10, rank=10):
    rows = torch.randn(p, rank, generator=torch.Generator().manual_seed(seed)).double()
    return rows @ rows.T


def choose_by_hand(kernel, count):
    """Add, one by one, the item with which the chosen ones' kernel has the largest determinant."""
    chosen = []
    for _ in range(count):
        volumes = {
            i: torch.linalg.det(kernel[[*chosen, i]][:, [*chosen, i]]).item()
            for i in range(len(kernel))
            if i not in chosen
        }
        chosen.append(max(volumes, key=volumes.get))
    return chosen


@pytest.mark.parametrize("count", [1, 2, 5, 9, 10])
def test_every_step_gains_the_most_volume(count):
    kernels = torch.stack([draw_kernel(seed) for seed in range(5)])
    expected = [choose_by_hand(kernel, count) for kernel in kernels]
    assert choose_by_volume(kernels, count).tolist() == expected


def test_the_volume_is_at_least_the_share_that_a_greedy_choice_reaches():
    """Of any order of the best subset, step by step at least as much as one item in it: (1 / k!)^2."""
    for seed in range(5):
        kernel = draw_kernel(seed, p=8)

        def volume(chosen, kernel=kernel):
            return torch.linalg.det(kernel[list(chosen)][:, list(chosen)])

        best = max(volume(chosen) for chosen in combinations(range(8), 3))
        assert volume(choose_by_volume(kernel[None], 3)[0].tolist()) >= best / 36


def test_beyond_the_rank_the_more_relevant_go_first():
    kernel = torch.block_diag(torch.ones(3, 3), torch.ones(2, 2)).double()
    relevance = torch.tensor([0.9, 1.0, 0.7, 0.2, 0.8]).double()
    kernel = relevance[:, None] * kernel * relevance
    assert choose_by_volume(kernel[None], 5).tolist() == [[1, 4, 0, 2, 3]]


def test_relevance_is_scaled_by_image_and_even_where_all_is_equal():
    relevance = torch.tensor([[0.1, 0.3, 0.2], [5.0, -5.0, 0.0], [0.4, 0.4, 0.4]]).double()
    expected = [[0, 1, 0.5], [1, 0, 0.5], [1, 1, 1]]
    torch.testing.assert_close(
        scale_relevance(relevance), torch.tensor(expected).double(), atol=2e-5, rtol=0
    )
    assert (scale_relevance(relevance) > 0).all()


def prune_by_hand(projector, features, image, v, sign):
    """The kept tokens of one image, in the order of the image; cosines one by one."""
    tokens = projector.mlp(features.patches[image]).double()
    words = features.question_embeddings[image][features.question_mask[image] == 1].double()
    cosine = torch.nn.functional.cosine_similarity
    relevance = torch.stack([sign * cosine(token[None], words).mean() for token in tokens])
    relevance = (relevance - relevance.min() + 1e-6) / (relevance.max() - relevance.min())
    similarity = torch.stack([cosine(token[None], tokens) for token in tokens])
    kept = sorted(choose_by_hand(relevance[:, None] * similarity * relevance, v))
    return projector.mlp(features.patches[image])[kept]


@pytest.mark.parametrize(("sign", "factor"), [("plus", 1), ("minus", -1)])
@pytest.mark.parametrize("v", [1, 4, 9])
def test_equals_the_rule_written_out(v, sign, factor):
    features = make_features(b=3)
    mask = features.question_mask.clone()
    mask[1, 5:] = 0  # padding of a shorter question
    features = replace(features, question_mask=mask)
    projector = make_projector("cdpruner", v, sign=sign)
    with torch.no_grad():
        out = projector(features)
        for image in range(3):
            assert torch.equal(out[image], prune_by_hand(projector, features, image, v, factor))


def test_every_patch_is_llava_s_projector_to_the_bit():
    features, whole, pruned = (
        make_features(),
        make_projector("mlp", 36),
        make_projector("cdpruner", 36),
    )
    pruned.load_state_dict(whole.state_dict())
    with torch.no_grad():
        assert torch.equal(pruned(features), whole(features))


def test_the_question_finds_its_patch_by_the_sign_of_choice():
    """A question that is one patch's own token: kept first with plus, last of all with minus."""
    features = make_features(b=1)
    kept = {}
    for sign in ("plus", "minus"):
        projector = make_projector("cdpruner", 1, sign=sign)
        with torch.no_grad():
            tokens = projector.mlp(features.patches)
            asked = replace(
                features,
                question_embeddings=tokens[:, 20:21],
                question_mask=torch.ones(1, 1, dtype=torch.long),
            )
            kept[sign] = projector(asked)
    assert torch.equal(kept["plus"], tokens[:, 20:21])
    assert not torch.equal(kept["minus"], tokens[:, 20:21])


def test_the_choice_moves_with_the_patches():
    features = make_features(b=1)
    order = torch.randperm(36, generator=torch.Generator().manual_seed(0))
    projector = make_projector("cdpruner", 7)
    with torch.no_grad():
        out = projector(features)[0]
        moved = projector(replace(features, patches=features.patches[:, order]))[0]
    torch.testing.assert_close(out.sort(dim=0).values, moved.sort(dim=0).values)


def test_the_question_costs_no_pass_of_the_llm(build, images):
    shapes = load_shapes()
    decoder, tower = (
        find_shape(shapes, "Qwen1.5-0.5B", Decoder),
        find_shape(shapes, "CLIP-ViT-L/14-336", Tower),
    )
    assert answer_gflops(decoder, tower, "cdpruner", 4, 50).text_pass == 0
    model, processor = build("cdpruner", 4)
    passes = []
    hook = model.model.language_model.register_forward_pre_hook(lambda *_: passes.append(1))
    with torch.no_grad():
        inputs = processor.ask(images, ["any red circle ?", "how many ?", "line 1 ?"])
        model(**inputs)
        hook.remove()
        ids = inputs["question_input_ids"]
        states = model.model.encode_questions(ids, inputs["question_attention_mask"])
    assert passes == [1]
    assert torch.equal(states, model.get_input_embeddings()(ids))
