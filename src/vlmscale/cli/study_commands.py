"""The commands explore, audit, summary, cells, methods, data and publish."""

import os
from pathlib import Path
from typing import Annotated

import typer

from vlmscale.cli.options import GpuName, Json, Methods, Utilisation, report_errors, split_names
from vlmscale.errors import UsageError, UserError


@report_errors()
def explore_command(
    study: Annotated[
        Path | None,
        typer.Argument(
            help="Results folder of a finished study, which has a page of its own.",
            metavar="[RESULTS_FOLDER]",
        ),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            help="Table to explore, as for vlmscale fit.",
            show_default="the paper's released scores",
        ),
    ] = None,
    methods: Methods = "",
    output: Annotated[Path, typer.Option(help="Page to write.")] = Path("explorer.html"),
    open_page: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write the explorer, a page to play with a law, and print its path."""
    from vlmscale.cli.explore import find_explorer, write_explorer_of_scores

    if study is not None and scores is not None:
        raise UsageError("give a results folder or --scores, not both")
    if methods and scores is None:
        raise UsageError("--methods chooses among the points of --scores")
    if study is not None:
        page = find_explorer(study)
    else:
        page = output
        write_explorer_of_scores(page, scores, split_names(methods))
    typer.echo(page)
    if open_page and typer.launch(str(page.resolve())):
        raise UserError(f"no browser could be started; open {page.resolve()} in one")


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
    from vlmscale.cli.audit import audit, show, show_one
    from vlmscale.cli.output import emit

    claims = audit(study or [], claim)
    report = {"verdicts": claims["verdict"].value_counts().to_dict(), "claims": claims}
    emit(report, json, show if claim is None else show_one)


@report_errors()
def summary_command(
    results: Annotated[
        Path, typer.Argument(help="Results folder of a finished study.", metavar="RESULTS_FOLDER")
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
    gpu: GpuName = None,
    utilisation: Utilisation = None,
    text_tokens: Annotated[
        int, typer.Option(min=1, help="Text tokens per training sample, if its dataset gives none.")
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
    """List a study's training runs, or its cells: parameters, FLOPs, GPU hours, disk space, progress."""
    from vlmscale.cli.cells import plan, show
    from vlmscale.cli.model_cells import plan_models, show_models
    from vlmscale.cli.output import emit
    from vlmscale.planning.trainings import Assumptions
    from vlmscale.study.evaluated import EvaluatedStudy
    from vlmscale.study.load import load_any_study

    assumed = Assumptions(text_tokens, question_tokens, answer_tokens)
    study = load_any_study(config)
    if isinstance(study, EvaluatedStudy):
        if gpu is not None or utilisation is not None:
            raise UserError(
                "--gpu and --utilisation are of trainings; describe the GPU in the study's `cluster`"
            )
        emit(plan_models(study, results, assumed), json, show_models)
        return
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


@report_errors()
def publish_command(
    folder: Annotated[
        Path,
        typer.Argument(
            help="A trained model (RESULTS/runs/RUN/stage2) or the results folder of a finished study."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder to make; it must not exist.")],
) -> None:
    """Lay out a model with its card, or a study's tables, for the hub's own client. Uploads nothing."""
    from vlmscale.report.publish import publish

    for file in publish(folder, output):
        typer.echo(f"{output / file}")
    typer.echo(f"Upload with: hf upload OWNER/NAME {output}")
