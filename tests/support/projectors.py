"""Projectors of small widths, and random features for them."""

from dataclasses import fields, replace

import torch
from transformers import Qwen2Config

from vlmscale.costs.flops import make_variables
from vlmscale.costs.shapes import Tower, read_decoder
from vlmscale.methods import find_method
from vlmscale.models.features import VisionFeatures
from vlmscale.models.llm_input import LlmInput
from vlmscale.models.projectors.base import Widths, build_projector

NARROW = Widths(tower=16, layers=3, llm=24, grid_side=24)
SMALL = Widths(tower=32, layers=3, llm=24, grid_side=6)
LARGE = Widths(tower=64, layers=4, llm=40, grid_side=12)
HEADS = 4  # of the tower
QUESTION = 32  # tokens, for which llama_vid declares its cost


def make_projector(name, tokens, widths=SMALL, **options):
    """A projector, with the same weights at every call."""
    torch.manual_seed(0)
    widths = replace(widths, llm_config=make_llm_config(widths.llm))
    return build_projector(widths, find_method(name).make_setting(tokens, **options)).eval()


def make_llm_config(width):
    """An LLM of this width; two layers."""
    return Qwen2Config(
        vocab_size=10,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )


def make_features(widths=SMALL, b=2, seed=1, dtype=torch.float32, question=QUESTION):
    """All that a projector may need, at random; an outlier here and there in the attention."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=generator).to(dtype)

    d, side = widths.tower, widths.grid_side
    shrunk = {g: randn(b, g * g, d) for g in range(1, side + 1) if side % g == 0}
    patches, question_tokens = randn(b, side * side, d), randn(b, question, widths.llm)
    return VisionFeatures(
        patches=patches,
        grid_side=side,
        multilayer=torch.cat([randn(b, side * side, (widths.layers - 1) * d), patches], dim=-1),
        question=randn(b, widths.llm),
        question_tokens=question_tokens,
        question_mask=torch.ones(b, question, dtype=torch.long),
        cls_attention=(3 * randn(b, side * side + 1).float()).softmax(-1)[:, 1:],
        keys=randn(b, side * side, d),
        block_attention=(3 * randn(b, HEADS, side * side + 1).float()).softmax(-1)[..., 1:],
        block_keys=randn(b, side * side, d),
        cls=randn(b, d),
        question_embeddings=randn(b, question, widths.llm),
        patches_at=shrunk.__getitem__,
        merged_patches=lambda v: patches[:, :v],
    )


def make_llm_input(tokens, context=None, text=5, seed=2):
    """Visual tokens (b, v, n) with `text` embeddings of an instruction after them."""
    b, v, n = tokens.shape
    generator = torch.Generator().manual_seed(seed)
    words = torch.randn(b, text, n, generator=generator)
    places = (torch.arange(v + text) < v).expand(b, -1)
    return LlmInput(torch.cat([tokens, words], dim=1), places, None, None, 0, ~places, context)


def select_images(features, rows):
    """The features of some of the images."""
    tensors = {
        field.name: getattr(features, field.name)[rows]
        for field in fields(features)
        if isinstance(getattr(features, field.name), torch.Tensor)
    }
    calls = {
        "patches_at": lambda g: features.patches_at(g)[rows],
        "merged_patches": lambda v: features.merged_patches(v)[rows],
    }
    return replace(features, **tensors, **calls)


def tokens_of(output):
    """The visual tokens, also of a method that says which of them are present."""
    return output[0] if isinstance(output, tuple) else output


def find_sources(name, tokens, widths=SMALL, **options):
    """Which patches the first visual token depends on, as a grid of bools."""
    features = make_features(widths, b=1)
    patches = features.patches.clone().requires_grad_()
    projector = make_projector(name, tokens, widths, **options)
    projector(replace(features, patches=patches))[0, 0].sum().backward()
    side = widths.grid_side
    return patches.grad[0].abs().sum(-1).reshape(side, side) > 0


FIELDS = {
    "tower_attention": {"cls_attention", "keys"},
    "block_attention": {"block_attention", "block_keys"},
    "pixels": {"patches_at"},
}


def keep_declared(features, name):
    """Only those of the features that the method's `needs` name, as a model computes them."""
    names = {"patches", "grid_side"}
    for need in find_method(name).needs:
        names |= FIELDS.get(need, {need})
        names |= {"question_mask"} if need in ("question_tokens", "question_embeddings") else set()
    known = {field.name for field in fields(features)}
    return VisionFeatures(**{each: getattr(features, each) for each in names & known})


def name_variables(name, tokens, widths, **options):
    """The variables of a method's formulas with their values, in an LLM of two layers."""
    tower = Tower(1, widths.tower, 1, widths.grid_side, patch_size=1, feature_layers=widths.layers)
    tower = replace(tower, heads=HEADS)
    layer = read_decoder(make_llm_config(widths.llm).to_dict()).layer_parameters
    return make_variables(name, tokens, tower, widths.llm, options) | {"m": 2, "b": layer}
