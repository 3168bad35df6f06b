"""The points of a law in a user's table: the one way from a file to `fit`, `recommend` and Python."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from vlmscale.analysis.collect import require_one_protocol
from vlmscale.analysis.laws.points import check_points, clean_points
from vlmscale.costs.shapes import Tower, find_shape, load_shapes
from vlmscale.errors import UserError
from vlmscale.records.parquet import read_provenance
from vlmscale.records.tables import Source, name_source, read_table
from vlmscale.study.selection import FULL

_PAPER_TOWER = "CLIP-ViT-L/14-336"


def read_points(
    source: Source, methods: Sequence[str] = (), budget: str | None = FULL
) -> dict[str, pd.DataFrame]:
    """Return the points that a law can be fitted to, by family ("" without that column).

    source: a table, or a CSV, TSV, JSON or Parquet file, with columns n_params_b (or llm, names that state
    a size), visual_tokens and score or error; optional llm, method, seed, family. From a study's
    errors.parquet: family means at one training budget (None: at all), without held-out LLMs. methods:
    those to keep, by default all. The attribute `notes` of each table says what was taken for what.
    Raises UserError for points that cannot be fitted.
    """
    name = name_source(source)
    table, notes = clean_points(read_table(source), name)
    for column, kept in (("benchmark", "mean"), ("role", "fit"), ("budget", budget)):
        if column in table and kept is not None:
            there = sorted(map(str, table[column].unique()))
            table = table[table[column] == kept]
            if table.empty:
                raise UserError(
                    f"{name}: no row has {column} {kept!r}, the only ones fitted. There are: "
                    f"{', '.join(there)}. Make such rows, or rename the column."
                )
    known = sorted(table["method"].astype(str).unique()) if "method" in table else []
    for method in methods:
        if method not in known:
            raise UserError(
                f"{name}: no points of method {method!r}. "
                f"There are: {', '.join(known) or 'none, as it has no column method'}."
            )
    if methods:
        table = table[table["method"].isin(methods)]
    elif "asked_tokens" in table and len(known) > 1:  # of released VLMs, by family
        raise UserError(
            f"{name}: has models of {', '.join(known)}, which differ in more than size, so no law holds "
            "them all. Choose one with --methods."
        )
    families = {"": table}
    if "family" in table:
        families = {
            str(family): table[table["family"] == family] for family in table["family"].unique()
        }
    for family, points in families.items():
        require_one_protocol(points)
        check_points(points, where=f"{name}, {family}" if family else name)
        points.attrs["notes"] = notes
    return families


def find_tower(scores: Source | None, *, counted: bool) -> tuple[str, Tower]:
    """Return name and shape of the vision tower of the study that made `scores`, else the paper's.

    counted: in the cost of an answer. Raises UserError if it is, but each model has a tower of its own.
    """
    if isinstance(scores, str | Path) and Path(scores).suffix.lower() == ".parquet":
        provenance = read_provenance(Path(scores), required=False)
        if "models" in provenance and counted:
            raise UserError(
                f"{scores}: released models have towers of their own, whose cost grows with V, so none can "
                "be counted in advance. Leave it out: recommend has --without-tower, and the study's own "
                "explorer.html counts the LLM alone."
            )
        recorded = provenance.get("tower")
        if recorded is not None:
            return recorded["name"], Tower(**recorded["shape"])
    return _PAPER_TOWER, find_shape(load_shapes(), _PAPER_TOWER, Tower)


def size_axis(points: pd.DataFrame) -> str:
    """Say what N counts in these points, as far as they tell."""
    given = "; ".join(["N is column n_params_b as given, in billions", *points.attrs["notes"]])
    if "size_axis" not in points:
        return given
    return f"{given} (size axis: {', '.join(map(str, points['size_axis'].unique()))})"


def name_sizes(points: pd.DataFrame) -> dict[str, float]:
    """Return the LLMs of a table, N in billions by name; by their size where the table has no names."""
    names = (
        points["llm"].astype(str) if "llm" in points else points["n_params_b"].map("{:g}B".format)
    )
    return dict(zip(names, points["n_params_b"], strict=True))
