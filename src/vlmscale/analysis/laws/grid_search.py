"""The paper's own fit (appendix A.2): the least sum of squares over a grid of parameters.

The released search visits a random fifth of its grid without a seed, so its result is random. Here the
sum of squares of every node is computed, so the probability of each outcome follows without simulation.
Exponents depend on the grid's range of D as much as on the points: read `edges` with every result.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from math import prod

import numpy as np
import pandas as pd

from vlmscale.analysis.laws.points import Bound, Floats, check_points, name_bound, take_logs
from vlmscale.errors import UserError

Axis = tuple[float, float, int]

_LEFT_OUT = 1e-6  # probability of the outcomes that list_outcomes does not list


@dataclass(frozen=True)
class Ranges:
    """A grid: (lowest, highest, number of nodes) of each parameter, evenly spaced."""

    amplitude: Axis  # A times B, of which the paper's law is a product
    alpha: Axis
    beta: Axis
    floor: Axis  # D

    @property
    def axes(self) -> tuple[Floats, ...]:
        """Return the values of amplitude, alpha, beta and floor."""
        return tuple(np.linspace(*axis) for axis in astuple(self))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(nodes for _, _, nodes in astuple(self))


# The code released with the paper; it stops after a share of 0.2.
RELEASED = Ranges((0.2, 0.7, 50), (0.0, 0.2, 100), (0.0, 0.05, 100), (0.0, 0.3, 10))
# The text of the appendix. It names no numbers of nodes; these are the released ones.
APPENDIX = Ranges((0.0, 1.0, 50), (0.0, 0.1, 100), (0.0, 0.1, 100), (0.0, 1.0, 10))


@dataclass(frozen=True)
class GridFit:
    """The best visited node; units as in PowerLaw."""

    amplitude: float
    alpha: float
    beta: float
    floor: float
    sse: float
    nodes: int  # visited
    edges: dict[str, Bound]  # of the grid, by parameter


def enumerate_grid(points: pd.DataFrame, ranges: Ranges) -> Floats:
    """Return the sum of squares of every node, (amplitude, alpha, beta, floor).

    points: as in fit_power_law.
    """
    check_points(points)
    log_n, log_v, y = take_logs(points)
    amplitude, alpha, beta, floor = ranges.axes
    y_mean = y.mean()
    y_rest = y - y_mean
    sse = np.empty(ranges.shape)
    scaled = amplitude[:, None]  # against beta
    for i, exponent in enumerate(alpha):  # one at a time bounds the memory
        x = np.exp(-exponent * log_n - np.outer(beta, log_v))
        x_mean = x.mean(1)
        x_rest = x - x_mean[:, None]
        # Expand the square about the means: about zero, a small sum would lose digits.
        about = scaled**2 * (x_rest**2).sum(1) - 2 * scaled * (x_rest @ y_rest) + y_rest @ y_rest
        shift = (scaled * x_mean - y_mean)[..., None] + floor
        sse[:, i] = about[..., None] + len(y) * shift**2
    return np.maximum(sse, 0.0, out=sse)  # rounding, where a node meets all points


def grid_search(
    points: pd.DataFrame, ranges: Ranges, *, share: float = 1.0, seed: int = 0
) -> GridFit:
    """Find the node of least sum of squares; of equal ones the first in C order.

    points: as in fit_power_law. share: of the nodes to visit, drawn with `seed` without replacement.
    """
    visited = _visited(share, ranges)
    sse = enumerate_grid(points, ranges).ravel()
    if share < 1:
        drawn = np.random.default_rng(seed).choice(sse.size, visited, replace=False, shuffle=False)
        drawn.sort()
        best = drawn[sse[drawn].argmin()]
    else:
        best = sse.argmin()
    where = [int(i) for i in np.unravel_index(best, ranges.shape)]
    a, alpha, beta, d = (float(axis[i]) for axis, i in zip(ranges.axes, where, strict=True))
    at = zip(fields(ranges), where, ranges.shape, strict=True)
    edges = {field.name: name_bound(i, 0, nodes - 1) for field, i, nodes in at}
    return GridFit(a, alpha, beta, d, float(sse[best]), visited, edges)


def list_outcomes(points: pd.DataFrame, ranges: Ranges, *, share: float) -> pd.DataFrame:
    """Return the exact probability of each outcome of grid_search with a random seed.

    Columns amplitude, alpha, beta, floor, sse, probability; best node first, until the remaining nodes
    together have a probability below 1e-6. points, share: as in grid_search.
    """
    visited, total = _visited(share, ranges), prod(ranges.shape)
    sse = enumerate_grid(points, ranges).ravel()
    # The node of rank r (from 0) wins when no better one is drawn, and it is.
    rank = np.arange(total - visited + 1)
    missed = np.cumprod((total - visited - rank) / (total - rank))  # ranks 0 to r
    before = np.concatenate([[1.0], missed[:-1]])
    listed = int((before >= _LEFT_OUT).sum())
    order = sse.argsort(kind="stable")[:listed]
    nodes = zip(fields(ranges), ranges.axes, np.unravel_index(order, ranges.shape), strict=True)
    table = pd.DataFrame({field.name: axis[i] for field, axis, i in nodes})
    return table.assign(sse=sse[order], probability=(before - missed)[:listed])


def rank_node(
    points: pd.DataFrame, ranges: Ranges, parameters: Sequence[float]
) -> tuple[int, float]:
    """Return the rank (1 is best, ties share one) and sum of squares of the node nearest to `parameters`.

    parameters: amplitude, alpha, beta, floor; values outside a range belong to its outermost node.
    """
    where = tuple(
        int(np.abs(axis - value).argmin())
        for axis, value in zip(ranges.axes, parameters, strict=True)
    )
    sse = enumerate_grid(points, ranges)
    return int((sse < sse[where]).sum()) + 1, float(sse[where])


def _visited(share: float, ranges: Ranges) -> int:
    if not 0 < share <= 1:
        raise UserError(f"grid search: share is {share}; give a number above 0, at most 1")
    return max(1, round(share * prod(ranges.shape)))
