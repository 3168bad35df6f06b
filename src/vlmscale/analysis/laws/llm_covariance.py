"""Sums of squares of points whose LLMs each have an offset and a slope of their own."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlmscale.analysis.laws.points import Floats

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Sums:
    """Vectors over the points with their sums by LLM, plain and times v: all that products of them need."""

    values: Floats  # (..., points)
    plain: Floats  # (..., LLMs)
    sloped: Floats  # (..., LLMs)


class Covariances:
    """W, the covariance of u + s v + e in units of the variance of e, for g pairs of ratios."""

    def __init__(self, v: Floats, llms: Numbers, ratios: Floats) -> None:
        """v: (points,). llms: (points,) numbers from 0. ratios: (g, 2), of u and of s."""
        self._v = v
        self._members = np.eye(int(llms.max()) + 1)[llms]  # (points, LLMs)
        powers = np.stack([self._members.T @ v**power for power in range(3)])  # (3, LLMs)
        gram = powers[[[0, 1], [1, 2]]].transpose(2, 0, 1)  # (LLMs, 2, 2)
        variances = ratios[:, None, :, None] ** 2 * np.eye(2)  # (g, 1, 2, 2)
        inner = np.eye(2) + variances @ gram  # (g, LLMs, 2, 2)
        self.log_det = np.linalg.slogdet(inner)[1].sum(1)  # of W, (g,)
        # a'W^-1 b = a'b - sum over LLMs of (sums of a)' shrink (sums of b), by Woodbury.
        shrink = np.linalg.solve(inner, np.broadcast_to(variances, inner.shape))
        parts = [shrink[..., 0, 0], shrink[..., 0, 1], shrink[..., 1, 1]]
        self._shrink = np.concatenate(parts, axis=1).T  # (3 LLMs, g)

    def sums(self, values: Floats) -> Sums:
        """Return the sums of vectors (..., points)."""
        return Sums(values, values @ self._members, (values * self._v) @ self._members)

    def product(self, a: Sums, b: Sums, kept: Numbers | slice = slice(None)) -> Floats:
        """Return a'W^-1 b for the kept pairs of ratios, (..., kept)."""
        crossed = a.plain * b.sloped + a.sloped * b.plain
        parts = np.concatenate([a.plain * b.plain, crossed, a.sloped * b.sloped], axis=-1)
        whole = (a.values * b.values).sum(-1, keepdims=True)
        return np.asarray(whole - parts @ self._shrink[:, kept])
