"""Tables and messages of the commands: whole names at every width, in every encoding, without escapes."""

import os
import subprocess
import sys

import pytest

from tests.support.cli import REASONING, call, call_json, error_of, write_csv
from vlmscale.cli.output import print_table, render
from vlmscale.methods import list_method_names


def run(*arguments, **environment):
    """Run a command in a process of its own, its output through a pipe."""
    program = [sys.executable, "-c", "from vlmscale.cli import main; main()"]
    return subprocess.run(
        [*program, *map(str, arguments)], capture_output=True, env={**os.environ, **environment}
    )


@pytest.mark.parametrize("width", ["20", "40", "80", "200"])
def test_no_name_is_broken_in_a_narrow_terminal(width, monkeypatch):
    monkeypatch.setenv("COLUMNS", width)
    words = call("methods").split()
    for row in call_json("methods")["methods"]:
        assert {row["method"], *row["needs"]} <= {word.strip(",") for word in words}
        assert set(row["source"].split()) <= set(words)


def test_lines_through_a_pipe_hold_a_whole_row():
    lines = call("methods").splitlines()
    rows = [line for line in lines if line.split() and line.split()[0] in list_method_names()]
    assert len(rows) == len(list_method_names())


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8", "cp1252"])
def test_output_in_every_encoding(encoding):
    done = run("fit", REASONING, "--draws", 0, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert "alpha / beta = 4.697" in done.stdout.decode(encoding)
    assert done.stderr == b""


def test_a_message_shows_what_a_terminal_would_act_upon(tmp_path, scores):
    text = error_of("fit", tmp_path / "\x1b[31mred\x07.csv")
    assert "\\x1b[31mred\\x07.csv: there is no such file" in text
    path = write_csv(tmp_path, scores.rename(columns={"score": "\x1b]0;title\x07score"}))
    text = error_of("fit", path)
    assert "\x1b" not in text
    assert "\\x1b]0;title\\x07score" in text


def test_a_table_shows_escapes_of_names(tmp_path):
    def show(console, report):
        print_table(console, "names", report["rows"], {"name": "name"}, words=["name"])

    text = render({"rows": [{"name": "a\x1b[31mb"}, {"name": "[bold]c[/bold]"}]}, show)
    assert "a\\x1b[31mb" in text
    assert "[bold]c[/bold]" in text
