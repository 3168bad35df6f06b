"""Claims on laws beyond the cells and the method they were fitted on, decided by a study."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from vlmscale.analysis.checks.audit.evidence import Evidence, Suite
from vlmscale.analysis.checks.audit.registry import trained
from vlmscale.analysis.checks.audit.study import PAPER_METHODS, Study
from vlmscale.analysis.checks.engine import Finding
from vlmscale.analysis.decisions.recommend import predict_refits
from vlmscale.analysis.laws.points import Floats
from vlmscale.analysis.laws.tables import select_family_means
from vlmscale.study.selection import RELEASED_PROTOCOL

# Baselines to beat, and the paper's method with its tokens repeated.
_BASELINES = ("blind", "downsample", "random", "repeat")


@trained("C10", protocol=RELEASED_PROTOCOL)
def predict_held_out(evidence: Evidence, study: Study) -> Finding | None:
    fitted, held = _select_points(study, PAPER_METHODS)
    suite = Suite(fitted)
    if held.empty or not suite.has_law():
        return None
    sizes, counts = (held[axis].to_numpy(float) for axis in ("n_params_b", "visual_tokens"))
    measured = held["error"].to_numpy(float)

    def deviate(predicted: Floats) -> Floats:
        return np.asarray(100 * np.abs(predicted - measured) / measured)

    off = deviate(suite.law.predict(sizes, counts))
    worst = held.iloc[int(off.argmax())]
    return suite.summarize(
        float(off.max()),
        deviate(predict_refits(suite.draws, sizes, counts)).max(-1),
        f"{', '.join(held['llm'].unique())} at {len(held)} token counts, mean of seeds, from "
        f"{len(fitted)} fitted points; relative to the measured error. Mean {off.mean():.2f} %; largest "
        f"at V = {worst['visual_tokens']}, where the error is {worst['error']:.4f}.",
    )


@trained("C11", protocol=RELEASED_PROTOCOL)
def fit_with_held_out(evidence: Evidence, study: Study) -> Finding | None:
    fitted, held = _select_points(study, PAPER_METHODS)
    both, without = Suite(pd.concat([fitted, held])), Suite(fitted)
    if held.empty or not (both.has_law() and without.has_law()):
        return None
    after, before = both.law, without.law
    return both.find_parameter(
        "ratio",
        f"Without the held-out LLMs {before.ratio:.2f} (alpha {before.alpha:.4f}, beta {before.beta:.4f}); "
        f"with them alpha {after.alpha:.4f}, beta {after.beta:.4f}.",
    )


@trained("C52", protocol=RELEASED_PROTOCOL)
def fit_other_methods(evidence: Evidence, study: Study) -> Finding | None:
    suites = {}
    for name in study.errors["method"].unique():
        if study.method_of(name) in (*PAPER_METHODS, *_BASELINES):
            continue
        fitted, _ = _select_points(study, [name])
        # All patches end the row of every method, as they do the paper's.
        suite = Suite(pd.concat([fitted, _select_points(study, ["mlp"])[0]]))
        if _is_grid(fitted) and suite.has_law():
            suites[str(name)] = suite
    if not suites:
        return None
    name, farthest = max(suites.items(), key=lambda item: abs(item[1].law.ratio - 5))
    listed = ", ".join(f"{name} {suite.law.ratio:.2f}" for name, suite in suites.items())
    return farthest.find_parameter("ratio", f"Farthest from 5 is {name}. All: {listed}.")


def _is_grid(points: pd.DataFrame) -> bool:
    """Return whether each of at least three LLMs has each of at least three token counts."""
    llms, counts = points["llm"].nunique(), points["visual_tokens"].nunique()
    return llms >= 3 and counts >= 3 and len(points) == llms * counts


def _select_points(study: Study, methods: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the fitted and the held-out visual-reasoning errors, means of seeds."""
    means = select_family_means(study.errors)
    mine = means[(means["family"] == "reasoning") & means["method"].isin(methods)]
    cell = ["llm", "n_params_b", "method", "visual_tokens", "role"]
    points = mine.groupby(cell, sort=False, as_index=False)[["error"]].mean()
    return points[points["role"] == "fit"], points[points["role"] == "holdout"]
