"""How long planning takes: `snakemake -n` of the paper's study, and of a grid of about ten thousand cells.

    python benchmarks/dag.py [--cells 10000] [--repeats 3] [--parquet dag.parquet]

The large study is the paper's with more seeds. Each is planned from nothing, in a copy of the checkout
without results, by the command that a user types, its output read through a pipe. Imports are those of
`snakemake --version`. Beside the clock's seconds stand those of the processor, which other work on the
machine changes little. Takes minutes: most of one for each large repeat.
"""

import os
import resource
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


def seconds(*arguments: str, folder: Path, repeats: int) -> dict[str, float]:
    """The least that snakemake takes, by the clock and of the processor.

    Raises CalledProcessError when it fails.
    """
    times = []
    for _ in range(repeats):
        clock, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        times.append((time.perf_counter() - clock, busy))
    wall, processor = map(min, zip(*times, strict=True))
    return {"seconds": wall, "processor_seconds": processor}


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
        imports = seconds("--version", folder=folder, repeats=repeats)
        for study in (paper, larger(paper, cells)):
            config = folder / f"{study['study']}.yaml"
            config.write_text(yaml.safe_dump(study))
            taken = seconds("-n", "--configfile", str(config), folder=folder, repeats=repeats)
            after_imports = taken["seconds"] - imports["seconds"]
            about = {"study": study["study"], "cells": number_of_cells(study)}
            rows.append({**about, **taken, "after_imports": after_imports})
    found = pd.DataFrame(rows)
    measures = ("seconds", "after_imports", "processor_seconds")
    headings = ("seconds", "after imports", "of the processor")
    table = Table("study", "cells", *headings, title="snakemake -n")
    for row in rows:
        times = (f"{row[key]:.1f}" for key in measures)
        table.add_row(row["study"], f"{row['cells']:,}", *times)
    Console().print(table)
    if parquet:
        write_parquet(parquet, found, {"repeats": repeats, "imports": imports})


if __name__ == "__main__":
    typer.run(main)
