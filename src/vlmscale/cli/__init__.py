"""The command line `vlmscale`.

The options of each command are in law_commands.py, design_commands.py and study_commands.py. A command
imports what it runs when it runs, so --help needs no library; `import vlmscale` offers some of it, too.
"""

import io
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from vlmscale.cli.design_commands import lifetime_command, next_command, power_command
from vlmscale.cli.law_commands import fit_command, recommend_command
from vlmscale.cli.study_commands import (
    audit_command,
    cells_command,
    data_command,
    explore_command,
    methods_command,
    publish_command,
    summary_command,
)

app = typer.Typer(
    name="vlmscale",
    help="Inference scaling laws of vision-language models: error = A N^-alpha V^-beta + D, where N is "
    "the LLM's size in billions of parameters and V the number of visual tokens.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # panels cut long names of options at 80 columns
)
for _name, _command, _short, _example in (
    ("fit", fit_command, "Fit the law to scores.", "fit scores.csv --text-tokens 0,50,100"),
    (
        "recommend",
        recommend_command,
        "Choose LLM and visual tokens for a budget.",
        "recommend --gflops 2000 --text-tokens 50",
    ),
    (
        "explore",
        explore_command,
        "Write a page to play with a law.",
        "explore --scores scores.csv --open",
    ),
    (
        "audit",
        audit_command,
        "Check the paper's claims, one by one.",
        "audit --study results/mini --claim C13",
    ),
    ("summary", summary_command, "Summarise a finished study.", "summary results/mini"),
    (
        "cells",
        cells_command,
        "List what a study trains, and what it costs.",
        "cells --config config/paper.yaml --gpu h100",
    ),
    (
        "power",
        power_command,
        "Simulate a study before training it.",
        "power --sizes 0.5,1.8,4,7 --token-counts 1,16,576 --trainings 36",
    ),
    (
        "next",
        next_command,
        "Choose the cells to train next.",
        "next --config config/paper.yaml --gpu-hours 300 --narrow alpha/beta",
    ),
    (
        "lifetime",
        lifetime_command,
        "Choose the LLM that costs least over its life.",
        "lifetime scores.csv --budgets short=4800,full=14400 --answers 1e6",
    ),
    ("methods", methods_command, "List the methods.", "methods --json"),
    (
        "data",
        data_command,
        "Download and convert LLaVA's training data.",
        "data llava_pretrain data/llava_pretrain --raw downloads",
    ),
    (
        "publish",
        publish_command,
        "Lay out a model or a study's tables for the hub.",
        "publish results/mini/runs/RUN/stage2 --output upload",
    ),
):
    app.command(_name, short_help=_short, epilog=f"Example: vlmscale {_example}")(_command)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"vlmscale {version('vlmscale')}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; characters that the terminal's encoding lacks are replaced."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    app()
