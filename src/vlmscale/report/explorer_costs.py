"""What answers cost and take of memory, as the coefficients that the explorer's page computes with.

The page has no formula of a cost of its own: what is written here is checked against the cost model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from vlmscale.costs.serving import list_memory_lines
from vlmscale.costs.shapes import Decoder, Tower, load_shapes
from vlmscale.costs.sharing import Reuse, exact_answer_gflops, nominal_answer_gflops

# (visual tokens, text tokens, generated tokens, what is reused) -> GFLOPs of an answer
AnswerCost = Callable[[int, int, int, Reuse], float]
# How a prompt is put, by its name on the page. They differ in what answers about one image share.
_PROMPTS = {"new": Reuse(prompt_cache=False), "kept": Reuse(), "cached": Reuse(cached_text=True)}
# By LLM, the lines (GB, GB a position) of which an answer takes the largest.
MemoryLines = Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class ExplorerCost:
    """A way to count what an answer costs."""

    label: str
    note: str
    costs: Mapping[str, AnswerCost]  # by LLM
    with_tower: bool


def list_costs(
    llms: Mapping[str, float], shapes: Mapping[str, Decoder], tower: Tower | None, method: str
) -> dict[str, ExplorerCost]:
    """Return the ways to count an answer's cost, each with and without the vision tower.

    By N alone, and by every layer where shapes are known. llms: N in billions by name. method: whose
    projector the exact cost counts. The way shown first counts the tower, except where no shape is known:
    the tower of a study that makes its own dwarfs the LLMs. Without a tower, only the LLM's count by N.
    """
    whole = 0.0 if tower is None else tower.gflops()

    def nominal(n: float, with_tower: bool) -> AnswerCost:
        price = partial(
            nominal_answer_gflops, method=method, tower_gflops=whole if with_tower else 0.0
        )
        return lambda v, q, g, reuse: float(price(n, v, q, g, reuse=reuse))

    def exact(decoder: Decoder, with_tower: bool) -> AnswerCost:
        assert tower is not None
        price = partial(exact_answer_gflops, decoder, tower, method=method, with_tower=with_tower)
        return lambda v, q, g, reuse: price(v, q, g, reuse=reuse)

    known = {llm: shapes[llm] for llm in llms if llm in shapes and tower is not None}
    left_out = "Vision tower and projector are left out, as where features are stored."
    ways = {
        "nominal": ExplorerCost(
            "the LLM, as 2 N (Q + V + G)",
            f"The paper's count. {left_out}",
            {llm: nominal(n, False) for llm, n in llms.items()},
            with_tower=False,
        ),
        "nominal_tower": ExplorerCost(
            "the LLM, as 2 N (Q + V + G), and the vision tower",
            f"The paper's count, and {whole:,.4g} GFLOPs of the vision tower.",
            {llm: nominal(n, True) for llm, n in llms.items()},
            with_tower=True,
        ),
        "exact": ExplorerCost(
            "the LLM, every matrix product",
            f"Layers, attention and head. {left_out}",
            {llm: exact(decoder, False) for llm, decoder in known.items()},
            with_tower=False,
        ),
        "exact_tower": ExplorerCost(
            "everything: vision tower, projector, LLM",
            f"Every matrix product from the pixels on, with {method}'s projector.",
            {llm: exact(decoder, True) for llm, decoder in known.items()},
            with_tower=True,
        ),
    }
    if tower is None:
        return {"nominal": ways["nominal"]}
    if not known:
        return {name: ways[name] for name in ("nominal", "nominal_tower")}
    return {name: ways[name] for name in ("nominal_tower", "nominal", "exact_tower", "exact")}


def list_memories(
    llms: Mapping[str, float], shapes: Mapping[str, Decoder], tower: Tower | None, method: str
) -> dict[str, MemoryLines]:
    """Return what an answer takes of a GPU by LLM, as lines (GB, GB a position), with and without tower.

    Arguments as of list_costs.
    """
    known = {**load_shapes(), **shapes}
    return {
        name: {
            llm: list_memory_lines(llm, n, known, tower, method, with_tower=with_tower)
            for llm, n in llms.items()
        }
        for name, with_tower in (("tower", True), ("stored", False))
        if tower is not None or not with_tower
    }


def describe_costs(
    costs: Mapping[str, ExplorerCost], counts: Sequence[int], method: str
) -> dict[str, Any]:
    """Return the page's data about costs: of every way, LLM, prompt and token count, and what is shared.

    Raises ValueError for a cost that the page cannot compute.
    """
    return {
        "costs": {
            name: {
                "label": cost.label,
                "note": cost.note,
                "memory": "tower" if cost.with_tower else "stored",
                "llms": {
                    llm: {
                        prompt: [_split_cost(price, v, reuse) for v in counts]
                        for prompt, reuse in _PROMPTS.items()
                    }
                    for llm, price in cost.costs.items()
                },
            }
            for name, cost in costs.items()
        },
        "sharing": {
            prompt: {"why": reuse.explain(method), "prefix": not reuse.explain_full_prefix(method)}
            for prompt, reuse in _PROMPTS.items()
        },
    }


def as_polynomial(cost: Callable[[int, int], float]) -> list[float]:
    """Return the coefficients of 1, q, g, q^2, q g, g^2 of a cost of text and generated tokens.

    Raises ValueError for a cost that is no such polynomial.
    """
    at = [(0, 0), (64, 0), (0, 64), (128, 0), (64, 64), (0, 128)]
    coefficients = np.linalg.solve([_powers(q, g) for q, g in at], [cost(q, g) for q, g in at])
    for q, g in ((50, 7), (1000, 300)):
        if not np.isclose(np.dot(_powers(q, g), coefficients), cost(q, g), rtol=1e-9):
            raise ValueError("the cost of an answer is no polynomial of degree 2 in Q and G")
    return [float(value) for value in coefficients]


def _powers(q: float, g: float) -> list[float]:
    return [1.0, q, g, q * q, q * g, g * g]


def _split_cost(price: AnswerCost, v: int, reuse: Reuse) -> list[float]:
    """Return v, the cost of what answers about an image share, and the coefficients of the rest's.

    Raises ValueError where what they share depends on the text.
    """
    own = replace(reuse, cached_image=True)
    shared = price(v, 0, 0, reuse) - price(v, 0, 0, own)
    if not np.isclose(price(v, 50, 7, reuse) - price(v, 50, 7, own), shared, rtol=1e-6, atol=1e-9):
        raise ValueError("what answers about an image share depends on their text")
    return [float(v), float(shared), *as_polynomial(lambda q, g: price(v, q, g, own))]
