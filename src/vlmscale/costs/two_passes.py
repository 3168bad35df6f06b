"""What an answer costs by VoCo-LLaMA, whose LLM reads an image once and keeps a few tokens of it.

Ye et al. 2024, arXiv 2406.12275. In the first pass all patches and v compression tokens go through the
whole LLM; the keys and values of the v tokens stay. Questions follow in passes of their own and see only
these. Text before the image cannot be cached: what the question sees of the image stands before it.
"""

from vlmscale.costs.flops import compressor_gflops
from vlmscale.costs.shapes import Decoder, Tower
from vlmscale.costs.sharing import Reuse

PROJECTOR = "mlp"  # which gives the LLM one token for each patch


def two_pass_answer_gflops(
    decoder: Decoder,
    tower: Tower,
    visual_tokens: int,
    text_tokens: int,
    generated_tokens: int,
    *,
    reuse: Reuse,
) -> float:
    """Return GFLOPs of an answer, tower and projector included, every matrix product counted."""
    patches = tower.patches
    image = tower.gflops()
    image += compressor_gflops(PROJECTOR, patches, tower=tower, llm_width=decoder.hidden_size)
    image += decoder.forward(patches + visual_tokens, cached=0, scored=0).total
    question = decoder.forward(text_tokens, cached=visual_tokens, scored=1).total
    answer = decoder.decode(visual_tokens + text_tokens, generated_tokens).total
    return reuse.image_share * image + question + answer
