"""Claims on Table 1, checked on a study that trains its methods (config/table1.yaml).

The printed table decides them (release.py). A study has several seeds and answers to single questions, so
that its numbers have intervals.
"""

from collections.abc import Sequence

import numpy as np

from vlmscale.analysis.checks.audit.evidence import Evidence
from vlmscale.analysis.checks.audit.registry import trained
from vlmscale.analysis.checks.audit.study import MissingCells, Setting, Study, summarize_scores
from vlmscale.analysis.checks.engine import INTERVAL, Finding
from vlmscale.analysis.laws.answers import Scores
from vlmscale.analysis.laws.points import Floats

_PROTOCOL = "llava15"
_NAMED = ("gqa", "mme_perception", "scienceqa", "vqav2")
_EIGHT = (*_NAMED, "mmbench", "pope_mean", "textvqa", "vizwiz")
_OTHERS = ("m3", "mqt", "prumerge")
_METHODS = ("quecc", "tokenpacker", *_OTHERS)
# Least and most visual tokens of a block of the table: MQT has no count of 1 there, PruMerge about 32.
_BLOCKS = {36: (32, 36), 16: (16, 16), 4: (4, 4), 1: (1, 2)}


def _select_block(study: Study, block: int, method: str) -> list[Setting]:
    """Return `method` and then its rivals in a block; nothing without it or without rivals."""
    low, high = _BLOCKS[block]
    others = [name for name in _METHODS if name != method]
    found: dict[str, Setting] = {}
    for name, llm, v in sorted(study.settings, key=lambda setting: setting[2]):
        if low <= v <= high and (name == method or study.method_of(name) in others):
            found[name] = name, llm, v  # the most tokens of the block
    mine = found.pop(method, None)
    return [mine, *found.values()] if mine and found else []


def _score_blocks(
    study: Study, blocks: Sequence[int], method: str, benchmarks: Sequence[str]
) -> tuple[Scores, list[list[Setting]]]:
    """Score the blocks one after the other, of a study with one LLM. Raises MissingCells."""
    parts = [_select_block(study, block, method) for block in blocks]
    if not all(parts) or study.errors["llm"].nunique() > 1:
        raise MissingCells
    return study.scores([setting for part in parts for setting in part], benchmarks), parts


def _split(found: Floats, parts: Sequence[Sequence[Setting]]) -> list[Floats]:
    """Split (..., g, b) into one (..., methods, b) for each block."""
    ends = np.cumsum([len(part) for part in parts])
    return np.split(found, ends[:-1], axis=-2)


@trained("C42", protocol=_PROTOCOL, block=1, benchmark="mme_perception")
@trained("C43", protocol=_PROTOCOL, block=1, benchmark="mmbench")
@trained("C44", protocol=_PROTOCOL, block=4, benchmark="mme_perception")
@trained("C45", protocol=_PROTOCOL, block=4, benchmark="mmbench")
def measure_gap(evidence: Evidence, study: Study, block: int, benchmark: str) -> Finding:
    part = _select_block(study, block, "quecc")
    whole = [setting for setting in study.settings if study.method_of(setting[0]) == "mlp"]
    if not part or len(whole) != 1:
        raise MissingCells
    scores = study.scores([*part, *whole], [benchmark])

    def closed(found: Floats) -> Floats:
        mine, rivals, reference = found[..., 0, 0], found[..., 1:-1, 0].max(-1), found[..., -1, 0]
        gap = np.where(reference > rivals, reference - rivals, np.nan)
        return np.asarray(100 * (mine - rivals) / gap)

    measured, drawn = closed(scores.measured), closed(scores.drawn)
    if np.isnan(measured) or np.isnan(drawn).mean() > 0.025:
        raise MissingCells  # a rival may be as good as all patches: no gap is left
    names = ", ".join(
        f"{name} {100 * score:.1f}"
        for (name, *_), score in zip([*part, *whole], scores.measured[:, 0], strict=True)
    )
    return summarize_scores(
        scores, lambda found: np.nan_to_num(closed(found), nan=-np.inf), f"{names}."
    )


@trained("C46", protocol=_PROTOCOL)
def count_firsts(evidence: Evidence, study: Study) -> Finding:
    scores, parts = _score_blocks(study, (1, 4), "quecc", _EIGHT)

    def first(found: Floats) -> Floats:
        won = [part[..., 0, :] >= part[..., 1:, :].max(-2) for part in _split(found, parts)]
        return np.asarray(np.concatenate(won, -1).mean(-1))

    return summarize_scores(scores, first, _compare_with_tokenpacker(scores, parts))


def _compare_with_tokenpacker(scores: Scores, parts: Sequence[Sequence[Setting]]) -> str:
    """Describe QueCC less TokenPacker at one token, benchmark by benchmark."""
    names = [name for name, *_ in parts[0]]
    if "tokenpacker" not in names:
        return ""
    at = names.index("tokenpacker")
    gain = 100 * (scores.measured[0] - scores.measured[at])
    low, high = np.quantile(100 * (scores.drawn[:, 0] - scores.drawn[:, at]), INTERVAL, axis=0)
    listed = ", ".join(
        f"{name} {value:+.1f} [{a:+.1f}, {b:+.1f}]"
        for name, value, a, b in zip(_EIGHT, gain, low, high, strict=True)
    )
    return f"QueCC less TokenPacker at one token, percent points: {listed}."


@trained("C47", protocol=_PROTOCOL)
def count_top_two(evidence: Evidence, study: Study) -> Finding:
    scores, parts = _score_blocks(study, tuple(_BLOCKS), "quecc", _NAMED)

    def near_the_top(found: Floats) -> Floats:
        above = [(part[..., 1:, :] > part[..., :1, :]).sum(-2) for part in _split(found, parts)]
        return np.asarray((np.concatenate(above, -1) <= 1).mean(-1))

    return summarize_scores(scores, near_the_top, "")


@trained("C48", protocol=_PROTOCOL)
def count_beaten(evidence: Evidence, study: Study) -> Finding:
    blocks = [block for block in _BLOCKS if _select_block(study, block, "tokenpacker")]
    scores, parts = _score_blocks(study, blocks, "tokenpacker", _EIGHT)
    if {study.method_of(name) for part in parts for name, *_ in part} != set(_METHODS):
        raise MissingCells

    def wins(found: Floats, rival: str) -> Floats:
        """Return the share of comparisons that TokenPacker wins."""
        won = [
            block[..., 0, :] > block[..., i, :]
            for block, part in zip(_split(found, parts), parts, strict=True)
            for i, (name, *_) in enumerate(part)
            if study.method_of(name) == rival
        ]
        return np.asarray(np.concatenate(won, -1).mean(-1))

    listed = ", ".join(f"{rival} {100 * wins(scores.measured, rival):.0f} %" for rival in _OTHERS)
    return summarize_scores(
        scores,
        lambda found: np.sum([wins(found, rival) > 0.5 for rival in _OTHERS], axis=0),
        f"Wins against {listed} of the comparisons.",
    )
