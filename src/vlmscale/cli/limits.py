"""What an answer may take beside its cost: GPU memory, and what an image keeps of keys and values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vlmscale.analysis.decisions.recommend import Cost
from vlmscale.analysis.laws.points import Floats
from vlmscale.cli.answer_cost import Question, find_shapes
from vlmscale.costs.flops import count_positions
from vlmscale.costs.serving import find_nearest_decoder, list_memory_lines
from vlmscale.costs.sharing import count_kept_bytes
from vlmscale.errors import UserError


@dataclass(frozen=True)
class Limit:
    """A limit of what each LLM and token count needs."""

    column: str  # of the table of choices
    unit: str
    most: float
    need: Cost
    cure: str

    def is_met(self, llm: str, visual_tokens: Floats) -> Floats:
        """Return which token counts need no more than `most` with this LLM."""
        return np.asarray(self.need(llm, visual_tokens) <= self.most)


def find_limits(question: Question, sizes: Mapping[str, float]) -> list[Limit]:
    """Return the limits of the question. sizes: billions of parameters by LLM."""
    text = question.text_tokens + question.generated_tokens
    shapes, method, patches = find_shapes(), question.projector, question.tower.patches

    def memory(llm: str, visual_tokens: Floats) -> Floats:
        lines = list_memory_lines(
            llm, sizes[llm], shapes, question.tower, method, with_tower=question.with_tower
        )
        decoder = find_nearest_decoder(llm, sizes[llm], shapes)
        counts = [count_positions(decoder, method, v, patches=patches) for v in visual_tokens]
        passed = np.array([each.passed for each in counts])
        return np.max([fixed + each * (text + passed) for fixed, each in lines], axis=0)

    def kept(llm: str, visual_tokens: Floats) -> Floats:
        decoder = find_nearest_decoder(llm, sizes[llm], shapes)
        return count_kept_bytes(decoder, method, visual_tokens, patches=patches) / 1e6

    limits = []
    if (most := question.memory_gb) is not None:
        limits.append(Limit("memory_gb", "GB", most, memory, "give more with --memory-gb"))
    if (most := question.kv_mb) is not None:
        cure = "give more with --kv-mb, fewer --token-counts"
        limits.append(Limit("kv_mb", "MB of keys and values an image keeps", most, kept, cure))
    return limits


def apply_limits(
    price: Cost, limits: Sequence[Limit], sizes: Mapping[str, float], counts: Sequence[int]
) -> Cost:
    """Return a cost that is infinite where a limit is not met.

    Raises UserError where no LLM meets one of them with any of the token counts.
    """
    v = np.array(counts)
    for each in limits:
        least, llm = min((float(each.need(name, v).min()), name) for name in sizes)
        if least > each.most:
            raise UserError(
                f"no LLM fits into {each.most:g} {each.unit}. The smallest need is {least:.3g} "
                f"{each.unit.partition(' ')[0]}, of {llm}; {each.cure} or smaller LLMs with --sizes"
            )

    def limited(llm: str, visual_tokens: Floats) -> Floats:
        met = np.ones(np.shape(visual_tokens), bool)
        for each in limits:
            met &= each.is_met(llm, visual_tokens)
        return np.where(met, price(llm, visual_tokens), np.inf)

    return limited
