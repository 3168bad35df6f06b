"""The paper's released numbers in the columns that a study's own results have."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from vlmscale.analysis.collect import CELL_COLUMNS
from vlmscale.costs.shapes import Decoder, load_shapes
from vlmscale.resources import find_resource
from vlmscale.study.selection import FULL, RELEASED_PROTOCOL


def load_published_errors(resources: Path | None = None) -> pd.DataFrame:
    """Read the released average scores of both suites as one errors table.

    resources: a folder with the tables of vlmscale/resources, which are the default. Columns: those of
    tabulate_errors. n_params_b is the nominal size. Scores are averages over a suite, hence benchmark
    "mean". The paper does not say what its 576-token points are; LLaVA-1.5's MLP in all likelihood.
    """
    resources = resources or find_resource("backbones").parent
    decoders = select_paper_decoders(load_shapes(resources / "backbones"))
    names = {decoder.nominal_b: name for name, decoder in decoders.items()}
    frames = []
    for family in ("reasoning", "ocr"):
        table = pd.read_csv(resources / f"published/{family}_scores.csv")
        sizes = table["n_params_b"].astype(float)
        llms = sizes.map(names)
        frames.append(
            table.assign(
                llm=llms,
                method="tokenpacker",
                seed=0,
                budget=FULL,
                role="fit",
                n_params_b=sizes,
                size_axis="nominal",
                nominal_b=sizes,
                total_b=[decoders[llm].total_b for llm in llms],
                non_embedding_b=[decoders[llm].non_embedding_b for llm in llms],
                protocol=RELEASED_PROTOCOL,
                family=family,
                benchmark="mean",
                metric="mean",
                error=1 - table["score"],
            )
        )
    merged = pd.concat(frames, ignore_index=True)
    merged["cell"] = merged["llm"] + "__v" + merged["visual_tokens"].astype(str)
    merged["run"] = merged["cell"]
    return merged[[*CELL_COLUMNS, *[c for c in merged if c not in CELL_COLUMNS]]]


def select_paper_decoders(architectures: Mapping[str, object]) -> dict[str, Decoder]:
    """Return the LLMs of the paper's scaling study by name, smallest first."""
    found = {
        name: shape
        for name, shape in architectures.items()
        if isinstance(shape, Decoder) and name.startswith("Qwen1.5")
    }
    return dict(sorted(found.items(), key=lambda item: item[1].nominal_b))
