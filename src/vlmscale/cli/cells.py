"""What a study will train, about what that costs, and what of it is done."""

from pathlib import Path

from rich.console import Console

from vlmscale.cli.output import Report, number, table
from vlmscale.errors import UserError
from vlmscale.planning.requests import misfits, of_training
from vlmscale.planning.trainings import (
    Assumptions,
    Gpu,
    benchmark_rows,
    evaluated,
    features_gb,
    finished,
    load_gpus,
    run_costs,
)
from vlmscale.resources import find_resource
from vlmscale.study.load import load_study

_UNITS = (("B", 1e9), ("M", 1e6), ("K", 1e3), ("", 1))
ASSUMED_UTILISATION = 0.4  # of a GPU's peak, where its table knows no measurement
_SHOWN = 3  # of what does not fit


def plan(
    config: Path, results: Path, assumed: Assumptions, *, gpu: str, utilisation: float | None
) -> Report:
    """One entry a training run: parameters, FLOPs, GPU hours, disk, stages done; totals and what is left.

    A stage 1 that runs share is counted with the first of them. results: folder of all studies' results.
    gpu: row of resources/gpus.csv, of whose peak the share `utilisation` is used, by default what the
    table knows or ASSUMED_UTILISATION. Raises UserError for an unknown GPU or a wrong config.
    """
    study, chosen = load_study(config), _gpu(gpu)
    questions = study.count_questions(benchmark_rows(find_resource("benchmarks.csv")))
    used = utilisation or chosen.utilisation or ASSUMED_UTILISATION
    costs = run_costs(study, questions, assumed)
    runs = {cost.run.run: cost.run for cost in costs}
    done = finished(results / study.study, runs.values())
    rows = []
    for cost in costs:
        flops = {training.stage: training.flops for training in cost.trainings}
        left = sum(t.flops for t in cost.trainings if (t.run, t.stage) not in done)
        job = of_training(study, "stage2", cost.run)
        rows.append(
            {
                **vars(cost.run),
                "cells": list(cost.cells),
                "parameters": cost.parameters,
                "total_parameters": cost.total_parameters,
                "projector_parameters": cost.projector_parameters,
                "stage1_flops": flops.get("stage1", 0.0),
                "stage2_flops": flops["stage2"],
                "evaluation_flops": cost.evaluation_flops,
                "gpu_hours": _hours(cost.training_flops, chosen, used),
                "gpu_hours_left": _hours(left, chosen, used),
                "gpus": job.gpus,
                "nodes": job.nodes,
                "least_gpus": chosen.least(cost.state_gb),
                "disk_gb": cost.disk_gb,
                "work_gb": cost.work_gb,
                "done": [t.stage for t in cost.trainings if (t.run, t.stage) in done],
                "trainings": [t.stage for t in cost.trainings],
            }
        )
    summed = ("stage1_flops", "stage2_flops", "evaluation_flops", "gpu_hours", "gpu_hours_left")
    totals = {key: sum(row[key] for row in rows) for key in (*summed, "disk_gb")}
    features = features_gb(study)
    on_these = study.cluster.model_copy(update={"gpu_memory_gb": chosen.memory_gb})
    return {
        "study": study.study,
        "assumed": {**vars(assumed), "utilisation": used},
        "gpu": vars(chosen),
        "questions": questions,
        "runs": rows,
        "totals": {
            "runs": len(rows),
            "cells": sum(len(row["cells"]) for row in rows),
            "trainings": sum(len(row["trainings"]) for row in rows),
            "done": sum(len(row["done"]) for row in rows),
            "evaluated": evaluated(
                results / study.study, (c for row in rows for c in row["cells"])
            ),
            **totals,
            "features_gb": features,
            "work_gb": max(row["work_gb"] for row in rows),
        },
        "too_large": list(misfits(study.model_copy(update={"cluster": on_these}), runs)),
    }


def show(console: Console, report: Report) -> None:
    groups: dict[tuple[str, ...], list[Report]] = {}
    for row in report["runs"]:
        key = (row["llm"], row["method"], str(row["visual_tokens"]), row["budget"])
        groups.setdefault(key, []).append(row)
    several = len({row["budget"] for row in report["runs"]}) > 1
    columns = ["LLM", "N", "method", "V", *["budget"] * several, "runs", "FLOPs", "GPU hours"]
    columns += ["GPUs", "GB", "done"]
    rows = [
        [
            llm,
            _size(row["parameters"]),
            method,
            visual_tokens,
            *[budget] * several,
            str(len(group)),
            number(row["stage1_flops"] + row["stage2_flops"], 2),
            number(row["gpu_hours"], 3),
            str(row["gpus"]),
            number(row["disk_gb"], 2),
            f"{sum(len(r['done']) for r in group)}/{sum(len(r['trainings']) for r in group)}",
        ]
        for (llm, method, visual_tokens, budget), group in groups.items()
        for row in group[:1]
    ]
    title = f"{report['study']}: training runs, those of all seeds in a row, with what one of them costs"
    console.print(table(title, columns, rows, words=["LLM", "method", "budget"]))
    totals, assumed, gpu = report["totals"], report["assumed"], report["gpu"]
    training = totals["stage1_flops"] + totals["stage2_flops"]
    console.print(
        f"{totals['runs']} runs serve {totals['cells']} cells: {number(training, 3)} FLOPs of training, "
        f"{number(totals['gpu_hours'], 4)} GPU hours; {number(totals['evaluation_flops'], 3)} FLOPs for "
        f"{sum(report['questions'].values()):,} questions a cell. A stage 1 that runs share is counted "
        f"once. Results take {number(totals['disk_gb'], 4)} GB, stored features "
        f"{number(totals['features_gb'], 3)} GB, and a training up to {number(totals['work_gb'], 3)} GB of "
        "checkpoints while it lasts, as many times as trainings run at once."
    )
    console.print(
        f"Done: {totals['done']} of {totals['trainings']} trainings, {totals['evaluated']} of "
        f"{totals['cells']} cells evaluated; {number(totals['gpu_hours_left'], 4)} GPU hours of training "
        "are left."
    )
    for words in report["too_large"][:_SHOWN]:
        console.print(f"Does not fit {gpu['name']}: {words}", style="red")
    if report["too_large"][_SHOWN:]:
        console.print(
            f"So do {len(report['too_large']) - _SHOWN} more; --json names them.", style="red"
        )
    known = "known of it" if assumed["utilisation"] == gpu["utilisation"] else "assumed"
    console.print(
        f"An estimate, for {gpu['name']} at {assumed['utilisation']:.0%} ({known}) of its "
        f"{gpu['bf16_tflops']:g} TFLOP/s. {assumed['text_tokens']} text tokens a training sample where its "
        f"dataset does not say, {assumed['question_tokens']} a question, {assumed['answer_tokens']} an "
        "answer. N: parameters without embedding and head. FLOPs: every matrix product, forth and back, of "
        "tower (unless its features are stored), compressor and LLM; in the table, of both trainings. "
        "Left out: the head of an LLM that the study makes, the backbones' own training, activations "
        "computed anew. V of an elastic method is its largest count, whatever its batches hold. GPUs: what "
        "a job of stage 2 asks a cluster for, by the study's section `cluster`. GB: what is kept of a run."
    )


def _gpu(name: str) -> Gpu:
    gpus = load_gpus(find_resource("gpus.csv"))
    if name not in gpus:
        raise UserError(
            f"no GPU {name!r} in resources/gpus.csv. There are: {', '.join(gpus)}. Add a row for yours."
        )
    return gpus[name]


def _hours(flops: float, gpu: Gpu, utilisation: float) -> float:
    return flops / (gpu.bf16_tflops * 1e12 * utilisation) / 3600


def _size(parameters: int) -> str:
    """Write a number of parameters: 27K, 308M, 12.6B."""
    unit, scale = next((u, s) for u, s in _UNITS if parameters >= s)
    return f"{parameters / scale:.3g}{unit}"
