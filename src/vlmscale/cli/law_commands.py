"""Commands about laws: fit one, and choose a model by one."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vlmscale.cli.options import Json, Methods, report_errors, split_counts, split_names


@report_errors()
def fit_command(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV or Parquet table with columns n_params_b (billions), visual_tokens, and score or "
            "error (0 to 1); optional llm, method, seed, family. A study's errors.parquet is one."
        ),
    ],
    methods: Methods = "",
    floor: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Fix D at this error.", show_default="fitted"),
    ] = None,
    loss: Annotated[
        Literal["squares", "huber", "absolute"],
        typer.Option(help="Loss of the error (squares) or of its logarithm (huber, absolute)."),
    ] = "squares",
    delta: Annotated[
        float | None,
        typer.Option(
            min=1e-8, help="Threshold of --loss huber, in ln(error).", show_default="0.001"
        ),
    ] = None,
    weights: Annotated[
        Literal["equal", "relative"],
        typer.Option(help="relative: weigh squares by 1 / error^2."),
    ] = "equal",
    search: Annotated[
        Literal["least-squares", "released-grid", "appendix-grid"],
        typer.Option(
            help="The grids are the paper's own fit, with the ranges of its code or its text."
        ),
    ] = "least-squares",
    share: Annotated[
        float | None,
        typer.Option(
            max=1,
            help="Share of a grid's nodes to visit at random; 0.2 in the released code.",
            show_default="1",
        ),
    ] = None,
    draws: Annotated[
        int, typer.Option(min=0, help="Bootstrap refits behind each interval; 0 for none.")
    ] = 2000,
    seed: Annotated[
        int, typer.Option(min=0, help="Random seed of the resampling and of --share.")
    ] = 0,
    text_tokens: Annotated[
        list[str] | None,
        typer.Option(
            help="Text tokens Q, separated by commas or repeated: the best V is given for each.",
            show_default="0,50",
            metavar="Q",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Fit the law to scores: parameters, intervals, best token counts, rival forms. One law a family."""
    from vlmscale.cli.fit import Choices, fit_file
    from vlmscale.cli.fit_output import show
    from vlmscale.cli.output import emit

    if delta is not None and loss != "huber":
        raise typer.BadParameter("--delta is for --loss huber")
    if share is not None and search == "least-squares":
        raise typer.BadParameter("--share is for --search on a grid")
    choices = Choices(
        floor=floor,
        loss=loss,
        delta=1e-3 if delta is None else delta,
        weights=weights,
        search=search,
        share=1.0 if share is None else share,
        seed=seed,
        draws=draws,
    )
    counts = split_counts(",".join(text_tokens or ["0,50"]), "--text-tokens")
    report = fit_file(file, choices, methods=split_names(methods), text_tokens=counts)
    emit(report, json, show)


@report_errors()
def recommend_command(
    gflops: Annotated[
        float | None, typer.Option(min=0, help="Budget of an answer, GFLOPs.")
    ] = None,
    latency_ms: Annotated[
        float | None,
        typer.Option(min=0, help="Budget of an answer, milliseconds; with --latencies."),
    ] = None,
    latencies: Annotated[
        Path | None,
        typer.Option(
            help="Measurements: CSV or Parquet with columns llm, visual_tokens, latency_ms, such as a "
            "study's latency.parquet or the table of benchmarks/latency.py. Columns text_tokens, "
            "cached_text and method select rows by the options of these names."
        ),
    ] = None,
    text_tokens: Annotated[int, typer.Option(min=0, help="Text tokens Q of a question.")] = 50,
    generated_tokens: Annotated[
        int, typer.Option(min=0, help="Generated tokens G of an answer.")
    ] = 0,
    cached_text: Annotated[
        bool,
        typer.Option(
            "--cached-text", help="The text precedes the image and is cached: it costs nothing."
        ),
    ] = False,
    family: Annotated[
        Literal["reasoning", "ocr"], typer.Option(help="Kind of questions.")
    ] = "reasoning",
    sizes: Annotated[
        str | None,
        typer.Option(
            help="LLMs to choose from, separated by commas: billions of parameters, or names in "
            "resources/backbones.",
            show_default="Qwen1.5 0.5B, 1.8B, 4B, 7B, 14B; the LLMs of --latencies",
        ),
    ] = None,
    token_counts: Annotated[
        str,
        typer.Option(
            help="Visual token counts V to choose from, separated by commas. any: 1 to 576, or what "
            "the method can give with --with-tower."
        ),
    ] = "any",
    cost: Annotated[
        Literal["nominal", "exact"],
        typer.Option(
            help="nominal: 2 N (Q + V + G). exact: all layers of LLMs given by name, with attention "
            "and output head."
        ),
    ] = "nominal",
    with_tower: Annotated[
        bool,
        typer.Option("--with-tower", help="Add vision tower and projector; with --cost exact."),
    ] = False,
    method: Annotated[
        str | None,
        typer.Option(help="Method whose projector --with-tower adds.", show_default="tokenpacker"),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            help="Table to fit the law to, as for vlmscale fit.", show_default="released scores"
        ),
    ] = None,
    methods: Methods = "",
    json: Json = False,
) -> None:
    """Choose LLM and visual tokens for a budget: --gflops, or --latency-ms with --latencies."""
    from vlmscale.cli.output import emit
    from vlmscale.cli.recommend import recommend, show

    found = recommend(
        gflops=gflops,
        latency_ms=latency_ms,
        latencies=latencies,
        text_tokens=text_tokens,
        generated_tokens=generated_tokens,
        cached_text=cached_text,
        family=family,
        sizes=sizes,
        token_counts=token_counts,
        cost=cost,
        with_tower=with_tower,
        method=method,
        scores=scores,
        methods=split_names(methods),
    )
    emit(vars(found), json, show)
