"""Ask whether chosen trainings narrow intervals faster than others, on the paper's released scores.

    OMP_NUM_THREADS=1 nice python benchmarks/next_cells.py --work /tmp/next \
        --parquet src/vlmscale/resources/measured/next_cells.parquet --figure docs/figures/next_cells.png

Scores are hidden and shown one by one: in the chosen order, in the order of the grid (LLM by LLM) and in
random orders. The hours of a cell are those of `vlmscale cells` for config/paper.yaml; an order is followed
until half of the hours of all hidden cells are spent, and what no longer fits is passed over. Then the
interval that the shown scores have is measured by refitting them, and so is the expected one. From nothing
the law that stands in is that of the other suite. Parts lie in --work and are not computed again.
"""

import platform
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from vlmscale.analysis.decisions.next_cells import (
    Start,
    choose_cells,
    expect_remaining,
    measure_width,
    start_from,
)
from vlmscale.analysis.laws.hierarchical import sample_laws
from vlmscale.analysis.laws.information import Aim
from vlmscale.analysis.published import load_published_errors
from vlmscale.planning.trainings import estimate_runs
from vlmscale.records.files import atomic_path
from vlmscale.records.parquet import write_parquet
from vlmscale.report.figures.style import GREY, new_figure
from vlmscale.study.load import load_study

CONFIG = Path(__file__).parents[1] / "config/paper.yaml"
AIMS = {
    "alpha / beta": Aim("ratio"),
    "alpha - beta": Aim("difference"),
    "V*(50)": Aim("tokens"),
    "error of a 14B": Aim("error", llm="Qwen1.5-14B", n_params_b=14.0, visual_tokens=16),
}
# What is shown before an order begins: nothing, or two small LLMs at three token counts.
STARTS = {
    "nothing": "n_params_b < 0",
    "six cells": "n_params_b < 2 and visual_tokens in (1, 64, 576)",
}
DRAWS = 2000


def load_cells(family: str) -> pd.DataFrame:
    """Return the released cells of a suite with the GPU hours that training them takes."""
    study = load_study(CONFIG)
    hours = {
        (cost.run.llm, cost.run.visual_tokens): study.cluster.gpu_hours(cost.training_flops)
        for cost in estimate_runs(study, {})
        if cost.run.method in ("tokenpacker", "mlp")
    }
    errors = load_published_errors()
    cells = errors[errors["family"] == family].reset_index(drop=True)
    pairs = zip(cells["llm"], cells["visual_tokens"], strict=True)
    return cells.assign(hours=[hours[pair] for pair in pairs])


def follow(order: pd.DataFrame, hours: float) -> pd.DataFrame:
    """Return the cells of an order that are trained within `hours`."""
    kept, spent = [], 0.0
    for place, cost in enumerate(order["hours"]):
        if spent + cost <= hours:
            kept.append(place)
            spent += cost
    return order.iloc[kept]


def measure(shown: pd.DataFrame, starts: Mapping[str, Start]) -> list[dict[str, Any]]:
    """Return for each aim the interval's width by the scores of `shown`, and what was expected of it."""
    points = pd.concat([next(iter(starts.values())).points, shown], ignore_index=True)
    laws = sample_laws(points, draws=DRAWS, seed=0)
    widths = {name: measure_width(laws, AIMS[name], points) for name in starts}
    return [
        {
            "aim": name,
            "cells": len(shown),
            "hours": float(shown["hours"].sum()),
            "expected": expect_remaining(start, shown, AIMS[name]),
            "width": np.inf if (width := widths[name]) is None else width,
        }
        for name, start in starts.items()
    ]


def compare(family: str, begin: str, orders: int, seed: int) -> pd.DataFrame:
    """Return the widths after half of the hours by the chosen order, the grid's and random ones."""
    cells = load_cells(family)
    other = load_cells("ocr" if family == "reasoning" else "reasoning")
    points = cells.query(STARTS[begin])
    hidden = cells.drop(points.index)
    half = hidden["hours"].sum() / 2
    starts = {name: start_from(points, other, cells, aim) for name, aim in AIMS.items()}
    rng = np.random.default_rng(seed)
    shown = {
        "grid": hidden,
        **{f"random {k}": hidden.iloc[rng.permutation(len(hidden))] for k in range(orders)},
    }
    rows = [
        {"order": order, **row}
        for order, cells_of in shown.items()
        for row in measure(follow(cells_of, half), starts)
    ]
    for name, start in starts.items():
        chosen = choose_cells(start, hidden, AIMS[name], hours=half)
        mine = hidden.set_index("run", drop=False).loc[chosen["run"]].reset_index(drop=True)
        rows += [{"order": "chosen", **row} for row in measure(mine, {name: start})]
    return pd.DataFrame(rows).assign(family=family, start=begin)


def draw(table: pd.DataFrame, png: Path) -> None:
    """Draw the widths of random orders in grey, the chosen order and the grid's in colour."""
    starts, families = list(STARTS), list(table["family"].unique())
    figure, axes = new_figure(len(starts), len(AIMS), (2.6 * len(AIMS), 2.4 * len(starts)))
    for (i, begin), (j, aim) in product(enumerate(starts), enumerate(AIMS)):
        ax = axes[i][j]
        for place, family in enumerate(families):
            mine = table[
                (table["start"] == begin) & (table["aim"] == aim) & (table["family"] == family)
            ].set_index("order")["width"]
            random = mine[mine.index.str.startswith("random")]
            spots = place + np.linspace(-0.3, 0.3, len(random))
            finite = random.replace(np.inf, np.nan)
            ax.plot(spots, finite, ".", ms=2, color=GREY)
            for number, order in enumerate(("chosen", "grid")):
                value = mine[order]
                ax.plot([place - 0.35, place + 0.35], [value, value], color=f"C{number}", lw=1.5)
        ax.set_xticks(range(len(families)), families)
        ax.set_yscale("log")
        ax.set_title(f"{aim}, from {begin}")
    axes[0][0].set_ylabel("width of the interval")
    with atomic_path(png) as scratch:
        figure.savefig(scratch, dpi=150, metadata={"Software": None})


def main(
    parquet: Annotated[Path, typer.Option(help="the table")],
    work: Annotated[Path, typer.Option(help="folder of parts")],
    orders: Annotated[int, typer.Option(help="random orders of each case", min=1)] = 200,
    seed: Annotated[int, typer.Option()] = 0,
    starts: Annotated[str, typer.Option(help="separated by ;")] = ";".join(STARTS),
    figure: Annotated[Path | None, typer.Option(help="draw the table here")] = None,
) -> None:
    work.mkdir(parents=True, exist_ok=True)
    parts = []
    for begin, family in product(starts.split(";"), ("reasoning", "ocr")):
        part = work / f"{begin}, {family} {orders} {seed}.parquet"
        if not part.exists():
            compare(family, begin, orders, seed).to_parquet(part)
        parts.append(pd.read_parquet(part))
    merged = pd.concat(parts, ignore_index=True)
    if figure is not None:
        draw(merged, figure)
    about = {"orders": orders, "seed": seed, "draws": DRAWS, "processor": platform.machine()}
    write_parquet(parquet, merged, about)


if __name__ == "__main__":
    typer.run(main)
