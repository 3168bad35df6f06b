"""Claims on laws beyond the cells and the compressor they were fitted on, decided by a study."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from vlmscale.analysis.checks.audit.checks import Measure, over_sizes, trained
from vlmscale.analysis.checks.audit.evidence import Evidence
from vlmscale.analysis.checks.audit.study import DRAWS, PAPER_METHODS, SEED, Study
from vlmscale.analysis.decisions.recommend import predict_refits
from vlmscale.analysis.laws.bootstrap import bootstrap, choose_scheme
from vlmscale.analysis.laws.points import Floats
from vlmscale.analysis.laws.power_law import PowerLaw, fit_power_law
from vlmscale.analysis.laws.tables import select_family_means
from vlmscale.errors import UserError
from vlmscale.study.selection import RELEASED_PROTOCOL

# Not compressors of their own: what one must beat, and the paper's with its tokens repeated.
_BASELINES = ("blind", "downsample", "random", "repeat")


@trained("C10", protocol=RELEASED_PROTOCOL)
def held_out(evidence: Evidence, study: Study) -> Measure | None:
    fitted, held = _points(study, PAPER_METHODS)
    law = _law_of(fitted)
    if law is None or held.empty:
        return None
    sizes, counts = (held[axis].to_numpy(float) for axis in ("n_params_b", "visual_tokens"))
    measured = held["error"].to_numpy(float)

    def missed(predicted: Floats) -> Floats:
        return np.asarray(100 * np.abs(predicted - measured) / measured)

    off = missed(law.predict(sizes, counts))
    worst = held.iloc[int(off.argmax())]
    return _over_refits(
        float(off.max()),
        fitted,
        law,
        lambda draws: missed(predict_refits(draws, sizes, counts)).max(-1),
        f"{', '.join(held['llm'].unique())} at {len(held)} token counts, seeds averaged, from "
        f"{len(fitted)} fitted points; share of the error. Mean {off.mean():.2f} %; farthest off at "
        f"V = {worst['visual_tokens']}, where the error is {worst['error']:.4f}.",
    )


@trained("C11", protocol=RELEASED_PROTOCOL)
def with_held_out(evidence: Evidence, study: Study) -> Measure | None:
    fitted, held = _points(study, PAPER_METHODS)
    all_points = pd.concat([fitted, held])
    both, before = _law_of(all_points), _law_of(fitted)
    if both is None or before is None or held.empty:
        return None
    return _over_refits(
        both.ratio,
        all_points,
        both,
        lambda draws: draws["ratio"].to_numpy(),
        f"Without the held-out LLMs {before.ratio:.2f} (alpha {before.alpha:.4f}, beta {before.beta:.4f}); "
        f"with them alpha {both.alpha:.4f}, beta {both.beta:.4f}.",
    )


@trained("C52", protocol=RELEASED_PROTOCOL)
def other_compressor(evidence: Evidence, study: Study) -> Measure | None:
    found = {}
    for name in study.errors["method"].unique():
        if study.method_of(name) in (*PAPER_METHODS, *_BASELINES):
            continue
        fitted, _ = _points(study, [name])
        # All patches end the row of every compressor, as they do the paper's.
        points = pd.concat([fitted, _points(study, ["mlp"])[0]])
        law = _law_of(points) if _is_grid(fitted) else None
        if law is not None:
            found[str(name)] = points, law
    if not found:
        return None
    name, (points, law) = max(found.items(), key=lambda item: abs(item[1][1].ratio - 5))
    listed = ", ".join(f"{name} {law.ratio:.2f}" for name, (_, law) in found.items())
    return _over_refits(
        law.ratio,
        points,
        law,
        lambda draws: draws["ratio"].to_numpy(),
        f"Farthest from 5 is {name}. All: {listed}.",
    )


def _is_grid(points: pd.DataFrame) -> bool:
    """Whether each of at least three LLMs has each of at least three token counts."""
    llms, counts = points["llm"].nunique(), points["visual_tokens"].nunique()
    return llms >= 3 and counts >= 3 and len(points) == llms * counts


def _law_of(points: pd.DataFrame) -> PowerLaw | None:
    """None where a study has too few cells for a law."""
    try:
        return fit_power_law(points)
    except UserError:
        return None


def _over_refits(
    value: float,
    points: pd.DataFrame,
    law: PowerLaw,
    number: Callable[[pd.DataFrame], Floats],
    how: str,
) -> Measure:
    """A measure whose interval is that of number(refits of `law`), (draws,)."""
    scheme = choose_scheme(points)
    draws = bootstrap(points, law, scheme, draws=DRAWS, seed=SEED)
    return over_sizes(value, number(draws), how, scheme)


def _points(study: Study, methods: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fitted and held-out visual-reasoning errors, a row an LLM, method and token count: means of seeds."""
    means = select_family_means(study.errors)
    mine = means[(means["family"] == "reasoning") & means["method"].isin(methods)]
    cell = ["llm", "n_params_b", "method", "visual_tokens", "role"]
    points = mine.groupby(cell, sort=False, as_index=False)[["error"]].mean()
    return points[points["role"] == "fit"], points[points["role"] == "holdout"]
