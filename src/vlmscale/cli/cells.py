"""What a study will train, and about what that costs, before anything is launched."""

from pathlib import Path

from rich.console import Console

from vlmscale.architectures import Decoder
from vlmscale.cells import Run, expand, stage1_trainings
from vlmscale.cli.output import Report, number, table
from vlmscale.config import Study, load_study
from vlmscale.settings import Counts, Recipe, Transformer


def plan(config: Path, *, tflops: float, utilisation: float, text_tokens: int) -> Report:
    """One entry a training run, with FLOPs of both stages and GPU hours, and their totals.

    A stage 1 that runs share is counted with the first of them. tflops: peak of one GPU, of which the
    share `utilisation` is used. text_tokens: per sample, beside the visual ones.
    """
    study = load_study(config)
    cells, runs = expand(study)
    rows = [_row(study, run, text_tokens) for run in runs.values()]
    first = {run.run for run in stage1_trainings(runs.values()).values()}
    for row in rows:
        if row["run"] not in first:
            row["stage1_flops"] = 0.0
        row["cells"] = [cell.cell for cell in cells.values() if cell.run == row["run"]]
        flops = row["stage1_flops"] + row["stage2_flops"]
        row["gpu_hours"] = flops / (tflops * 1e12 * utilisation) / 3600
    return {
        "study": study.study,
        "assumed": {"tflops": tflops, "utilisation": utilisation, "text_tokens": text_tokens},
        "runs": rows,
        "totals": {
            "runs": len(runs),
            "cells": len(cells),
            **{
                key: sum(row[key] for row in rows)
                for key in ("stage1_flops", "stage2_flops", "gpu_hours")
            },
        },
    }


def show(console: Console, report: Report) -> None:
    columns = [
        "LLM",
        "N",
        "method",
        "V",
        "seed",
        "budget",
        "cells",
        "stage 1",
        "stage 2",
        "GPU hours",
    ]
    rows = [
        [
            row["llm"],
            number(row["parameters"], 3),
            row["method"],
            str(row["visual_tokens"]),
            str(row["seed"]),
            row["budget"],
            str(len(row["cells"])),
            number(row["stage1_flops"], 3),
            number(row["stage2_flops"], 3),
            number(row["gpu_hours"], 3),
        ]
        for row in report["runs"]
    ]
    title = f"{report['study']}: one row a training run, with FLOPs of both stages"
    console.print(table(title, columns, rows, words=["LLM", "method", "budget"]))
    totals, assumed = report["totals"], report["assumed"]
    console.print(
        f"{totals['runs']} runs serve {totals['cells']} cells: "
        f"{number(totals['stage1_flops'] + totals['stage2_flops'], 3)} FLOPs, "
        f"{number(totals['gpu_hours'], 3)} GPU hours. A stage 1 that runs share is counted once."
    )
    console.print(
        f"An estimate: 4 N (stage 1) or 6 N (stage 2) FLOPs for each of V + {assumed['text_tokens']} "
        f"tokens of a sample, at {assumed['utilisation']:.0%} of {assumed['tflops']:g} TFLOP/s. "
        "N: parameters without embedding and head. Tower, compressor, evaluation and the backbones' own "
        "training are left out; of an elastic method, V is its largest count, whatever its batches hold."
    )


def _row(study: Study, run: Run, text_tokens: int) -> Report:
    parameters = _parameters(study.llms[run.llm])
    tokens = run.visual_tokens + text_tokens
    recipe = study.stage2_at(run.budget)
    # A training step is two FLOPs a parameter forward, two back through the activations and, where the
    # LLM is trained, two for its weights.
    return {
        "run": run.run,
        "llm": run.llm,
        "method": run.method,
        "visual_tokens": run.visual_tokens,
        "seed": run.seed,
        "budget": run.budget,
        "parameters": parameters,
        "stage1_flops": 4.0 * parameters * tokens * _samples(study.stage1, study.data.stage1),
        "stage2_flops": 6.0 * parameters * tokens * _samples(recipe, study.data.stage2),
    }


def _parameters(shape: Transformer) -> int:
    """Without embedding and head, of a Qwen2 model, which the study's LLMs are."""
    decoder = Decoder(
        nominal_b=0.0,
        layers=shape.layers,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        heads=shape.heads,
        key_value_heads=shape.heads,
        vocabulary=0,  # not known before the tokenizer is trained, and not counted
        tied_head=True,
        gated_mlp=True,
        qkv_bias=True,
    )
    return round(decoder.non_embedding_b * 1e9)


def _samples(recipe: Recipe, data: Counts) -> float:
    if recipe.steps is not None:
        return float(recipe.steps * recipe.batch_size)
    assert recipe.epochs is not None  # Recipe has one of the two
    return recipe.epochs * (data.scenes + data.pages + data.text)
