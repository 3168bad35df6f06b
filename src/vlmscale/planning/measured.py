"""Measured costs of a finished study's trainings beside the predicted ones."""

import pandas as pd

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
