"""The contract of every projector: costs, shapes, gradients, batches, types and weights."""

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.support.projectors import (
    LARGE,
    NARROW,
    SMALL,
    keep_declared,
    make_features,
    make_llm_input,
    make_projector,
    name_variables,
    select_images,
    tokens_of,
)
from vlmscale.methods import find_method, find_variant, list_method_names
from vlmscale.models.projectors.base import Widths, find_region_side
from vlmscale.settings.formulas import evaluate_formula

NAMES = list_method_names()
# Their formulas leave out no product of matrices.
EXACT = ("perceiver", "ldpv2", "cabstractor", "llama_vid", "downsample", "random")


def choose_counts(name, side):
    """All token counts of a few, else the small ones, the largest and squares between."""
    counts = find_method(name).list_counts(side)
    chosen = (1, 2, 3, 4, 7, 16, 36, 144, counts[-1])
    return [v for v in counts if len(counts) <= 16 or v in chosen]


CASES = [
    (name, widths, tokens)
    for name in NAMES
    for widths in (NARROW, replace(NARROW, grid_side=12), SMALL, LARGE)
    for tokens in choose_counts(name, widths.grid_side)
]
FEW = [
    (name, tokens)
    for name in NAMES
    for tokens in sorted({choose_counts(name, 6)[0], choose_counts(name, 6)[-2:][0]})
]
# These are about data and trainings; every other option makes another projector.
ELSEWHERE = {"training", "query_turn", "stage1_template"}
OPTIONAL = [
    (name, choose_counts(name, 6)[-2:][0], {option: value})
    for name in NAMES
    for option, values in find_method(name).options.items()
    if option not in ELSEWHERE
    for value in values[1:]
]
SETTINGS = [(name, tokens, {}) for name, tokens in FEW] + OPTIONAL
SIZES = [SMALL, LARGE]


COSTS = [(*case, {}) for case in CASES] + [
    (name, widths, tokens, options)
    for name, _, options in OPTIONAL
    for widths in (SMALL, LARGE)
    for tokens in choose_counts(name, widths.grid_side)
]


@pytest.mark.parametrize(("name", "widths", "tokens", "options"), COSTS)
def test_declared_costs_are_what_torch_counts(name, widths, tokens, options):
    """Parameters exactly, multiply-adds within 2 %, with every option."""
    projector, declared = make_projector(name, tokens, widths, **options), find_method(name)
    # Not under no_grad, where the counter cannot follow a view of a parameter. It counts no products of
    # the CPU's fused attention.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        features = make_features(widths, b=1)
        out = tokens_of(projector(features))
        projector.make_context(features)
    assert out.shape == (1, projector.placeholders, widths.llm)
    names = name_variables(name, tokens, widths, **options)
    parameters = sum(p.numel() for p in projector.parameters())
    assert evaluate_formula(declared.weights, names) == parameters
    counted, tolerance = counter.get_total_flops() / 2, 1e-9 if name in EXACT else 0.02
    assert evaluate_formula(declared.multiply_adds, names) == pytest.approx(counted, rel=tolerance)


@pytest.mark.parametrize(("name", "tokens", "options"), SETTINGS)
def test_a_projector_reads_only_what_it_declares(name, tokens, options):
    projector, features = make_projector(name, tokens, **options), make_features()
    with torch.no_grad():
        expected = tokens_of(projector(features))
        assert torch.equal(tokens_of(projector(keep_declared(features, name))), expected)


def test_reading_what_is_not_declared_names_the_declaration():
    features = keep_declared(make_features(), "mlp")
    for field, need in (
        ("question", "question"),
        ("question_embeddings", "question_embeddings"),
        ("multilayer", "multilayer"),
        ("question_mask", "question_tokens"),
        ("cls_attention", "tower_attention"),
        ("keys", "tower_attention"),
        ("block_attention", "block_attention"),
        ("block_keys", "block_attention"),
        ("cls", "cls"),
        ("patches_at", "pixels"),
        ("merged_patches", "merged_patches"),
    ):
        with pytest.raises(
            AttributeError, match=f'features.{field}, but its `needs` lack "{need}"'
        ):
            getattr(features, field)


@pytest.mark.parametrize("side", [12, pytest.param(24, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_every_supported_count(name, side):
    """Of more than 300, every fifth."""
    widths = replace(NARROW, grid_side=side)
    counts, features = find_method(name).list_counts(side), make_features(widths, b=1)
    for tokens in counts if len(counts) <= 300 else [*counts[::5], counts[-1]]:
        projector = make_projector(name, tokens, widths)
        with torch.no_grad():
            out = tokens_of(projector(features))
        assert out.shape == (1, projector.placeholders, 24), tokens


@pytest.mark.parametrize("llm", [16, 24, 40, 64])
@pytest.mark.parametrize(("name", "tokens"), FEW)
def test_any_llm_width(name, tokens, llm):
    widths = replace(SMALL, llm=llm)
    projector = make_projector(name, tokens, widths)
    out = tokens_of(projector(make_features(widths)))
    assert out.shape == (2, projector.placeholders, llm)


@pytest.mark.parametrize("widths", [Widths(8, 1, 16, 24), Widths(40, 2, 24, 24)])
@pytest.mark.parametrize("name", NAMES)
def test_narrow_and_odd_widths(name, widths):
    for tokens in choose_counts(name, widths.grid_side):
        projector = make_projector(name, tokens, widths)
        with torch.no_grad():
            out = tokens_of(projector(make_features(widths, question=3)))
        assert out.shape == (2, projector.placeholders, widths.llm)


@pytest.mark.parametrize("widths", SIZES)
@pytest.mark.parametrize(("name", "tokens", "options"), SETTINGS)
def test_gradient_reaches_every_parameter_and_no_feature(name, tokens, options, widths):
    projector = make_projector(name, tokens, widths, **options)
    features = make_features(widths)
    tokens = tokens_of(projector(features))
    if (context := projector.make_context(features)) is not None:
        tokens = projector.prepare_llm_input(make_llm_input(tokens, context)).embeds
    tokens.square().sum().backward()
    for key, parameter in projector.named_parameters():
        assert parameter.grad is not None, key
        # A key's bias adds the same to all scores of a query: softmax takes it out again.
        exempt = "in_proj_bias" in key or ("key" in key and key.endswith("bias"))
        assert exempt or parameter.grad.abs().sum() > 0, key
    assert not [key for key, buffer in projector.named_buffers() if buffer.requires_grad]


@pytest.mark.parametrize("widths", SIZES)
@pytest.mark.parametrize(("name", "tokens", "options"), SETTINGS)
def test_batch_composition_does_not_matter(name, tokens, options, widths):
    projector, batch = make_projector(name, tokens, widths, **options), make_features(widths, b=3)
    with torch.no_grad():
        together = tokens_of(projector(batch))
        alone = [tokens_of(projector(select_images(batch, slice(i, i + 1)))) for i in range(3)]
        again = tokens_of(projector(batch))
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)
    assert torch.equal(together, again)


@pytest.mark.parametrize("widths", SIZES)
@pytest.mark.parametrize(("name", "tokens", "options"), SETTINGS)
def test_bfloat16_and_state_dict(name, tokens, options, widths):
    projector = make_projector(name, tokens, widths, **options)
    fresh = make_projector(name, tokens, widths, **options)
    fresh.load_state_dict(projector.state_dict())
    with torch.no_grad():
        expected = tokens_of(projector(make_features(widths)))
        assert torch.equal(expected, tokens_of(fresh(make_features(widths))))
        low = tokens_of(projector.bfloat16()(make_features(widths, dtype=torch.bfloat16)))
    assert low.dtype == torch.bfloat16
    assert torch.isfinite(low).all()


@pytest.mark.parametrize("name", NAMES)
def test_built_on_the_meta_device(name):
    """A checkpoint is loaded into a model without storage: nothing may be computed when it is built."""
    tokens, features = find_method(name).list_counts(6)[-1], make_features()
    with torch.device("meta"):
        empty = make_projector(name, tokens)
    filled = make_projector(name, tokens)
    empty = empty.to_empty(device="cpu")
    empty.load_state_dict(filled.state_dict())
    with torch.no_grad():
        assert torch.equal(tokens_of(empty(features)), tokens_of(filled(features)))


SERVED = [(name, training) for name in NAMES for training in find_method(name).served_by]


@pytest.mark.parametrize(("name", "training"), SERVED)
def test_a_served_method_takes_the_weights_of_its_run(name, training):
    """Whatever the run is: another method's, or its own at another count."""
    options = {"training": training}
    tokens = choose_counts(name, 6)[0]
    cell = make_projector(name, tokens, **options)
    server, count = find_variant(name, {name: options}).find_training(tokens, 6)
    assert (server, count) != (name, tokens)
    trained = make_projector(server, count, **(options if server == name else {}))
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(1)
    cell.load_state_dict(trained.state_dict())
    for key, value in trained.state_dict().items():
        assert torch.equal(cell.state_dict()[key], value), key


@pytest.mark.parametrize("name", NAMES)
def test_only_an_elastic_projector_takes_a_token_count(name):
    largest, *_ = find_method(name).list_counts(6)[::-1]
    projector, features = make_projector(name, largest), make_features()
    if not projector.elastic:
        with pytest.raises(TypeError):
            projector(features, 4)
        return
    with torch.no_grad():
        fewer = projector(features, 4)
        assert fewer.shape == (2, 4, 24)
        assert torch.equal(projector(features), projector(features, largest))


def test_region_side_refuses_what_no_grid_allows():
    assert find_region_side(4, 6) == (2, 3)
    for tokens in (2, 25, 49):
        with pytest.raises(ValueError, match=f"visual_tokens={tokens}:"):
            find_region_side(tokens, 6)
