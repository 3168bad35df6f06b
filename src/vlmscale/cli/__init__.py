"""The command line `vlmscale`: here the options, in the files beside it what the commands do.

A command imports its file when it runs, so that --help waits for no library.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from vlmscale.jobs.entry import exit_with_message

app = typer.Typer(
    name="vlmscale",
    help="Scaling laws of vision-language models, error = A N^-alpha T^-beta + D: N is the LLM's size in "
    "billions of parameters, T the number of visual tokens.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON object instead; numbers unrounded, null for infinite or undefined.",
    ),
]
Methods = Annotated[
    str,
    typer.Option(help="Compression methods to use, by comma; all where empty.", metavar="A,B"),
]


@app.command("fit", epilog="Example: vlmscale fit scores.csv --text-tokens 0,50,100")
@exit_with_message()
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
        typer.Option(min=0, max=1, help="Fix D at this error; fitted where not given."),
    ] = None,
    loss: Annotated[
        Literal["squares", "huber", "absolute"],
        typer.Option(help="Of the error (squares), or of its logarithm (huber, absolute)."),
    ] = "squares",
    delta: Annotated[
        float | None,
        typer.Option(
            min=1e-8, help="Threshold of --loss huber, in ln(error).", show_default="0.001"
        ),
    ] = None,
    weights: Annotated[
        Literal["equal", "relative"], typer.Option(help="relative weighs squares by 1 / error^2.")
    ] = "equal",
    search: Annotated[
        Literal["least-squares", "released-grid", "appendix-grid"],
        typer.Option(
            help="A grid is the paper's own fit: ranges of the released code, or of its text."
        ),
    ] = "least-squares",
    share: Annotated[
        float | None,
        typer.Option(
            max=1,
            help="Of a grid's nodes to visit at random; the released code has 0.2.",
            show_default="1",
        ),
    ] = None,
    draws: Annotated[
        int, typer.Option(min=0, help="Bootstrap refits behind each interval; 0 for none.")
    ] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of the resampling and of --share.")] = 0,
    text_tokens: Annotated[
        list[str] | None,
        typer.Option(
            help="Text tokens Q beside the visual ones, by comma or repeated; best T for each.",
            show_default="0,50",
            metavar="Q",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Fit the law to a table of scores: intervals, best token counts, rival forms; families apart."""
    from vlmscale.cli.fit import Choices, fit_file, show
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
    counts = _whole_numbers(",".join(text_tokens or ["0,50"]), "--text-tokens")
    report = fit_file(file, choices, methods=_names(methods), text_tokens=counts)
    emit(report, json, show)


@app.command("recommend", epilog="Example: vlmscale recommend --gflops 2000 --text-tokens 50")
@exit_with_message()
def recommend_command(
    gflops: Annotated[
        float | None, typer.Option(min=0, help="What an answer may cost, in GFLOPs.")
    ] = None,
    latency_ms: Annotated[
        float | None,
        typer.Option(min=0, help="How long an answer may take, in milliseconds; with --latencies."),
    ] = None,
    latencies: Annotated[
        Path | None,
        typer.Option(
            help="Measurements: CSV or Parquet with columns llm, visual_tokens, latency_ms, as a study's "
            "latency.parquet and benchmarks/latency.py have; where it has them, rows of --text-tokens, "
            "--cached-text and --methods count."
        ),
    ] = None,
    text_tokens: Annotated[int, typer.Option(min=0, help="Text tokens Q of a question.")] = 50,
    generated_tokens: Annotated[int, typer.Option(min=0, help="Tokens G of an answer.")] = 0,
    cached_text: Annotated[
        bool,
        typer.Option(
            "--cached-text", help="The text stands before the image, computed once: free."
        ),
    ] = False,
    family: Annotated[
        Literal["reasoning", "ocr"], typer.Option(help="The kind of questions asked.")
    ] = "reasoning",
    sizes: Annotated[
        str | None,
        typer.Option(
            help="LLMs to choose from, by comma: billions of parameters, or names of "
            "resources/architectures.csv.",
            show_default="Qwen1.5 0.5B, 1.8B, 4B, 7B, 14B; the LLMs of --latencies",
        ),
    ] = None,
    token_counts: Annotated[
        str,
        typer.Option(
            help="Visual token counts T to choose from, by comma; any is 1 to 576, with --with-tower "
            "those the method can give."
        ),
    ] = "any",
    cost: Annotated[
        Literal["nominal", "exact"],
        typer.Option(
            help="nominal: 2 N (Q + T + G). exact: the layers of LLMs given by name, with attention "
            "and head."
        ),
    ] = "nominal",
    with_tower: Annotated[
        bool,
        typer.Option("--with-tower", help="Add vision tower and compressor; with --cost exact."),
    ] = False,
    method: Annotated[
        str | None,
        typer.Option(help="Whose compressor --with-tower adds.", show_default="tokenpacker"),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            help="Fit the law to this table, as for vlmscale fit, instead of the released scores."
        ),
    ] = None,
    methods: Methods = "",
    json: Json = False,
) -> None:
    """Choose LLM and visual tokens for a budget: --gflops, or --latency-ms with --latencies."""
    if (gflops is None) == (latency_ms is None):
        raise typer.BadParameter("give one of --gflops and --latency-ms")
    if (latency_ms is None) != (latencies is None):
        raise typer.BadParameter("--latency-ms and --latencies belong together")
    if latencies is not None and cost == "exact":
        raise typer.BadParameter("--cost exact counts GFLOPs; it has no use beside --latencies")
    if with_tower and cost != "exact":
        raise typer.BadParameter("--with-tower needs --cost exact")
    if method is not None and not with_tower:
        raise typer.BadParameter("--method names the compressor that --with-tower adds")
    if methods and scores is None and latencies is None:
        raise typer.BadParameter("--methods chooses among the points of --scores or of --latencies")
    from vlmscale.cli.answer_cost import Question
    from vlmscale.cli.output import emit
    from vlmscale.cli.recommend import recommend, show

    budget = gflops if gflops is not None else latency_ms
    assert budget is not None  # checked above
    question = Question(
        budget=budget,
        latencies=latencies,
        text_tokens=text_tokens,
        generated_tokens=generated_tokens,
        cached_text=cached_text,
        cost=cost,
        with_tower=with_tower,
        method=method or "tokenpacker",
        sizes=sizes,
        token_counts=token_counts,
    )
    report = recommend(question, family=family, scores=scores, methods=_names(methods))
    emit(report, json, show)


@app.command("audit", epilog="Example: vlmscale audit --study results/mini --claim C13")
@exit_with_message()
def audit_command(
    study: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of a study's results that count as evidence, too; repeatable."),
    ] = None,
    claim: Annotated[
        str | None, typer.Option(help="Show all about the claim with this id.")
    ] = None,
    json: Json = False,
) -> None:
    """Check the paper's claims against its released numbers, and against studies of your own."""
    from vlmscale.cli.audit import check, show, show_one
    from vlmscale.cli.output import emit

    emit(check(study or [], claim), json, show if claim is None else show_one)


@app.command("summary", epilog="Example: vlmscale summary results/mini")
@exit_with_message()
def summary_command(
    results: Annotated[
        Path,
        typer.Argument(
            help="Folder of a finished study: laws, intervals, verdicts and sanity.parquet in it.",
            metavar="RESULTS_FOLDER",
        ),
    ] = Path("results/mini"),
    json: Json = False,
) -> None:
    """Tell what a finished study found: exponents, verdicts on its hypotheses, failed sanity checks."""
    from vlmscale.cli.output import emit
    from vlmscale.cli.summary import show, summarise

    emit(summarise(results), json, show)


@app.command("cells", epilog="Example: vlmscale cells --config config/paper.yaml --gpu h100")
@exit_with_message()
def cells_command(
    config: Annotated[Path, typer.Option(help="Config of the study.")] = Path("config/mini.yaml"),
    gpu: Annotated[str, typer.Option(help="Row of resources/gpus.csv.")] = "h100",
    utilisation: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=1,
            help="Share of the GPU's peak that training reaches.",
            show_default="what the table knows of the GPU, else 0.4",
        ),
    ] = None,
    text_tokens: Annotated[
        int,
        typer.Option(
            min=1, help="Text tokens of a training sample, where its dataset does not say."
        ),
    ] = 64,
    question_tokens: Annotated[
        int, typer.Option(min=1, help="Text tokens of a question of a benchmark.")
    ] = 50,
    answer_tokens: Annotated[int, typer.Option(min=0, help="Tokens of an answer.")] = 8,
    results: Annotated[Path, typer.Option(help="Folder of results, to tell what is done.")] = Path(
        "results"
    ),
    json: Json = False,
) -> None:
    """List a study's training runs with parameters, FLOPs, GPU hours and disk, and what is done."""
    from vlmscale.cli.cells import plan, show
    from vlmscale.cli.output import emit
    from vlmscale.planning.trainings import Assumptions

    assumed = Assumptions(text_tokens, question_tokens, answer_tokens)
    emit(plan(config, results, assumed, gpu=gpu, utilisation=utilisation), json, show)


@app.command("methods", epilog="Example: vlmscale methods --json")
@exit_with_message()
def methods_command(json: Json = False) -> None:
    """List the compression methods: source, token counts, how they are trained, what they cost."""
    from vlmscale.cli.methods import list_methods, show
    from vlmscale.cli.output import emit
    from vlmscale.resources import find_resource

    emit(list_methods(find_resource("architectures.csv")), json, show)


@app.command(
    "data", epilog="Example: vlmscale data llava_pretrain data/llava_pretrain --raw downloads"
)
@exit_with_message()
def data_command(
    dataset: Annotated[str, typer.Argument(help="Its name in resources/datasets.csv.")],
    output: Annotated[Path, typer.Argument(help="Folder to make: Parquet shards and a manifest.")],
    raw: Annotated[
        Path,
        typer.Option(
            help="Folder of the downloaded files, kept; images of your own in own/DATASET below it."
        ),
    ] = Path("raw"),
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes.", show_default="one for each core")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only so many records, from the first.")
    ] = None,
    mirror: Annotated[
        list[str] | None,
        typer.Option(help="Address of a folder laid out like --raw, tried first; repeatable."),
    ] = None,
    json: Json = False,
) -> None:
    """Download, check and convert LLaVA's training data, going on where an earlier run stopped."""
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


def main() -> None:
    app()


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _whole_numbers(text: str, option: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [-1]
    if min(numbers) < 0:
        raise typer.BadParameter(f"{option} {text}: give numbers from 0, such as 0,50")
    return numbers
