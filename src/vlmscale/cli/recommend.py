"""Which LLM with how many visual tokens, for what an answer may cost."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import pandas as pd
from rich.console import Console

from vlmscale.analysis.bootstrap import bootstrap, main_scheme
from vlmscale.analysis.costs import answer_gflops, prefill_gflops
from vlmscale.analysis.laws import Floats, PowerLaw, fit_power_law
from vlmscale.analysis.optimum import flat_range, optimal_tokens
from vlmscale.analysis.recommend import Cost, measured_cost, predictions, rank_choices
from vlmscale.architectures import Decoder, Tower, find, load_architectures
from vlmscale.cli.fit import FLAT, formula
from vlmscale.cli.output import Report, number, span, status, table
from vlmscale.cli.points import read_points, read_table, size_axis
from vlmscale.errors import UserError
from vlmscale.methods import method as declared
from vlmscale.resources import resource
from vlmscale.series import SizeAxis

Architectures = Mapping[str, Decoder | Tower]

_PAPER_LLMS = "Qwen1.5-0.5B,Qwen1.5-1.8B,Qwen1.5-4B,Qwen1.5-7B,Qwen1.5-14B"
_PAPER_TOWER = "CLIP-ViT-L/14-336"
_MOST_TOKENS = 576  # patches of that tower: the most the paper's VLMs can show
_DRAWS = 1000
_SEED = 0


@dataclass(frozen=True)
class Question:
    """What an answer may cost, and what is in it."""

    budget: float  # GFLOPs, or milliseconds where latencies are given
    latencies: Path | None
    text_tokens: int
    generated_tokens: int
    cached_text: bool
    cost: Literal["nominal", "exact"]
    with_tower: bool
    method: str  # whose compressor with_tower counts
    sizes: str | None
    token_counts: str

    @property
    def unit(self) -> str:
        return "GFLOPs" if self.latencies is None else "ms"


def recommend(
    question: Question, *, family: str, scores: Path | None, methods: Sequence[str]
) -> Report:
    """The choices within the budget, best first, by the law of `scores` or of the released ones."""
    points, source = _points(family, scores, methods)
    law = fit_power_law(points)
    architectures = load_architectures(resource("architectures.csv"))
    axis = _axis(points)
    sizes, cost = _sizes_and_cost(question, architectures, axis)
    counts = _token_counts(question, architectures)
    scheme = main_scheme(points)
    with status("refitting resamples"):
        draws = bootstrap(points, law, scheme, draws=_DRAWS, seed=_SEED)
    ranked = rank_choices(
        law, draws, points, sizes, cost, question.budget, token_counts=counts, unit=question.unit
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
    if question.latencies is not None:
        notes.append("Latencies are taken as measured; text and generated tokens change none.")
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
        path = resource(f"published/{family}_scores.csv")
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


def _sizes_and_cost(
    question: Question, architectures: Architectures, axis: SizeAxis
) -> tuple[dict[str, float], Cost]:
    if question.latencies is None:
        sizes = _sizes((question.sizes or _PAPER_LLMS).split(","), architectures, axis)
        if question.cost == "nominal":
            return sizes, _nominal_cost(question, sizes)
        return sizes, _exact_cost(question, architectures)
    measured = read_table(question.latencies)
    if "llm" in measured:
        names = measured["llm"].astype(str)
        labels = {name: next(iter(_sizes([name], architectures, axis))) for name in names.unique()}
        measured = measured.assign(llm=names.map(labels))
    cost = measured_cost(measured)
    asked = question.sizes.split(",") if question.sizes else measured["llm"].unique().tolist()
    return _sizes(asked, architectures, axis), cost


def _sizes(texts: Sequence[str], architectures: Architectures, axis: SizeAxis) -> dict[str, float]:
    """LLM -> N in billions; a number such as 7 or 7B stands for itself."""
    sizes = {}
    for text in map(str.strip, texts):
        try:
            n = float(text.upper().removesuffix("B"))
            if not 0 < n < np.inf:
                raise UserError(
                    f"an LLM of {text} billion parameters cannot be; give a size above 0"
                )
            sizes[f"{n:g}B"] = n
        except ValueError:
            sizes[text] = getattr(find(architectures, text, Decoder), f"{axis}_b")
    return sizes


def _token_counts(question: Question, architectures: Architectures) -> list[int]:
    if question.token_counts != "any":
        try:
            counts = [int(text) for text in question.token_counts.split(",")]
        except ValueError:
            counts = []
        if not counts or min(counts) < 1:
            raise UserError(
                f"--token-counts {question.token_counts}: give numbers above 0, such as 1,16,64, or any"
            )
        return counts
    if question.with_tower:  # a compressor's cost is known for the counts it can give
        side = find(architectures, _PAPER_TOWER, Tower).grid_side
        return declared(question.method).supported(side)
    return list(range(1, _MOST_TOKENS + 1))


def _nominal_cost(question: Question, sizes: Mapping[str, float]) -> Cost:
    text = 0 if question.cached_text else question.text_tokens

    def cost(llm: str, visual_tokens: Floats) -> Floats:
        return prefill_gflops(sizes[llm], visual_tokens, text, question.generated_tokens)

    return cost


def _exact_cost(question: Question, architectures: Architectures) -> Cost:
    tower = find(architectures, _PAPER_TOWER, Tower)
    q, g, cached = question.text_tokens, question.generated_tokens, question.cached_text

    def one(decoder: Decoder, visual_tokens: int) -> float:
        if question.with_tower:
            text: Literal["cached", "new"] = "cached" if cached else "new"
            return answer_gflops(
                decoder, tower, question.method, visual_tokens, q, g, text=text
            ).total
        prefill = decoder.prefill(visual_tokens, q, text_cached=cached)
        return prefill.total + decoder.decode(visual_tokens + q, g).total

    def cost(llm: str, visual_tokens: Floats) -> Floats:
        decoder = find(architectures, llm, Decoder)
        return np.array([one(decoder, int(count)) for count in visual_tokens])

    return cost


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
    error = predictions(draws, np.array([n]), np.array([tokens]))[:, 0]
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
