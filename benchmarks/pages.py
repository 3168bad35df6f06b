"""Write the tables of docs/performance.md, docs/latency.md and others from resources/measured.

    python benchmarks/pages.py

A table stands between the comments `<!-- NAME -->` and `<!-- end -->`; NAME is a key of TABLES.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from vlmscale.analysis.decisions.latency import compare_cached_text, compare_token_counts
from vlmscale.records.files import atomic_path
from vlmscale.resources import find_resource

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [DOCS / f"{name}.md" for name in ("performance", "latency", "intervals", "plan-a-grid")]


def read_measured(name: str) -> pd.DataFrame:
    """Read a table of resources/measured."""
    return pd.read_parquet(find_resource(f"measured/{name}.parquet"))


def select_one_token(name: str) -> pd.DataFrame:
    """Return what cached text saves at one visual token, by a table of latencies."""
    saves = compare_cached_text(read_measured(name))
    return saves[saves["visual_tokens"] == 1]


# Quantity of measured/calibration -> head of its column.
QUANTITIES = {
    "alpha": "α",
    "beta": "β",
    "alpha - beta": "α - β",
    "ratio": "α/β",
    "tokens": "V\\*(50)",
    "law": "law at 14B",
    "measurement": "new measurement",
}


def format_schemes() -> pd.DataFrame:
    """Return least and median coverage over the worlds, in percent, and median width, by scheme."""
    table = read_measured("calibration")
    rows = []
    for scheme, mine in table.groupby("scheme", sort=False):
        row = {"scheme": str(scheme)}
        for quantity, head in QUANTITIES.items():
            found = mine[mine["quantity"] == quantity]
            covered = 100 * found["coverage"]
            width = found["width"].median()
            row[head] = (
                f"{covered.min():.0f} / {covered.median():.0f} ({width:.3g})" if len(found) else "–"
            )
        rows.append(row)
    return pd.DataFrame(rows)


def format_worlds(scheme: str) -> pd.DataFrame:
    """Return the coverage of a scheme in percent, one row a world."""
    table = read_measured("calibration")
    world = ["design", "truth", "noise"]
    mine = table[table["scheme"] == scheme].pivot(
        index=world, columns="quantity", values="coverage"
    )
    order = table[world].drop_duplicates().itertuples(index=False, name=None)
    mine = (100 * mine.loc[[*order], [*QUANTITIES]]).rename(columns=QUANTITIES)
    shown = mine.map(lambda value: "–" if pd.isna(value) else f"{value:.0f}")
    return shown.reset_index().rename_axis(columns=None)


def format_orders() -> pd.DataFrame:
    """Return how the chosen order of trainings fares against random ones and the grid's."""
    rows = []
    keys = ["start", "family", "aim"]
    for about, mine in read_measured("next_cells").groupby(keys, sort=False):
        named = mine.set_index("order")
        chosen, grid = named.loc["chosen"], named.loc["grid"]
        random = mine[mine["order"].str.startswith("random")]
        rows.append(
            {
                "from": about[0],
                "suite": about[1],
                "quantity": str(about[2]).replace("*", "\\*"),
                "expected narrower than random": f"{(random['expected'] > chosen['expected']).mean():.1%}",
                "refitted narrower than random": f"{(random['width'] > chosen['width']).mean():.1%}",
                "refitted width": f"{chosen['width']:.3g}",
                "random, median": f"{random['width'].median():.3g}",
                "grid": f"{grid['width']:.3g}".replace("inf", "unbounded"),
            }
        )
    return pd.DataFrame(rows)


def format_ratio(row: Any, name: str = "ratio", style: str = ".2f") -> str:
    """Format a median with its quartiles."""
    low, high = getattr(row, f"{name}_low"), getattr(row, f"{name}_high")
    return f"{getattr(row, name):{style}} ({low:{style}} to {high:{style}})"


# Table -> how each column of the page is made from a row.
COLUMNS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "speed_studies": {
        "study": lambda row: f"`make {row.target}`",
        "code": lambda row: row.checkout,
        "commit": lambda row: f"`{row.commit}`",
        "jobs": lambda row: row.jobs,
        "wall s": lambda row: f"{row.seconds:.0f}",
        "CPU s": lambda row: f"{row.processor_seconds:.0f}",
        "times faster": lambda row: f"{row.times_seconds:.2f}",
        "by CPU time": lambda row: f"{row.times_processor_seconds:.2f}",
    },
    "speed_training": {
        "batch": lambda row: row.batch,
        "model": lambda row: row.model,
        "V": lambda row: row.visual_tokens,
        "tokens/s": lambda row: f"{row.tokens_per_second:.0f}",
        "utilisation": lambda row: f"{row.mfu:.0%}",
        "times plain LLaVA": format_ratio,
        "of ideal": lambda row: f"{row.of_ideal:.2f}",
    },
    "speed_loading": {
        "LLM": lambda row: row.llm,
        "step, ms": lambda row: f"{row.step_ms:.0f}",
        "first time, ms": lambda row: f"{row.first_ms:.1f}",
        "share of a step": lambda row: format_ratio(row, "first_share", ".0%"),
        "cached, ms": lambda row: f"{row.again_ms:.1f}",
        "share": lambda row: f"{row.again_share:.0%}",
    },
    "speed_photographs": {
        "workers": lambda row: row.workers,
        "samples/s": lambda row: f"{row.samples_per_second:.0f}",
        "times none": format_ratio,
    },
    "speed_evaluation": {
        "adapter": lambda row: row.adapter,
        "questions": lambda row: row.questions,
        "same answers": lambda row: f"{row.same_answers:.0%}",
        "times `llava_hf`": format_ratio,
    },
    "speed_compressors": {
        "method": lambda row: f"`{row.method}`",
        "window or tokens": lambda row: row.setting,
        "times released": format_ratio,
    },
    "speed_pruning": {
        "phase": lambda row: row.phase,
        "patches": lambda row: row.patches,
        "removed": lambda row: row.removed,
        "removing, ms": lambda row: f"{row.remove_ms:.1f}",
        "hiding, ms": lambda row: f"{row.hide_ms:.1f}",
        "times hiding": format_ratio,
        "keys and values left": lambda row: f"{row.bytes_share:.0%}",
    },
    "planning": {
        "study": lambda row: row.study,
        "cells": lambda row: f"{row.cells:,}",
        "command": lambda row: f"`{row.command}`",
        "seconds": lambda row: f"{row.seconds:.1f}",
        "after imports": lambda row: f"{row.after_imports:.1f}",
        "times bare": lambda row: f"{row.times_bare:.1f}",
    },
    "cached_text": {
        "LLM": lambda row: row.llm,
        "V": lambda row: row.visual_tokens,
        "Q": lambda row: row.text_tokens,
        "images at once": lambda row: row.batch,
        "FLOPs saved": lambda row: f"{row.flops_saved:.1%}",
        "time saved": lambda row: f"{row.time_saved:.1%}",
        "time left over FLOPs left": lambda row: f"{row.kept_ratio:.2f}",
    },
    "fewer_tokens": {
        "LLM": lambda row: row.llm,
        "method": lambda row: row.method,
        "2NV falls by": lambda row: f"{row.flops_fall:.0f}",
        "prefill falls by": lambda row: f"{row.prefill_fall:.1f}",
        "latency falls by": lambda row: f"{row.latency_fall:.2f}",
        "tower's share of it": lambda row: f"{row.tower_share:.0%}",
    },
}


def format_rows(name: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Format measurements with the columns of the table `name`."""
    columns = COLUMNS[name].items()
    return pd.DataFrame(
        [{head: str(make(row)) for head, make in columns} for row in rows.itertuples()]
    )


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    **{name: lambda name=name: format_rows(name, read_measured(name)) for name in COLUMNS},  # type: ignore[misc]
    "cached_text": lambda: format_rows("cached_text", select_one_token("latency_cpu")),
    "cached_text_wide": lambda: format_rows("cached_text", select_one_token("latency_cpu_wide")),
    "calibration": format_schemes,
    "calibration_worlds": lambda: format_worlds("hierarchical"),
    "next_cells": format_orders,
    "fewer_tokens": lambda: format_rows(
        "fewer_tokens", compare_token_counts(read_measured("latency_cpu"), text_tokens=50)
    ),
}


def write_tables(page: str) -> str:
    """Return the text of a page with all its tables made anew."""

    def write(found: re.Match[str]) -> str:
        table = TABLES[found[1]]().to_markdown(index=False, disable_numparse=True)
        return f"<!-- {found[1]} -->\n\n{table}\n\n<!-- end -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- end -->", write, page, flags=re.DOTALL)


if __name__ == "__main__":
    for page in PAGES:
        text = write_tables(page.read_text())
        with atomic_path(page) as scratch:
            scratch.write_text(text)
