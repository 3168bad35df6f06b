"""Claims decided by a study: on single benchmarks, on methods side by side, on laws beyond their cells.

Differences are paired: every draw has the same questions and seeds for both sides (laws/answers.py).
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from vlmscale.analysis.checks.audit.decisions import ABOUT_EQUAL
from vlmscale.analysis.checks.audit.evidence import Evidence, Suite
from vlmscale.analysis.checks.audit.registry import trained
from vlmscale.analysis.checks.audit.study import (
    PAPER_METHODS,
    SEED,
    MissingCells,
    Setting,
    Study,
    summarize_scores,
)
from vlmscale.analysis.checks.engine import Finding
from vlmscale.analysis.laws.hierarchical import draw_measurements
from vlmscale.analysis.laws.points import Floats
from vlmscale.analysis.laws.tables import select_family_means
from vlmscale.study.selection import RELEASED_PROTOCOL

_NAMED_IN_FIG4 = ("gqa", "mmbench", "mme", "mmmu", "pope", "scienceqa")
_NINE = (*_NAMED_IN_FIG4, "ai2d", "chartqa", "mathvista")
_EXTREME = (1, 4)  # visual tokens
_SMALLER_IMAGE = 224  # most tokens of a smaller image, by the claim
# Baselines to beat, and the paper's method with its tokens repeated.
_BASELINES = ("blind", "downsample", "random", "repeat")


@trained("C22", protocol=RELEASED_PROTOCOL)
def order_each_benchmark(evidence: Evidence, study: Study) -> Finding:
    names = {decoder.nominal_b: name for name, decoder in evidence.decoders.items()}
    scores = study.scores([("tokenpacker", names[n], v) for n, v in ABOUT_EQUAL], _NAMED_IN_FIG4)

    def rises(found: Floats) -> Floats:
        return np.asarray((np.diff(found, axis=-2) > 0).all(-2))

    against = [
        f"{name} ({' '.join(f'{100 * score:.1f}' for score in row)})"
        for name, row, holds in zip(
            _NAMED_IN_FIG4, scores.measured.T, rises(scores.measured), strict=True
        )
        if not holds
    ]
    return summarize_scores(
        scores,
        lambda found: rises(found).mean(-1),
        f"Holds on {len(_NAMED_IN_FIG4) - len(against)} of {len(_NAMED_IN_FIG4)} benchmarks"
        + (f"; not on {', '.join(against)}." if against else "."),
    )


@trained("C24")
def compare_repeated_tokens(evidence: Evidence, study: Study) -> Finding:
    pairs = [
        ((name, llm, v), ("tokenpacker", llm, 4))
        for name, llm, v in sorted(study.settings)
        if study.method_of(name) == "repeat" and v > 4 and ("tokenpacker", llm, 4) in study.settings
    ]
    return _find_gain(study, pairs)


@trained("C49", option="question", value="asked", without="constant", needed=_EXTREME)
@trained("C50", option="downsampling", value="convolution", without="bilinear")
def ablate_quecc(
    evidence: Evidence,
    study: Study,
    option: str,
    value: str,
    without: str,
    needed: Sequence[int] | None = None,
) -> Finding:
    """Find the gain of QueCC with an option, all else equal, at the `needed` V or at all."""
    pairs = [
        ((a, llm, v), (b, llm, v))
        for a, b in study.pair_by_option("quecc", option, value, without)
        for name, llm, v in sorted(study.settings)
        if name == a and (b, llm, v) in study.settings and (needed is None or v in needed)
    ]
    if needed is not None and {v for _, (_, _, v) in pairs} != set(needed):
        raise MissingCells
    return _find_gain(study, pairs)


@trained("C53")
def compare_smaller_images(evidence: Evidence, study: Study) -> Finding:
    small: dict[str, Setting] = {}
    whole: dict[str, Setting] = {}
    for setting in sorted(study.settings, key=lambda setting: setting[2]):
        name, llm, v = setting
        method, is_trained = study.method_of(name), study.options_of(name).get("training") != "free"
        if method == "downsample" and v <= _SMALLER_IMAGE and is_trained:
            small[llm] = setting
        elif method == "mlp":
            whole[llm] = setting
    return _compare_pairs(
        study,
        [(small[llm], whole[llm]) for llm in sorted(set(small) & set(whole))],
        lambda smaller, full: 1 - smaller / full,
        lambda setting, lost: f"{setting[1]} {100 * lost:.1f} % at {setting[2]} tokens",
        "Images only, with the same encoder",
    )


def _find_gain(study: Study, pairs: Sequence[tuple[Setting, Setting]]) -> Finding:
    return _compare_pairs(
        study,
        pairs,
        lambda first, second: first - second,
        lambda setting, gain: f"{setting[0]} {setting[1]}/{setting[2]} {100 * gain:+.2f}",
        "Visual reasoning, in percent points of score",
    )


def _compare_pairs(
    study: Study,
    pairs: Sequence[tuple[Setting, Setting]],
    change: Callable[[Floats, Floats], Floats],
    describe: Callable[[Setting, float], str],
    note: str,
) -> Finding:
    """Find the mean over pairs of change(first, second), of their visual-reasoning scores."""
    settings = [*(a for a, _ in pairs), *(b for _, b in pairs)]
    scores = study.scores(settings, study.benchmarks("reasoning"))

    def changes(found: Floats) -> Floats:
        first, second = np.split(found.mean(-1), 2, axis=-1)
        return change(first, second)

    listed = ", ".join(
        describe(setting, value)
        for (setting, _), value in zip(pairs, changes(scores.measured), strict=True)
    )
    return summarize_scores(scores, lambda found: changes(found).mean(-1), f"{note}: {listed}.")


@trained("C54", protocol=RELEASED_PROTOCOL)
def average_nine(evidence: Evidence, study: Study) -> Finding:
    if set(study.benchmarks("reasoning")) != set(_NINE):
        raise MissingCells
    released = evidence.reasoning.points
    packed, mlp = PAPER_METHODS
    settings = [
        (packed if (packed, llm, v) in study.settings else mlp, llm, v)
        for llm, v in released[["llm", "visual_tokens"]].itertuples(index=False)
    ]
    scores = study.scores(settings, _NINE)
    theirs = released["score"].to_numpy(float)
    off = scores.measured.mean(-1) - theirs
    points = dict(zip(_NINE, scores.measured.mean(0), strict=True))["mme"]
    return summarize_scores(
        scores,
        lambda found: (found.mean(-1) - theirs).mean(-1),
        f"By cell from {off.min():+.3f} to {off.max():+.3f}. MME counts as points of 2800, {points:.3f} on "
        f"average; as points of 2000 it would add {points * 0.4 / 9:.3f}.",
    )


@trained("C10", protocol=RELEASED_PROTOCOL)
def predict_held_out(evidence: Evidence, study: Study) -> Finding:
    fitted, held = _select_points(study, PAPER_METHODS)
    suite = Suite(fitted)
    if held.empty or not suite.has_law():
        raise MissingCells
    sizes, counts = (held[axis].to_numpy(float) for axis in ("n_params_b", "visual_tokens"))
    measured = held["error"].to_numpy(float)

    def deviate(predicted: Floats) -> Floats:
        return np.asarray(100 * np.abs(predicted - measured) / measured)

    off = deviate(suite.law.predict(sizes, counts))
    worst = held.iloc[int(off.argmax())]
    return suite.summarize(
        float(off.max()),
        deviate(draw_measurements(suite.draws, held, seed=SEED)).max(-1),
        f"{', '.join(held['llm'].unique())} at {len(held)} token counts, mean of seeds, from "
        f"{len(fitted)} fitted points; relative to the measured error. Mean {off.mean():.2f} %; largest "
        f"at V = {worst['visual_tokens']}, where the error is {worst['error']:.4f}.",
    )


@trained("C11", protocol=RELEASED_PROTOCOL)
def fit_with_held_out(evidence: Evidence, study: Study) -> Finding:
    fitted, held = _select_points(study, PAPER_METHODS)
    both, without = Suite(pd.concat([fitted, held])), Suite(fitted)
    if held.empty or not (both.has_law() and without.has_law()):
        raise MissingCells
    after, before = both.law, without.law
    return both.find_parameter(
        "ratio",
        f"Without the held-out LLMs {before.ratio:.2f} (alpha {before.alpha:.4f}, beta {before.beta:.4f}); "
        f"with them alpha {after.alpha:.4f}, beta {after.beta:.4f}.",
    )


@trained("C52", protocol=RELEASED_PROTOCOL)
def fit_other_methods(evidence: Evidence, study: Study) -> Finding:
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
        raise MissingCells
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
