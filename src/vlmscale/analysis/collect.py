"""From scores of single cells to the tidy tables of a study."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from vlmscale.errors import UserError
from vlmscale.series import Selection

# Of the run.json of a training.
_RECORDED = ["run", "steps", "tokens", "seconds", "tokens_per_second", "peak_memory_bytes"]
_RECORDED += ["attempts", "processes", "gpu_hours", "trained_parameters", "device", "losses"]
CELL_COLUMNS = ["cell", "run", "llm", "method", "visual_tokens", "seed", "budget", "role"]


def check_fingerprints(
    found: Mapping[str, str | None], expected: Mapping[str, str], *, rule: str
) -> None:
    """Raise UserError, naming the cells or runs, when a result was made by other code than today's.

    `rule` is the one that makes such results.
    """
    stale = sorted(cell for cell, mark in expected.items() if found.get(cell) != mark)
    if stale:
        raise UserError(
            f"results of {rule} were made by other code than the present: {', '.join(stale)}. "
            f"Make them again (snakemake --forcerun {rule}), or restore the code."
        )


def trainings_table(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One row a training, of all its attempts together: columns run, stage, and what it took and reached.

    records: the run.json of every training. `losses` is a list of (step, loss).
    """
    rows = [
        {
            "stage": record["kind"],
            **{column: record[column] for column in _RECORDED},
            "losses": [[float(step), float(loss)] for step, loss in record["losses"]],
        }
        for record in records
    ]
    return pd.DataFrame(rows, columns=["run", "stage", *_RECORDED[1:]])


def selected(errors: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    """The rows of an errors table that a law may be about."""
    mine = errors["method"].isin(selection.methods) & (errors["budget"] == selection.budget)
    return errors[mine]


def chance_levels(samples: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Per benchmark what knowing no image can reach: columns benchmark, chance.

    samples: columns benchmark, id, target. scores: columns benchmark, chance, of which a missing value
    becomes the score of the best constant answer.
    """
    targets = samples.drop_duplicates(["benchmark", "id"])
    share = targets.groupby("benchmark", sort=False)["target"].agg(
        lambda t: t.value_counts(normalize=True).iloc[0]
    )
    known = scores.set_index("benchmark")["chance"].astype(float)
    return known.fillna(share).rename("chance").rename_axis("benchmark").reset_index()


def samples_table(
    samples: Mapping[str, pd.DataFrame], scores: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """The score of every question of every cell: columns cell, family, benchmark, id, score.

    By cell, samples: columns benchmark, id, score; scores: columns benchmark, family.
    """
    frames = [
        answers.merge(scores[cell][["benchmark", "family"]], on="benchmark").assign(cell=cell)
        for cell, answers in samples.items()
    ]
    return pd.concat(frames, ignore_index=True)[["cell", "family", "benchmark", "id", "score"]]


def errors_table(
    cells: pd.DataFrame,
    scores: Mapping[str, pd.DataFrame],
    parameters: Mapping[str, int],
    non_embedding: Mapping[str, int],
) -> pd.DataFrame:
    """One row a cell and benchmark, and one a cell and family (benchmark "mean").

    cells: columns CELL_COLUMNS. scores: by cell, columns benchmark, family, metric, score, n.
    parameters: by LLM, all parameters; non_embedding: without embeddings and head. `n_params_b` is the
    size axis of the laws, which `size_axis` names. A cell without scores is left out, never zero.
    """
    frames = []
    for cell in cells.to_dict("records"):
        if cell["cell"] not in scores:
            continue
        table = scores[cell["cell"]]
        means = table.groupby("family", sort=False).agg(score=("score", "mean"), n=("n", "sum"))
        means = means.reset_index().assign(benchmark="mean", metric="mean")
        rows = pd.concat([table, means], ignore_index=True)
        frames.append(rows.assign(**{column: cell[column] for column in CELL_COLUMNS}))
    table = pd.concat(frames, ignore_index=True)
    table["n_params_b"] = table["llm"].map(parameters).astype(float) / 1e9
    table["non_embedding_b"] = table["llm"].map(non_embedding).astype(float) / 1e9
    table["size_axis"] = "total"
    table["error"] = 1 - table["score"]
    sizes = ["n_params_b", "size_axis", "non_embedding_b"]
    order = [*CELL_COLUMNS, *sizes, "family", "benchmark", "metric", "score", "error", "n"]
    return table[order]
