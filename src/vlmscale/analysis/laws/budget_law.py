"""One law of LLM size, visual tokens and training budget, beside rivals.

error = A N^-alpha V^-beta S^-gamma + D, where S is the number of samples that stage 2 trains on. N in
billions, V visual tokens; n, v and s below are ln N, ln V and ln S less their means.

| form             | error                                                       |
|------------------|-------------------------------------------------------------|
| product          | A N^-alpha V^-beta S^-gamma + D                              |
| no budget        | A N^-alpha V^-beta + D                                       |
| added budget     | A N^-alpha V^-beta + B S^-gamma + D, as Hoffmann et al. 2022 |
| sum              | A N^-alpha + B V^-beta + C S^-gamma + D                      |
| moving exponents | A N^-alpha V^-beta S^-gamma exp(-a s n - b s v) + D          |
| log-linear       | c - alpha ln N - beta ln V - gamma ln S                      |

All are fitted by least squares on the error. Amplitudes and D are not negative, and exponents lie in
[0, 1]. With moving exponents, N's is alpha + a s and V's beta + b s, so that V* depends on S; where the
budget is a factor or a summand of its own, V* does not.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.optimize import least_squares, nnls

from vlmscale.analysis.laws.least_squares import EXPONENTS, solve_linear_part
from vlmscale.analysis.laws.points import COLUMNS, Floats, check_points, name_bound
from vlmscale.analysis.laws.power_law import FloorBound
from vlmscale.errors import UserError

SAMPLES = "samples"  # the column of S
_AXIS = np.linspace(*EXPONENTS, 9) ** 2  # of the grid for the start, denser towards 0
_TIGHT = {"xtol": 1e-14, "ftol": 1e-14, "gtol": 1e-14, "x_scale": 0.05}
_MOVES = 0.5  # the most by which an exponent moves with one unit of ln S


@dataclass(frozen=True)
class BudgetLaw:
    """A fitted law; N in billions, V visual tokens, S samples of stage 2, error in [0, 1]."""

    amplitude: float
    alpha: float
    beta: float
    gamma: float
    floor: float  # D
    floor_bound: FloorBound
    sse: float
    points: int

    @property
    def ratio(self) -> float:
        """Alpha / beta, as of PowerLaw."""
        return self.alpha / self.beta if self.beta > 0 else np.inf

    @property
    def bounds(self) -> str:
        """The bounds that the exponents and D reached, in words; "" for none."""
        exponents = {name: getattr(self, name) for name in ("alpha", "beta", "gamma")}
        reached = {name: name_bound(value, *EXPONENTS) for name, value in exponents.items()}
        values, ends = {**exponents, "D": self.floor}, {**reached, "D": self.floor_bound}
        return "; ".join(
            f"{name} at its {end} bound, {values[name]:.4g}"
            for name, end in ends.items()
            if end in ("lower", "upper")
        )

    def predict(self, n_params_b: Floats, visual_tokens: Floats, samples: Floats) -> Floats:
        """Return the error at each (N in billions, V, S)."""
        n, v, s = (np.asarray(x, float) for x in (n_params_b, visual_tokens, samples))
        scale = n**-self.alpha * v**-self.beta * s**-self.gamma
        return np.asarray(self.amplitude * scale + self.floor)


@dataclass(frozen=True)
class _Rival:
    """A form: exponents enter its columns, whose amplitudes are solved for."""

    parameters: str
    exponents: int
    columns: Callable[[Floats, Floats], list[Floats]]  # (exponents, logs (3, n)) -> columns (n,)
    moves: int = 0  # the last exponents, which may be negative


def _decay(exponents: Floats, logs: Floats) -> Floats:
    return np.asarray(np.exp(-exponents @ logs))


def _move(e: Floats, logs: Floats) -> list[Floats]:
    n, v, s = logs - logs.mean(1)[:, None]
    return [_decay(e[:3], logs) * np.exp(-e[3] * s * n - e[4] * s * v)]


_RIVALS = {
    "no budget": _Rival("A alpha beta D", 2, lambda e, logs: [_decay(e, logs[:2])]),
    "added budget": _Rival(
        "A alpha beta B gamma D",
        3,
        lambda e, logs: [_decay(e[:2], logs[:2]), np.exp(-e[2] * logs[2])],
    ),
    "sum": _Rival("A alpha B beta C gamma D", 3, lambda e, logs: list(np.exp(-e[:, None] * logs))),
    "moving exponents": _Rival("A alpha beta gamma D a b", 5, _move, moves=2),
}


def take_budget_logs(points: pd.DataFrame) -> tuple[Floats, Floats]:
    """Return ln N, ln V and ln S (3, points), and the errors (points,).

    Raises UserError as check_points does, and where S is missing, not positive or the same everywhere.
    """
    if SAMPLES not in points:
        raise UserError(f"column {SAMPLES!r} is missing: the samples that stage 2 trained on")
    samples = points[SAMPLES].to_numpy(float)
    if not (np.isfinite(samples) & (samples > 0)).all():
        raise UserError(f"column {SAMPLES!r} must hold positive numbers")
    if len(np.unique(samples)) < 2:
        raise UserError("all points have one training budget; a law of it needs at least two")
    # Points of two budgets are no repeats.
    check_points(points if "budget" in points else points.assign(budget=samples))
    sizes = np.stack([points[name].to_numpy(float) for name in (*COLUMNS[:2], SAMPLES)])
    return np.log(sizes), points["error"].to_numpy(float)


def fit_budget_law(points: pd.DataFrame, *, floor: float | None = None) -> BudgetLaw:
    """Fit the law to `points` by least squares on the error.

    points: columns n_params_b (N in billions), visual_tokens (V), samples (S), error. floor: a fixed D; by
    default 0 <= D <= smallest error. Raises UserError as take_budget_logs does.
    """
    logs, y = take_budget_logs(points)
    low, high = (0.0, float(y.min())) if floor is None else (floor, floor)
    theta = fit_exponents(logs, y, low, high)
    amplitude, alpha, beta, gamma, d = map(float, theta)
    law = BudgetLaw(amplitude, alpha, beta, gamma, d, "fixed", 0.0, len(y))
    bound: FloorBound = name_bound(d, low, high) if floor is None else "fixed"
    missed = law.predict(*np.exp(logs)) - y
    return replace(law, floor_bound=bound, sse=float(missed @ missed))


def fit_exponents(logs: Floats, y: Floats, low: float, high: float) -> Floats:
    """Return (A, exponents, D) of A exp(-exponents logs) + D, low <= D <= high, by least squares.

    logs: (k, n), of k exponents. y: (n,).
    """
    ends = np.array([[low]]), np.array([[high]])

    def solve(exponents: Floats) -> tuple[Floats, Floats, Floats]:
        x = np.exp(-np.atleast_2d(exponents) @ logs)
        a, d, sse = solve_linear_part(x, y[None], np.ones((1, len(y))), *ends)
        return a[0], d[0], sse[0]

    def residual(exponents: Floats) -> Floats:
        a, d, _ = solve(exponents)
        return a[0] * np.exp(-exponents @ logs) + d[0] - y

    grid = np.stack(np.meshgrid(*[_AXIS] * len(logs), indexing="ij"), -1).reshape(-1, len(logs))
    start = grid[int(solve(grid)[2].argmin())].clip(1e-6, 1 - 1e-6)
    found = least_squares(residual, start, bounds=EXPONENTS, **_TIGHT).x
    found = _settle(found, residual)
    a, d, _ = solve(found)
    return np.array([a[0], *found, d[0]])


def _settle(exponents: Floats, residual: Callable[[Floats], Floats]) -> Floats:
    """Put exponents that the search left next to a bound on it, where that fits as well."""
    rounded = np.where(exponents < 1e-6, 0.0, np.where(exponents > 1 - 1e-6, 1.0, exponents))
    before, after = (float((residual(e) ** 2).sum()) for e in (exponents, rounded))
    return rounded if after <= before * (1 + 1e-9) + 1e-20 else exponents


def compare_budget_forms(points: pd.DataFrame) -> pd.DataFrame:
    """Fit every form to `points` (as in fit_budget_law): one row a form, best AICc first.

    Columns form, parameters (their number), sse, aicc, bic; fitted, the parameters in words; and a and b of
    moving exponents, NaN elsewhere. AICc and BIC count the variance; AICc is infinite for too few points.
    """
    logs, y = take_budget_logs(points)
    law = fit_budget_law(points)
    names = ["A", "alpha", "beta", "gamma", "D"]
    values = [law.amplitude, law.alpha, law.beta, law.gamma, law.floor]
    rows = [_judge("product", names, values, law.sse, len(y))]
    for form, rival in _RIVALS.items():
        if rival.moves and len(y) <= len(rival.parameters.split()):
            continue
        exponents, amplitudes, sse = _fit_rival(rival, logs, y, law)
        by_name = _name_parameters(rival, exponents, amplitudes)
        rows.append(_judge(form, list(by_name), list(by_name.values()), sse, len(y)))
    design = np.column_stack([np.ones_like(y), *-logs])
    linear, *_ = np.linalg.lstsq(design, y, rcond=None)
    sse = float(((design @ linear - y) ** 2).sum())
    rows.append(_judge("log-linear", ["c", "alpha", "beta", "gamma"], linear.tolist(), sse, len(y)))
    return pd.DataFrame(rows).sort_values("aicc", ignore_index=True, kind="stable")


def _fit_rival(
    rival: _Rival, logs: Floats, y: Floats, law: BudgetLaw
) -> tuple[Floats, Floats, float]:
    """Return exponents, amplitudes with D, and the sum of squares. law: where moving exponents start."""

    def solve(exponents: Floats) -> tuple[Floats, Floats]:
        design = np.column_stack([*rival.columns(exponents, logs), np.ones_like(y)])
        amplitudes = nnls(design, y)[0]
        return amplitudes, design @ amplitudes - y

    plain = rival.exponents - rival.moves
    starts = np.stack(np.meshgrid(*[_AXIS[1::2]] * plain, indexing="ij"), -1).reshape(-1, plain)
    if rival.moves:
        of_law = [law.alpha, law.beta, law.gamma, *[0.0] * rival.moves]
        starts = np.array([of_law])
    squares = [float((solve(start)[1] ** 2).sum()) for start in starts]
    low = np.r_[np.zeros(plain), np.full(rival.moves, -_MOVES)]
    high = np.r_[np.ones(plain), np.full(rival.moves, _MOVES)]
    start = starts[int(np.argmin(squares))].clip(low + 1e-6, high - 1e-6)
    found = least_squares(lambda e: solve(e)[1], start, bounds=(low, high), **_TIGHT).x
    found = np.where(np.abs(found) < 1e-6, 0.0, found)
    amplitudes, missed = solve(found)
    return found, amplitudes, float(missed @ missed)


def _name_parameters(rival: _Rival, exponents: Floats, amplitudes: Floats) -> dict[str, float]:
    """Return the parameters by name, in the order of rival.parameters."""
    names = rival.parameters.split()
    of_amplitudes = [name for name in names if name in ("A", "B", "C", "D")]
    of_exponents = [name for name in names if name not in of_amplitudes]
    values = dict(zip(of_amplitudes, amplitudes.tolist(), strict=True))
    values |= dict(zip(of_exponents, exponents.tolist(), strict=True))
    return {name: values[name] for name in names}


def _judge(
    form: str, names: list[str], values: list[float], sse: float, points: int
) -> dict[str, float | str]:
    k = len(names) + 1
    deviance = points * float(np.log(sse / points)) if sse > 0 else -np.inf
    spare = points - k - 1
    by_name = dict(zip(names, values, strict=True))
    return {
        "form": form,
        "parameters": len(names),
        "sse": sse,
        "aicc": deviance + 2 * k + 2 * k * (k + 1) / spare if spare > 0 else np.inf,
        "bic": deviance + k * float(np.log(points)),
        "fitted": ", ".join(f"{name} {value:.4g}" for name, value in by_name.items()),
        **{name: by_name.get(name, np.nan) for name in ("alpha", "beta", "a", "b")},
    }
