"""Choose an LLM and a number of visual tokens for what an answer may cost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast, get_args

import numpy as np
import pandas as pd

from vlmscale.analysis.decisions.recommend import (
    FAR,
    Cost,
    fit_with_draws,
    predict_refits,
    rank_choices,
    refuse_far_extrapolation,
)
from vlmscale.analysis.laws.intervals import find_ends, find_intervals, find_token_ends
from vlmscale.analysis.laws.optimum import flat_range, optimal_tokens
from vlmscale.analysis.laws.power_law import PowerLaw
from vlmscale.cli.answer_cost import Question, list_token_counts, price_answers
from vlmscale.cli.fit import FLAT
from vlmscale.cli.limits import apply_limits, find_limits
from vlmscale.cli.output import Report, render, status
from vlmscale.cli.points import name_sizes, read_points, size_axis
from vlmscale.cli.recommend_output import name_choice, show
from vlmscale.errors import UserError
from vlmscale.records.tables import Source, name_source
from vlmscale.resources import find_resource
from vlmscale.study.selection import FULL, SUITES, SizeAxis

_CHEAPEST = 1e-9  # part of a visual token's cost


@dataclass(frozen=True, repr=False)
class Recommendation:
    """The choices within a budget, and the law behind them; printed as `vlmscale recommend` does."""

    question: Mapping[str, Any]  # the arguments
    unit: str  # of budget and costs: GFLOPs or ms
    choice: Mapping[Any, Any]  # the best row of choices
    runner_up: Mapping[Any, Any] | None
    choices: pd.DataFrame  # best first; one row per LLM: visual_tokens, error, cost ...
    more_tokens_always_win: bool
    continuous: Mapping[str, Any] | None  # the best N and V if LLMs of every size existed
    sharing: str  # what answers about one image share, and what one question alone would get; or ""
    law: Mapping[str, Any]
    notes: list[str]
    warnings: list[str]

    def __repr__(self) -> str:
        return render(vars(self), show)


def recommend(
    *,
    gflops: float | None = None,
    latency_ms: float | None = None,
    latencies: Source | None = None,
    memory_gb: float | None = None,
    kv_mb: float | None = None,
    text_tokens: int = 50,
    generated_tokens: int = 0,
    cached_text: bool = False,
    cached_image: bool = False,
    questions_per_image: int = 1,
    prompt_cache: bool = True,
    training_budget: str = FULL,
    family: str | None = None,
    sizes: str | Sequence[str | float] | None = None,
    token_counts: str | Sequence[int] = "method",
    cost: Literal["nominal", "exact"] = "nominal",
    with_tower: bool = True,
    method: str | None = None,
    scores: Source | None = None,
    methods: Sequence[str] = (),
) -> Recommendation:
    """Choose LLM and visual tokens for a budget by the law of `scores`, by default the released ones.

    gflops: what an answer may cost, vision tower included unless with_tower is false (stored features); or
    latency_ms (milliseconds) with `latencies`, a table or file with columns llm, visual_tokens, latency_ms.
    memory_gb: GPU memory. kv_mb: megabytes of keys and values an image may keep.
    text_tokens: Q; generated_tokens: G. cached_text, cached_image,
    questions_per_image, prompt_cache: what answers share (vlmscale.costs.sharing.Reuse). training_budget:
    one of `scores`. family: "reasoning" (the default) or "ocr", or one of `scores`. sizes: LLMs to choose
    from, billions of parameters or names; by default those of `scores`. token_counts: V to choose from;
    "method": those of `scores`, else those that `method` can give. scores: a table or file as for
    read_points. The other arguments are the options of `vlmscale recommend`. Raises UserError where no
    choice is within the budget, and for LLMs or token counts over ten times beyond the law's.

    Example: vs.recommend(gflops=2000, text_tokens=50).choices
    """
    question = Question(**locals())
    points, source = _read_points(question)
    axis = _find_axis(points)
    # No table of shapes knows the LLMs that a study has made.
    known = name_sizes(points) if scores is not None else {}
    sizes_b, price, cost_note = price_answers(question, axis, known)
    counts, count_note = list_token_counts(question, points)
    refuse_far_extrapolation(points, sizes_b, counts)
    limits = find_limits(question, sizes_b)

    def limit(price: Cost) -> Cost:
        return apply_limits(price, limits, sizes_b, counts)

    price = limit(price)
    with status("drawing laws"):
        fitted = fit_with_draws(points)
    law, draws = fitted.law, fitted.draws
    unit, budget = question.unit, question.budget
    if budget < question.tower_gflops:
        raise UserError(
            f"a budget of {budget:g} GFLOPs allows no answer at all: the vision tower alone, "
            f"{question.named_tower[0]}, takes {question.tower_gflops:.3g}. Give more, or --without-tower "
            "where its features are stored."
        )

    def rank(price: Cost) -> pd.DataFrame:
        return rank_choices(
            law, draws, points, sizes_b, price, budget, token_counts=counts, unit=unit
        )

    ranked = rank(price)
    ranked["margin"] = ranked["error"] - ranked["error"].iloc[0]
    for each in limits:
        ranked[each.column] = [
            float(each.need(llm, np.array([v]))[0])
            for llm, v in ranked[["llm", "visual_tokens"]].itertuples(index=False)
        ]
    best, *others = ranked.to_dict("records")
    warnings = [
        f"{row['llm']} is extrapolated: {row['extrapolates']}."
        for row in (best, *others)
        if row["extrapolates"]
    ]
    notes = [cost_note, *([count_note] if count_note else [])]
    if scores is not None:
        notes.append(
            f"LLMs count with their {axis.replace('_', '-')} size; the law's sizes are those of "
            f"{name_source(scores)}."
        )
        if "method" in points and len(together := sorted(map(str, points["method"].unique()))) > 1:
            notes.append(f"One law for {', '.join(together)} together, as --methods says.")
    sharing = ""
    if question.reuse.image_share < 1:
        alone = replace(question, cached_image=False, questions_per_image=1)
        sharing = _explain_sharing(
            question, best, lambda: rank(limit(price_answers(alone, axis, known)[1]))
        )
    continuous = None
    if latencies is None and cost == "nominal" and question.costs_tokens:
        continuous = _continuous(question, law, draws, counts)
        n, smallest, largest = continuous["n_params_b"], *points["n_params_b"].agg(["min", "max"])
        if not smallest / FAR <= n <= largest * FAR:
            continuous = None
            notes.append(
                f"If every size existed, {n:.4g}B would be best, of which the law says nothing."
            )
        elif not smallest <= n <= largest:
            warnings.append(
                f"The continuous answer is extrapolated: {n:.4g}B is outside the sizes fitted, "
                f"{smallest:g}B to {largest:g}B."
            )
    about_law = {
        "ratio": law.ratio,
        "bounds": law.bounds,
        "source": source,
        "size_axis": size_axis(points)
        if scores is not None
        else "N is the nominal size in billions",
        "interval": fitted.interval,
    }
    return Recommendation(
        question=question.describe(),
        unit=unit,
        choice=best,
        runner_up=others[0] if others else None,
        choices=ranked,
        more_tokens_always_win=law.ratio <= 1,
        continuous=continuous,
        sharing=sharing,
        law={**asdict(law), **about_law},
        notes=notes,
        warnings=warnings,
    )


def _explain_sharing(
    question: Question, best: Mapping[Any, Any], rank_alone: Callable[[], pd.DataFrame]
) -> str:
    """Say what answers about one image share, and the choice for one question about each image."""
    try:
        alone = rank_alone().to_dict("records")[0]
    except UserError:
        otherwise = "the budget would allow no answer at all"
    else:
        same = (alone["llm"], alone["visual_tokens"]) == (best["llm"], best["visual_tokens"])
        otherwise = "the choice would be " + ("the same" if same else name_choice(alone))
    return (
        f"{question.reuse.explain(question.projector)} With one question about each image "
        f"{otherwise}."
    )


def _read_points(question: Question) -> tuple[pd.DataFrame, str]:
    """Return the points of the law, and their source in words."""
    scores, family = question.scores, (question.family or "reasoning").lower()
    if scores is None:
        path = find_resource(f"published/{family}_scores.csv")
        return read_points(path)[""], f"the paper's released {family} scores"
    families, name = (
        read_points(scores, question.methods, question.training_budget),
        name_source(scores),
    )
    found = {given.lower(): given for given in families}
    if question.family is None and len(found) == 1:
        family = next(iter(found))
    elif "" in found and family in SUITES:  # a table without families may be of any
        family = ""
    if family not in found:
        there = ", ".join(filter(None, families)) or "none, as it has no column family"
        raise UserError(
            f"{name}: no points of family {family!r}. There are: {there}. Choose with --family."
        )
    points = families[found[family]]
    methods = sorted(map(str, points["method"].unique())) if "method" in points else []
    if len(methods) > 1 and not question.methods:
        raise UserError(
            f"{name} has scores of several methods, which have different laws: {', '.join(methods)}. "
            "Choose with --methods."
        )
    return points, f"{name}, {found[family]}" if family else name


def _find_axis(points: pd.DataFrame) -> SizeAxis:
    """Return what N counts in the law: as the points say, else the size in the LLM's name."""
    named = set(points["size_axis"]) if "size_axis" in points else set()
    (axis,) = named if len(named) == 1 and named <= set(get_args(SizeAxis)) else {"nominal"}
    return cast(SizeAxis, axis)


def _continuous(
    question: Question, law: PowerLaw, draws: pd.DataFrame, counts: Sequence[int]
) -> Report:
    """Return the best N and V if LLMs of every size existed."""
    q = question.computed_text_tokens + question.generated_tokens
    # Free visual tokens are the limit of ever cheaper ones.
    paid = max(question.reuse.prefix_share(question.projector), _CHEAPEST)
    low, high = min(counts), max(counts)
    # Where every V is as good, the least; the flat range says so.
    tokens = float(np.nan_to_num(optimal_tokens(law.ratio, q / paid, low=low, high=high), nan=low))
    ends = find_token_ends(find_intervals(draws)["ratio"], q / paid, high)
    flat = flat_range(law.alpha, law.beta, q / paid, FLAT, low=low, high=high)
    n = (question.budget - question.tower_gflops) / (2 * (q + paid * tokens))
    error = predict_refits(draws, np.array([n]), np.array([tokens]))[:, 0]
    tokens_low, tokens_high = np.clip(ends, low, high).tolist()
    error_low, error_high = find_ends(error)
    return {
        "visual_tokens": tokens,
        "tokens_low": tokens_low,
        "tokens_high": tokens_high,
        "flat_low": flat[0],
        "flat_high": flat[1],
        "n_params_b": n,
        "error": float(law.predict(n, tokens)),
        "error_low": error_low,
        "error_high": error_high,
    }
