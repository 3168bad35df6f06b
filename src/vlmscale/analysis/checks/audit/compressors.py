"""Claims on single benchmarks and on compressors side by side, decided by a study.

Differences are paired: every draw has the same questions and seeds for both sides (resampled.py).
"""

from collections.abc import Sequence

import numpy as np

from vlmscale.analysis.checks.audit.checks import Measure, over_answers, trained
from vlmscale.analysis.checks.audit.decisions import ABOUT_EQUAL
from vlmscale.analysis.checks.audit.evidence import Evidence
from vlmscale.analysis.checks.audit.study import PAPER_METHODS, Setting, Study
from vlmscale.analysis.laws.points import Floats
from vlmscale.study.selection import RELEASED_PROTOCOL

_NAMED_IN_FIG4 = ("gqa", "mmbench", "mme", "mmmu", "pope", "scienceqa")
_NINE = (*_NAMED_IN_FIG4, "ai2d", "chartqa", "mathvista")
_EXTREME = (1, 4)  # visual tokens
_SMALLER_IMAGE = 224  # most tokens of a smaller image, by the claim


@trained("C22", protocol=RELEASED_PROTOCOL)
def each_benchmark(evidence: Evidence, study: Study) -> Measure | None:
    names = {decoder.nominal_b: name for name, decoder in evidence.decoders.items()}
    scores = study.scores([("tokenpacker", names[n], v) for n, v in ABOUT_EQUAL], _NAMED_IN_FIG4)
    if scores is None:
        return None

    def rises(found: Floats) -> Floats:
        return np.asarray((np.diff(found, axis=-2) > 0).all(-2))

    against = [
        f"{name} ({' '.join(f'{100 * score:.1f}' for score in row)})"
        for name, row, holds in zip(
            _NAMED_IN_FIG4, scores.measured.T, rises(scores.measured), strict=True
        )
        if not holds
    ]
    return over_answers(
        scores,
        lambda found: rises(found).mean(-1),
        f"Holds on {len(_NAMED_IN_FIG4) - len(against)} of {len(_NAMED_IN_FIG4)} benchmarks"
        + (f"; not on {', '.join(against)}." if against else "."),
    )


@trained("C24")
def repeated_tokens(evidence: Evidence, study: Study) -> Measure | None:
    pairs = [
        ((name, llm, v), ("tokenpacker", llm, 4))
        for name, llm, v in sorted(study.settings)
        if study.method_of(name) == "repeat" and v > 4 and ("tokenpacker", llm, 4) in study.settings
    ]
    return _mean_gain(study, pairs)


@trained("C49")
def knows_the_question(evidence: Evidence, study: Study) -> Measure | None:
    return _ablated(study, "question", "asked", "constant", _EXTREME)


@trained("C50")
def learned_downsampling(evidence: Evidence, study: Study) -> Measure | None:
    return _ablated(study, "downsampling", "convolution", "bilinear", None)


def _ablated(
    study: Study, option: str, with_it: str, without: str, counts: Sequence[int] | None
) -> Measure | None:
    """Gain of QueCC with an option over QueCC without, all else equal, at `counts`, by default at all."""
    pairs = [
        ((a, llm, v), (b, llm, v))
        for a, b in study.differing("quecc", option, with_it, without)
        for name, llm, v in sorted(study.settings)
        if name == a and (b, llm, v) in study.settings and (counts is None or v in counts)
    ]
    if counts is not None and {v for _, (_, _, v) in pairs} != set(counts):
        return None
    return _mean_gain(study, pairs)


def _mean_gain(study: Study, pairs: Sequence[tuple[Setting, Setting]]) -> Measure | None:
    """Score of the first of each pair less that of the second, mean of benchmarks, then of pairs."""
    scores = study.scores(
        [*(a for a, _ in pairs), *(b for _, b in pairs)], study.benchmarks("reasoning")
    )
    if scores is None:
        return None
    half = len(pairs)

    def gains(found: Floats) -> Floats:
        means = found.mean(-1)
        return np.asarray(means[..., :half] - means[..., half:])

    listed = ", ".join(
        f"{name} {llm}/{v} {100 * gain:+.2f}"
        for ((name, llm, v), _), gain in zip(pairs, gains(scores.measured), strict=True)
    )
    return over_answers(
        scores,
        lambda found: gains(found).mean(-1),
        f"Visual reasoning, in percent points of score: {listed}.",
    )


@trained("C53")
def smaller_images(evidence: Evidence, study: Study) -> Measure | None:
    def trained_so(name: str) -> bool:
        return study.options_of(name).get("training") != "free"

    small: dict[str, Setting] = {}
    for name, llm, v in sorted(study.settings, key=lambda setting: setting[2]):
        if study.method_of(name) == "downsample" and v <= _SMALLER_IMAGE and trained_so(name):
            small[llm] = name, llm, v
    whole = {
        llm: (name, llm, v) for name, llm, v in study.settings if study.method_of(name) == "mlp"
    }
    llms = sorted(set(small) & set(whole))
    settings = [*(small[llm] for llm in llms), *(whole[llm] for llm in llms)]
    scores = study.scores(settings, study.benchmarks("reasoning"))
    if scores is None:
        return None

    def lost(found: Floats) -> Floats:
        means = found.mean(-1)
        return np.asarray(1 - means[..., : len(llms)] / means[..., len(llms) :])

    listed = ", ".join(
        f"{llm} {100 * share:.1f} % at {small[llm][2]} tokens"
        for llm, share in zip(llms, lost(scores.measured), strict=True)
    )
    return over_answers(
        scores,
        lambda found: lost(found).mean(-1),
        f"Images only, with the same encoder: {listed}.",
    )


@trained("C54", protocol=RELEASED_PROTOCOL)
def nine_benchmarks(evidence: Evidence, study: Study) -> Measure | None:
    if set(study.benchmarks("reasoning")) != set(_NINE):
        return None
    released = evidence.reasoning.points
    settings = [
        next(
            ((method, llm, v) for method in PAPER_METHODS if (method, llm, v) in study.settings),
            None,
        )
        for llm, v in released[["llm", "visual_tokens"]].itertuples(index=False)
    ]
    complete = [setting for setting in settings if setting is not None]
    scores = study.scores(complete, _NINE) if len(complete) == len(settings) else None
    if scores is None:
        return None
    theirs = released["score"].to_numpy(float)
    off = scores.measured.mean(-1) - theirs
    points = dict(zip(_NINE, scores.measured.mean(0), strict=True))["mme"]
    return over_answers(
        scores,
        lambda found: (found.mean(-1) - theirs).mean(-1),
        f"By cell from {off.min():+.3f} to {off.max():+.3f}. MME counts as points of 2800, {points:.3f} on "
        f"average; as points of 2000 it would add {points * 0.4 / 9:.3f}.",
    )
