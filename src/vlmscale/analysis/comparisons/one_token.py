"""Where methods with few visual tokens stand: errors against what an answer costs, by way of answering.

One visual token is cheap in 2 N (Q + V), which sees neither what gives the token nor what an image keeps.
Here every matrix product counts, and keys and values in bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vlmscale.analysis.laws.points import Floats
from vlmscale.analysis.laws.tables import select_family_means
from vlmscale.costs.shapes import Decoder, Tower, find_shape, load_shapes
from vlmscale.costs.sharing import MODES, count_kept_bytes, exact_answer_gflops
from vlmscale.costs.two_passes import two_pass_answer_gflops
from vlmscale.resources import find_resource
from vlmscale.study.selection import FEW_TOKENS

KEPT = "kept"  # the mode that counts bytes an image keeps, in MB
RECALLED = "recalled"  # evidence of a score that nobody here has seen in its source
_TWO_PASSES = "voco"
_POINT = ["benchmark", "budget", "llm", "method", "visual_tokens", "error", "evidence"]


@dataclass(frozen=True)
class Priced:
    """How a method is priced: its name among the projectors (or "voco"), its options and shapes."""

    method: str
    decoder: Decoder
    tower: Tower
    options: Mapping[str, str] = field(default_factory=dict)

    def price(self, visual_tokens: int, text_tokens: int) -> dict[str, float]:
        """Return GFLOPs of an answer of one token by mode, and the MB that an image keeps (KEPT)."""
        decoder, tower, v = self.decoder, self.tower, visual_tokens
        if self.method == _TWO_PASSES:
            costs = {
                mode: two_pass_answer_gflops(decoder, tower, v, text_tokens, 0, reuse=reuse)
                for mode, reuse in MODES.items()
            }
            return {**costs, KEPT: v * decoder.key_value_bytes / 1e6}
        costs = {
            mode: exact_answer_gflops(
                decoder,
                tower,
                v,
                text_tokens,
                0,
                method=self.method,
                reuse=reuse,
                with_tower=True,
                options=self.options,
            )
            for mode, reuse in MODES.items()
        }
        kept = count_kept_bytes(decoder, self.method, v, patches=tower.patches)
        return {**costs, KEPT: float(kept) / 1e6}


def compare_study(
    errors: pd.DataFrame,
    decoders: Mapping[str, Decoder],
    tower: Tower,
    methods: Mapping[str, Mapping[str, Any]],
    *,
    text_tokens: int,
) -> pd.DataFrame:
    """Compare the cells of a study that have FEW_TOKENS or fewer; columns as of mark_fronts.

    errors: of tabulate_errors, averaged over seeds here. methods: name in the study -> method and options.
    """
    means = select_family_means(errors)
    few = means[means["visual_tokens"] <= FEW_TOKENS]
    keys = ["family", "budget", "llm", "method", "visual_tokens"]
    points = few.groupby(keys)["error"].mean().reset_index()
    points = points.rename(columns={"family": "benchmark"}).assign(evidence="this study")
    priced = [
        Priced(methods[name]["method"], decoders[llm], tower, methods[name]["options"])
        for llm, name in points[["llm", "method"]].itertuples(index=False)
    ]
    return mark_fronts(points, priced, text_tokens=text_tokens)


def compare_published(text_tokens: int, scores: pd.DataFrame | None = None) -> pd.DataFrame:
    """Compare the published scores; columns as of mark_fronts.

    scores: columns of resources/published/one_token.csv, which is the default.
    """
    if scores is None:
        scores = pd.read_csv(find_resource("published/one_token.csv"))
    shapes = load_shapes()
    points = scores.assign(error=1 - scores["score"] / scores["maximum"], budget="full")
    priced = [
        Priced(
            row["priced_as"],
            find_shape(shapes, row["llm"], Decoder),
            find_shape(shapes, row["tower"], Tower),
        )
        for row in scores.to_dict("records")
    ]
    return mark_fronts(points[_POINT], priced, text_tokens=text_tokens)


def mark_fronts(points: pd.DataFrame, priced: list[Priced], *, text_tokens: int) -> pd.DataFrame:
    """Price each of `points` in every mode, and mark those that no other beats in both cost and error.

    points: columns benchmark, budget, llm, method, visual_tokens, error, evidence. Returns one row for each
    point and mode, with columns mode, cost (GFLOPs; MB in mode KEPT) and on_front, within benchmark,
    budget and mode. Recalled scores are on no front, and keep no other from it.
    """
    rows = []
    for point, method in zip(points[_POINT].to_dict("records"), priced, strict=True):
        costs = method.price(int(point["visual_tokens"]), text_tokens)
        rows += [{**point, "mode": mode, "cost": cost} for mode, cost in costs.items()]
    table = pd.DataFrame(rows, columns=[*_POINT, "mode", "cost"])
    table["on_front"] = False
    for _, mine in table[table["evidence"] != RECALLED].groupby(["benchmark", "budget", "mode"]):
        table.loc[mine.index, "on_front"] = find_front(
            mine["cost"].to_numpy(), mine["error"].to_numpy()
        )
    return table


def find_front(cost: Floats, error: Floats) -> NDArray[np.bool_]:
    """Return which points no other beats: (k,) costs and errors -> (k,) bool."""
    no_worse = (cost[:, None] <= cost) & (error[:, None] <= error)
    better = (cost[:, None] < cost) | (error[:, None] < error)
    return np.asarray(~(no_worse & better).any(axis=0))
