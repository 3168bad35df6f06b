"""Measured costs: of a finished study's trainings, beside the predicted ones, and of GPUs."""

from pathlib import Path

import pandas as pd

from vlmscale.records.parquet import read_parquet
from vlmscale.resources import find_resource

_RUN = ["llm", "method", "visual_tokens", "stage", "run"]


def cost_table(trainings: pd.DataFrame, planned: pd.DataFrame) -> pd.DataFrame:
    """Return one row per training: predicted and measured cost.

    trainings: of tabulate_trainings. planned: a row per dict of list_trainings. `hours` is the time of all
    processes together; `predicted_hours` is what the predicted FLOPs take at the rate of all trainings of
    the study on that device together, so that it tells whether FLOPs foresee how the time is spread, not
    how fast the device is.
    """
    names = {"tokens": "predicted_tokens", "flops": "predicted_flops"}
    measured = trainings.drop(columns="losses")
    predicted = planned[[*_RUN, *names]].rename(columns=names)
    table = predicted.merge(measured, on=["run", "stage"], validate="one_to_one")
    table["hours"] = table["seconds"] * table["processes"] / 3600
    on_device = table.groupby("device")[["predicted_flops", "hours"]].transform("sum")
    table["predicted_hours"] = (
        table["predicted_flops"] * on_device["hours"] / on_device["predicted_flops"]
    )
    return table


def find_measured_utilisation(gpu: str, folder: Path | None = None) -> float | None:
    """Return the share of its peak that training steps reached on a GPU; None where it was not measured.

    gpu: row of resources/gpus.csv. folder: of the tables of benchmarks/gpu.py, by default the package's.
    The share is that of all our steps together, so those with more FLOPs weigh more, as in a study.
    """
    folder = find_resource("measured") if folder is None else folder
    file = folder / f"training_{gpu}_gpu.parquet"
    if not file.is_file():
        return None
    table = read_parquet(file, "Measure again with benchmarks/gpu.py, or remove it.")
    ours = table[(table["model"] == "ours") & (table["skipped"] == "")]
    if ours.empty:
        return None
    peaks = ours["gflops"] / ours["mfu"]  # GFLOPs that the peak computes in a step's time
    return float(ours["gflops"].sum() / peaks.sum())
