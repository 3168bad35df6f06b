"""What an answer costs with each LLM and token count: in FLOPs, in milliseconds as measured, in memory."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

from vlmscale.analysis.decisions.latency import clean_latencies, select_latencies
from vlmscale.analysis.decisions.recommend import FAR, Cost, interpolate_cost
from vlmscale.analysis.laws.columns import parse_size
from vlmscale.analysis.laws.points import Floats
from vlmscale.cli.points import find_tower
from vlmscale.costs.shapes import Decoder, Tower, find_shape, load_shapes
from vlmscale.costs.sharing import Reuse, exact_answer_gflops, nominal_answer_gflops
from vlmscale.errors import UsageError, UserError, refuse_infinite
from vlmscale.methods import find_method, list_method_names
from vlmscale.records.tables import Source, name_source, read_table
from vlmscale.study.selection import FULL, SUITES, SizeAxis

_PAPER_LLMS = "Qwen1.5-0.5B,Qwen1.5-1.8B,Qwen1.5-4B,Qwen1.5-7B,Qwen1.5-14B"
PAPER_METHOD = "tokenpacker"
_MOST_TOKENS = 100_000

find_shapes = cache(load_shapes)


@dataclass(frozen=True, kw_only=True)
class Question:
    """The arguments of recommend(): what an answer may cost, what is in it, and by which law.

    Raises UsageError for arguments that exclude each other.
    """

    gflops: float | None
    latency_ms: float | None
    latencies: Source | None
    memory_gb: float | None
    kv_mb: float | None
    text_tokens: int
    generated_tokens: int
    cached_text: bool
    cached_image: bool
    questions_per_image: int
    prompt_cache: bool
    training_budget: str
    family: str | None
    sizes: str | Sequence[str | float] | None
    token_counts: str | Sequence[int]
    cost: Literal["nominal", "exact"]
    with_tower: bool
    method: str | None
    scores: Source | None
    methods: Sequence[str]

    def __post_init__(self) -> None:
        refuse_infinite(vars(self))
        if (self.gflops is None) == (self.latency_ms is None):
            raise UsageError("give one of gflops and latency_ms")
        if (self.latency_ms is None) != (self.latencies is None):
            raise UsageError("latency_ms and latencies belong together")
        if self.latencies is not None and self.cost == "exact":
            raise UsageError("cost exact counts GFLOPs; it has no use beside latencies")
        if self.questions_per_image < 1:
            raise UsageError(f"questions_per_image {self.questions_per_image}: give 1 or more")
        if self.latencies is not None and self.reuse.image_share < 1:
            raise UsageError(
                "cached_image and questions_per_image share out GFLOPs; latencies are taken as measured. "
                "Give a budget in GFLOPs, or latencies measured with images encoded before"
            )
        if self.scores is None and (self.family or SUITES[0]).lower() not in SUITES:
            raise UsageError(
                f"family {self.family!r}: released scores are of {' and '.join(SUITES)}"
            )
        if self.scores is None and self.training_budget != FULL:
            raise UsageError("training_budget chooses among the points of scores")
        if self.methods and self.scores is None and self.latencies is None:
            raise UsageError("methods chooses among the points of scores or of latencies")
        if self.method is not None and self.method not in list_method_names():
            raise UsageError(f"method {self.method!r}: there are {', '.join(list_method_names())}")

    @property
    def budget(self) -> float:
        given = self.gflops if self.latency_ms is None else self.latency_ms
        assert given is not None
        return given

    @property
    def unit(self) -> str:
        return "GFLOPs" if self.latencies is None else "ms"

    @property
    def computed_text_tokens(self) -> int:
        """Q of the cost: cached text costs nothing."""
        return 0 if self.cached_text else self.text_tokens

    @property
    def reuse(self) -> Reuse:
        return Reuse(
            cached_text=self.cached_text,
            cached_image=self.cached_image,
            questions_per_image=self.questions_per_image,
            prompt_cache=self.prompt_cache,
        )

    @property
    def costs_tokens(self) -> bool:
        """Whether an answer costs anything in the LLM by the paper's count."""
        text = self.computed_text_tokens + self.generated_tokens
        return text + self.reuse.prefix_share(self.projector) > 0

    @property
    def projector(self) -> str:
        return self.method or PAPER_METHOD

    @cached_property
    def named_tower(self) -> tuple[str, Tower]:
        """Name and shape of the vision tower."""
        return find_tower(self.scores, counted=self.with_tower and self.latencies is None)

    @property
    def tower(self) -> Tower:
        return self.named_tower[1]

    @property
    def tower_gflops(self) -> float:
        """What the vision tower takes of the budget."""
        counted = self.with_tower and self.latencies is None
        return self.reuse.image_share * self.tower.gflops() if counted else 0.0

    def describe(self) -> dict[str, Any]:
        """Return the arguments and the budget; tables by their names."""
        tables = {
            name: table if table is None else name_source(table)
            for name, table in (("latencies", self.latencies), ("scores", self.scores))
        }
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        counted = {"tower": self.named_tower[0], "tower_gflops": self.tower_gflops}
        return {**given, **tables, "budget": self.budget, **counted}


def price_answers(
    question: Question, axis: SizeAxis, known: Mapping[str, float]
) -> tuple[dict[str, float], Cost, str]:
    """Return N (in billions) of each LLM to choose from, what an answer costs, and a note on the costs.

    axis: what N counts. known: N of the LLMs that the law was fitted on, where a user's table names them.
    """
    if question.latencies is not None:
        return _price_measured(question, axis, known)
    sizes = _find_sizes(_split(question.sizes or list(known) or _PAPER_LLMS), axis, known)
    tower = question.tower_gflops
    name = question.named_tower[0]
    counted = f"{tower:.3g} GFLOPs of the vision tower {name}" if tower else "no vision tower"
    if question.cost == "exact":
        projector = f" and {question.projector}'s projector" if tower else ""
        note = f"Costs: every matrix product of the LLM, and {counted}{projector}."
        return sizes, _exact_cost(question), note

    def cost(llm: str, visual_tokens: Floats) -> Floats:
        return nominal_answer_gflops(
            sizes[llm],
            visual_tokens,
            question.text_tokens,
            question.generated_tokens,
            method=question.projector,
            reuse=question.reuse,
            tower_gflops=question.tower.gflops() if question.with_tower else 0.0,
        )

    share = question.reuse.prefix_share(question.projector)
    visual = "V" if share == 1 else f"{share:.3g} V"
    return sizes, cost, f"Costs: 2 N (Q + {visual} + G), and {counted}."


def list_token_counts(question: Question, points: pd.DataFrame) -> tuple[list[int], str]:
    """Return the V to choose from, and where they are from.

    points: of the law. Raises UserError unless they are whole numbers above 0.
    """
    side, patches = question.tower.grid_side, question.tower.patches
    if question.token_counts == "any":
        most = min(patches, int(FAR * points["visual_tokens"].max()))
        return list(range(1, most + 1)), f"Token counts: any from 1 to {most}."
    if question.token_counts != "method":
        try:
            counts = sorted({int(text) for text in _split(question.token_counts)})
        except ValueError:
            counts = []
        if not counts or min(counts) < 1 or max(counts) > _MOST_TOKENS:
            raise UserError(
                f"--token-counts {question.token_counts}: give numbers above 0, such as 1,16,64; or any"
            )
        return counts, ""
    if question.scores is not None and question.method is None:
        counts = sorted({int(v) for v in points["visual_tokens"]})
        return counts, "Token counts: those of the table; others by --token-counts or --method."
    counts = find_method(question.projector).list_counts(side)
    return (
        counts,
        f"Token counts: those that {question.projector} can give; others by --token-counts.",
    )


def _split(values: str | Sequence[str | float]) -> list[str]:
    return [str(v).strip() for v in (values.split(",") if isinstance(values, str) else values)]


def _price_measured(
    question: Question, axis: SizeAxis, known: Mapping[str, float]
) -> tuple[dict[str, float], Cost, str]:
    assert question.latencies is not None
    where = name_source(question.latencies)
    table = select_latencies(
        clean_latencies(read_table(question.latencies), where, methods=question.methods),
        methods=question.methods,
        text_tokens=question.text_tokens,
        generated_tokens=question.generated_tokens,
        cached_text=question.cached_text,
    )
    note = "Latencies are taken as measured; text and generated tokens change none."
    if "text_tokens" in table:
        kind = "cached text tokens" if question.cached_text else "text tokens"
        note = f"Latencies are those measured with {question.text_tokens} {kind}, linear between counts."
    given = table["llm"].astype(str)
    if axis == "total" and "n_params_b" in table:  # of LLMs that the law was not fitted on
        known = {**dict(zip(given, table["n_params_b"], strict=True)), **known}
    labels = {name: next(iter(_find_sizes([name], axis, known))) for name in given.unique()}
    table = table.assign(llm=given.map(labels))
    cost = interpolate_cost(table)
    names = _split(question.sizes) if question.sizes else table["llm"].unique().tolist()
    return _find_sizes(names, axis, known), cost, note


def _find_sizes(
    names: Sequence[str], axis: SizeAxis, known: Mapping[str, float]
) -> dict[str, float]:
    """LLM -> N in billions: as the law's table says, by its shape, or as the name states; 7 is 7B."""
    sizes = {}
    for name in names:
        shape = find_shapes().get(name)
        if name in known:
            sizes[name] = float(known[name])
        elif isinstance(shape, Decoder):
            sizes[name] = float(getattr(shape, f"{axis}_b"))
        elif (n := parse_size(name)) is None:
            listed = [llm for llm, found in find_shapes().items() if isinstance(found, Decoder)]
            raise UserError(
                f"no decoder is called {name!a:.60}, and the name states no size such as 7B or 500M. Known "
                f"are {', '.join(dict.fromkeys([*known, *listed]))}; else give billions of parameters"
            )
        elif not 1e-9 < n < 1e5:
            raise UserError(f"an LLM of {name} billion parameters cannot be; give a size above 0")
        else:
            sizes[f"{n:g}B" if re.fullmatch(r"[\d.]+B?", name, re.IGNORECASE) else name] = n
    return sizes


def _exact_cost(question: Question) -> Cost:
    def cost(llm: str, visual_tokens: Floats) -> Floats:
        decoder = find_shape(find_shapes(), llm, Decoder)
        return np.array(
            [
                exact_answer_gflops(
                    decoder,
                    question.tower,
                    int(v),
                    question.text_tokens,
                    question.generated_tokens,
                    method=question.projector,
                    reuse=question.reuse,
                    with_tower=question.with_tower,
                )
                for v in visual_tokens
            ]
        )

    return cost
