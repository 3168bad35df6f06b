"""A step of training, timed: random weights and text of one length, whatever the study."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vlmscale.costs.flops import training_gflops
from vlmscale.costs.memory import Layout, Stage, gpu_memory
from vlmscale.latency.machine import clock
from vlmscale.latency.spec import Compressor
from vlmscale.models.config import VlmConfig
from vlmscale.models.meta import build_with_random_weights, read_decoder_shape, read_tower_shape
from vlmscale.models.vlm import Vlm

TEXT = 64  # tokens of a sample
_WARM_UP, _REPETITIONS = 2, 5
_ROOM = 0.95  # of a GPU's memory
_STAGES: tuple[Stage, ...] = ("stage1", "stage2")


def training_steps(
    config: VlmConfig,
    compressors: Sequence[Compressor],
    *,
    llm: str,
    device: torch.device,
    dtype: torch.dtype,
    batch: int,
    peak: float,
) -> list[dict[str, Any]]:
    """One row a stage and compressor: llm, method, visual_tokens, stage, batch, text_tokens, gflops,
    skipped (why, else ""), and step_ms, step_iqr_ms, utilisation, the share of `peak` (GFLOP/s) reached.
    """
    rows = []
    for stage in _STAGES:
        model = None
        for compressor in compressors:
            row = _planned(config, compressor, stage, batch)
            rows.append(
                {"llm": llm, **row, "skipped": _obstacle(config, compressor, stage, batch, device)}
            )
            if rows[-1]["skipped"]:
                continue
            model = model or build_with_random_weights(config, device, dtype).train()
            try:
                times = _steps(model, compressor, stage, batch, dtype)
            except torch.OutOfMemoryError:
                rows[-1]["skipped"] = "does not fit into the GPU's memory"
            else:
                low, middle, high = np.quantile(times, [0.25, 0.5, 0.75])
                rows[-1] |= {"step_ms": middle, "step_iqr_ms": high - low}
                rows[-1]["utilisation"] = row["gflops"] / (middle / 1e3) / peak
            model.zero_grad()
            if device.type == "cuda":
                torch.cuda.empty_cache()
    return rows


def _planned(config: VlmConfig, compressor: Compressor, stage: Stage, batch: int) -> dict[str, Any]:
    cost = training_gflops(
        read_decoder_shape(config),
        read_tower_shape(config),
        compressor.method,
        compressor.visual_tokens,
        TEXT,
        llm_trained=stage == "stage2",
        feature_layers=len(config.layers),
    )
    return {
        "method": compressor.name,
        "visual_tokens": compressor.visual_tokens,
        "stage": stage,
        "batch": batch,
        "text_tokens": TEXT,
        "gflops": batch * cost.total,
    }


def _obstacle(
    config: VlmConfig, compressor: Compressor, stage: Stage, batch: int, device: torch.device
) -> str:
    """Why a step is not tried; empty where it is."""
    if device.type != "cuda":
        return ""
    v = compressor.visual_tokens
    layout = Layout(1, 2, batch, max_length=v + TEXT, checkpointing=False)
    decoder, tower = read_decoder_shape(config), read_tower_shape(config)
    needed = gpu_memory(decoder, tower, compressor.method, v, stage, layout, copies=1).total
    if needed <= _ROOM * torch.cuda.mem_get_info()[1]:
        return ""
    return f"would need about {needed / 1e9:.0f} GB"


def _steps(
    model: Vlm, compressor: Compressor, stage: Stage, batch: int, dtype: torch.dtype
) -> list[float]:
    """Milliseconds of steps: forward, back, AdamW. What learns is kept in 32 bits, the rest in `dtype`."""
    device = model.device
    model.config.setting = compressor
    model.initialise_projector(0)
    model.model.multi_modal_projector.to(device)
    learning = _let_learn(model, stage)
    optimizer = torch.optim.AdamW(learning, lr=1e-5, fused=True)
    inputs = _batch(model, batch)
    times, now = [], clock(device)
    for _ in range(_WARM_UP + _REPETITIONS):
        started = now()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = model(**inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(1e3 * (now() - started))
    return times[_WARM_UP:]


def _let_learn(model: Vlm, stage: Stage) -> list[nn.Parameter]:
    """The weights that `stage` trains, all others frozen."""
    inner = model.model
    modules: list[nn.Module] = [inner.multi_modal_projector]
    if stage == "stage2":
        modules += [inner.language_model, model.lm_head]
    model.requires_grad_(False)
    learning = list({weight for module in modules for weight in module.parameters()})
    for weight in learning:
        weight.data = weight.data.float()
        weight.requires_grad_(True)
    return learning


def _batch(model: Vlm, batch: int) -> dict[str, Tensor]:
    """Images, each with text of which the second half is learned; all of it is the question."""
    config, projector = model.config, model.model.multi_modal_projector
    vision = config.vision_config
    random = torch.Generator().manual_seed(0)
    words = torch.randint(config.image_token_index, (batch, TEXT), generator=random)
    image = torch.full((batch, projector.placeholders), config.image_token_index)
    ids = torch.cat([image, words], dim=1)
    labels = ids.clone()
    labels[:, : -TEXT // 2] = -100
    size = (batch, vision.num_channels, vision.image_size, vision.image_size)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    if projector.reads_question:
        inputs |= {"question_input_ids": words, "question_attention_mask": torch.ones_like(words)}
    inputs["pixel_values"] = torch.randn(size, generator=random)
    return {name: value.to(model.device) for name, value in inputs.items()}
