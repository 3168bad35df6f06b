"""The paper's law beside its rivals: which form fits best, and which predicts best?

All are fitted by least squares on the error itself, except `product, logs`, whose residuals are those of
ln(error), and are compared on the error. N in billions, V visual tokens.

| form                   | error                                      |
|------------------------|--------------------------------------------|
| product                | A N^-a V^-b                                |
| product, D             | A N^-a V^-b + D, 0 <= D <= smallest error  |
| product, logs          | A N^-a V^-b, fitted on ln(error)           |
| product, interaction   | A N^-a V^-(b + g ln N)                     |
| log-linear             | c - a ln N - b ln V                        |
| log-linear, interaction| c - a ln N - b ln V - g ln N ln V          |
| logit-linear           | 1 / (1 + exp(-(c - a ln N - b ln V)))      |
| additive               | A N^-a + B V^-b, A and B not negative      |
| additive, D            | A N^-a + B V^-b + D, D not negative        |
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import least_squares, nnls
from scipy.special import expit, logit

from vlmscale.analysis.laws.least_squares import fit_linear, fit_many
from vlmscale.analysis.laws.points import Floats, check_points, take_logs

_ADDITIVE_STARTS = (0.01, 0.03, 0.06, 0.1, 0.15, 0.22, 0.32, 0.45, 0.7, 1.2)

Predict = Callable[[Floats, Floats, Floats], Floats]  # (parameters, ln N, ln V) -> error
Fit = Callable[[Floats, Floats, Floats], Floats]  # (ln N, ln V, error) -> parameters


@dataclass(frozen=True)
class Form:
    name: str
    parameters: str  # their names
    fit: Fit
    predict: Predict
    in_logs: bool = False  # whether it is fitted on ln(error)


def _product(floor: float | None) -> Fit:
    def fit(log_n: Floats, log_v: Floats, y: Floats) -> Floats:
        theta, _ = fit_many(log_n, log_v, y[None], np.ones((1, len(y))), floor=floor)
        return theta[0] if floor is None else theta[0, :3]

    return fit


def _predict_product(p: Floats, log_n: Floats, log_v: Floats) -> Floats:
    return np.asarray(p[0] * np.exp(-p[1] * log_n - p[2] * log_v) + (p[3] if len(p) > 3 else 0.0))


def _fit_logs(log_n: Floats, log_v: Floats, y: Floats) -> Floats:
    if (y <= 0).any():
        return np.full(3, np.nan)
    c, a, b = fit_linear(log_n, log_v, np.log(y))
    return np.array([np.exp(c), a, b])


def _predict_linear(p: Floats, log_n: Floats, log_v: Floats) -> Floats:
    linear = p[0] - p[1] * log_n - p[2] * log_v
    return np.asarray(linear - p[3] * log_n * log_v if len(p) > 3 else linear)


def _fit_linear_interaction(log_n: Floats, log_v: Floats, y: Floats) -> Floats:
    return fit_linear(log_n, log_v, y, -log_n * log_v)


def _fit_logit(log_n: Floats, log_v: Floats, y: Floats) -> Floats:
    start = fit_linear(log_n, log_v, logit(np.clip(y, 1e-6, 1 - 1e-6)))
    return _least_squares(_predict_logit, start, log_n, log_v, y)


def _predict_logit(p: Floats, log_n: Floats, log_v: Floats) -> Floats:
    return np.asarray(expit(_predict_linear(p, log_n, log_v)))


def _fit_product_interaction(log_n: Floats, log_v: Floats, y: Floats) -> Floats:
    start = np.append(_product(0.0)(log_n, log_v, y), 0.0)
    return _least_squares(_predict_product_interaction, start, log_n, log_v, y)


def _predict_product_interaction(p: Floats, log_n: Floats, log_v: Floats) -> Floats:
    return np.asarray(p[0] * np.exp(-p[1] * log_n - (p[2] + p[3] * log_n) * log_v))


def _additive(*, floor: bool) -> Fit:
    """Return a fit by variable projection: A, B and D by non-negative least squares at given exponents."""

    def linear(exponents: Floats, log_n: Floats, log_v: Floats, y: Floats) -> tuple[Floats, Floats]:
        columns = [np.exp(-exponents[0] * log_n), np.exp(-exponents[1] * log_v)]
        design = np.column_stack([*columns, np.ones_like(y)] if floor else columns)
        solution = nnls(design, y)[0]
        return solution, design @ solution - y

    def fit(log_n: Floats, log_v: Floats, y: Floats) -> Floats:
        # The sum of squares has more than one valley: the best of a grid leads into the deepest.
        starts = [(a, b) for a in _ADDITIVE_STARTS for b in _ADDITIVE_STARTS]
        residuals = np.stack([linear(np.array(start), log_n, log_v, y)[1] for start in starts])
        exponents = least_squares(
            lambda e: linear(e, log_n, log_v, y)[1],
            starts[int((residuals**2).sum(1).argmin())],
            bounds=([1e-6, 1e-6], [3, 3]),
            x_scale=0.05,
            xtol=1e-14,
            ftol=1e-14,
            gtol=1e-14,
        ).x
        a, b, *d = linear(exponents, log_n, log_v, y)[0]
        return np.array([a, exponents[0], b, exponents[1], *d])

    return fit


def _predict_additive(p: Floats, log_n: Floats, log_v: Floats) -> Floats:
    size, tokens = p[0] * np.exp(-p[1] * log_n), p[2] * np.exp(-p[3] * log_v)
    return np.asarray(size + tokens + (p[4] if len(p) > 4 else 0.0))


def _least_squares(
    predict: Predict, start: Floats, log_n: Floats, log_v: Floats, y: Floats
) -> Floats:
    def residual(p: Floats) -> Floats:
        return predict(p, log_n, log_v) - y

    return np.asarray(least_squares(residual, start, xtol=1e-14, ftol=1e-14, gtol=1e-14).x)


FORMS = (
    Form("product", "A alpha beta", _product(0.0), _predict_product),
    Form("product, D", "A alpha beta D", _product(None), _predict_product),
    Form("product, logs", "A alpha beta", _fit_logs, _predict_product, in_logs=True),
    Form(
        "product, interaction",
        "A alpha beta gamma",
        _fit_product_interaction,
        _predict_product_interaction,
    ),
    Form("log-linear", "c a b", fit_linear, _predict_linear),
    Form("log-linear, interaction", "c a b g", _fit_linear_interaction, _predict_linear),
    Form("logit-linear", "c a b", _fit_logit, _predict_logit),
    Form("additive", "A alpha B beta", _additive(floor=False), _predict_additive),
    Form("additive, D", "A alpha B beta D", _additive(floor=True), _predict_additive),
)


def compare_forms(points: pd.DataFrame) -> pd.DataFrame:
    """Fit every form to `points` (as in fit_power_law): one row a form, best AICc first.

    Columns: form, parameters (their number), sse, aicc, bic; rmse_left_out_{point, size, count}, leaving
    out each point, N or V in turn; and for the largest N, predicted from the others, rmse_largest_size and
    {mean, max}_percent_largest_size, in percent of the error. A prediction from a single N or V is missing.
    sse is of errors. AICc and BIC are those of the likelihood that the form maximises: normal errors, or
    log-normal ones where it is fitted on ln(error); such a form is missing where an error is 0.
    """
    check_points(points)
    log_n, log_v, y = take_logs(points)
    groups = {"point": np.arange(len(y)), "size": log_n, "count": log_v}
    largest = log_n == log_n.max()
    rows = []
    for form in FORMS:
        row = {"form": form.name, **judge_form(form, log_n, log_v, y)}
        for what, values in groups.items():
            each = [values == v for v in np.unique(values)]
            row[f"rmse_left_out_{what}"] = _rmse(_left_out(form, log_n, log_v, y, each))
        missed = _left_out(form, log_n, log_v, y, [largest])[largest]
        # An error of 0 has no percent.
        relative = 100 * np.abs(missed) / np.where(y[largest] > 0, y[largest], np.nan)
        row["rmse_largest_size"] = _rmse(missed)
        row["mean_percent_largest_size"] = float(relative.mean())
        row["max_percent_largest_size"] = float(relative.max())
        rows.append(row)
    return pd.DataFrame(rows).sort_values("aicc", ignore_index=True)


def exceed_best_form(points: pd.DataFrame) -> float:
    """Return the AICc of "product, D" less that of the best form."""
    aicc = {form.name: judge_form(form, *take_logs(points))["aicc"] for form in FORMS}
    return aicc["product, D"] - min(value for value in aicc.values() if not np.isnan(value))


def predict_left_out(form: Form, points: pd.DataFrame, groups: Floats) -> Floats:
    """Return prediction minus error of each point from a fit without its group, (points,).

    groups: a number for each point. NaN without a fit, which needs two N, two V and five points.
    """
    return _left_out(form, *take_logs(points), [groups == each for each in np.unique(groups)])


def _left_out(
    form: Form, log_n: Floats, log_v: Floats, y: Floats, groups: list[np.ndarray]
) -> Floats:
    """Return prediction minus error of each point, from a fit without its group; NaN without a fit."""
    missed = np.full_like(y, np.nan)
    for out in groups:
        rest = ~out
        if min(np.unique(v[rest]).size for v in (log_n, log_v)) < 2 or rest.sum() < 5:
            continue
        fitted = form.fit(log_n[rest], log_v[rest], y[rest])
        missed[out] = form.predict(fitted, log_n[out], log_v[out]) - y[out]
    return missed


def _rmse(missed: Floats) -> float:
    return float(np.sqrt(np.mean(missed**2)))


def judge_form(form: Form, log_n: Floats, log_v: Floats, y: Floats) -> dict[str, float]:
    """Return the number of parameters, sum of squares, AICc and BIC of a form; k counts the variance.

    AICc is infinite for n <= k + 1.
    """
    fitted = form.predict(form.fit(log_n, log_v, y), log_n, log_v)
    n, k = len(y), len(form.parameters.split()) + 1
    deviance = _deviance(form, fitted, y)
    aicc = deviance + 2 * k + 2 * k * (k + 1) / (n - k - 1) if n > k + 1 else np.inf
    bic = deviance + k * float(np.log(n))
    return {"parameters": k - 1, "sse": float(((fitted - y) ** 2).sum()), "aicc": aicc, "bic": bic}


def _deviance(form: Form, fitted: Floats, y: Floats) -> float:
    """Return -2 ln(likelihood), less n (1 + ln 2 pi); minus infinity for a form that misses nothing."""
    if np.isnan(fitted).any():
        return np.nan
    missed = np.log(fitted / y) if form.in_logs else fitted - y
    density = 2 * float(np.log(y).sum()) if form.in_logs else 0.0  # of y, where ln(y) is normal
    variance = float(np.mean(missed**2))
    return len(y) * float(np.log(variance)) + density if variance > 0 else -np.inf
