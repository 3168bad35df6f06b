"""Points of laws: the released scores, and errors that follow a law exactly."""

import pandas as pd

from tests.support.paths import RESOURCES

N, V = (0.5, 1.8, 4.0, 7.0), (1, 4, 16, 36, 64, 144, 576)


def read_scores(name, keep="visual_tokens > 0"):
    """Read a released table of scores, e.g. reasoning_scores: the rows that a query keeps, with their errors."""
    table = pd.read_csv(RESOURCES / f"published/{name}.csv").query(keep)
    return table.assign(error=1 - table["score"])


def plant_law(amplitude, alpha, beta, floor, counts=V, sizes=N):
    """Make the points of a law A N^-alpha V^-beta + D, by default on the released sizes and counts."""
    grid = pd.MultiIndex.from_product([sizes, counts], names=["n_params_b", "visual_tokens"])
    grid = grid.to_frame(index=False)
    error = amplitude * grid["n_params_b"] ** -alpha * grid["visual_tokens"] ** -beta + floor
    return grid.assign(error=error)


def plant_budget_law(
    amplitude, alpha, beta, gamma, floor, samples=(5e3, 2e4), counts=(1, 4, 16, 64)
):
    """Make the points of a law A N^-alpha V^-beta S^-gamma + D, on the released sizes."""
    tables = [
        plant_law(amplitude * s**-gamma, alpha, beta, floor, counts=counts).assign(samples=s)
        for s in samples
    ]
    return pd.concat(tables, ignore_index=True)
