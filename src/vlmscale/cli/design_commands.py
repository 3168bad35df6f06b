"""Commands about what to train: power, next and lifetime."""

from pathlib import Path
from typing import Annotated

import typer

from vlmscale.cli.options import (
    GpuName,
    Json,
    Methods,
    Utilisation,
    report_errors,
    split_counts,
    split_names,
)

# As in cli/next_cells.py, which help should not have to import.
_NARROW = "alpha, beta, alpha-beta, alpha/beta, V* or error"
_Parquet = Annotated[
    Path | None,
    typer.Option(help="Also write the table to this Parquet file, its origin in the metadata."),
]


@report_errors()
def power_command(
    sizes: Annotated[
        str, typer.Option(help="LLM sizes N in billions of parameters, separated by commas.")
    ] = "0.5,1.8,4,7",
    token_counts: Annotated[
        str, typer.Option(help="Visual token counts V, separated by commas.")
    ] = "1,4,16,64,576",
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Trainings of each (N, V).")] = 1,
    config: Annotated[
        Path | None,
        typer.Option(
            help="A study: LLMs, token counts and GPU hours of its first law, instead of --sizes and "
            "--token-counts."
        ),
    ] = None,
    trainings: Annotated[
        int | None,
        typer.Option(
            min=1, help="Budget: compare designs within the above of up to this many trainings."
        ),
    ] = None,
    gpu_hours: Annotated[
        float | None, typer.Option(min=0, help="Budget in GPU hours; with --config.")
    ] = None,
    designs: Annotated[
        int, typer.Option(min=1, max=50, help="Designs to simulate, the most promising ones.")
    ] = 4,
    narrow: Annotated[
        str, typer.Option(help=f"What the best design has narrow: {_NARROW}.", metavar="QUANTITY")
    ] = "alpha-beta",
    scores: Annotated[
        Path | None,
        typer.Option(
            help="Scores whose law and noise are the truth, as for vlmscale fit, such as a study's "
            "errors.parquet.",
            show_default="released scores",
        ),
    ] = None,
    family: Annotated[str, typer.Option(help="Family of those scores.")] = "reasoning",
    methods: Methods = "",
    amplitude: Annotated[
        float | None, typer.Option(help="A of the true law.", show_default="of the scores")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="alpha of the true law.", show_default="of the scores")
    ] = None,
    beta: Annotated[
        float | None, typer.Option(help="beta of the true law.", show_default="of the scores")
    ] = None,
    floor: Annotated[
        float | None, typer.Option(help="D of the true law.", show_default="of the scores")
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation of the error of a training, seeds included.",
            show_default="of the scores",
        ),
    ] = None,
    offset: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation by which LLMs differ from the law.",
            show_default="of the scores",
        ),
    ] = None,
    slope: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation of LLMs' own slopes, per unit of ln V.",
            show_default="of the scores",
        ),
    ] = None,
    text_tokens: Annotated[int, typer.Option(min=1, help="Text tokens Q of V*(Q).")] = 50,
    new_llm: Annotated[
        float, typer.Option(min=1e-6, max=5000, help="Billions of parameters of an LLM to predict.")
    ] = 14.0,
    new_tokens: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Visual tokens to predict it at.")
    ] = 16,
    simulations: Annotated[
        int, typer.Option(min=1, max=100_000, help="Simulated studies of each design.")
    ] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the simulation.")] = 0,
    parquet: _Parquet = None,
    json: Json = False,
) -> None:
    """Simulate a study before training it: widths of intervals, odds of decisions, the best design."""
    from vlmscale.cli.output import emit, write_report
    from vlmscale.cli.power import compare_designs, show

    given = {
        **{"amplitude": amplitude, "alpha": alpha, "beta": beta, "floor": floor},
        **{"noise": noise, "offset": offset, "slope": slope},
    }
    report = compare_designs(
        sizes=sizes,
        token_counts=split_counts(token_counts, "--token-counts"),
        seeds=seeds,
        config=config,
        trainings=trainings,
        gpu_hours=gpu_hours,
        designs=designs,
        narrow=narrow,
        scores=scores,
        family=family,
        methods=split_names(methods),
        world={name: value for name, value in given.items() if value is not None},
        text_tokens=text_tokens,
        new_llm=new_llm,
        new_tokens=new_tokens,
        simulations=simulations,
        seed=seed,
    )
    if parquet is not None:
        write_report(parquet, report, "widths")
    emit(report, json, show)


@report_errors()
def next_command(
    gpu_hours: Annotated[float, typer.Option(min=0, help="GPU hours to spend.")],
    config: Annotated[Path, typer.Option(help="Config of the study.")] = Path("config/mini.yaml"),
    narrow: Annotated[
        str, typer.Option(help=f"Quantity to narrow: {_NARROW}.", metavar="QUANTITY")
    ] = "alpha/beta",
    text_tokens: Annotated[int, typer.Option(min=0, help="Text tokens Q of --narrow V*.")] = 50,
    llm: Annotated[
        str | None,
        typer.Option(
            help="LLM of --narrow error: a name in the config, or one that states a size."
        ),
    ] = None,
    visual_tokens: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Visual tokens of --narrow error.")
    ] = None,
    series: Annotated[
        str | None, typer.Option(help="Law of the study.", show_default="the first")
    ] = None,
    family: Annotated[
        str, typer.Option(help="Family of benchmarks: reasoning or ocr.")
    ] = "reasoning",
    prior: Annotated[
        Path | None,
        typer.Option(
            help="Scores, as for vlmscale fit, whose law stands in while the study's own determine none.",
            show_default="released scores",
        ),
    ] = None,
    gpu: GpuName = None,
    utilisation: Utilisation = None,
    results: Annotated[
        Path, typer.Option(help="Folder of all studies; scores found there count.")
    ] = Path("results"),
    parquet: _Parquet = None,
    json: Json = False,
) -> None:
    """Choose the cells to train next: those that narrow an interval most within some GPU hours."""
    from vlmscale.cli.next_cells import choose_next, show
    from vlmscale.cli.output import emit, write_report

    report = choose_next(
        config,
        gpu_hours=gpu_hours,
        narrow=narrow,
        text_tokens=text_tokens,
        llm=llm,
        visual_tokens=visual_tokens,
        series=series,
        family=family,
        prior=prior,
        gpu=gpu,
        utilisation=utilisation,
        results=results,
    )
    if parquet is not None:
        write_report(parquet, report, "cells")
    emit(report, json, show)


@report_errors()
def lifetime_command(
    file: Annotated[
        Path,
        typer.Argument(
            help="Scores of several training budgets, as for vlmscale fit, with a column samples (that "
            "stage 2 trained on) or budget. A study's errors.parquet is one."
        ),
    ],
    error: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Error to reach.",
            show_default="the best of each LLM but the largest",
        ),
    ] = None,
    answers: Annotated[
        list[float] | None,
        typer.Option(
            min=0, help="Number of answers to name the cheapest LLM for; may be repeated."
        ),
    ] = None,
    text_tokens: Annotated[
        int, typer.Option(min=0, help="Text tokens of an answer, Q and G together.")
    ] = 50,
    training_text_tokens: Annotated[
        float | None,
        typer.Option(
            min=0, help="Text tokens of a training sample.", show_default="the study's, else 64"
        ),
    ] = None,
    budgets: Annotated[
        str,
        typer.Option(
            help="Samples of each budget, such as short=4800,full=14400.",
            metavar="NAME=SAMPLES,...",
            show_default="the study's",
        ),
    ] = "",
    family: Annotated[
        str | None, typer.Option(help="Kind of questions.", show_default="reasoning")
    ] = None,
    methods: Methods = "",
    json: Json = False,
) -> None:
    """Choose the LLM that costs least over its life, training and answers together."""
    from vlmscale.cli.lifetime import compare_lifetimes, parse_budgets, show
    from vlmscale.cli.output import emit

    report = compare_lifetimes(
        file,
        error=error,
        answers=answers or (),
        text_tokens=text_tokens,
        training_text_tokens=training_text_tokens,
        budgets=parse_budgets(budgets),
        methods=split_names(methods),
        family=family,
    )
    emit(report, json, show)
