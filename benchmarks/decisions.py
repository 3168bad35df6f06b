"""Simulate how often rules decide wrongly: those of hypotheses, and the audit's on the form of the law.

    OMP_NUM_THREADS=1 nice python benchmarks/decisions.py [--studies 100] [--tables 200] [--out FOLDER]

Writes verdict_rates.parquet (simulate_verdicts on each of WORLDS) and form_excess.parquet (quantiles of
simulate_excess on the released scores, with the p of the released excess) to FOLDER, by default
src/vlmscale/resources/measured, where the audit reads the second. Takes about ten minutes on one core.
"""

import platform
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.progress import track

from vlmscale.analysis.checks.audit.forms import OFFSETS, simulate_excess
from vlmscale.analysis.checks.hypotheses.simulate import DRAWS, WORLDS, simulate_verdicts
from vlmscale.analysis.laws.forms import exceed_best_form
from vlmscale.analysis.published import load_published_errors
from vlmscale.records.parquet import write_parquet
from vlmscale.resources import find_resource

LEVELS = (0.5, 0.9, 0.95, 0.99)


def main(
    studies: Annotated[int, typer.Option(min=1, help="Studies of each world.")] = 100,
    tables: Annotated[
        int, typer.Option(min=1, help="Score tables of each suite and offset.")
    ] = 200,
    seed: int = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of the two tables.")] = None,
) -> None:
    """Write verdict_rates.parquet and form_excess.parquet."""
    folder = out or find_resource("measured")
    about = {"seed": seed, "processor": platform.machine()}
    excess = simulate_forms(tables, seed)
    write_parquet(folder / "form_excess.parquet", excess, {**about, "tables": tables})
    Console().print(excess)
    worlds = {name: asdict(world) for name, world in WORLDS.items()}
    rates = [
        simulate_verdicts(world, studies, seed).assign(world=name)
        for name, world in track(WORLDS.items(), "studies")
    ]
    table = pd.concat(rates, ignore_index=True)
    table = table[["world", *(name for name in table if name != "world")]]
    config = {"studies": studies, "draws": DRAWS, "worlds": worlds}
    write_parquet(folder / "verdict_rates.parquet", table, {**about, **config})
    Console().print(table.to_string())


def simulate_forms(tables: int, seed: int) -> pd.DataFrame:
    """Return quantiles of the excess under a true product law: columns family, offset, q50 ..., p."""
    errors = load_published_errors()
    rows = []
    for family, points in errors.groupby("family"):
        released = exceed_best_form(points)
        for offset in track(OFFSETS, f"forms, {family}"):
            found = simulate_excess(points, offset=offset, tables=tables, seed=seed)
            quantiles = {f"q{100 * q:g}": float(np.quantile(found, q)) for q in LEVELS}
            p = (1 + int((found >= released).sum())) / (1 + tables)
            rows.append(
                {"family": family, "offset": offset, **quantiles, "released": released, "p": p}
            )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    typer.run(main)
