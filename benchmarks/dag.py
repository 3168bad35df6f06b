"""How long planning takes, of the paper's study and of a grid of about ten thousand cells.

    python benchmarks/dag.py [--cells 10000] [--repeats 3] [--parquet dag.parquet]

The large study is the paper's with more seeds. Each is planned from nothing, in a copy of the checkout
without results, by the command that a user types, its output read through a pipe: `snakemake -n -q`,
which decides what is to be done, and `snakemake -n`, which also prints every job with its resources.
Imports are those of `snakemake --version`. `bare` is the least that snakemake takes for as many cells:
three chained rules of plain file names, without a study behind them. Beside the clock's seconds stand
those of the processor, which other work on the machine changes less. Takes minutes: four for each
repeat.
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
from rich.progress import track
from rich.table import Table

from vlmscale.latency.machine import processor_name
from vlmscale.records.parquet import write_parquet

ROOT = Path(__file__).parents[1]
PAPER = ROOT / "config" / "paper.yaml"
BARE = """
rule all:
    input: expand("out/{{cell}}/scores", cell=range({cells}))
rule stage1:
    output: "out/{{cell}}/stage1"
    shell: "touch {{output}}"
rule stage2:
    input: "out/{{cell}}/stage1"
    output: "out/{{cell}}/stage2"
    shell: "touch {{output}}"
rule evaluate:
    input: "out/{{cell}}/stage2"
    output: "out/{{cell}}/scores"
    shell: "touch {{output}}"
"""


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
    for _ in track(range(repeats), description=" ".join(("snakemake", *arguments))):
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


def planned(
    study: dict[str, Any], folder: Path, repeats: int, imports: dict[str, float]
) -> list[dict[str, Any]]:
    """What the study takes, and what a bare workflow of as many cells does."""
    cells = number_of_cells(study)
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    (folder / "bare.smk").write_text(BARE.format(cells=cells))
    rows = []
    for command in (("-n", "-q"), ("-n",)):
        bare = seconds(*command, "--snakefile", "bare.smk", folder=folder, repeats=repeats)
        ours = seconds(*command, "--configfile", "study.yaml", folder=folder, repeats=repeats)
        for name, taken in ((study["study"], ours), ("bare", bare)):
            about = {
                "study": name,
                "cells": cells,
                "command": " ".join(("snakemake", *command)),
                "after_imports": taken["seconds"] - imports["seconds"],
                "times_bare": taken["processor_seconds"] / bare["processor_seconds"],
            }
            rows.append({**about, **taken})
    return rows


def main(
    cells: Annotated[int, typer.Option(help="of the large study, about", min=1)] = 10_000,
    repeats: Annotated[int, typer.Option(help="of each; the fastest counts", min=1)] = 3,
    parquet: Annotated[Path | None, typer.Option(help="write the figures here")] = None,
) -> None:
    paper = yaml.safe_load(PAPER.read_text())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ROOT.iterdir():
            if part.name not in ("results", "work", ".snakemake"):
                (folder / part.name).symlink_to(part)
        imports = seconds("--version", folder=folder, repeats=repeats)
        studies = (paper, larger(paper, cells))
        rows = [row for study in studies for row in planned(study, folder, repeats, imports)]
    headings = ("study", "cells", "", "seconds", "after imports", "of the processor", "x bare")
    table = Table(*headings, title=f"planning, fastest of {repeats}")
    for row in rows:
        keys = ("seconds", "after_imports", "processor_seconds", "times_bare")
        told = (row["study"], f"{row['cells']:,}", row["command"])
        table.add_row(*told, *(f"{row[key]:.1f}" for key in keys))
    Console().print(table)
    if parquet:
        about = {"device": processor_name(), "repeats": repeats, "imports": imports}
        write_parquet(parquet, pd.DataFrame(rows), about)


if __name__ == "__main__":
    typer.run(main)
