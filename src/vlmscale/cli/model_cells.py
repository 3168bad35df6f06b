"""`vlmscale cells` of a study of released VLMs: its cells, about what they cost, what of them is done."""

from pathlib import Path

from rich.console import Console

from vlmscale.cli.output import Columns, Report, number, print_table
from vlmscale.planning.evaluations import estimate_model_answer, request_model_evaluation
from vlmscale.planning.trainings import Assumptions
from vlmscale.study.evaluated import EvaluatedStudy


def plan_models(study: EvaluatedStudy, results: Path, assumed: Assumptions) -> Report:
    """Return costs and state of every cell, and their totals. results: folder of all studies' results."""
    questions = study.count_questions()
    asked = sum(questions.values())
    rows = []
    for cell in study.list_cells().values():
        flops = estimate_model_answer(study, cell, assumed)
        whole = asked * (flops.tower + flops.llm)
        done = results / study.study / "cells" / cell.cell / "scores.parquet"
        rows.append(
            {
                **vars(cell),
                "n_params_b": study.decoders[cell.llm].non_embedding_b,
                "tower_b": study.towers[cell.llm].total_b,
                "tower_flops": flops.tower,
                "llm_flops": flops.llm,
                "flops": whole,
                "gpu_hours": request_model_evaluation(study, cell, asked).hours,
                "evaluated": done.exists(),
            }
        )
    return {
        "study": study.study,
        "assumed": {**vars(assumed), "utilisation": study.cluster.utilisation},
        "questions": questions,
        "cells": rows,
        "laws": list(study.list_laws()),
        "download_gb": sum(
            2 * (study.decoders[name].total_b + study.towers[name].total_b) for name in study.models
        ),
        "totals": {
            "cells": len(rows),
            "evaluated": sum(row["evaluated"] for row in rows),
            "flops": sum(row["flops"] for row in rows),
            "gpu_hours": sum(row["gpu_hours"] for row in rows),
        },
    }


def show_models(console: Console, report: Report) -> None:
    """Print the report of `plan_models` as a table and what it means."""
    columns: Columns = {
        "model": "llm",
        "N": lambda row: f"{row['n_params_b']:.3g}B",
        "tower": lambda row: f"{row['tower_b']:.2g}B",
        "family": "method",
        "V": "visual_tokens",
        "GFLOPs, tower": lambda row: number(row["tower_flops"] / 1e9, 3),
        "GFLOPs, LLM": lambda row: number(row["llm_flops"] / 1e9, 3),
        "FLOPs": lambda row: number(row["flops"], 2),
        "GPU hours": lambda row: number(row["gpu_hours"], 3),
        "done": lambda row: "yes" if row["evaluated"] else "no",
    }
    title = f"{report['study']}: cells of released models; GFLOPs are of one answer"
    print_table(console, title, report["cells"], columns, words=["model", "family"])
    totals, assumed = report["totals"], report["assumed"]
    console.print(
        f"{totals['cells']} cells, {totals['evaluated']} evaluated: {number(totals['flops'], 3)} FLOPs, "
        f"{number(totals['gpu_hours'], 4)} GPU hours, for "
        f"{sum(report['questions'].values()):,} questions a cell. Models take about "
        f"{number(report['download_gb'], 3)} GB. Nothing is trained."
    )
    laws = ", ".join(report["laws"]) or "none, which takes two models and two budgets of a family"
    console.print(f"Laws, one for each family and never of several: {laws}.")
    console.print(
        f"Estimates at {assumed['utilisation']:.0%} of the GPU of the study's `cluster`; "
        f"{assumed['question_tokens']} text tokens a question, {assumed['answer_tokens']} an answer. N: "
        "parameters of the LLM without embedding and head. V: the budget; an image may need less of it, "
        "and what it took is counted. Questions are answered one at a time, which uses a GPU badly: GPU "
        "hours have half a second for each beside the arithmetic."
    )
