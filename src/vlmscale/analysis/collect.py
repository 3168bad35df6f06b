"""Tidy tables of a study, from the scores of single cells."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from vlmscale.errors import Damaged, UserError
from vlmscale.records.parquet import read_parquet, read_provenance
from vlmscale.study.selection import Selection, SizeAxis

# Columns copied from the run.json of a training.
_RECORDED = ["run", "steps", "tokens", "seconds", "tokens_per_second", "peak_memory_bytes"]
_RECORDED += ["attempts", "processes", "gpu_hours", "trained_parameters", "device", "losses"]
CELL_COLUMNS = ["cell", "run", "llm", "method", "visual_tokens", "seed", "budget", "role"]


@dataclass(frozen=True)
class Answers:
    """Results of evaluating a cell: its record (scores.parquet's provenance), scores and samples."""

    record: Mapping[str, Any]
    scores: pd.DataFrame
    samples: pd.DataFrame


def read_answers(scores: Path, samples: Path) -> Answers:
    """Read the two tables of a cell's evaluation. Raises Damaged where they are not of one evaluation."""
    record, other = (read_provenance(file) for file in (scores, samples))
    del record["sha256"], other["sha256"]
    if record != other:
        raise Damaged(
            f"{scores} and {samples} are not of one evaluation.",
            "Delete both and run again.",
            scores,
        )
    return Answers(record, read_parquet(scores), read_parquet(samples))


def collect(
    cells: pd.DataFrame,
    answers: Sequence[Answers],
    trainings: Sequence[Mapping[str, Any]],
    *,
    fingerprints: Mapping[str, Mapping[str, str]],
    nominal: Mapping[str, float],
    axis: SizeAxis,
) -> dict[str, pd.DataFrame]:
    """Build the tables of a study: errors, samples, chance, trainings.

    cells: columns CELL_COLUMNS. trainings: every run.json, of both stages. fingerprints: by rule,
    those of the present code. nominal: billions of parameters by a released LLM's name, possibly empty.
    Raises UserError for results of other code and for cells of different protocols.
    """
    for stage in ("stage1", "stage2"):
        found = {r["run"]: r["fingerprint"] for r in trainings if r["kind"] == stage}
        check_fingerprints(found, fingerprints[f"train_{stage}"], rule=f"train_{stage}")
    by_cell = {one.record["cell"]["cell"]: one for one in answers}
    found = {cell: one.record["fingerprint"] for cell, one in by_cell.items()}
    check_fingerprints(found, fingerprints["evaluate_cell"], rule="evaluate_cell")
    scores = {cell: one.scores for cell, one in by_cell.items()}
    trained = {record["run"]: record for record in trainings if record["kind"] == "stage2"}
    by_llm = {llm: trained[run] for llm, run in cells[["llm", "run"]].values}
    sizes: dict[SizeAxis, Mapping[str, float]] = {
        "total": {llm: found["llm_parameters"] / 1e9 for llm, found in by_llm.items()},
        "non_embedding": {
            llm: found["llm_parameters_non_embedding"] / 1e9 for llm, found in by_llm.items()
        },
    }
    if nominal:
        sizes = {"nominal": nominal, **sizes}
    return {
        "errors": tabulate_errors(
            cells,
            scores,
            sizes,
            axis=axis,
            protocols={cell: one.record["protocol"] for cell, one in by_cell.items()},
        ),
        "samples": tabulate_samples({cell: one.samples for cell, one in by_cell.items()}, scores),
        "chance": tabulate_chance(answers[0].samples, answers[0].scores),
        "trainings": tabulate_trainings(trainings),
    }


def check_fingerprints(
    found: Mapping[str, str | None], expected: Mapping[str, str], *, rule: str
) -> None:
    """Raise UserError, naming the cells or runs, when other code than the present made a result.

    rule: the one that makes these results.
    """
    stale = sorted(cell for cell, mark in expected.items() if found.get(cell) != mark)
    if stale:
        raise UserError(
            f"results of {rule} were made by other code than the present: {', '.join(stale)}. Make them "
            f"again (snakemake --forcerun {rule}), or check out the code that made them."
        )


def tabulate_trainings(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row per training, over all its attempts: run, stage and the numbers of its run.json.

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


def select_cells(errors: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    """Return the rows of an errors table whose method and budget are those of `selection`."""
    mine = errors["method"].isin(selection.methods) & (errors["budget"] == selection.budget)
    return errors[mine]


def tabulate_chance(samples: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Return the score that each benchmark gives without an image: columns benchmark, chance.

    samples: columns benchmark, id, target. scores: columns benchmark, chance; a missing chance becomes the
    score of the best constant answer.
    """
    targets = samples.drop_duplicates(["benchmark", "id"])
    share = targets.groupby("benchmark", sort=False)["target"].agg(
        lambda t: t.value_counts(normalize=True).iloc[0]
    )
    known = scores.set_index("benchmark")["chance"].astype(float)
    return known.fillna(share).rename("chance").rename_axis("benchmark").reset_index()


def tabulate_samples(
    samples: Mapping[str, pd.DataFrame], scores: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """Return the score of every question of every cell: columns cell, family, benchmark, id, score.

    By cell, samples: columns benchmark, id, score; scores: columns benchmark, family.
    """
    frames = [
        answers.merge(scores[cell][["benchmark", "family"]], on="benchmark").assign(cell=cell)
        for cell, answers in samples.items()
    ]
    return pd.concat(frames, ignore_index=True)[["cell", "family", "benchmark", "id", "score"]]


def tabulate_errors(
    cells: pd.DataFrame,
    scores: Mapping[str, pd.DataFrame],
    sizes: Mapping[SizeAxis, Mapping[str, float]],
    *,
    axis: SizeAxis,
    protocols: Mapping[str, str],
) -> pd.DataFrame:
    """Return one row per cell and benchmark, and one per cell and family (benchmark "mean").

    cells: columns CELL_COLUMNS. scores: by cell, columns benchmark, family, metric, score, n, unparsed.
    sizes: by axis and LLM, billions of parameters; each becomes a column {axis}_b, and that of `axis` also
    n_params_b, the N of the laws. protocols: by cell. A cell without scores has no row, never a score of
    0. Raises UserError for cells of different protocols.
    """
    frames = []
    for cell in cells.to_dict("records"):
        if cell["cell"] not in scores:
            continue
        table = scores[cell["cell"]]
        means = table.groupby("family", sort=False).agg(score=("score", "mean"), n=("n", "sum"))
        means = means.reset_index().assign(benchmark="mean", metric="mean")
        rows = pd.concat([table, means], ignore_index=True)
        about = {column: cell[column] for column in CELL_COLUMNS}
        frames.append(rows.assign(**about, protocol=protocols[cell["cell"]]))
    table = pd.concat(frames, ignore_index=True)
    require_one_protocol(table)
    for known, by_llm in sizes.items():
        table[f"{known}_b"] = table["llm"].map(by_llm).astype(float)
    table["n_params_b"] = table[f"{axis}_b"]
    table["size_axis"] = axis
    table["error"] = 1 - table["score"]
    table["unparsed"] = table["unparsed"].astype(float)
    columns = ["n_params_b", "size_axis", *(f"{known}_b" for known in sizes), "protocol"]
    measured = ["family", "benchmark", "metric", "score", "error", "n", "unparsed"]
    return table[[*CELL_COLUMNS, *columns, *measured]]


def require_one_protocol(*tables: pd.DataFrame) -> str | None:
    """Return the one protocol of all rows; None where no table has such a column.

    Raises UserError for two: the protocol changes scores, so no law or figure may mix them.
    """
    known = [table["protocol"] for table in tables if "protocol" in table]
    found = list(dict.fromkeys(protocol for column in known for protocol in column))
    if len(found) > 1:
        raise UserError(
            f"scores of protocols {' and '.join(map(str, found))} meet; no law or figure may hold both. "
            "Evaluate all cells by one (evaluation.protocol of the config), or keep their tables apart."
        )
    return str(found[0]) if found else None
