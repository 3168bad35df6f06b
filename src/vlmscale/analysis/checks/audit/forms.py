"""The claim on the form of the law, and how far a true product law falls behind the best of the forms.

Forms are many and points few, so the best of them often beats a true law. The threshold is what a true
product law exceeds in 5 % of simulated score tables.
"""

import numpy as np
import pandas as pd

from vlmscale.analysis.checks.audit.evidence import Evidence
from vlmscale.analysis.checks.audit.registry import released
from vlmscale.analysis.checks.engine import Finding
from vlmscale.analysis.laws.forms import FORMS, compare_forms, exceed_best_form
from vlmscale.analysis.laws.points import Floats
from vlmscale.analysis.laws.power_law import fit_power_law

OFFSETS = (0.0, 0.25, 0.5, 0.75)  # shares of the noise that the points of an LLM have in common
ALLOWED = 0.25  # the share that decides the claim


def simulate_excess(points: pd.DataFrame, *, offset: float, tables: int, seed: int) -> Floats:
    """Simulate `points` under their own product law; return exceed_best_form of each table.

    Errors are the law's with normal noise, whose variance is that of the law's residuals. offset: the
    share of it that all points of an LLM have in common.
    """
    law = fit_power_law(points)
    rng = np.random.default_rng(seed)
    fitted = law.predict_points(points)
    deviation = np.sqrt(law.sse / (len(points) - 3 - (law.floor_bound == "interior")))
    llm = pd.factorize(points["n_params_b"])[0]
    found = []
    for _ in range(tables):
        common, own = rng.standard_normal(llm.max() + 1)[llm], rng.standard_normal(len(points))
        noise = np.sqrt(offset) * common + np.sqrt(1 - offset) * own
        found.append(
            exceed_best_form(points.assign(error=(fitted + deviation * noise).clip(1e-3, 1)))
        )
    return np.array(found)


@released("C05", again=True)
def rank_forms(evidence: Evidence) -> Finding:
    listed, excess = [], []
    simulated = evidence.form_excess[evidence.form_excess["offset"] == ALLOWED].set_index("family")
    for name, suite in (("reasoning", evidence.reasoning), ("ocr", evidence.ocr)):
        excess.append(exceed_best_form(suite.points))
        row = simulated.loc[name]
        listed.append(
            f"{name}: best is {compare_forms(suite.points)['form'][0]}, by {excess[-1]:.1f}, which a true "
            f"product law reaches with p {row['p']:.2g} (one in twenty exceeds {row['q95']:.1f})"
        )
    return Finding(
        excess[0],
        note=f"{len(FORMS)} forms (forms.parquet). {'; '.join(listed)}. Simulated with a quarter of the "
        "noise common to an LLM's points; the residuals show no such part.",
    )
