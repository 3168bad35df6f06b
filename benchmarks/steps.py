"""Time training steps with random weights and text of one length."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from common import build_with_random_weights
from torch import Tensor, nn

from vlmscale.costs.flops import training_gflops
from vlmscale.costs.memory import Layout, gpu_memory
from vlmscale.costs.shapes import read_decoder, read_tower
from vlmscale.latency.machine import choose_clock
from vlmscale.latency.spec import NamedSetting
from vlmscale.models.config import VlmConfig
from vlmscale.models.vlm import Vlm
from vlmscale.settings import STAGES, Stage

TEXT = 64  # tokens of a sample
_WARM_UP, _REPETITIONS = 2, 5
_ROOM = 0.95  # of a GPU's memory


def time_training_steps(
    config: VlmConfig,
    settings: Sequence[NamedSetting],
    *,
    llm: str,
    device: torch.device,
    dtype: torch.dtype,
    batch: int,
    peak: float,
) -> list[dict[str, Any]]:
    """Time a step of each stage and setting.

    Returns rows of llm, method, visual_tokens, stage, batch, text_tokens, gflops, skipped (the reason,
    else ""), step_ms, step_iqr_ms and utilisation (the share of `peak`, in GFLOP/s).
    """
    rows = []
    for stage in STAGES:
        model = None
        for setting in settings:
            row = _describe_step(config, setting, stage, batch)
            rows.append(
                {
                    "llm": llm,
                    **row,
                    "skipped": _reason_to_skip(config, setting, stage, batch, device),
                }
            )
            if rows[-1]["skipped"]:
                continue
            model = model or build_with_random_weights(config, device, dtype).train()
            try:
                times = _time_steps(model, setting, stage, batch, dtype)
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


def _describe_step(
    config: VlmConfig, setting: NamedSetting, stage: Stage, batch: int
) -> dict[str, Any]:
    cost = training_gflops(
        read_decoder(config.text_config.to_dict()),
        read_tower(config.vision_config.to_dict(), len(config.layers)),
        setting.method,
        setting.visual_tokens,
        TEXT,
        llm_trained=stage == "stage2",
    )
    return {
        "method": setting.name,
        "visual_tokens": setting.visual_tokens,
        "stage": stage,
        "batch": batch,
        "text_tokens": TEXT,
        "gflops": batch * cost.total,
    }


def _reason_to_skip(
    config: VlmConfig, setting: NamedSetting, stage: Stage, batch: int, device: torch.device
) -> str:
    """Return why a step is not timed; empty if it is."""
    if device.type != "cuda":
        return ""
    v = setting.visual_tokens
    layout = Layout(1, 2, batch, max_length=v + TEXT, checkpointing=False)
    decoder, tower = (
        read_decoder(config.text_config.to_dict()),
        read_tower(config.vision_config.to_dict(), len(config.layers)),
    )
    needed = gpu_memory(decoder, tower, setting.method, v, stage, layout).total
    if needed <= _ROOM * torch.cuda.mem_get_info()[1]:
        return ""
    return f"would need about {needed / 1e9:.0f} GB"


def _time_steps(
    model: Vlm, setting: NamedSetting, stage: Stage, batch: int, dtype: torch.dtype
) -> list[float]:
    install(model, setting)
    return time_steps(model, stage, make_batch(model, batch), dtype, _REPETITIONS)


def install(model: Vlm, setting: NamedSetting) -> None:
    """Give the model a new projector of this setting."""
    model.config.setting = setting
    model.initialise_projector(0)
    model.model.multi_modal_projector.to(model.device)


def time_steps(
    model: Any, stage: Stage, inputs: Mapping[str, Tensor], dtype: torch.dtype, repetitions: int
) -> list[float]:
    """Return milliseconds of steps: forward, backward, clipping, AdamW. Trainable weights have 32 bits."""
    device = model.device
    trained = _unfreeze(model, stage)
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)
    times, read_clock = [], choose_clock(device)
    for _ in range(_WARM_UP + repetitions):
        started = read_clock()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = model(**inputs).loss
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        times.append(1e3 * (read_clock() - started))
    return times[_WARM_UP:]


def _unfreeze(model: Any, stage: Stage) -> list[nn.Parameter]:
    """Freeze all weights but those that `stage` trains; return these, in 32 bits."""
    inner = model.model
    modules: list[nn.Module] = [inner.multi_modal_projector]
    if stage == "stage2":
        modules += [inner.language_model, model.lm_head]
    model.requires_grad_(False)
    trained = list({weight for module in modules for weight in module.parameters()})
    for weight in trained:
        weight.data = weight.data.float()
        weight.requires_grad_(True)
    return trained


def make_batch(model: Vlm, batch: int) -> dict[str, Tensor]:
    """Return images with text whose second half is supervised; all of it is the question."""
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
