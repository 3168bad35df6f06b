"""Commands about laws: fit one, and choose a model by one."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vlmscale.cli.options import Json, Methods, report_errors, split_counts, split_names
from vlmscale.study.selection import FULL

# As in resources/measured/calibration.parquet, which help should not have to read.
_COVERAGE = (
    "How often 95 % intervals of alpha, beta and alpha / beta hold the truth in simulations, least and "
    "median percent: hierarchical 85 and 98, jackknife 87 and 97, delta method 52 and 89, sizes 66 and 86, "
    "cases 50 and 85, residual 56 and 86, wild 52 and 82."
)


@report_errors()
def fit_command(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV, TSV, JSON or Parquet table with columns n_params_b (billions; or llm, names with a "
            "size), visual_tokens, and score or error (0 to 1); optional llm, method, seed, family. With a "
            "column benchmark only its rows `mean` count. A study's errors.parquet is one."
        ),
    ],
    methods: Methods = "",
    floor: Annotated[
        float | None, typer.Option(min=0, max=1, help="Fix D at this error.", show_default="fitted")
    ] = None,
    loss: Annotated[
        Literal["squares", "huber", "absolute"],
        typer.Option(help="Loss of the error (squares) or of its logarithm (huber, absolute)."),
    ] = "squares",
    delta: Annotated[
        float, typer.Option(min=1e-8, help="Threshold of --loss huber, in ln(error).")
    ] = 1e-3,
    weights: Annotated[
        Literal["equal", "relative"], typer.Option(help="relative: weigh squares by 1 / error^2.")
    ] = "equal",
    search: Annotated[
        Literal["least-squares", "released-grid", "appendix-grid"],
        typer.Option(
            help="The grids are the paper's own fit, with the ranges of its code or its text."
        ),
    ] = "least-squares",
    share: Annotated[
        float,
        typer.Option(
            max=1, help="Share of a grid's nodes to visit at random; 0.2 in the released code."
        ),
    ] = 1.0,
    draws: Annotated[
        int,
        typer.Option(
            min=0, max=100_000, help=f"Laws behind each interval; 0 for none. {_COVERAGE}"
        ),
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

    choices = Choices(floor, loss, delta, weights, search, share, seed, draws)
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
    memory_gb: Annotated[
        float | None,
        typer.Option(
            min=0, help="GPU memory for weights (16 bits), keys and values, and activations."
        ),
    ] = None,
    kv_mb: Annotated[
        float | None,
        typer.Option(min=0, help="Megabytes of keys and values (16 bits) that an image may keep."),
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
    cached_image: Annotated[
        bool,
        typer.Option(
            "--cached-image",
            help="The image was encoded before the question came: tower and projector cost nothing, nor do "
            "its tokens where the LLM keeps their keys and values.",
        ),
    ] = False,
    questions_per_image: Annotated[
        int,
        typer.Option(
            min=1,
            help="Questions about each image: their answers share what depends on the image alone.",
        ),
    ] = 1,
    prompt_cache: Annotated[
        bool,
        typer.Option(
            "--prompt-cache/--no-prompt-cache",
            help="The LLM keeps an image's keys and values for all questions about it. Of use where the "
            "image comes before the text and its tokens do not depend on the question.",
        ),
    ] = True,
    training_budget: Annotated[
        str, typer.Option(help="Training budget of --scores, where they have several.")
    ] = FULL,
    family: Annotated[
        str | None,
        typer.Option(
            help="Kind of questions: reasoning, ocr, or a family of --scores.",
            show_default="reasoning",
        ),
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(
            help="LLMs to choose from, separated by commas: billions of parameters, or names in "
            "resources/backbones.",
            show_default="Qwen1.5 0.5B, 1.8B, 4B, 7B, 14B; the LLMs of --scores or --latencies",
        ),
    ] = None,
    token_counts: Annotated[
        str,
        typer.Option(
            help="Visual token counts V to choose from, separated by commas. method: those of --scores, "
            "else what --method can give; any: 1 to 576."
        ),
    ] = "method",
    cost: Annotated[
        Literal["nominal", "exact"],
        typer.Option(
            help="nominal: 2 N (Q + V + G). exact: all layers of LLMs given by name, with attention "
            "and output head."
        ),
    ] = "nominal",
    with_tower: Annotated[
        bool,
        typer.Option(
            "--with-tower/--without-tower",
            help="Count the vision tower (with --cost exact the projector, too); without: stored features.",
        ),
    ] = True,
    method: Annotated[
        str | None,
        typer.Option(
            help="Method that makes the visual tokens, see vlmscale methods.",
            show_default="tokenpacker",
        ),
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
    arguments = {**locals(), "methods": split_names(methods)}
    del arguments["json"]
    from vlmscale.cli.output import emit
    from vlmscale.cli.recommend import recommend
    from vlmscale.cli.recommend_output import show

    emit(vars(recommend(**arguments)), json, show)
