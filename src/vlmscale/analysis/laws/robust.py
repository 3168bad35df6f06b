"""The law by losses that resist outliers: Huber or absolute, of residuals of ln(error).

Hoffmann et al. 2022 (arXiv 2203.15556) use a Huber loss of delta 1e-3. The sum of losses is minimised, to
tight tolerances: a mean over small residuals stops early (Besiroglu et al. 2024, arXiv 2404.10102).
"""

from typing import Literal

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from vlmscale.analysis.laws.points import Floats, check_positive, take_logs
from vlmscale.analysis.laws.power_law import PowerLaw, build_law, fit_power_law

Loss = Literal["huber", "absolute"]

_ZERO = 1e-6  # error units
_ABSOLUTE = 1e-8  # the Huber delta below which the loss is absolute to all digits shown


def fit_robust(
    points: pd.DataFrame, *, loss: Loss = "huber", delta: float = 1e-3, floor: float | None = None
) -> PowerLaw:
    """Fit the law by the Huber loss of ln(error) with threshold `delta`, or by absolute residuals.

    points, floor: as in fit_power_law. The result's sum of squares is that of the errors themselves, for
    comparison with other fits. Raises UserError for points that cannot be fitted and for an error of 0.
    """
    start = fit_power_law(points, floor=floor)
    log_n, log_v, y = take_logs(points)
    check_positive(points)
    free = floor is None

    def predict(theta: Floats) -> Floats:
        d = theta[3] if free else floor
        return np.asarray(np.exp(theta[0] - theta[1] * log_n - theta[2] * log_v) + d)

    def residual(theta: Floats) -> Floats:
        return np.asarray(np.log(predict(theta) / y))

    highest = float(y.min())
    theta = np.array([np.log(max(start.amplitude, _ZERO)), start.alpha, start.beta, start.floor])
    low, high = np.array([-np.inf, 0, 0, 0]), np.array([np.inf, 1, 1, highest])
    theta, low, high = (v[: 3 + free] for v in (np.clip(theta, low, high), low, high))
    # Absolute loss has no gradient to follow: approach it by ever smaller Huber thresholds.
    deltas = [delta] if loss == "huber" else np.geomspace(1e-2, _ABSOLUTE, 13).tolist()
    for threshold in deltas:
        found = least_squares(
            residual,
            theta,
            bounds=(low, high),
            loss="huber",
            f_scale=threshold,
            x_scale=np.array([0.5, 0.05, 0.02, 0.1])[: 3 + free],
            xtol=1e-15,
            ftol=1e-15,
            gtol=1e-15,
            max_nfev=2000,
        )
        theta = found.x
    # The solver stays inside its bounds by a hair.
    theta = np.where(theta - low < _ZERO, low, np.where(high - theta < _ZERO, high, theta))
    amplitude, alpha, beta, d = (*theta, floor)[:4]
    parameters = np.array([np.exp(amplitude), alpha, beta, d])
    return build_law(parameters, points, floor=floor, converged=bool(found.status > 0))
