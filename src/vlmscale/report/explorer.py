"""Write explorer.html: a law, and the best LLM and V for what an answer may cost, on one page to play with.

The page holds the laws, their draws and what each choice costs as data; its own code, in
resources/pages, ranks choices as vlmscale.analysis.decisions.recommend does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vlmscale.analysis.collect import require_one_protocol, select_cells
from vlmscale.analysis.decisions.recommend import fit_with_draws
from vlmscale.analysis.laws.power_law import PowerLaw
from vlmscale.costs.shapes import Decoder, Tower
from vlmscale.costs.sharing import Reuse
from vlmscale.records.files import atomic_path
from vlmscale.report.explorer_costs import (
    ExplorerCost,
    MemoryLines,
    describe_costs,
    list_costs,
    list_memories,
)
from vlmscale.report.pages import fill_page
from vlmscale.study.selection import FULL, SUITES, Series

_SCRIPTS = (
    "vendor/d3.min.js",
    "vendor/plot.umd.min.js",
    "explorer_model.js",
    "explorer_charts.js",
    "explorer.js",
)
_DRAWN = ("amplitude", "alpha", "beta", "floor")


@dataclass(frozen=True)
class ExplorerLaw:
    """A law to explore, with what it was fitted on and what may be chosen."""

    name: str  # what the reader chooses: "reasoning", "ocr: quecc"
    budget: str  # of training; laws of one name differ in it
    law: PowerLaw
    draws: pd.DataFrame  # columns amplitude, alpha, beta, floor
    points: pd.DataFrame  # llm, n_params_b, visual_tokens, role, error; one row a cell
    benchmarks: pd.DataFrame  # llm, visual_tokens, benchmark, score of those cells; may be empty
    llms: Mapping[str, float]  # to choose from, name -> N in billions on the law's size axis
    token_counts: Sequence[int]  # to choose from
    text: str  # where the points come from, what N counts, what the intervals are


def write_explorer(
    page: Path,
    study: str,
    errors: pd.DataFrame,
    series: Series,
    *,
    shapes: Mapping[str, Decoder],
    tower: Tower | None,
    predicted: Mapping[str, float],
    latencies: pd.DataFrame | None = None,
) -> None:
    """Write the page of a study's laws.

    errors: the study's table. shapes, tower: what the exact costs count; LLMs without a shape have the
    nominal cost alone, and so have all where models have towers of their own (None). predicted: LLMs to
    choose from beside the measured ones, N in billions by name. latencies: the study's table of measured
    latencies.
    """
    laws = list_laws(errors, series, predicted=predicted, source=study)
    # Released VLMs have no method of ours; an MLP gives the LLM all tokens and does nothing in it.
    method = "mlp" if tower is None else next(iter(series.values())).methods[0]
    explore_laws(page, study, laws, shapes=shapes, tower=tower, method=method, latencies=latencies)


def explore_laws(
    page: Path,
    source: str,
    laws: Sequence[ExplorerLaw],
    *,
    shapes: Mapping[str, Decoder],
    tower: Tower | None,
    method: str,
    latencies: pd.DataFrame | None = None,
) -> None:
    """Write the page of laws; source: theirs, in a few words. Other arguments as of write_explorer."""
    llms = {llm: n for law in laws for llm, n in law.llms.items()}
    text = render_explorer(
        f"What one answer may cost: {source}",
        "Say what you have; the page says which LLM and how many visual tokens answer best by the law.",
        laws,
        list_costs(llms, shapes, tower, method),
        list_memories(llms, shapes, tower, method),
        method,
        None if latencies is None else latencies[latencies["method"] == method],
    )
    with atomic_path(page) as scratch:
        scratch.write_text(text, encoding="utf-8")


def list_laws(
    errors: pd.DataFrame, series: Series, *, predicted: Mapping[str, float], source: str
) -> list[ExplorerLaw]:
    """Fit the law of each series and suite of an errors table, those of the full training budget first.

    predicted: LLMs to choose from beside the measured ones, N in billions by name. source: the table in
    words. Raises UserError for cells of two protocols.
    """
    laws = []
    names = {
        name: name if cells.budget == FULL else name.removesuffix(f"_{cells.budget}")
        for name, cells in series.items()
    }
    alone = len(set(names.values())) == 1
    for name, selection in sorted(series.items(), key=lambda item: item[1].budget != FULL):
        cells = select_cells(errors, selection)
        for family in (suite for suite in SUITES if suite in set(cells["family"])):
            mine = cells[cells["family"] == family]
            points = mine[mine["benchmark"] == "mean"]
            single = mine[mine["benchmark"] != "mean"]
            counts = points.set_index("cell")["visual_tokens"]
            sizes = points.drop_duplicates("llm").set_index("llm")["n_params_b"]
            axis = str(points["size_axis"].iloc[0]).replace("_", "-")
            laws.append(
                explore_points(
                    points,
                    name=family if alone else f"{family}: {names[name]}",
                    budget=selection.budget,
                    llms={**sizes, **predicted},
                    source=f"{source}. N is the {axis} size in billions",
                    # V is that of the mean, also where each benchmark has one of its own.
                    benchmarks=single.assign(visual_tokens=single["cell"].map(counts)),
                )
            )
    return laws


def explore_points(
    points: pd.DataFrame,
    *,
    name: str,
    budget: str,
    llms: Mapping[str, float],
    source: str,
    benchmarks: pd.DataFrame | None = None,
) -> ExplorerLaw:
    """Fit the law of the points with role "fit"; arguments as the fields of ExplorerLaw.

    source: where the points come from and what N counts. Raises UserError for points of two protocols.
    """
    require_one_protocol(points)
    fitted = fit_with_draws(points[points["role"] == "fit"])
    return ExplorerLaw(
        name=name,
        budget=budget,
        law=fitted.law,
        draws=fitted.draws,
        points=points,
        benchmarks=pd.DataFrame(columns=["llm", "visual_tokens", "benchmark", "score"])
        if benchmarks is None
        else benchmarks,
        llms=dict(sorted(llms.items(), key=lambda size: size[1])),
        token_counts=sorted(int(count) for count in points["visual_tokens"].unique()),
        text=(
            f"Law fitted by least squares on {fitted.law.points} points of {source}. 95 %: "
            f"{fitted.interval}."
        ),
    )


def render_explorer(
    title: str,
    subtitle: str,
    laws: Sequence[ExplorerLaw],
    costs: Mapping[str, ExplorerCost],
    memories: Mapping[str, MemoryLines],
    method: str,
    latencies: pd.DataFrame | None = None,
) -> str:
    """Return the page, one HTML file that refers to no other.

    costs: by id; the first is shown first. memories: as of list_memories. method: whose tokens answers
    about one image share. latencies: columns llm, visual_tokens, text_tokens, cached_text, latency_ms,
    decode_ms. Equal arguments give equal bytes.
    """
    counts = sorted({count for law in laws for count in law.token_counts})
    data = {
        "title": title,
        "subtitle": subtitle,
        "laws": [_describe(law, next(iter(costs.values()))) for law in laws],
        "cost": next(iter(costs)),
        **describe_costs(costs, counts, method),
        "memories": memories,
        "latencies": [] if latencies is None else _list_latencies(latencies),
    }
    return fill_page("explorer", title, data, _SCRIPTS)


def _describe(law: ExplorerLaw, cost: ExplorerCost) -> dict[str, Any]:
    fitted = law.points[law.points["role"] == "fit"]
    scores = {
        cell: dict(zip(rows["benchmark"], rows["score"], strict=True))
        for cell, rows in law.benchmarks.groupby(["llm", "visual_tokens"], sort=True)
    }
    counts = sorted(law.token_counts)
    prices = [
        price(v, 50, 0, Reuse())
        for llm, price in cost.costs.items()
        if llm in law.llms
        for v in (counts[0], counts[-1])
    ]
    measured = set(law.points["llm"])
    return {
        "name": law.name,
        "budget_of_training": law.budget,
        "text": law.text,
        "fit": {name: float(getattr(law.law, name)) for name in _DRAWN},
        "more_tokens_always_win": bool(law.law.ratio <= 1),
        "draws": {name: law.draws[name].tolist() for name in _DRAWN},
        "counts": counts,
        "llms": [{"name": llm, "n": n, "measured": llm in measured} for llm, n in law.llms.items()],
        "fitted": {
            "n": [float(fitted["n_params_b"].min()), float(fitted["n_params_b"].max())],
            "v": [int(fitted["visual_tokens"].min()), int(fitted["visual_tokens"].max())],
        },
        "budgets": [min(prices) / 4, max(prices) * 2],
        "budget": float(f"{np.sqrt(min(prices) * max(prices)):.1g}"),
        "points": [
            {
                "llm": row["llm"],
                "n": row["n_params_b"],
                "v": row["visual_tokens"],
                "role": row["role"],
                "error": row["error"],
                "scores": scores.get((row["llm"], row["visual_tokens"]), {}),
            }
            for row in law.points.sort_values(["n_params_b", "visual_tokens"]).to_dict("records")
        ],
    }


def _list_latencies(table: pd.DataFrame) -> list[dict[str, Any]]:
    measured = table[(table["batch"] == 1) & (table["skipped"].fillna("") == "")]
    rows = measured.fillna({"decode_ms": 0.0}).rename(
        columns={
            "visual_tokens": "v",
            "text_tokens": "q",
            "cached_text": "cached",
            "latency_ms": "ms",
        }
    )
    return [
        {str(key): value for key, value in row.items()}
        for row in rows[["llm", "v", "q", "cached", "ms", "decode_ms"]].to_dict("records")
    ]
