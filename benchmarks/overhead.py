"""Show where a finished tiny study spent its time: imports, training, the rest of its jobs.

    python benchmarks/overhead.py [results/smoke]

Import time is measured here for a training and an evaluation process, in fresh processes (median of five);
job times are those the workflow recorded. Shares are of the summed job time, which several cores share. In
a study that shared its imports (`vlmscale.jobs.import_server`), that column is what they would have added.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

IMPORTS = {
    "train_stage": "import vlmscale.training.stages, transformers; transformers.Trainer",
    "evaluate_cell": "import vlmscale.evaluation.run; from lmms_eval import evaluator",
}


def time_import(statement: str) -> float:
    """Return the median seconds that a fresh process takes for the imports."""

    def once() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True)
        return time.perf_counter() - start

    return statistics.median(once() for _ in range(5))


def main(study: Path) -> None:
    train, evaluate = (time_import(IMPORTS[key]) for key in ("train_stage", "evaluate_cell"))
    rows = []
    for phase in ("data", "backbones", "vision", "stage1", "stage2", "evaluate", "figures"):
        files = list((study / "benchmarks" / phase).glob("*.tsv"))
        wall = sum(float(pd.read_csv(file, sep="\t")["s"].sum()) for file in files)
        stages = study.glob(f"runs/*/{phase}/run.json")
        records = [*stages, *(study / phase).glob("*.json")]
        optimised = sum(json.loads(file.read_text()).get("seconds", 0.0) for file in records)
        imported = {
            "backbones": train,
            "vision": train,
            "stage1": train,
            "stage2": train,
            "evaluate": evaluate,
        }.get(phase, 0.0)
        rows.append((phase, len(files), wall, imported * len(files), optimised))
    table = Table("phase", "jobs", "job seconds", "importing", "optimising", title=str(study))
    for phase, jobs, *seconds in rows:
        table.add_row(phase, str(jobs), *(f"{value:.0f}" for value in seconds))
    total, imported, optimised = (sum(row[i] for row in rows) for i in (2, 3, 4))
    table.add_row("all", "", *(f"{value:.0f}" for value in (total, imported, optimised)))
    table.add_row("share", "", "", f"{imported / total:.0%}", f"{optimised / total:.0%}")
    Console().print(table)
    Console().print(f"one import: training {train:.1f} s, evaluation {evaluate:.1f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "results/smoke"))
