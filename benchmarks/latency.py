"""Time an answer part by part, beside the time that its FLOPs predict, and a training step.

    python benchmarks/latency.py --parquet latency.parquet                  # small shapes, on a laptop
    python benchmarks/latency.py --shapes Qwen1.5-0.5B,Qwen1.5-1.8B,Qwen1.5-4B,Qwen1.5-7B,Qwen1.5-14B \
        --dtype bf16 --gpu h100 --parquet latency.parquet --training-parquet training.parquet

Models have random weights. Repetitions go round all cases of an LLM: visual tokens, text tokens, new or
cached text. Prints medians and quartile distances; a ratio of 1 means as fast as a product of large
matrices on the same device. `w512` is a small decoder of width 512 behind a small tower. A case that does
not fit is a row with the reason; --minutes limits the repetitions of all LLMs together. Columns:
vlmscale/analysis/decisions/latency.py; docs/latency.md has what was measured so far.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import torch
import typer
from common import build_with_random_weights, load_backbone_config
from rich.console import Console
from rich.table import Table
from steps import time_training_steps
from transformers import CLIPVisionConfig, PreTrainedConfig, Qwen2Config

from vlmscale.analysis.decisions.latency import CASE, PARTS, compare_cached_text
from vlmscale.cli.output import number
from vlmscale.costs.gpus import load_gpus
from vlmscale.errors import UserError
from vlmscale.jobs.entry import exit_with_message
from vlmscale.latency.machine import describe_machine, measure_matmul_gflops_per_s
from vlmscale.latency.measure import PRECISIONS, measure
from vlmscale.latency.spec import NamedSetting, prompt_cases
from vlmscale.methods import find_method
from vlmscale.models.checkpoint import build_frame
from vlmscale.models.config import VlmConfig
from vlmscale.records.parquet import write_parquet
from vlmscale.resources import find_resource

SMALL = "w256,w512,w1024"
COUNTS = "1,4,16,36,64,144,576"


def build_config(name: str) -> VlmConfig:
    """Build the config of a published LLM behind CLIP ViT-L/14-336, or of w{width} behind a small tower."""
    text: PreTrainedConfig
    if name[:1] == "w" and name[1:].isdigit():
        width = int(name[1:])
        text = Qwen2Config(
            hidden_size=width,
            intermediate_size=width * 11 // 4,
            num_hidden_layers=4,
            num_attention_heads=max(1, width // 64),
            num_key_value_heads=max(1, width // 64),
            vocab_size=4096,
            tie_word_embeddings=True,
        )
        vision = CLIPVisionConfig(
            hidden_size=256,
            intermediate_size=1024,
            num_hidden_layers=4,
            num_attention_heads=4,
            image_size=168,
            patch_size=14,
        )
        layers = [1, 2, 3, 4]
    else:
        known = {file.stem for file in find_resource("backbones").glob("*.json")}
        text = load_backbone_config(name if name in known else f"{name}-Chat")
        vision, layers = load_backbone_config("clip-vit-large-patch14-336"), [12, 16, 22, 23]
    side = vision.image_size // vision.patch_size
    model = build_frame(
        text,
        vision,
        find_method("mlp").make_setting(side**2),
        image_token=text.vocab_size - 1,
        feature_layers=layers,
        template="plain",
    )
    return model.config


def list_settings(names: list[str], counts: list[int], side: int) -> list[NamedSetting]:
    """List every method at each V that it can give; at all patches only `mlp`, if it is among them."""
    return [
        NamedSetting(name=name, **find_method(name).make_setting(v).model_dump())
        for name in names
        for v in counts
        if v in find_method(name).list_counts(side)
        and (name == "mlp" or v < side**2 or "mlp" not in names)
    ]


def find_peak(gpu: str | None, device: torch.device, dtype: torch.dtype) -> tuple[float, str]:
    """Return the peak GFLOP/s that a training step is compared with, and its source."""
    if gpu is None:
        return measure_matmul_gflops_per_s(device, dtype), "a product of large matrices here"
    rows = load_gpus()
    if gpu not in rows:
        raise UserError(
            f"--gpu {gpu}: not in src/vlmscale/resources/gpus.csv. Choose one of: {', '.join(rows)}."
        )
    return 1e3 * rows[gpu].bf16_tflops, f"{rows[gpu].name}, data sheet"


def format_spread(row: dict[Any, Any], middle: str, distance: str) -> str:
    """Format the median and half the quartile distance; a dash where there is none."""
    if pd.isna(row[middle]):
        return "-"
    return f"{number(row[middle])} ±{number(row[distance] / 2, 2)}"


def show(console: Console, table: pd.DataFrame) -> None:
    """Print every case, and what caching the text saves."""
    shown = Table(
        "LLM",
        "method",
        "V",
        "Q",
        "text",
        "batch",
        *PARTS,
        "images/s",
        "tokens/s",
        title="milliseconds",
    )
    ratios = Table(
        "LLM", "method", "V", "Q", "text", "batch", *PARTS, title="measured over predicted by FLOPs"
    )
    for row in table.to_dict("records"):
        text = "cached" if row["cached_text"] else "new"
        case = [row["llm"], row["method"], *(str(row[c]) for c in ("visual_tokens", "text_tokens"))]
        case += [text, str(row["batch"])]
        if row["skipped"]:
            shown.add_row(*case, row["skipped"])
            continue
        times = [format_spread(row, f"{part}_ms", f"{part}_iqr_ms") for part in PARTS]
        rates = [1e3 * row["batch"] / row[f"{part}_ms"] for part in ("latency", "decode")]
        shown.add_row(*case, *times, *map(number, rates))
        ratios.add_row(*case, *(number(row[f"{part}_ratio"]) for part in PARTS))
    saved = Table(
        *("LLM", "method", "V", "Q", "batch", "new ms", "cached ms"),
        *("time saved", "FLOPs saved", "time left over FLOPs left"),
        title="prefill: what caching the text saves",
    )
    for row in compare_cached_text(table).to_dict("records"):
        shares = [f"{row[column]:.1%}" for column in ("time_saved", "flops_saved")]
        ends = [number(row["new_ms"]), number(row["cached_ms"]), *shares, number(row["kept_ratio"])]
        saved.add_row(*(str(row[column]) for column in CASE), *ends)
    for found in (shown, ratios, saved):
        console.print(found)


def show_steps(console: Console, steps: pd.DataFrame, peak: str) -> None:
    """Print the training steps."""
    title = f"training step; utilisation is of: {peak}"
    table = Table(
        "LLM", "method", "V", "stage", "batch", "ms", "GFLOPs", "utilisation", title=title
    )
    for row in steps.to_dict("records"):
        case = [str(row[c]) for c in ("llm", "method", "visual_tokens", "stage", "batch")]
        if row["skipped"]:
            table.add_row(*case, row["skipped"])
        else:
            times = format_spread(row, "step_ms", "step_iqr_ms")
            table.add_row(*case, times, number(row["gflops"]), f"{row['utilisation']:.1%}")
    console.print(table)


@exit_with_message()
def main(
    shapes: Annotated[
        str, typer.Option(help="LLMs: names of resources/backbones, or w{width}")
    ] = SMALL,
    methods: Annotated[str, typer.Option(help="methods of projectors")] = "tokenpacker,quecc,mlp",
    visual_tokens: Annotated[str, typer.Option(help="counts that methods can give")] = COUNTS,
    text_tokens: Annotated[str, typer.Option(help="of a question")] = "0,50,100,200",
    batches: Annotated[str, typer.Option(help="images at once")] = "1",
    dtype: Annotated[Literal["fp32", "bf16"], typer.Option()] = "fp32",
    repetitions: Annotated[int, typer.Option(min=2, help="after a warm-up")] = 10,
    positions: Annotated[int, typer.Option(help="most in a pass of the LLM")] = 1_000_000,
    minutes: Annotated[float, typer.Option(help="for the repetitions of all LLMs")] = 6.0,
    training_batch: Annotated[int, typer.Option(min=1, help="samples of a training step")] = 4,
    gpu: Annotated[
        str | None,
        typer.Option(
            help="row of src/vlmscale/resources/gpus.csv whose peak a step is compared with"
        ),
    ] = None,
    parquet: Annotated[Path | None, typer.Option(help="write the latencies here")] = None,
    training_parquet: Annotated[
        Path | None, typer.Option(help="also time training steps, and write them here")
    ] = None,
) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision, console = PRECISIONS[dtype], Console(width=190)
    counts, names = parse_numbers(visual_tokens), shapes.split(",")
    peak, whose = find_peak(gpu, device, precision)
    tables, steps = [], []
    for name in names:
        config = build_config(name)
        chosen = list_settings(methods.split(","), counts, config.grid_side)
        model = build_with_random_weights(config, device, precision).eval()
        tables.append(
            measure(
                model,
                chosen,
                prompt_cases(parse_numbers(text_tokens), parse_numbers(batches)),
                llm=name,
                repetitions=repetitions,
                seconds=60 * minutes / len(names),
                positions=positions,
            )
        )
        del model
        if training_parquet:
            steps += time_training_steps(
                config,
                chosen,
                llm=name,
                device=device,
                dtype=precision,
                batch=training_batch,
                peak=peak,
            )
    table = pd.concat(tables, ignore_index=True)
    about = {**describe_machine(device, precision), "repetitions": repetitions, "minutes": minutes}
    show(console, table)
    console.print(about)
    if parquet:
        write_parquet(parquet, table, about)
    if training_parquet:
        found = pd.DataFrame(steps)
        show_steps(console, found, whose)
        write_parquet(training_parquet, found, {**about, "peak_gflops_per_s": peak, "peak": whose})


def parse_numbers(text: str) -> list[int]:
    """Parse whole numbers separated by commas."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(
            f"{text!r} is no list of whole numbers. Separate them by commas: 1,8,64."
        ) from None


if __name__ == "__main__":
    typer.run(main)
