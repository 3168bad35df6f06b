"""What an answer costs."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def prefill_gflops(
    n_params_b: ArrayLike, visual_tokens: ArrayLike, text_tokens: ArrayLike
) -> NDArray[np.float64]:
    """GFLOPs of one image-question pair, 2 N (Q + V) with N in billions (the paper, section 3.1).

    Tower and compressor are left out, as in the paper; text_tokens is 0 when the text is cached.
    """
    total = np.asarray(text_tokens, float) + np.asarray(visual_tokens, float)
    return np.asarray(2 * np.asarray(n_params_b, float) * total)
