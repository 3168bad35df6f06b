"""The commands audit, summary, cells, methods and data."""

import os
from pathlib import Path
from typing import Annotated

import typer

from vlmscale.cli.options import Json, report_errors


@report_errors()
def audit_command(
    study: Annotated[
        list[Path] | None,
        typer.Option(help="Results folder of a study to use as further evidence; repeatable."),
    ] = None,
    claim: Annotated[
        str | None, typer.Option(help="Show everything about the claim with this id.")
    ] = None,
    json: Json = False,
) -> None:
    """Check the paper's claims against its released numbers and the studies given by --study."""
    from vlmscale.cli.audit import audit, report_claims, show, show_one
    from vlmscale.cli.output import emit

    emit(report_claims(audit(study or [], claim)), json, show if claim is None else show_one)


@report_errors()
def summary_command(
    results: Annotated[
        Path,
        typer.Argument(
            help="Results folder of a finished study.",
            metavar="RESULTS_FOLDER",
        ),
    ] = Path("results/mini"),
    json: Json = False,
) -> None:
    """Summarise a finished study: exponents, verdicts on its hypotheses, failed sanity checks."""
    from vlmscale.cli.output import emit
    from vlmscale.cli.summary import show, summarise

    emit(summarise(results), json, show)


@report_errors()
def cells_command(
    config: Annotated[Path, typer.Option(help="Config of the study.")] = Path("config/mini.yaml"),
    gpu: Annotated[
        str | None,
        typer.Option(help="Row of resources/gpus.csv.", show_default="the study's `cluster`"),
    ] = None,
    utilisation: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=1,
            help="Share of the GPU's peak FLOP/s that training reaches.",
            show_default="the GPU table's, else the cluster's",
        ),
    ] = None,
    text_tokens: Annotated[
        int,
        typer.Option(min=1, help="Text tokens per training sample, if its dataset gives none."),
    ] = 64,
    question_tokens: Annotated[
        int, typer.Option(min=1, help="Text tokens per benchmark question.")
    ] = 50,
    answer_tokens: Annotated[int, typer.Option(min=0, help="Generated tokens per answer.")] = 8,
    results: Annotated[
        Path, typer.Option(help="Folder of all studies; runs finished there count as done.")
    ] = Path("results"),
    json: Json = False,
) -> None:
    """List a study's training runs: parameters, FLOPs, GPU hours, disk space and progress."""
    from vlmscale.cli.cells import plan, show
    from vlmscale.cli.output import emit
    from vlmscale.planning.trainings import Assumptions

    assumed = Assumptions(text_tokens, question_tokens, answer_tokens)
    emit(plan(config, results, assumed, gpu=gpu, utilisation=utilisation), json, show)


@report_errors()
def methods_command(json: Json = False) -> None:
    """List the methods: source, token counts, how they are trained, what they cost."""
    from vlmscale.cli.methods import list_methods, show
    from vlmscale.cli.output import emit

    emit(list_methods(), json, show)


@report_errors()
def data_command(
    dataset: Annotated[str, typer.Argument(help="Name in resources/datasets.csv.")],
    output: Annotated[
        Path, typer.Argument(help="Folder to create: Parquet shards and a manifest.")
    ],
    raw: Annotated[
        Path,
        typer.Option(
            help="Folder that keeps the downloaded files. Put your own images in its own/DATASET."
        ),
    ] = Path("raw"),
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of processes.", show_default="one per core")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Convert only the first LIMIT records.")
    ] = None,
    mirror: Annotated[
        list[str] | None,
        typer.Option(help="Address of a folder laid out like --raw, to try first; repeatable."),
    ] = None,
    json: Json = False,
) -> None:
    """Download, check and convert LLaVA's training data. Resumes an interrupted run."""
    from vlmscale.cli.data import prepare_data, show
    from vlmscale.cli.output import emit

    report = prepare_data(
        dataset,
        output=output,
        raw=raw,
        workers=workers or os.cpu_count() or 1,
        limit=limit,
        mirrors=mirror or [],
    )
    emit(report, json, show)
