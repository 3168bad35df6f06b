"""Time our fit beside the grid search released with the paper, and compare how good each result is.

    OPENBLAS_NUM_THREADS=1 python benchmarks/fit.py [--share 0.2] [--seed 0] [--json fit.json]

The search visits the nodes of the released grid in random order, in a Python loop that stops after a share
of them. `as released` computes a node point by point, looking up each score, as the released code does,
but without its progress line, which takes longer than the node. `one expression` is the same search with
numpy arrays, and `all nodes at once` our exact enumeration: fairer comparisons. Same scores, process and
thread; no time is extrapolated. Takes about a minute with the default share.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from vlmscale.analysis.laws.bootstrap import bootstrap
from vlmscale.analysis.laws.grid_search import RELEASED, grid_search
from vlmscale.analysis.laws.points import Floats
from vlmscale.analysis.laws.power_law import fit_power_law

SCORES = Path(__file__).parents[1] / "src/vlmscale/resources" / "published" / "reasoning_scores.csv"
BLOCK = 10_000  # nodes between two updates of the progress bar
FITS = 50
DRAWS = 2000

Loss = Callable[[Floats], float]  # (A, alpha, beta, D) -> sum of squares


def build_released_loss(points: pd.DataFrame) -> Loss:
    """Build a loss that loops over points, as the released code does."""
    sizes, tokens = (
        points["n_params_b"].unique().tolist(),
        points["visual_tokens"].unique().tolist(),
    )
    scores = {str(n): rows["score"].tolist() for n, rows in points.groupby("n_params_b")}

    def predict(node: Floats, n: float, t: int) -> float:
        amplitude, alpha, beta, floor = node
        return amplitude / n**alpha / t**beta + floor

    def loss(node: Floats) -> float:
        total = 0.0
        for n in sizes:
            for t in tokens:
                error = 1 - scores[str(n)][tokens.index(t)]
                total += (predict(node, n, t) - error) ** 2
        return total

    return loss


def build_numpy_loss(points: pd.DataFrame) -> Loss:
    """Build the same loss as one expression of arrays."""
    n, t, y = (points[c].to_numpy(float) for c in ("n_params_b", "visual_tokens", "error"))

    def loss(node: Floats) -> float:
        amplitude, alpha, beta, floor = node
        return ((amplitude / n**alpha / t**beta + floor - y) ** 2).sum()

    return loss


def search(loss: Loss, share: float, seed: int, title: str) -> dict[str, Any]:
    """Visit a share of the nodes in random order, and return the row of the best one."""
    start = time.perf_counter()
    order = np.random.default_rng(seed).permutation(np.prod(RELEASED.shape))
    visits = order[: int(share * len(order)) + 1]  # it stops once more than the share is visited
    least, best = np.inf, np.empty(4)
    for i in track(range(0, len(visits), BLOCK), description=title):
        where = np.unravel_index(visits[i : i + BLOCK], RELEASED.shape)
        for node in np.column_stack(
            [axis[k] for axis, k in zip(RELEASED.axes, where, strict=True)]
        ):
            if (sse := loss(node)) < least:
                least, best = sse, node
    wall = time.perf_counter() - start
    return make_row(title, len(visits), wall, float(least), *map(float, best))


def make_row(name: str, nodes: int, wall: float, sse: float, *parameters: float) -> dict[str, Any]:
    """Make a row of the table."""
    names = ("amplitude", "alpha", "beta", "floor")
    found = dict(zip(names, parameters, strict=True))
    return {"name": name, "nodes": nodes, "seconds": wall, "sse": sse, **found}


def time_median(call: Callable[[], object], repeats: int) -> float:
    """Return the median seconds of a call."""

    def once() -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return statistics.median(once() for _ in range(repeats))


def main(
    share: Annotated[float, typer.Option(help="of the nodes, to visit", min=0, max=0.99)] = 0.2,
    seed: Annotated[int, typer.Option(help="of the order of nodes")] = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="write the measurements here")
    ] = None,
) -> None:
    points = pd.read_csv(SCORES)
    points = points.assign(error=1 - points["score"])
    law, best = fit_power_law(points), grid_search(points, RELEASED)  # also warms up

    seconds = time_median(lambda: fit_power_law(points), FITS)
    ours = make_row("our fit", 0, seconds, law.sse, law.amplitude, law.alpha, law.beta, law.floor)
    seconds = time_median(lambda: grid_search(points, RELEASED), 5)
    found = (best.amplitude, best.alpha, best.beta, best.floor)
    rows = [
        ours,
        make_row("all nodes at once", best.nodes, seconds, best.sse, *found),
        search(build_numpy_loss(points), share, seed, "search, one expression"),
        search(build_released_loss(points), share, seed, "search, as released"),
    ]
    for entry in rows:
        entry["times_ours"] = entry["seconds"] / ours["seconds"]
        entry["excess_sse"] = entry["sse"] / ours["sse"] - 1
    draws = time_median(lambda: bootstrap(points, law, "cases", draws=DRAWS, seed=seed), 3)

    headings = ("", "nodes", "seconds", "x our fit", "SSE", "excess", "A", "alpha", "beta", "D")
    table = Table(
        *headings, title=f"{SCORES.name}, {len(points)} points, share {share}, seed {seed}"
    )
    for e in rows:
        table.add_row(
            e["name"],
            f"{e['nodes']:,}" if e["nodes"] else "",
            f"{e['seconds']:.4g}",
            f"{e['times_ours']:,.0f}",
            f"{e['sse']:.3e}",
            f"{e['excess_sse']:.1%}",
            *(f"{e[key]:.4f}" for key in ("amplitude", "alpha", "beta", "floor")),
        )
    Console(width=120).print(table)
    Console().print(f"our fit: median of {FITS}; bootstrap of {DRAWS:,} refits: {draws:.2f} s")
    if json_file:
        figures = {"share": share, "seed": seed, "rows": rows, "bootstrap_seconds": draws}
        json_file.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
