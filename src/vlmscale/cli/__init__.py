"""The command line `vlmscale`.

The options of each command are in law_commands.py and study_commands.py. A command imports what it runs
when it runs, so --help needs no library; recommend() and audit() are also what `import vlmscale` offers.
"""

from importlib.metadata import version
from typing import Annotated

import typer

from vlmscale.cli.law_commands import fit_command, recommend_command
from vlmscale.cli.study_commands import (
    audit_command,
    cells_command,
    data_command,
    methods_command,
    summary_command,
)

app = typer.Typer(
    name="vlmscale",
    help="Inference scaling laws of vision-language models: error = A N^-alpha V^-beta + D, where N is "
    "the LLM's size in billions of parameters and V the number of visual tokens.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _name, _command, _example in (
    ("fit", fit_command, "fit scores.csv --text-tokens 0,50,100"),
    ("recommend", recommend_command, "recommend --gflops 2000 --text-tokens 50"),
    ("audit", audit_command, "audit --study results/mini --claim C13"),
    ("summary", summary_command, "summary results/mini"),
    ("cells", cells_command, "cells --config config/paper.yaml --gpu h100"),
    ("methods", methods_command, "methods --json"),
    ("data", data_command, "data llava_pretrain data/llava_pretrain --raw downloads"),
):
    app.command(_name, epilog=f"Example: vlmscale {_example}")(_command)


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
    """Run the command line."""
    app()
