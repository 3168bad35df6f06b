"""How long planning takes: `snakemake -n` of the paper's study, and of a grid of about ten thousand cells.

    python benchmarks/dag.py [--cells 10000] [--repeats 3] [--parquet dag.parquet]

The large study is the paper's with more seeds. Each is planned from nothing, in a copy of the checkout
without results, by the command that a user types, its output read through a pipe. Imports are those of
`snakemake --version`. Takes minutes: half a minute or more for each large repeat.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
import yaml
from rich.console import Console
from rich.table import Table

from vlmscale.tables import write_parquet

ROOT = Path(__file__).parents[1]
PAPER = ROOT / "config" / "paper.yaml"


def larger(study: dict[str, Any], cells: int) -> dict[str, Any]:
    """The study with as many seeds as bring it to about `cells` cells."""
    seeds = round(cells / sum(_cells_a_seed(block) for block in study["grid"]))
    grid = [{**block, "seeds": list(range(seeds))} for block in study["grid"]]
    return {**study, "study": f"{study['study']}-{cells}", "grid": grid}


def number_of_cells(study: dict[str, Any]) -> int:
    return sum(_cells_a_seed(block) * len(block["seeds"]) for block in study["grid"])


def _cells_a_seed(block: dict[str, Any]) -> int:
    return len(block["methods"]) * len(block["llms"]) * len(block["visual_tokens"])


def seconds(*arguments: str, folder: Path) -> float:
    """Of wall-clock time that snakemake takes. Raises CalledProcessError when it fails."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
    )
    return time.perf_counter() - start


def main(
    cells: Annotated[int, typer.Option(help="of the large study, about", min=1)] = 10_000,
    repeats: Annotated[int, typer.Option(help="of each; the fastest counts", min=1)] = 3,
    parquet: Annotated[Path | None, typer.Option(help="write the figures here")] = None,
) -> None:
    paper = yaml.safe_load(PAPER.read_text())
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ROOT.iterdir():
            if part.name not in ("results", "work", ".snakemake"):
                (folder / part.name).symlink_to(part)
        imports = min(seconds("--version", folder=folder) for _ in range(repeats))
        for study in (paper, larger(paper, cells)):
            config = folder / f"{study['study']}.yaml"
            config.write_text(yaml.safe_dump(study))
            plan = ("-n", "--configfile", str(config))
            wall = min(seconds(*plan, folder=folder) for _ in range(repeats))
            rows.append(
                {
                    "study": study["study"],
                    "cells": number_of_cells(study),
                    "seconds": wall,
                    "after_imports": wall - imports,
                }
            )
    found = pd.DataFrame(rows)
    table = Table("study", "cells", "seconds", "after imports", title="snakemake -n")
    for row in rows:
        times = (f"{row[key]:.1f}" for key in ("seconds", "after_imports"))
        table.add_row(row["study"], f"{row['cells']:,}", *times)
    Console().print(table)
    if parquet:
        write_parquet(parquet, found, {"repeats": repeats, "imports": imports})


if __name__ == "__main__":
    typer.run(main)
