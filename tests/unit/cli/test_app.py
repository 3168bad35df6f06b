"""Help, version, usage errors: what every command shares."""

import subprocess
import sys
from importlib.metadata import version

import pytest
import typer
from typer.testing import CliRunner

from tests.support.cli import REASONING, call, usage_error_of
from tests.support.paths import ROOT
from vlmscale.cli import app


def test_help_needs_no_library():
    code = (
        "import sys\n"
        "from vlmscale.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'pandas', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "recommend" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", [command.name for command in app.registered_commands])
def test_each_command_shows_an_example(command):
    assert f"Example: vlmscale {command}" in call(command, "--help")


@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_every_option_is_named_whole_at_any_width(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    commands = typer.main.get_command(app).commands
    assert set(commands) == {command.name for command in app.registered_commands}
    for name, command in commands.items():
        text = CliRunner().invoke(app, [name, "--help"]).output
        assert "…" not in text
        assert name in CliRunner().invoke(app, ["--help"]).output
        for parameter in command.params:
            assert all(option in text for option in (*parameter.opts, *parameter.secondary_opts))


def test_prints_its_version():
    assert call("--version") == f"vlmscale {version('vlmscale')}\n"


@pytest.mark.slow
def test_an_error_is_one_line_on_stderr(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from vlmscale.cli import main; main()", "fit", tmp_path / "no.csv"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: {tmp_path / 'no.csv'}: there is no such file\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", REASONING, "--loss", "huber", "--weights", "relative"],
        ["fit", REASONING, "--search", "released-grid", "--floor", 0],
        ["fit", REASONING, "--share", 0.2],
        ["fit", REASONING, "--delta", 0.01],
        ["recommend", "--gflops", 10, "--method", "mine"],
        ["recommend", "--gflops", 10, "--family", "maths"],
        ["fit", REASONING, "--text-tokens", "many"],
        ["recommend"],
        ["recommend", "--gflops", 10, "--latency-ms", 10],
        ["recommend", "--latency-ms", 10],
        ["recommend", "--gflops", 10, "--methods", "quecc"],
    ],
)
def test_options_that_exclude_each_other(arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 2
    assert "Invalid value" in result.output


@pytest.mark.parametrize("number", ["inf", "nan"])
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["recommend", "--gflops"], "gflops"),
        (["recommend", "--gflops", 2000, "--memory-gb"], "memory_gb"),
        (["recommend", "--gflops", 2000, "--kv-mb"], "kv_mb"),
        (["fit", REASONING, "--floor"], "floor"),
        (["fit", REASONING, "--loss", "huber", "--delta"], "delta"),
        (["next", "--config", ROOT / "config/smoke.yaml", "--gpu-hours"], "gpu_hours"),
        (["power", "--config", ROOT / "config/smoke.yaml", "--gpu-hours"], "gpu_hours"),
        (["power", "--alpha"], "alpha"),
        (["power", "--new-llm"], "new_llm"),
        (["lifetime", REASONING, "--budgets", "full=1", "--answers"], "answers"),
        (["lifetime", REASONING, "--budgets", "full=1", "--error"], "error"),
        (["cells", "--config", ROOT / "config/smoke.yaml", "--utilisation"], "utilisation"),
    ],
)
def test_a_number_is_finite(arguments, name, number):
    assert name in usage_error_of(*arguments, number).replace("-", "_")
