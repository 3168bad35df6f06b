"""Time planning of the paper's study, and of a grid of about ten thousand cells.

    python benchmarks/dag.py [--cells 10000] [--repeats 3] [--parquet dag.parquet]

The large study is the paper's with more seeds. Each is planned in a copy of the checkout without results,
its output read through a pipe, by `snakemake -n -q`, which decides what to run, and `snakemake -n`, which
also prints every job. Import time is that of `snakemake --version`. `bare` is snakemake's own cost for as
many cells: three chained rules of plain file names. Ratios are of CPU time, which other work on the machine
changes less than wall time. Takes four minutes per repeat.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from common import report
from rich.progress import track

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


def enlarge(study: dict[str, Any], cells: int) -> dict[str, Any]:
    """Return the study with the number of seeds that gives about `cells` cells."""
    seeds = round(cells / sum(count_cells_per_seed(block) for block in study["grid"]))
    grid = [{**block, "seeds": list(range(seeds))} for block in study["grid"]]
    return {**study, "study": f"{study['study']}-{cells}", "grid": grid}


def count_cells(study: dict[str, Any]) -> int:
    """Count the cells of a study."""
    return sum(count_cells_per_seed(block) * len(block["seeds"]) for block in study["grid"])


def count_cells_per_seed(block: dict[str, Any]) -> int:
    """Count the cells that a block of the grid has per seed."""
    return len(block["methods"]) * len(block["llms"]) * len(block["visual_tokens"])


def time_snakemake(*arguments: str, folder: Path, repeats: int) -> dict[str, float]:
    """Return the shortest wall and CPU seconds of a snakemake command.

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


def time_planning(
    study: dict[str, Any], folder: Path, repeats: int, imports: dict[str, float]
) -> list[dict[str, Any]]:
    """Return rows for the study and for a bare workflow of as many cells."""
    cells = count_cells(study)
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    (folder / "bare.smk").write_text(BARE.format(cells=cells))
    rows = []
    for command in (("-n", "-q"), ("-n",)):
        bare = time_snakemake(*command, "--snakefile", "bare.smk", folder=folder, repeats=repeats)
        ours = time_snakemake(
            *command, "--configfile", "study.yaml", folder=folder, repeats=repeats
        )
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
    parquet: Annotated[Path | None, typer.Option(help="write the measurements here")] = None,
) -> None:
    paper = yaml.safe_load(PAPER.read_text())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ROOT.iterdir():
            if part.name not in ("results", "work", ".snakemake"):
                (folder / part.name).symlink_to(part)
        imports = time_snakemake("--version", folder=folder, repeats=repeats)
        studies = (paper, enlarge(paper, cells))
        rows = [row for study in studies for row in time_planning(study, folder, repeats, imports)]
    report("planning", rows, parquet, clock="wall", repeats=repeats, imports=imports)


if __name__ == "__main__":
    typer.run(main)
