"""Every current LLM behind every tower by every elastic or regional method, of published sizes, without weights.

LLMs and towers are built whole and once each on the meta device; `assemble` puts them together the same way.
"""

from functools import cache

import pytest
import torch
from common import load_backbone_config
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from tests.support.published_models import COUNTS, CURRENT_LLMS, LEARNS
from vlmscale.costs.flops import compressor_gflops, compressor_parameters
from vlmscale.costs.shapes import read_tower
from vlmscale.methods import find_method
from vlmscale.models.checkpoint import build_frame
from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Widths, build_projector
from vlmscale.records.files import read_json
from vlmscale.resources import find_resource
from vlmscale.training.loop import freeze

pytestmark = pytest.mark.slow

# Name in resources/backbones -> side of its images, and the hidden states that projectors read.
TOWERS = {
    "clip-vit-large-patch14-336": (336, [12, 16, 22, 23]),
    "siglip2-so400m-patch14-384": (336, [13, 20, 25, 26]),
    "dinov2-large": (336, [12, 16, 22, 23]),
}
OWN_GRID = "siglip2-so400m-patch14-384", 384
WIDTHS = sorted({load_backbone_config(llm).hidden_size for llm in CURRENT_LLMS})


def load_vision(tower, image_size):
    config = load_backbone_config(tower)
    config.image_size = image_size
    return config


def load_one_layer(name):
    values = read_json(find_resource(f"backbones/{name}.json"))["config"]
    return AutoConfig.for_model(**values | {"num_hidden_layers": 1})


@cache
def build_whole(kind, name, image_size=0):
    with torch.device("meta"):
        if kind == "llm":
            return AutoModelForCausalLM.from_config(load_backbone_config(name))
        return AutoModel.from_config(load_vision(name, image_size))


def size(*modules):
    """Parameters of the modules; shared ones once."""
    return sum(p.numel() for p in {p for module in modules for p in module.parameters()})


def list_counts(method, side):
    """The counts of the other tests, of those that a grid allows; its own where that leaves few."""
    allowed = find_method(method).list_counts(side)
    chosen = [v for v in COUNTS[method] if v in allowed]
    return chosen if len(chosen) > 2 or side == 24 else [*chosen, *allowed[-3:]]


GRIDS = [*((tower, size) for tower, (size, _) in TOWERS.items()), OWN_GRID]


@pytest.mark.parametrize("method", COUNTS)
@pytest.mark.parametrize(("tower", "image_size"), GRIDS)
def test_projectors_have_the_parameters_and_flops_that_are_planned(tower, image_size, method):
    shape = read_tower(load_vision(tower, image_size).to_dict())
    d, side = shape.hidden_size, shape.grid_side
    assert side == {336: 24, 384: 27}[image_size]
    counts = list_counts(method, side)
    assert len(counts) == len(set(counts)) >= (1 if method == "mlp" else 3)
    for width in WIDTHS:
        widths = Widths(tower=d, layers=4, llm=width, grid_side=side, has_cls=shape.has_cls)
        features = VisionFeatures(
            patches=torch.zeros(1, side**2, d, device="meta"),
            grid_side=side,
            multilayer=torch.zeros(1, side**2, 4 * d, device="meta"),
            question=torch.zeros(1, width, device="meta"),
        )
        for tokens in counts:
            with torch.device("meta"):
                projector = build_projector(widths, find_method(method).make_setting(tokens))
            planned = {"tower": shape, "llm_width": width}
            assert size(projector) == compressor_parameters(method, tokens, **planned)
            if width not in (WIDTHS[0], WIDTHS[-1]):  # between them FLOPs are linear in the width
                continue
            with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as c:
                out = projector(features)
            assert out.shape == (1, tokens, width)
            gflops = compressor_gflops(method, tokens, **planned)
            assert c.get_total_flops() / 1e9 == pytest.approx(gflops, rel=0.02)


@pytest.mark.parametrize("llm", CURRENT_LLMS)
def test_a_whole_model_freezes_what_its_stage_says(llm):
    """Parameters of the whole exactly: of LLM, tower and projector. The tower never learns."""
    _, total, *_ = CURRENT_LLMS[llm]
    language = build_whole("llm", llm)
    text = load_one_layer(llm)
    for tower, (image_size, layers) in TOWERS.items():
        vision = build_whole("tower", tower, image_size)
        small = load_one_layer(tower)
        small.image_size = image_size
        shape = read_tower(load_vision(tower, image_size).to_dict())
        for method in COUNTS:
            tokens = list_counts(method, 24)[-1]
            model = build_frame(
                text,
                small,
                find_method(method).make_setting(tokens),
                image_token=text.vocab_size - 1,
                feature_layers=layers,
                template="plain",
            )
            model.model.language_model, model.lm_head = language.model, language.lm_head
            model.model.vision_tower = vision
            projector = size(model.model.multi_modal_projector)
            planned = {"tower": shape, "llm_width": text.hidden_size}
            assert projector == compressor_parameters(method, tokens, **planned)
            every = total + round(1e9 * shape.total_b) + projector
            assert size(model) == every
            for stage, learned in (("stage1", projector), ("stage2", projector + total)):
                parts = [model.get_submodule(name) for name in LEARNS[stage]]
                assert freeze(model, trainable=parts) == (learned, every)
                assert {p.requires_grad for p in vision.parameters()} == {False}
                trained = size(*parts)
                assert trained == learned
                assert sum(p.numel() for p in model.parameters() if p.requires_grad) == learned
