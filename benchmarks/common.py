"""What the benchmarks of speed share: rounds in turn, ratios with their spread, and the machine."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from torch import nn
from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration, Qwen2Config

from vlmscale.latency import machine
from vlmscale.methods import find_method
from vlmscale.models.config import VlmConfig
from vlmscale.models.vlm import Vlm
from vlmscale.planning.trainings import load_gpus
from vlmscale.resources import find_resource

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DTYPE = torch.bfloat16 if DEVICE.type == "cuda" else torch.float32
clock = machine.choose_clock(DEVICE)


def rounds(cases: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Seconds of each case by round. A round has all cases in turn, so that what slows the machine for a
    while slows all of them, every other one backwards, since a case finds in the cache what the one before
    it read; one before the first warms up.
    """
    times: dict[str, list[float]] = {name: [] for name in cases}
    with Progress() as progress:
        bar = progress.add_task("measuring", total=(repetitions + 1) * len(cases))
        for repetition in range(repetitions + 1):
            for name, case in list(cases.items())[:: -1 if repetition % 2 else 1]:
                seconds = seconds_of(case)
                if repetition:
                    times[name].append(seconds)
                progress.update(bar, advance=1, description=name)
    return times


def seconds_of(case: Callable[[], object]) -> float:
    """How long one call takes, work on a GPU included."""
    started = clock()
    case()
    return clock() - started


def ratio(theirs: Sequence[float], ours: Sequence[float], name: str = "ratio") -> dict[str, float]:
    """How many times faster ours is: median and quartiles of the rounds' ratios."""
    low, middle, high = np.quantile(np.divide(theirs, ours), [0.25, 0.5, 0.75])
    return {name: float(middle), f"{name}_low": float(low), f"{name}_high": float(high)}


def shown(row: Mapping[str, Any], name: str = "ratio") -> str:
    """A ratio for people, with its quartiles."""
    return f"{row[name]:.2f} ({row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f})"


def about(**settings: Any) -> dict[str, Any]:
    """What a table of measurements says of where and how they were taken."""
    return {**machine.describe_machine(DEVICE, DTYPE), **settings}


def peak_gflops(gpu: str | None) -> float:
    """GFLOP/s that others are a share of: the GPU's by its data sheet, else of large matrices here."""
    if gpu is not None:
        return 1e3 * load_gpus(find_resource("gpus.csv"))[gpu].bf16_tflops
    return machine.measure_matmul_gflops_per_s(DEVICE, DTYPE)


def llm_config(width: int, layers: int, vocabulary: int) -> Qwen2Config:
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
    """A small tower with a grid of side x side patches."""
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        image_size=4 * side,
        patch_size=4,
    )


def ours(
    text: Qwen2Config,
    vision: CLIPVisionConfig,
    method: str,
    tokens: int,
    *,
    image_token: int,
    template: str = "qa",
) -> Vlm:
    """A VLM with random weights, the same for the same backbones."""
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


def plain_llava(mlp: Vlm) -> LlavaForConditionalGeneration:
    """Transformers' own LLaVA with the weights of ours with the method `mlp`."""
    config = mlp.config
    plain = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=config.vision_config,
            text_config=config.text_config,
            image_token_index=config.image_token_index,
            vision_feature_layer=config.layers[-1],
            vision_feature_select_strategy="default",
            tie_word_embeddings=config.tie_word_embeddings,
        )
    ).to(DEVICE)
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
