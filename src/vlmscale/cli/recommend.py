"""Which LLM with how many visual tokens, for what an answer may cost."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast, get_args

import numpy as np
import pandas as pd
from rich.console import Console

from vlmscale.analysis.decisions.recommend import predict_refits, rank_choices
from vlmscale.analysis.laws.bootstrap import bootstrap, choose_scheme
from vlmscale.analysis.laws.optimum import flat_range, optimal_tokens
from vlmscale.analysis.laws.points import Floats
from vlmscale.analysis.laws.power_law import PowerLaw, fit_power_law
from vlmscale.cli.answer_cost import Question, prices, token_counts
from vlmscale.cli.fit import FLAT, formula
from vlmscale.cli.output import Report, number, span, status, table
from vlmscale.cli.points import read_points, size_axis
from vlmscale.costs.shapes import load_architectures
from vlmscale.errors import UserError
from vlmscale.resources import find_resource
from vlmscale.study.selection import SizeAxis

_DRAWS = 1000
_SEED = 0


def recommend(
    question: Question, *, family: str, scores: Path | None, methods: Sequence[str]
) -> Report:
    """The choices within the budget, best first, by the law of `scores` or of the released ones."""
    points, source = _points(family, scores, methods)
    law = fit_power_law(points)
    architectures = load_architectures(find_resource("architectures.csv"))
    axis = _axis(points)
    # Of LLMs that a study has made no table of shapes knows.
    known = dict(points[["llm", "n_params_b"]].values) if scores and "llm" in points else {}
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
            f"LLMs count with their {axis.replace('_', '-')} size; the law's sizes are those of {scores}."
        )
    if priced.note:
        notes.append(priced.note)
    continuous = None
    if question.latencies is None and question.cost == "nominal":
        continuous = _continuous(question, law, draws, points, counts)
        warnings += continuous.pop("warnings")
    return {
        "question": {**asdict(question), "latencies": str(question.latencies or "") or None},
        "unit": question.unit,
        "choice": ranked.iloc[0].to_dict(),
        "runner_up": ranked.iloc[1].to_dict() if len(ranked) > 1 else None,
        "choices": ranked,
        "more_tokens_always_win": law.ratio <= 1,
        "continuous": continuous,
        "law": {
            **asdict(law),
            "ratio": law.ratio,
            "source": source,
            "size_axis": size_axis(points) if scores else "N is the nominal size in billions",
            "interval": f"{_DRAWS} refits, resampling {scheme}, of {points['n_params_b'].nunique()}"
            " LLM sizes",
        },
        "notes": notes,
        "warnings": warnings,
    }


def _points(family: str, scores: Path | None, methods: Sequence[str]) -> tuple[pd.DataFrame, str]:
    """The points of the law, and where they come from in words."""
    if scores is None:
        path = find_resource(f"published/{family}_scores.csv")
        return read_points(path)[""], f"the paper's released {family} scores"
    families = read_points(scores, methods)
    if "" in families:
        return families[""], str(scores)
    if family not in families:
        raise UserError(
            f"{scores}: no points of family {family!r}. There are: {', '.join(families)}."
        )
    return families[family], f"{scores}, {family}"


def _axis(points: pd.DataFrame) -> SizeAxis:
    """What N counts in the law: as the points say, else the size in the LLM's name."""
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
    """The best N and T were every size of LLM to be had."""
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
            "as it allows."
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
            f"Were every size to be had: T* = {number(best['visual_tokens'])} tokens "
            f"({span(best['tokens_low'], best['tokens_high'])}) with an LLM of "
            f"{number(best['n_params_b'])}B, error {best['error']:.4f}; within 1 % of it from "
            f"{number(best['flat_low'], 3)} to {number(best['flat_high'], 3)} tokens."
        )
    law = report["law"]
    bound = {"lower": " (D at its lower bound)", "upper": " (D at its upper bound)"}
    console.print(
        f"Law: {formula(law)}{bound.get(law['floor_bound'], '')}, alpha / beta = "
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
