"""What an answer costs with each LLM and token count: in FLOPs, or in milliseconds as measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vlmscale.analysis.decisions.latency import select_latencies
from vlmscale.analysis.decisions.recommend import Cost, interpolate_cost
from vlmscale.analysis.laws.points import Floats
from vlmscale.cli.points import Source, read_table
from vlmscale.costs.flops import answer_gflops, prefill_gflops
from vlmscale.costs.shapes import Decoder, Tower, find_shape
from vlmscale.errors import UserError
from vlmscale.methods import find_method
from vlmscale.study.selection import SizeAxis

Architectures = Mapping[str, Decoder | Tower]

_PAPER_LLMS = "Qwen1.5-0.5B,Qwen1.5-1.8B,Qwen1.5-4B,Qwen1.5-7B,Qwen1.5-14B"
_PAPER_TOWER = "CLIP-ViT-L/14-336"
_MOST_TOKENS = 576  # patches of that tower: the most the paper's VLMs can show


@dataclass(frozen=True)
class Question:
    """What an answer may cost, and what is in it."""

    budget: float  # GFLOPs, or milliseconds where latencies are given
    latencies: Source | None
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


@dataclass(frozen=True)
class Prices:
    """LLMs to choose from, and what an answer of each costs."""

    sizes: dict[str, float]  # N in billions
    cost: Cost
    note: str  # on what latencies are of; "" for FLOPs


def prices(
    question: Question,
    architectures: Architectures,
    methods: Sequence[str],
    axis: SizeAxis,
    known: Mapping[str, float],
) -> Prices:
    """Costs as `question` wants them. methods: those whose latencies count, by default all of the table.

    axis: what N counts. known: N of LLMs whatever the table of architectures says of them.
    """
    if question.latencies is not None:
        return _measured(question, architectures, methods, axis, known)
    sizes = _sizes((question.sizes or _PAPER_LLMS).split(","), architectures, axis, known)
    if question.cost == "nominal":
        return Prices(sizes, _nominal_cost(question, sizes), "")
    return Prices(sizes, _exact_cost(question, architectures), "")


def _measured(
    question: Question,
    architectures: Architectures,
    methods: Sequence[str],
    axis: SizeAxis,
    known: Mapping[str, float],
) -> Prices:
    assert question.latencies is not None
    table = select_latencies(
        read_table(question.latencies),
        methods=methods,
        text_tokens=question.text_tokens,
        generated_tokens=question.generated_tokens,
        cached_text=question.cached_text,
    )
    note = "Latencies are taken as measured; text and generated tokens change none."
    if "text_tokens" in table:
        cached = ", cached" if question.cached_text else ""
        note = (
            f"Latencies are those measured with {question.text_tokens} text tokens{cached}, and a straight "
            "line between token counts."
        )
    if "llm" in table:
        given = table["llm"].astype(str)
        if axis == "total" and "n_params_b" in table:  # of LLMs that the law was not fitted on
            known = {**dict(zip(given, table["n_params_b"], strict=True)), **known}
        labels = {
            name: next(iter(_sizes([name], architectures, axis, known))) for name in given.unique()
        }
        table = table.assign(llm=given.map(labels))
    cost = interpolate_cost(table)
    asked = question.sizes.split(",") if question.sizes else table["llm"].unique().tolist()
    return Prices(_sizes(asked, architectures, axis, known), cost, note)


def _sizes(
    texts: Sequence[str], architectures: Architectures, axis: SizeAxis, known: Mapping[str, float]
) -> dict[str, float]:
    """LLM -> N in billions; a number such as 7 or 7B stands for itself."""
    sizes = {}
    for text in map(str.strip, texts):
        if text in known:
            sizes[text] = float(known[text])
            continue
        try:
            n = float(text.upper().removesuffix("B"))
        except ValueError:
            sizes[text] = getattr(find_shape(architectures, text, Decoder), f"{axis}_b")
            continue
        if not 0 < n < np.inf:
            raise UserError(f"an LLM of {text} billion parameters cannot be; give a size above 0")
        sizes[f"{n:g}B"] = n
    return sizes


def token_counts(question: Question, architectures: Architectures) -> list[int]:
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
        side = find_shape(architectures, _PAPER_TOWER, Tower).grid_side
        return find_method(question.method).list_counts(side)
    return list(range(1, _MOST_TOKENS + 1))


def _nominal_cost(question: Question, sizes: Mapping[str, float]) -> Cost:
    text = 0 if question.cached_text else question.text_tokens

    def cost(llm: str, visual_tokens: Floats) -> Floats:
        return prefill_gflops(sizes[llm], visual_tokens, text, question.generated_tokens)

    return cost


def _exact_cost(question: Question, architectures: Architectures) -> Cost:
    tower = find_shape(architectures, _PAPER_TOWER, Tower)
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
        decoder = find_shape(architectures, llm, Decoder)
        return np.array([one(decoder, int(count)) for count in visual_tokens])

    return cost
