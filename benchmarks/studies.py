"""Time a whole study by two checkouts in turn: wall and CPU seconds.

    python benchmarks/studies.py OLD NEW [--target smoke] [--rounds 1] [--parquet studies.parquet]

OLD and NEW are clones of this repository with their environments (`make setup`). `make clean` comes before
every `make TARGET`, so they should hold no results of worth. Rows replace those of the same target in a
Parquet file that exists. Takes as long as the studies do; nothing else should run meanwhile.
"""

import resource
import subprocess
import time
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from common import report
from rich.progress import track


def time_target(checkout: Path, target: str) -> dict[str, Any]:
    """Time `make target` from scratch. Raises CalledProcessError if it fails."""
    subprocess.run(["make", "clean"], cwd=checkout, check=True, capture_output=True)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(["make", target], cwd=checkout, check=True, capture_output=True)
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=checkout,
        check=True,
        capture_output=True,
        text=True,
    )
    return {
        "commit": commit.stdout.strip(),
        "jobs": len(list((checkout / "results").rglob("benchmarks/**/*.tsv"))),
        "seconds": seconds,
        "processor_seconds": spent,
    }


def add_ratios(rows: pd.DataFrame) -> pd.DataFrame:
    """Add how many times faster a row is than the old checkout in the same round."""
    old = rows[rows["checkout"] == "old"].set_index(["target", "round"])
    keys = pd.MultiIndex.from_frame(rows[["target", "round"]])
    ratios = {
        f"times_{name}": old[name].reindex(keys).to_numpy() / rows[name]
        for name in ("seconds", "processor_seconds")
    }
    return rows.assign(**ratios)


def main(
    old: Annotated[Path, typer.Argument(exists=True, help="the clone to compare with")],
    new: Annotated[Path, typer.Argument(exists=True)],
    target: Annotated[str, typer.Option(help="run or smoke, of the Makefile")] = "smoke",
    rounds: Annotated[int, typer.Option(min=1)] = 1,
    parquet: Annotated[Path | None, typer.Option(help="write the measurements here")] = None,
) -> None:
    found = []
    for number in track(range(rounds), description=f"make {target}"):
        turns = [("new", new), ("old", old)]
        for name, checkout in turns[:: -1 if number % 2 else 1]:
            row = time_target(checkout, target)
            found.append({"target": target, "checkout": name, "round": number, **row})
    rows = pd.DataFrame(found)
    if parquet is not None and parquet.exists():
        earlier = pd.read_parquet(parquet)
        rows = pd.concat([earlier[earlier["target"] != target], rows], ignore_index=True)
    report("speed_studies", add_ratios(rows).to_dict("records"), parquet, clock="wall")


if __name__ == "__main__":
    typer.run(main)
