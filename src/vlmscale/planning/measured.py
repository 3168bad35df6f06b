"""Measured costs of a finished study's trainings beside the predicted ones."""

import pandas as pd

_PLANNED = ["llm", "method", "visual_tokens", "stage", "run"]


def cost_table(trainings: pd.DataFrame, planned: pd.DataFrame) -> pd.DataFrame:
    """Return one row per training: predicted and measured cost.

    trainings: of tabulate_trainings. planned: columns llm, method, visual_tokens, stage, run, tokens and
    flops. `hours` is the time of all processes together; `predicted_hours` is what the predicted FLOPs take
    at the rate of all trainings of the study on that device together, so that it tells whether FLOPs
    foresee how the time is spread, not how fast the device is.
    """
    predicted = planned.rename(columns={"tokens": "predicted_tokens", "flops": "predicted_flops"})
    columns = [*_PLANNED, "predicted_tokens", "predicted_flops"]
    table = predicted[columns].merge(
        trainings.drop(columns="losses"), on=["run", "stage"], validate="one_to_one"
    )
    table["hours"] = table["seconds"] * table["processes"] / 3600
    on_device = table.groupby("device")[["predicted_flops", "hours"]].transform("sum")
    table["predicted_hours"] = (
        table["predicted_flops"] * on_device["hours"] / on_device["predicted_flops"]
    )
    return table
