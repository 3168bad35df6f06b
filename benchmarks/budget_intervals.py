"""Measure how often the 95 % intervals of a law with a training budget hold the truth.

    OMP_NUM_THREADS=1 nice python benchmarks/budget_intervals.py --sets 80

Scores are simulated from known laws, with the released reasoning scores' noise, at two budgets. Prints the
coverage in percent that docs/decisions.md quotes; it takes a minute for every 80 data sets of three worlds.
"""

from collections.abc import Iterator
from itertools import product
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from vlmscale.analysis.laws.budget_posterior import sample_budget_laws
from vlmscale.analysis.laws.intervals import find_intervals

SIZES, COUNTS, SAMPLES = (0.5, 1.8, 4.0, 7.0), (1, 4, 16, 64, 576), (5e3, 2e4)
AMPLITUDE, NOISE, DRAWS = 1.2, 0.004, 1000
# World -> (alpha, beta, gamma, D), s.d. of LLMs' offsets and of their slopes by ln V.
WORLDS = {
    "D = 0": ((0.08, 0.02, 0.06, 0.0), NOISE, 0.0),
    "D = 0.2": ((0.12, 0.03, 0.09, 0.2), NOISE, 0.0),
    "D = 0.2, LLMs differ twice as much": ((0.12, 0.03, 0.09, 0.2), 2 * NOISE, 0.0018),
}


def simulate(world: str, sets: int) -> Iterator[pd.DataFrame]:
    """Yield data sets of a world: columns n_params_b, visual_tokens, samples, error."""
    (alpha, beta, gamma, floor), offset, slope = WORLDS[world]
    n, v, s = np.array([*product(SIZES, COUNTS, SAMPLES)]).T
    exact = AMPLITUDE * n**-alpha * v**-beta * s**-gamma + floor
    centred, llm = np.log(v) - np.log(v).mean(), np.searchsorted(SIZES, n)
    for number in range(sets):
        rng = np.random.default_rng([[*WORLDS].index(world), number])
        offsets, slopes = rng.standard_normal((2, len(SIZES)))[:, llm]
        error = exact + offset * offsets + slope * slopes * centred
        error = error + NOISE * rng.standard_normal(len(n))
        yield pd.DataFrame({"n_params_b": n, "visual_tokens": v, "samples": s, "error": error})


def measure(world: str, sets: int) -> dict[str, float]:
    """Return the share of intervals that hold the truth, by quantity."""
    alpha, beta, gamma, _ = WORLDS[world][0]
    truth = {"alpha": alpha, "beta": beta, "gamma": gamma, "difference": alpha - beta}
    truth["ratio"] = alpha / beta
    held = dict.fromkeys(truth, 0)
    for points in simulate(world, sets):
        ends = find_intervals(sample_budget_laws(points, draws=DRAWS, seed=0))
        for name, value in truth.items():
            held[name] += ends[name][0] <= value <= ends[name][1]
    return {name: count / sets for name, count in held.items()}


def main(sets: Annotated[int, typer.Option(help="data sets of each world", min=1)] = 80) -> None:
    table = pd.DataFrame({world: measure(world, sets) for world in WORLDS}).T
    typer.echo((100 * table).round(0).astype(int).to_markdown())


if __name__ == "__main__":
    typer.run(main)
