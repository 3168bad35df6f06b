"""Standard errors of a fitted law without resampling: by curvature at the optimum and by single deletions.

Both hold a parameter on a bound fixed, so their intervals are those of the law with D at that bound:
narrower than a bootstrap's, which lets D move.
"""

import numpy as np
import pandas as pd

from vlmscale.analysis.laws.least_squares import fit_many
from vlmscale.analysis.laws.points import take_logs
from vlmscale.analysis.laws.power_law import PowerLaw, tabulate_refits

_TWO_SIDED = 1.959964  # standard errors to either side of a 95 % interval


def estimate_covariance(points: pd.DataFrame, law: PowerLaw) -> pd.DataFrame:
    """Return s^2 (J'J)^-1 of the free ones of amplitude, alpha, beta, floor; s^2 = SSE / (n - k).

    Raises LinAlgError for a design that does not determine them.
    """
    jacobian = _jacobian(points, law)
    if law.floor_bound != "interior":
        jacobian = jacobian.drop(columns="floor")
    n, k = jacobian.shape
    residual = points["error"].to_numpy(float) - law.predict_points(points)
    spread = (residual**2).sum() / (n - k)
    inverse = np.linalg.inv(jacobian.to_numpy().T @ jacobian.to_numpy())
    return pd.DataFrame(spread * inverse, index=jacobian.columns, columns=jacobian.columns)


def delta_method(points: pd.DataFrame, law: PowerLaw) -> pd.DataFrame:
    """Return columns quantity, estimate, standard_error, low, high (95 %), ratio included."""
    matrix = estimate_covariance(points, law)
    variances = dict(zip(matrix.columns, np.diag(matrix), strict=True))
    rows = [(str(name), getattr(law, name), float(v)) for name, v in variances.items()]
    slope = np.array([1 / law.beta, -law.alpha / law.beta**2])
    exponents = matrix.loc[["alpha", "beta"], ["alpha", "beta"]].to_numpy()
    rows.append(("ratio", law.ratio, float(slope @ exponents @ slope)))
    return _table(rows)


def jackknife(points: pd.DataFrame, law: PowerLaw, *, floor: float | None = None) -> pd.DataFrame:
    """Return the columns of delta_method, from the laws without each point in turn."""
    without = refit_without_each(points, floor=floor)
    n = len(without)
    variance = (n - 1) / n * ((without - without.mean()) ** 2).sum()
    return _table([(name, getattr(law, name), variance[name]) for name in without.columns])


def refit_without_each(points: pd.DataFrame, *, floor: float | None = None) -> pd.DataFrame:
    """Return the law without each point in turn: columns of tabulate_refits, one row a point."""
    log_n, log_v, y = take_logs(points)
    n = len(y)
    theta, _ = fit_many(log_n, log_v, np.tile(y, (n, 1)), 1 - np.eye(n), floor=floor)
    return tabulate_refits(theta)


def count_determined(points: pd.DataFrame, law: PowerLaw) -> int:
    """Return how many of A, alpha, B, beta, D the points determine in A N^-alpha B V^-beta + D.

    This is the rank of the Jacobian at A = B. It is at most 4 of 5: A and B act only as a product.
    """
    four = _jacobian(points, law)
    each = np.sqrt(law.amplitude)  # A = B = the root of their product
    a_and_b = np.column_stack([four["amplitude"] * each, four["amplitude"] * each])
    return int(np.linalg.matrix_rank(np.column_stack([a_and_b, four.drop(columns="amplitude")])))


def _jacobian(points: pd.DataFrame, law: PowerLaw) -> pd.DataFrame:
    log_n, log_v, _ = take_logs(points)
    x = np.exp(-law.alpha * log_n - law.beta * log_v)
    return pd.DataFrame(
        {
            "amplitude": x,
            "alpha": -law.amplitude * x * log_n,
            "beta": -law.amplitude * x * log_v,
            "floor": np.ones_like(x),
        }
    )


def _table(rows: list[tuple[str, float, float]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["quantity", "estimate", "variance"])
    error = np.sqrt(table.pop("variance").astype(float))
    return table.assign(
        standard_error=error,
        low=table["estimate"] - _TWO_SIDED * error,
        high=table["estimate"] + _TWO_SIDED * error,
    )
