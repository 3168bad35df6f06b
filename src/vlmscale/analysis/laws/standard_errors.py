"""Standard errors of a fitted law without resampling: by curvature at the optimum and by deletions.

Intervals are Student's, and hold the law's D fixed where it is on a bound.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from vlmscale.analysis.laws.least_squares import fit_many
from vlmscale.analysis.laws.points import take_logs
from vlmscale.analysis.laws.power_law import PowerLaw, tabulate_refits


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
    """Return columns quantity, estimate, standard_error, low, high (95 %), ratio included.

    Takes points for independent, which those of an LLM hardly are; n - k degrees of freedom.
    """
    matrix = estimate_covariance(points, law)
    variances = dict(zip(matrix.columns, np.diag(matrix), strict=True))
    rows = [(str(name), getattr(law, name), float(v)) for name, v in variances.items()]
    slope = np.array([1 / law.beta, -law.alpha / law.beta**2])
    exponents = matrix.loc[["alpha", "beta"], ["alpha", "beta"]].to_numpy()
    rows.append(("ratio", law.ratio, float(slope @ exponents @ slope)))
    return _table(rows, len(points) - len(matrix))


def jackknife(points: pd.DataFrame, law: PowerLaw) -> pd.DataFrame:
    """Return the columns of delta_method from the laws without each LLM in turn.

    With two sizes, without each point. One degree of freedom less than there are LLMs or points.
    """
    units = points["n_params_b"] if points["n_params_b"].nunique() > 2 else points.index
    without = refit_without_each(points, pd.factorize(units)[0])
    n = len(without)
    variance = (n - 1) / n * ((without - without.mean()) ** 2).sum()
    return _table([(name, getattr(law, name), variance[name]) for name in without.columns], n - 1)


def refit_without_each(points: pd.DataFrame, units: NDArray[np.int64]) -> pd.DataFrame:
    """Return the law without each unit in turn: columns of tabulate_refits, one row a unit.

    units: the number, from 0, of each point's unit.
    """
    log_n, log_v, y = take_logs(points)
    kept = (units != np.arange(units.max() + 1)[:, None]).astype(float)
    return tabulate_refits(fit_many(log_n, log_v, np.ones_like(kept) * y, kept)[0])


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


def _table(rows: list[tuple[str, float, float]], df: int) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["quantity", "estimate", "variance"])
    error = np.sqrt(table.pop("variance").astype(float))
    reach = stdtrit(df, 0.975) * error
    return table.assign(
        standard_error=error, low=table["estimate"] - reach, high=table["estimate"] + reach
    )
