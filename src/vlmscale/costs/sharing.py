"""What an answer costs where several share what is computed of their image, or of their text.

The tower and a projector that does not read the question give the same visual tokens for every question
about an image. Their keys and values in the LLM are the same, too, if the image comes before the text. What
is shared counts in equal parts: k answers about an image pay 1 / k of it each, and none of it where the
image was encoded before its questions came.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlmscale.costs.flops import DEFAULTS, answer_gflops, count_positions, llm_gflops
from vlmscale.costs.nominal import prefill_gflops
from vlmscale.costs.shapes import Decoder, Tower
from vlmscale.methods import find_method


@dataclass(frozen=True)
class Reuse:
    """What one answer takes over from others."""

    cached_text: bool = False  # the text comes before the image and is cached
    cached_image: bool = False  # the image was encoded before the question came
    questions_per_image: int = 1
    prompt_cache: bool = True  # the LLM keeps the keys and values of an image for all its questions

    @property
    def image_share(self) -> float:
        """The part of tower and projector that one answer pays."""
        return 0.0 if self.cached_image else 1 / self.questions_per_image

    def prefix_share(self, method: str) -> float:
        """Return the part of the image's pass through the LLM that one answer pays."""
        return self.image_share if not self.explain_full_prefix(method) else 1.0

    def explain_full_prefix(self, method: str) -> str:
        """Say why each question takes a pass of its own over the image's tokens; "" where it does not."""
        if self.cached_text:
            return "the text comes before the image, whose keys and values depend on it"
        declared = find_method(method)
        if declared.reads_question:
            return f"{method} reads the question, so its tokens differ from question to question"
        if "llm_attention" in declared.needs:
            return f"{method} prunes inside the LLM, by the question"
        if "text_embeddings" in declared.needs:
            return f"{method} mixes image and question before the LLM"
        return "" if self.prompt_cache else "the LLM has no prompt cache"

    def explain(self, method: str) -> str:
        """Say in a sentence what is shared, and what follows for the number of visual tokens."""
        encoder = "the vision tower" + ("" if _reads(method) else " and the projector")
        if reason := self.explain_full_prefix(method):
            return (
                f"Answers about one image share {encoder}. Each pays for all visual tokens in the LLM, "
                f"since {reason}: what the encoder no longer takes is left for the LLM."
            )
        return (
            f"Answers about one image share {encoder}, and the image's pass through the LLM, which keeps "
            "its keys and values: visual tokens are cheap, so more of them pay."
        )


# The ways to answer that tables of costs compare.
MODES: Mapping[str, Reuse] = MappingProxyType(
    {
        "neither cached": Reuse(),
        "text cached": Reuse(cached_text=True),
        "image cached": Reuse(cached_image=True),
        "both cached": Reuse(cached_text=True, cached_image=True),
        "10 questions": Reuse(questions_per_image=10),
        "100 questions": Reuse(questions_per_image=100),
    }
)


def count_kept_bytes(
    decoder: Decoder, method: str, visual_tokens: ArrayLike, *, patches: int
) -> NDArray[np.float64]:
    """Return the bytes of keys and values, in 16 bits, that an image takes while questions about it come.

    Of most methods these are the visual tokens'. A method that prunes inside the LLM keeps all patches in
    all layers, because each question chooses anew.
    """
    counts = np.asarray(visual_tokens, float)
    kept = [count_positions(decoder, method, v, patches=patches).kept for v in counts.flat]
    return np.reshape(kept, counts.shape) * decoder.key_value_bytes


def nominal_answer_gflops(
    n_params_b: ArrayLike,
    visual_tokens: ArrayLike,
    text_tokens: int,
    generated_tokens: int,
    *,
    method: str,
    reuse: Reuse,
    tower_gflops: float,
) -> NDArray[np.float64]:
    """Return GFLOPs of an answer by the paper's count, 2 N (Q + s V + G), and its part of the tower's.

    s: the part of the visual tokens that one answer pays. tower_gflops: 0 where features are stored.
    """
    paid = np.asarray(visual_tokens, float) * reuse.prefix_share(method)
    text = 0 if reuse.cached_text else text_tokens
    llm = prefill_gflops(n_params_b, paid, text, generated_tokens)
    return llm + reuse.image_share * tower_gflops


def exact_answer_gflops(
    decoder: Decoder,
    tower: Tower,
    visual_tokens: int,
    text_tokens: int,
    generated_tokens: int,
    *,
    method: str,
    reuse: Reuse,
    with_tower: bool,
    options: Mapping[str, str] = DEFAULTS,
) -> float:
    """Return GFLOPs of an answer, every matrix product counted.

    with_tower: count the tower and the projector; without, features are stored. options: those of the
    method that are not default. Raises UserError for a count the method cannot give.
    """
    positions = count_positions(decoder, method, visual_tokens, patches=tower.patches)
    encoder = 0.0
    if with_tower:
        whole = answer_gflops(
            decoder,
            tower,
            method,
            visual_tokens,
            text_tokens,
            text="cached" if reuse.cached_text else "new",
            options=options,
        )
        share = reuse.image_share
        encoder = share * whole.tower + whole.text_pass
        encoder += whole.compressor * (1.0 if _reads(method) else share)
    llm = llm_gflops(
        decoder, positions, text_tokens, generated_tokens, text_cached=reuse.cached_text
    )
    # The pass over the image scores no position; the pass over the text scores its last one.
    image = decoder.forward(positions.passed, cached=0, scored=0).total
    saved = (1 - reuse.prefix_share(method)) * image
    return encoder + llm.prefill.total - saved + llm.decode.total


def _reads(method: str) -> bool:
    return find_method(method).reads_question
