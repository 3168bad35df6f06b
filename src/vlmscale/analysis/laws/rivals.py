"""The form that describes a table clearly better than the law does, for figures to show beside it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from vlmscale.analysis.laws.forms import FORMS, Form, judge_form
from vlmscale.analysis.laws.points import Floats, take_logs

_LAW = "product, D"
# In AICc; a model so much worse has essentially no support (Burnham and Anderson 2002, section 2.6).
CLEARLY = 10.0


@dataclass(frozen=True)
class Rival:
    """A form fitted to the points of a law."""

    form: Form
    parameters: Floats
    gain: float  # in AICc, over the law

    def predict(self, n_params_b: ArrayLike, visual_tokens: ArrayLike) -> Floats:
        """Return the error at each (N in billions, V)."""
        log_n, log_v = np.log(n_params_b), np.log(visual_tokens)
        return self.form.predict(self.parameters, *np.broadcast_arrays(log_n, log_v))


def find_rival(points: pd.DataFrame) -> Rival | None:
    """Return the form with the best AICc, where it beats the law by more than CLEARLY; else None.

    points: as for fit_power_law.
    """
    logs = take_logs(points)
    aicc = {form.name: judge_form(form, *logs)["aicc"] for form in FORMS}
    best = min(
        (form for form in FORMS if np.isfinite(aicc[form.name])),
        key=lambda form: aicc[form.name],
        default=None,
    )
    if best is None or not np.isfinite(aicc[_LAW]) or aicc[_LAW] - aicc[best.name] <= CLEARLY:
        return None
    return Rival(best, best.fit(*logs), aicc[_LAW] - aicc[best.name])
