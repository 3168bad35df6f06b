"""Choose what a study should train next to narrow an interval within some GPU hours."""

from pathlib import Path

import pandas as pd
from rich.console import Console

from vlmscale.analysis.decisions.next_cells import choose_cells, start_from
from vlmscale.analysis.laws.columns import parse_size
from vlmscale.analysis.laws.information import Aim, Quantity
from vlmscale.cli.cells import show_refused
from vlmscale.cli.output import Columns, Report, number, print_table, status
from vlmscale.cli.points import read_points
from vlmscale.cli.study_grid import StudyGrid, read_grid
from vlmscale.errors import UsageError, UserError, refuse_infinite
from vlmscale.resources import find_resource

# How options name quantities.
QUANTITIES: dict[str, Quantity] = {
    "alpha": "alpha",
    "beta": "beta",
    "alpha-beta": "difference",
    "alpha/beta": "ratio",
    "V*": "tokens",
    "error": "error",
}


def choose_next(
    config: str | Path,
    *,
    gpu_hours: float,
    narrow: str = "alpha/beta",
    text_tokens: int = 50,
    llm: str | None = None,
    visual_tokens: int | None = None,
    series: str | None = None,
    family: str = "reasoning",
    prior: str | Path | pd.DataFrame | None = None,
    gpu: str | None = None,
    utilisation: float | None = None,
    results: str | Path = "results",
) -> Report:
    """Choose cells of a study that narrow an interval most within `gpu_hours`, the best of an hour first.

    narrow: alpha, beta, alpha-beta, alpha/beta, V* (of `text_tokens`) or error (of a training of `llm` at
    `visual_tokens`). prior: scores whose law stands in while the study's own determine none, by default the
    released ones. The other arguments are the options of `vlmscale next`. Returns the table `cells` in
    order with the expected width after each, and what it was made from.
    """
    refuse_infinite({"gpu_hours": gpu_hours, "utilisation": utilisation})
    if narrow not in QUANTITIES:
        raise UsageError(f"--narrow {narrow}: choose from {', '.join(QUANTITIES)}")
    if (narrow == "error") != (llm is not None) or (narrow == "error") != (
        visual_tokens is not None
    ):
        raise UsageError("--narrow error needs --llm and --visual-tokens, which nothing else takes")
    if narrow == "V*" and text_tokens == 0:
        raise UsageError("--narrow V* needs --text-tokens above 0: without text V* is 1 or all")
    grid = read_grid(
        Path(config), Path(results), series=series, family=family, gpu=gpu, utilisation=utilisation
    )
    if grid.candidates.empty and grid.refused:
        raise UserError(f"no training of {grid.series} fits {grid.gpu.name}: {grid.refused[0]}")
    if grid.candidates.empty:
        raise UserError(
            f"{grid.study}: every cell of {grid.series}, {family} has a score. Add cells to the grid of "
            f"{config} to choose from."
        )
    aim = Aim(
        QUANTITIES[narrow],
        text_tokens=text_tokens,
        llm=llm or "",
        n_params_b=_find_size(llm, grid) if llm is not None else float("nan"),
        visual_tokens=visual_tokens or 1,
        most=int(grid.cells["visual_tokens"].max()),
    )
    stand_in = _read_prior(prior, family)
    with status("choosing cells"):
        start = start_from(grid.points, stand_in, grid.cells, aim)
        cells = choose_cells(start, grid.candidates, aim, hours=gpu_hours)
    if cells.empty:
        raise UserError(
            f"{gpu_hours:g} GPU hours allow no training. The smallest takes "
            f"{grid.candidates['hours'].min():.3g}."
        )
    return {
        "study": grid.study,
        "series": grid.series,
        "family": family,
        "narrow": narrow,
        "text_tokens": text_tokens,
        "llm": llm,
        "visual_tokens": visual_tokens,
        "gpu": vars(grid.gpu),
        "utilisation": grid.utilisation,
        "gpu_hours": gpu_hours,
        "scores": len(grid.points),
        "waiting": len(grid.candidates),
        "width_now": start.width,
        "from_prior": start.from_prior,
        "prior": ("the released scores" if prior is None else "--prior")
        if start.from_prior
        else None,
        "cells": cells,
        "too_large": grid.refused,
    }


def show(console: Console, report: Report) -> None:
    """Print the cells in order, and from what they were chosen."""
    what = {"V*": f"V*({report['text_tokens']})", "error": ""}.get(
        report["narrow"], report["narrow"]
    )
    what = what or f"the error of {report['llm']} at V = {report['visual_tokens']}"
    law = f"{report['study']}: law {report['series']}, {report['family']}"
    if report["from_prior"]:
        console.print(
            f"{law}: {report['scores']} scores, which determine no law. The law of {report['prior']} "
            "stands in, moved to the middle of this grid; choose again once six cells have scores."
        )
    else:
        now = number(report["width_now"], 3)
        console.print(
            f"{law}: {report['scores']} scores. The 95 % interval of {what} is now {now} wide."
            if report["width_now"] is not None
            else f"{law}: {report['scores']} scores, by which {what} has no bounded interval yet."
        )
    columns: Columns = {
        "LLM": "llm",
        "N": lambda row: number(row["n_params_b"], 3),
        "V": "visual_tokens",
        "seed": "seed",
        "GPU hours": lambda row: number(row["hours"], 3),
        "in all": lambda row: number(row["hours_total"], 4),
        "width": lambda row: number(row["width"], 3),
    }
    title = (
        f"Train in this order; width: of the 95 % interval of {what}, expected after the training"
    )
    print_table(console, title, report["cells"], columns, words=["LLM"])
    spent, chosen = report["cells"]["hours_total"].iloc[-1], int(report["cells"]["cells"].sum())
    console.print(
        f"{chosen} of {report['waiting']} cells without a score, {number(spent, 4)} of "
        f"{number(report['gpu_hours'], 4)} GPU hours on {report['gpu']['name']} at "
        f"{report['utilisation']:.0%} of its peak. Widths are expected to first order, before any result"
        f"{', and may be off by a factor of two' if report['from_prior'] else ''}; choose again when "
        "scores have come."
    )
    show_refused(console, report["too_large"], report["gpu"]["name"])


def _find_size(llm: str, grid: StudyGrid) -> float:
    """Return N in billions of an LLM of the config, or of one whose name states it."""
    size = grid.sizes_b.get(llm) or parse_size(llm)
    if size is None or not size > 0:
        raise UserError(
            f"--llm {llm}: neither an LLM of the study ({', '.join(grid.sizes_b)}) nor a name or number "
            "that states a size, such as Llama-3.2-3B or 3"
        )
    return size


def _read_prior(prior: str | Path | pd.DataFrame | None, family: str) -> pd.DataFrame:
    """Return the points whose law stands in."""
    if prior is None:
        return read_points(find_resource(f"published/{family}_scores.csv"))[""]
    families = read_points(prior)
    if family not in families and len(families) > 1:
        raise UserError(
            f"--prior has scores of {', '.join(families)}, none of family {family}; choose with --family"
        )
    return families.get(family, next(iter(families.values())))
