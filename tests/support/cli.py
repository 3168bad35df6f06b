"""Call the command line and read what it prints."""

import json
import re

import pandas as pd
from typer.testing import CliRunner

from tests.support.paths import RESOURCES
from vlmscale.cli import app

REASONING = RESOURCES / "published/reasoning_scores.csv"


def read_scores() -> pd.DataFrame:
    """Return the released reasoning scores."""
    return pd.read_csv(REASONING).drop(columns="note")


def call(*arguments):
    """Return what a command prints. It must end with status 0."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def call_json(*arguments):
    """Return what a command prints with --json."""
    return json.loads(call(*arguments, "--json"))


def error_of(*arguments):
    """Return what a command that refuses its input prints. It must end with status 1."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 1
    # A traceback would mean any other exception.
    assert isinstance(result.exception, SystemExit)
    return result.output


def usage_error_of(*arguments):
    """Return, in one line, what a command prints about wrong options. It must end with status 2."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    return " ".join(re.sub("[│╭╮╰╯─\n]", " ", result.output).split())


def recommend(*arguments):
    """Return what `vlmscale recommend` prints with --json."""
    return call_json("recommend", *arguments)


def write_csv(folder, table, name="points.csv"):
    """Write a table and return its path."""
    path = folder / name
    table.to_csv(path, index=False)
    return path
