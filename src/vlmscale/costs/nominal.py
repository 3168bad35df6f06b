"""What an answer costs by the paper's count, from the LLM's size alone.

A module of its own: laws need this count, and no formula of a projector that costs.flops reads.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def prefill_gflops(
    n_params_b: ArrayLike,
    visual_tokens: ArrayLike,
    text_tokens: ArrayLike,
    generated_tokens: ArrayLike = 0,
) -> NDArray[np.float64]:
    """Return GFLOPs of an image-question pair, 2 N (Q + V + G), N in billions (the paper, section 3.1).

    Tower and compressor are left out, as in the paper; text_tokens is 0 when the text is cached.
    """
    counts = (text_tokens, visual_tokens, generated_tokens)
    total = sum(np.asarray(count, float) for count in counts)
    return np.asarray(2 * np.asarray(n_params_b, float) * total)
