"""The paper's released numbers in the columns that a study's own results have."""

from collections.abc import Mapping

import pandas as pd

from vlmscale.analysis.collect import CELL_COLUMNS


def published_errors(scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """By family the released table (n_params_b nominal, visual_tokens, score) -> one errors table.

    The released scores are averages over a suite, hence benchmark "mean"; the 576-token points are
    LLaVA-1.5's MLP in all likelihood, which the paper does not say.
    """
    frames = []
    for family, table in scores.items():
        frames.append(
            pd.DataFrame(
                {
                    "llm": [f"Qwen1.5-{n:g}B" for n in table["n_params_b"]],
                    "method": "tokenpacker",
                    "visual_tokens": table["visual_tokens"],
                    "seed": 0,
                    "role": "fit",
                    "n_params_b": table["n_params_b"].astype(float),
                    "family": family,
                    "benchmark": "mean",
                    "metric": "mean",
                    "score": table["score"],
                    "error": 1 - table["score"],
                }
            )
        )
    merged = pd.concat(frames, ignore_index=True)
    merged["cell"] = merged["llm"] + "__v" + merged["visual_tokens"].astype(str)
    merged["run"] = merged["cell"]
    return merged[[*CELL_COLUMNS, *[c for c in merged if c not in CELL_COLUMNS]]]
