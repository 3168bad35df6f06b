"""Every real model without its weights: published shapes and sizes, a step of both stages, FLOPs.

Parameters and FLOPs are of whole models on the meta device, for each LLM, method and token count. A step of
training runs on fake tensors (shapes and gradients without data), with two of the LLM's equal blocks and from
stored features of the tower; with all blocks and from pixels once for each LLM.
"""

import json

import pytest
import torch
from common import load_backbone_config
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from tests.support.published_models import (
    COUNTS,
    CURRENT_LLMS,
    LEARNS,
    LLMS,
    MLP,
    MQT,
    QUECC_AT_4096,
    TOKENPACKER,
    TOWER_PARAMETERS,
    TOWERS,
    build_published,
    on_fake_memory,
)
from vlmscale.costs.flops import compressor_gflops
from vlmscale.costs.shapes import Decoder, Tower, find_shape, load_shapes
from vlmscale.errors import UserError
from vlmscale.models.checkpoint import build_frame
from vlmscale.models.conversation import IGNORED
from vlmscale.models.features import VisionFeatures
from vlmscale.resources import find_resource
from vlmscale.training.loop import freeze

pytestmark = pytest.mark.slow

SHAPES = load_shapes()
BACKBONES = find_resource("backbones")
CLIP = find_shape(SHAPES, "CLIP-ViT-L/14-336", Tower)
TEXT, ANSWER = 50, 20  # tokens, and how many of them are supervised


def projector_parameters(method, tokens, width):
    if method == "quecc":
        return QUECC_AT_4096[tokens] + 1024 * (width - 4096) + MLP[width]
    return {"mlp": MLP, "m3": MLP, "tokenpacker": TOKENPACKER, "mqt": MQT}[method][width]


def size(*modules):
    """Parameters of the modules; shared ones once."""
    return sum(p.numel() for p in {p for module in modules for p in module.parameters()})


@pytest.mark.parametrize("file", sorted(BACKBONES.glob("*.json")), ids=lambda f: f.stem)
def test_every_value_of_a_published_config_reaches_the_model(file):
    stored = json.loads(file.read_text())["config"]
    config = load_backbone_config(file.stem)
    assert {key: value for key, value in config.to_dict().items() if key in stored} == stored


def test_every_backbone_has_its_config():
    assert {file.stem for file in BACKBONES.glob("*.json")} == {
        *LLMS,
        *CURRENT_LLMS,
        *TOWERS,
        "vicuna-13b-v1.5",
        "dinov2-small",
    }


def test_a_model_from_folders_has_the_frame_of_their_configs(build):
    model, _ = build("quecc", 4)
    config = model.config
    framed = build_frame(
        config.text_config,
        config.vision_config,
        config.setting,
        image_token=config.image_token_index,
        feature_layers=config.layers,
        template=config.template,
    )
    assert framed.config.to_dict() == {
        **config.to_dict(),
        "dtype": framed.config.to_dict()["dtype"],
    }
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    assert {name: value.shape for name, value in framed.state_dict().items()} == shapes
    assert {value.device.type for value in framed.state_dict().values()} == {"meta"}


def test_an_unknown_backbone_is_refused():
    with pytest.raises(UserError, match=r"no resource 'backbones/Qwen1.5-3B.json'"):
        load_backbone_config("Qwen1.5-3B")


@pytest.mark.slow
@pytest.mark.parametrize("llm", LLMS)
@pytest.mark.parametrize("method", COUNTS)
def test_a_model_of_published_size_learns_what_its_stage_says(llm, method):
    """Parameters exactly; the projector's FLOPs; shapes and gradients of both stages."""
    _, total, embedding = LLMS[llm]
    for tokens in COUNTS[method]:
        model = build_published(llm, method, tokens)
        assert {p.device.type for p in model.parameters()} == {"meta"}
        inner, width = model.model, model.config.text_config.hidden_size
        assert size(inner.language_model, model.lm_head) == total
        assert size(inner.get_input_embeddings()) == embedding
        assert size(inner.vision_tower) == TOWER_PARAMETERS
        expected = projector_parameters(method, tokens, width)
        assert size(inner.multi_modal_projector) == expected, tokens
        assert size(model) == total + TOWER_PARAMETERS + expected
        flops = compressor_gflops(method, tokens, tower=CLIP, llm_width=width)
        features = VisionFeatures(
            patches=torch.zeros(1, 576, 1024, device="meta"),
            grid_side=24,
            multilayer=torch.zeros(1, 576, 4096, device="meta"),
            question=torch.zeros(1, width, device="meta"),
        )
        assert sum(counted(inner.multi_modal_projector, features)) == pytest.approx(flops, rel=0.02)
        mode = on_fake_memory(with_two_blocks(model))
        # One training serves all counts of an elastic method: its stage 1 is at the largest.
        elastic = inner.multi_modal_projector.elastic and tokens < COUNTS[method][-1]
        for stage in ("stage2",) if elastic else LEARNS:
            step(model, stage, batch(model, [tokens], stage, stored=True, mode=mode))


@pytest.mark.parametrize("llm", LLMS)
def test_m3_learns_at_all_its_scales_at_once(llm):
    model = build_published(llm, "m3", 576)
    scales = model.model.multi_modal_projector.draw_training_counts("stage2", None)
    assert scales == [1, 9, 36, 144, 576]
    mode = on_fake_memory(with_two_blocks(model))
    inputs = batch(model, scales, "stage2", stored=True, mode=mode)
    step(model, "stage2", inputs, visual_token_counts=torch.tensor(scales))


def test_flops_of_the_tower():
    tower = build_published("Qwen1.5-0.5B-Chat", "mlp", 576).model.vision_tower
    pixels = torch.zeros(1, 3, 336, 336, device="meta")
    assert sum(counted(tower, pixels)) == pytest.approx(CLIP.gflops(), rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("llm", LLMS)
def test_a_whole_model_from_pixels(llm):
    """All blocks, the tower included: FLOPs of a prefill, and a step of stage 2.

    The count has all pairs of positions, the cost model the half that a causal kernel looks at.
    """
    shape = find_shape(SHAPES, LLMS[llm][0], Decoder)
    model = build_published(llm, "tokenpacker", 16)
    for tokens in (1, 576):
        ids = torch.zeros(1, tokens + TEXT, dtype=torch.long, device="meta")
        linear, attention = counted(model, ids, logits_to_keep=1)
        cost = shape.prefill(tokens, TEXT)
        assert linear == pytest.approx(cost.projections + cost.head, rel=0.02)
        assert attention / 2 == pytest.approx(cost.attention, rel=0.02)
    mode = on_fake_memory(model)
    step(model, "stage2", batch(model, [16], "stage2", stored=False, mode=mode))


@pytest.mark.parametrize("llm", CURRENT_LLMS)
def test_a_current_llm_has_its_published_size_and_costs_what_is_counted(llm):
    """Parameters and keys and values exactly, FLOPs of a prefill and of decoding within 2 %."""
    name, total, non_embedding, kept = CURRENT_LLMS[llm]
    shape = find_shape(SHAPES, name, Decoder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(load_backbone_config(llm))
    assert size(model) == total == round(1e9 * shape.total_b)
    assert round(1e9 * shape.non_embedding_b) == non_embedding
    cache = model(torch.zeros(1, 1, dtype=torch.long, device="meta")).past_key_values
    numbers = sum(x.numel() for layer in cache.layers for x in (layer.keys, layer.values))
    assert 2 * numbers == kept == 2 * 2 * shape.layers * shape.key_value_width
    for tokens in (16, 576):
        ids = torch.zeros(1, tokens + TEXT, dtype=torch.long, device="meta")
        linear, attention = counted(model, ids, logits_to_keep=1)
        cost = shape.prefill(tokens, TEXT)
        assert linear == pytest.approx(cost.projections + cost.head, rel=0.02)
        assert attention / 2 == pytest.approx(cost.attention, rel=0.02)


def counted(module, *args, **kwargs):
    """GFLOPs of a forward pass by torch's count: (linear maps and convolutions, attention)."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(*args, **kwargs)
    flops = {str(op): count for op, count in counter.get_flop_counts()["Global"].items()}
    attention = flops.pop("aten.bmm", 0) / 1e9
    return sum(flops.values()) / 1e9, attention


def with_two_blocks(model):
    """`model` with two of the LLM's equal blocks: for a step from stored features."""
    del model.model.language_model.layers[2:]
    del model.model.vision_tower.encoder.layers[1:]
    model.config.text_config.num_hidden_layers = 2
    return model


def batch(model, counts, stage, *, stored, mode):
    """Stage 1: a caption. Stage 2: a question about an image and one about none, padded; at each of `counts`
    visual tokens. Ids are data, for what is supervised decides shapes; images are shapes and no data.
    """
    rows = {"stage1": 1, "stage2": 2}[stage]
    length = max(counts) + TEXT
    ids = torch.ones(rows * len(counts), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, count in enumerate(counts):
        ids[number * rows, :count] = model.config.image_token_index
        mask[number * rows, : count + TEXT] = 1
        mask[number * rows + 1 : (number + 1) * rows, :TEXT] = 1
    place = mask.cumsum(1)
    labels = ids.where((place > place[:, -1:] - ANSWER) & (mask == 1), torch.tensor(IGNORED))
    inputs = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    if model.config.method == "quecc":
        inputs |= dict.fromkeys(
            ("question_input_ids", "question_attention_mask"), torch.ones(1, 9, dtype=torch.long)
        )
    with mode:
        if stored:
            inputs["vision_features"] = torch.ones(1, 577, 4096)
        else:
            inputs["pixel_values"] = torch.ones(1, 3, 336, 336)
    return inputs


def step(model, stage, inputs, **more):
    """One forward and backward pass: what comes out, and that what learns, and it alone, gets gradients."""
    model.zero_grad(set_to_none=True)
    freeze(model, trainable=[model.get_submodule(name) for name in LEARNS[stage]])
    out = model.train()(**inputs, **more)
    out.loss.backward()
    assert out.loss.shape == ()
    supervised = len(inputs["labels"]) * ANSWER
    assert out.logits.shape == (supervised, model.config.text_config.vocab_size)
    for name, parameter in model.named_parameters():
        learns = name.startswith(tuple(f"{part}." for part in LEARNS[stage]))
        assert (parameter.grad is not None) == learns, name
        assert not learns or parameter.grad.shape == parameter.shape
