"""Functions that several benchmarks share: rounds of cases, ratios, reports, and small models."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pages import format_rows
from rich.progress import Progress
from torch import nn
from transformers import (
    AutoConfig,
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedConfig,
    Qwen2Config,
)

from vlmscale.costs.gpus import load_gpus
from vlmscale.latency import machine
from vlmscale.methods import find_method
from vlmscale.models.config import VlmConfig
from vlmscale.models.vlm import Vlm
from vlmscale.records.files import read_json
from vlmscale.records.parquet import write_parquet
from vlmscale.resources import find_resource

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DTYPE = torch.bfloat16 if DEVICE.type == "cuda" else torch.float32
clock = machine.choose_clock(DEVICE)


def time_rounds(
    cases: Mapping[str, Callable[[], object]], repetitions: int
) -> dict[str, list[float]]:
    """Return the seconds of each case by round, after a warm-up round.

    A round has all cases in turn, so that a temporary slowdown affects all of them. Every other round goes
    backwards, because a case finds in the cache what the one before it read.
    """
    times: dict[str, list[float]] = {name: [] for name in cases}
    with Progress() as progress:
        bar = progress.add_task("measuring", total=(repetitions + 1) * len(cases))
        for repetition in range(repetitions + 1):
            for name, case in list(cases.items())[:: -1 if repetition % 2 else 1]:
                seconds = time_call(case)
                if repetition:
                    times[name].append(seconds)
                progress.update(bar, advance=1, description=name)
    return times


def time_call(case: Callable[[], object]) -> float:
    """Return the seconds of one call, work on a GPU included."""
    started = clock()
    case()
    return clock() - started


def compute_ratio(
    theirs: Sequence[float], ours: Sequence[float], name: str = "ratio"
) -> dict[str, float]:
    """Return how many times faster ours is: median and quartiles of the rounds' ratios."""
    low, middle, high = np.quantile(np.divide(theirs, ours), [0.25, 0.5, 0.75])
    return {name: float(middle), f"{name}_low": float(low), f"{name}_high": float(high)}


def report(
    name: str, rows: Sequence[Mapping[str, Any]], parquet: Path | None, **settings: Any
) -> None:
    """Print the rows as the table `name` of docs/performance.md; write them to `parquet` if given."""
    frame, about = pd.DataFrame(rows), {**machine.describe_machine(DEVICE, DTYPE), **settings}
    print(format_rows(name, frame).to_markdown(index=False, disable_numparse=True))
    print(about)
    if parquet is not None:
        write_parquet(parquet, frame, about)


def find_peak_gflops(gpu: str | None) -> float:
    """Return the peak GFLOP/s: the GPU's by its data sheet, else of large matrices here."""
    if gpu is not None:
        return 1e3 * load_gpus()[gpu].bf16_tflops
    return machine.measure_matmul_gflops_per_s(DEVICE, DTYPE)


def llm_config(width: int, layers: int, vocabulary: int) -> Qwen2Config:
    """Return a small LLM's config."""
    heads = max(2, width // 64)
    return Qwen2Config(
        hidden_size=width,
        intermediate_size=width * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        vocab_size=vocabulary,
        tie_word_embeddings=True,
        bos_token_id=None,
    )


def tower_config(side: int, width: int = 64, layers: int = 2) -> CLIPVisionConfig:
    """Return the config of a small tower with a grid of side x side patches."""
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        image_size=4 * side,
        patch_size=4,
    )


def build_ours(
    text: Qwen2Config,
    vision: CLIPVisionConfig,
    method: str,
    tokens: int,
    *,
    image_token: int,
    template: str = "qa",
) -> Vlm:
    """Build a VLM with random weights, the same for the same backbones."""
    torch.manual_seed(0)
    layers = vision.num_hidden_layers
    return Vlm(
        VlmConfig(
            vision_config=vision,
            text_config=text,
            image_token_index=image_token,
            vision_feature_layer=[layers - 1, layers],
            method=method,
            visual_tokens=tokens,
            method_options=find_method(method).make_setting(tokens).options,
            template=template,
        )
    ).to(DEVICE)


def load_backbone_config(name: str) -> PreTrainedConfig:
    """Load the published config of an LLM or vision tower from resources/backbones/`name`.json.

    Raises UserError when there is none.
    """
    values = read_json(find_resource(f"backbones/{name}.json"))["config"]
    return AutoConfig.for_model(**values)


def build_with_random_weights(config: VlmConfig, device: torch.device, dtype: torch.dtype) -> Vlm:
    """Build a model with weights drawn on `device` by each part's own rule."""
    with torch.device(device):
        return Vlm._from_config(config, dtype=dtype)


def plain_llava_config(config: VlmConfig) -> LlavaConfig:
    """Return the config of transformers' own LLaVA with the same backbones."""
    return LlavaConfig(
        vision_config=config.vision_config,
        text_config=config.text_config,
        image_token_index=config.image_token_index,
        vision_feature_layer=config.layers[-1],
        vision_feature_select_strategy="default",
        tie_word_embeddings=config.tie_word_embeddings,
    )


def build_plain_llava(mlp: Vlm) -> LlavaForConditionalGeneration:
    """Build transformers' own LLaVA with the weights of ours with the method `mlp`."""
    plain = LlavaForConditionalGeneration(plain_llava_config(mlp.config)).to(DEVICE)
    parts: list[tuple[nn.Module, nn.Module]] = [
        (plain.model.vision_tower, mlp.model.vision_tower),
        (plain.model.language_model, mlp.model.language_model),
        (plain.lm_head, mlp.lm_head),
        (plain.model.multi_modal_projector.linear_1, mlp.model.multi_modal_projector.mlp[0]),
        (plain.model.multi_modal_projector.linear_2, mlp.model.multi_modal_projector.mlp[2]),
    ]
    for theirs, mine in parts:
        theirs.load_state_dict(mine.state_dict())
    return plain
