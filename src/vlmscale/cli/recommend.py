"""Choose an LLM and a number of visual tokens for what an answer may cost."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast, get_args

import numpy as np
import pandas as pd
from rich.console import Console

from vlmscale.analysis.decisions.recommend import predict_refits, rank_choices
from vlmscale.analysis.laws.bootstrap import bootstrap, choose_scheme
from vlmscale.analysis.laws.optimum import flat_range, optimal_tokens
from vlmscale.analysis.laws.points import Floats
from vlmscale.analysis.laws.power_law import PowerLaw, fit_power_law
from vlmscale.cli.answer_cost import Question, prices, token_counts
from vlmscale.cli.fit import FLAT
from vlmscale.cli.fit_output import write_formula
from vlmscale.cli.output import Report, number, render, span, status, table
from vlmscale.cli.points import Source, name_source, read_points, size_axis
from vlmscale.costs.shapes import load_shapes
from vlmscale.errors import UsageError, UserError
from vlmscale.resources import find_resource
from vlmscale.study.selection import SUITES, SizeAxis

_DRAWS = 1000
_SEED = 0


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
    text_tokens: int = 50,
    generated_tokens: int = 0,
    cached_text: bool = False,
    family: str = "reasoning",
    sizes: str | Sequence[str | float] | None = None,
    token_counts: str | Sequence[int] = "any",
    cost: Literal["nominal", "exact"] = "nominal",
    with_tower: bool = False,
    method: str | None = None,
    scores: Source | None = None,
    methods: Sequence[str] = (),
) -> Recommendation:
    """Choose LLM and visual tokens for a budget by the law of `scores`, by default the released ones.

    gflops: what an answer may cost; or latency_ms (milliseconds) with `latencies`, a table or file with
    columns llm, visual_tokens, latency_ms. text_tokens: Q; generated_tokens: G. family: "reasoning" or
    "ocr". sizes: LLMs to choose from, billions of parameters or names. token_counts: V to choose from.
    scores: a table or file as for read_points. The other arguments are the options of
    `vlmscale recommend`. Raises UserError where no choice is within the budget.

    Example: vs.recommend(gflops=2000, text_tokens=50).choices
    """
    if (gflops is None) == (latency_ms is None):
        raise UsageError("give one of gflops and latency_ms")
    if (latency_ms is None) != (latencies is None):
        raise UsageError("latency_ms and latencies belong together")
    if latencies is not None and cost == "exact":
        raise UsageError("cost exact counts GFLOPs; it has no use beside latencies")
    if with_tower and cost != "exact":
        raise UsageError("with_tower needs cost exact")
    if method is not None and not with_tower:
        raise UsageError("method names the projector that with_tower adds")
    if scores is None and family not in SUITES:
        raise UsageError(f"family {family!r}: released scores are of {' and '.join(SUITES)}")
    if methods and scores is None and latencies is None:
        raise UsageError("methods chooses among the points of scores or of latencies")
    question = Question(
        budget=cast(float, gflops if latencies is None else latency_ms),
        latencies=latencies,
        text_tokens=text_tokens,
        generated_tokens=generated_tokens,
        cached_text=cached_text,
        cost=cost,
        with_tower=with_tower,
        method=method or "tokenpacker",
        sizes=None if sizes is None else _join(sizes),
        token_counts=_join(token_counts),
    )
    return _choose(question, family, scores, methods)


def _join(values: str | Sequence[str | float]) -> str:
    return values if isinstance(values, str) else ",".join(map(str, values))


def _choose(
    question: Question, family: str, scores: Source | None, methods: Sequence[str]
) -> Recommendation:
    points, source = _points(family, scores, methods)
    law = fit_power_law(points)
    architectures = load_shapes()
    axis = _axis(points)
    # No table of shapes knows the LLMs that a study has made.
    has_names = scores is not None and "llm" in points
    known = dict(points[["llm", "n_params_b"]].values) if has_names else {}
    priced = prices(question, architectures, methods, axis, known)
    counts = token_counts(question, architectures)
    scheme = choose_scheme(points)
    with status("refitting resamples"):
        draws = bootstrap(points, law, scheme, draws=_DRAWS, seed=_SEED)
    ranked = rank_choices(
        law,
        draws,
        points,
        priced.sizes,
        priced.cost,
        question.budget,
        token_counts=counts,
        unit=question.unit,
    )
    ranked["margin"] = ranked["error"] - ranked["error"].iloc[0]
    warnings = [
        f"{row['llm']} is extrapolated: {row['extrapolates']}."
        for row in ranked.to_dict("records")
        if row["extrapolates"]
    ]
    notes = []
    if scores is not None:
        notes.append(
            f"LLMs count with their {axis.replace('_', '-')} size; the law's sizes are those of "
            f"{name_source(scores)}."
        )
    if priced.note:
        notes.append(priced.note)
    continuous = None
    if question.latencies is None and question.cost == "nominal":
        continuous = _continuous(question, law, draws, points, counts)
        warnings += continuous.pop("warnings")
    latencies = None if question.latencies is None else name_source(question.latencies)
    n = "N is the nominal size in billions" if scores is None else size_axis(points)
    llms = points["n_params_b"].nunique()
    best, *others = ranked.to_dict("records")
    return Recommendation(
        question={**asdict(replace(question, latencies=None)), "latencies": latencies},
        unit=question.unit,
        choice=best,
        runner_up=others[0] if others else None,
        choices=ranked,
        more_tokens_always_win=law.ratio <= 1,
        continuous=continuous,
        law={
            **asdict(law),
            "ratio": law.ratio,
            "source": source,
            "size_axis": n,
            "interval": f"{_DRAWS} refits, resampling {scheme}, of {llms} LLM sizes",
        },
        notes=notes,
        warnings=warnings,
    )


def _points(family: str, scores: Source | None, methods: Sequence[str]) -> tuple[pd.DataFrame, str]:
    """Return the points of the law, and their source in words."""
    if scores is None:
        path = find_resource(f"published/{family}_scores.csv")
        return read_points(path)[""], f"the paper's released {family} scores"
    families, name = read_points(scores, methods), name_source(scores)
    if "" in families:
        return families[""], name
    if family not in families:
        raise UserError(
            f"{name}: no points of family {family!r}. There are: {', '.join(families)}."
        )
    return families[family], f"{name}, {family}"


def _axis(points: pd.DataFrame) -> SizeAxis:
    """Return what N counts in the law: as the points say, else the size in the LLM's name."""
    named = set(points["size_axis"]) if "size_axis" in points else set()
    (axis,) = named if len(named) == 1 and named <= set(get_args(SizeAxis)) else {"nominal"}
    return cast(SizeAxis, axis)


def _continuous(
    question: Question,
    law: PowerLaw,
    draws: pd.DataFrame,
    points: pd.DataFrame,
    counts: Sequence[int],
) -> Report:
    """Return the best N and V if LLMs of every size existed."""
    text = 0 if question.cached_text else question.text_tokens
    q = text + question.generated_tokens
    low, high = min(counts), max(counts)
    tokens = optimal_tokens(law.ratio, q, low=low, high=high).item()
    refits = optimal_tokens(draws["ratio"], q, low=low, high=high)
    flat = flat_range(law.alpha, law.beta, q, FLAT, low=low, high=high)
    n = question.budget / (2 * (q + tokens))
    error = predict_refits(draws, np.array([n]), np.array([tokens]))[:, 0]
    smallest, largest = points["n_params_b"].min(), points["n_params_b"].max()
    warnings = []
    if not smallest <= n <= largest:
        warnings.append(
            f"The continuous answer is extrapolated: {n:.4g}B is outside the sizes fitted, "
            f"{smallest:g}B to {largest:g}B."
        )
    return {
        "visual_tokens": tokens,
        **dict(zip(("tokens_low", "tokens_high"), _interval(refits), strict=True)),
        "flat_low": flat[0],
        "flat_high": flat[1],
        "n_params_b": n,
        "error": float(law.predict(n, tokens)),
        **dict(zip(("error_low", "error_high"), _interval(error), strict=True)),
        "warnings": warnings,
    }


def _interval(values: Floats) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def show(console: Console, report: Report) -> None:
    """Print the choices, the continuous optimum, the law and its warnings."""
    choice, unit = report["choice"], report["unit"]
    budget = f"{report['question']['budget']:g} {unit}"
    console.print(
        f"{_named(choice)}: predicted error {choice['error']:.4f}, for {choice['cost']:.4g} of "
        f"{budget}.",
        style="bold",
    )
    second = report["runner_up"]
    if second is not None:
        console.print(
            f"Runner-up: {_named(second)}, error {second['error']:.4f}, {second['margin']:.4f} more. "
            f"The choice is the best in {choice['share_best']:.0%} of the refits."
        )
    if report["more_tokens_always_win"]:
        console.print(
            "By this law (alpha <= beta) more tokens beat a larger LLM at every budget: keep as many "
            "as the budget allows."
        )
    rows = [
        [
            row["llm"],
            str(row["visual_tokens"]),
            f"{row['error']:.4f}",
            f"{row['error_low']:.4f}–{row['error_high']:.4f}",
            f"{row['margin']:.4f}",
            number(row["cost"]),
            f"{row['share_best']:.0%}",
        ]
        for row in report["choices"].to_dict("records")
    ]
    columns = ["LLM", "tokens", "error", "95 %", "margin", unit, "best in"]
    console.print(table(f"Within {budget}", columns, rows, words=["LLM"]))
    if (best := report["continuous"]) is not None:
        console.print(
            f"If every size existed: V* = {number(best['visual_tokens'])} tokens "
            f"({span(best['tokens_low'], best['tokens_high'])}) with an LLM of "
            f"{number(best['n_params_b'])}B, error {best['error']:.4f}; within 1 % of it from "
            f"{number(best['flat_low'], 3)} to {number(best['flat_high'], 3)} tokens."
        )
    law = report["law"]
    bound = {"lower": " (D at its lower bound)", "upper": " (D at its upper bound)"}
    console.print(
        f"Law: {write_formula(law)}{bound.get(law['floor_bound'], '')}, alpha / beta = "
        f"{number(law['ratio'])}, least squares on {law['points']} points of {law['source']}. "
        f"{law['size_axis']}. 95 %: {law['interval']}."
    )
    for note in report["notes"]:
        console.print(note)
    for warning in report["warnings"]:
        console.print(f"warning: {warning}", style="yellow")


def _named(choice: Report) -> str:
    tokens = choice["visual_tokens"]
    return f"{choice['llm']} with {tokens} visual token{'s'[: tokens > 1]}"
