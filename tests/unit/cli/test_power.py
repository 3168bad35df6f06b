"""vlmscale power: what is simulated, compared and refused."""

import pandas as pd
import pytest
from typer.testing import CliRunner

import vlmscale as vs
from tests.support.cli import REASONING, call, call_json, error_of
from tests.support.paths import ROOT
from vlmscale.analysis.decisions.designs import estimate_world
from vlmscale.cli import app
from vlmscale.records.parquet import read_parquet, read_provenance

QUICK = ("--simulations", 2, "--token-counts", "1,16,576")


@pytest.fixture(scope="module")
def report():
    return call_json("power", *QUICK)


def test_the_truth_is_that_of_the_scores(report):
    scores = pd.read_csv(REASONING).query("visual_tokens > 0")
    world = estimate_world(scores.assign(error=1 - scores["score"]))
    assert report["world"] == pytest.approx(vars(world))
    assert report["source"] == "the released reasoning scores"
    assert report["world"]["noise"] == pytest.approx(0.0031, rel=0.05)
    (design,) = report["designs"]
    assert (design["llms"], design["token_counts"], design["trainings"]) == (4, [1, 16, 576], 12)
    assert report["best"] is None


def test_numbers_may_be_given_instead(report):
    other = call_json("power", *QUICK, "--noise", 0.02, "--alpha", 0.2, "--seed", 3)
    assert other["world"] == {**report["world"], "noise": 0.02, "alpha": 0.2}
    widths = [{row["quantity"]: row["width"] for row in r["widths"]} for r in (report, other)]
    assert widths[1]["alpha"] > 2 * widths[0]["alpha"]


def test_prints_errors_of_simulation(tmp_path):
    file = tmp_path / "power.parquet"
    text = call("power", *QUICK, "--parquet", file)
    assert "Truth: error = 0.5908 N^-0.07094" in text
    assert "2 simulated studies a design, seed 0" in text
    assert "1 [0.342, 1]" in text  # two of two, by Wilson
    assert read_provenance(file)["simulations"] == 2
    assert set(read_parquet(file)["quantity"]) >= {"alpha", "tokens", "error"}


def test_designs_within_a_budget_are_compared():
    found = vs.compare_designs(
        token_counts=(1, 16, 576), seeds=2, trainings=16, designs=2, simulations=1
    )
    designs = found["designs"]
    assert len(designs) == 2
    assert (designs["trainings"] <= 16).all()
    mine = found["widths"].query("quantity == 'difference'").set_index("design")["width"]
    assert found["best"] == mine.idxmin()
    assert set(found["decisions"]["design"]) == {1, 2}


def test_gpu_hours_are_those_of_the_study():
    config = ROOT / "config/paper.yaml"
    report = call_json(
        *("power", "--config", config, "--gpu-hours", 100, "--designs", 1, "--simulations", 1)
    )
    (design,) = report["designs"]
    assert 0 < design["gpu_hours"] <= 100
    runs = call_json("cells", "--config", config)["runs"]
    hours = {
        (r["llm"], r["visual_tokens"]): r["gpu_hours"]
        for r in runs
        if r["method"] in ("tokenpacker", "mlp")
    }
    expected = sum(
        hours[f"Qwen1.5-{n:g}B", v] for n in design["sizes_b"] for v in design["token_counts"]
    )
    assert design["gpu_hours"] == pytest.approx(expected * design["seeds"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--sizes", "7"), "at least two LLM sizes"),
        (("--token-counts", "0,4"), "start at 1"),
        (("--trainings", 3), "a budget of 3 allows no design"),
        (("--noise", 0), "noise 0: trainings always differ"),
        (("--beta", 2), "beta 2: give a number from 0 to 1"),
        (("--amplitude", 3), "the law's error at N = 0.5, V = 1 is"),
        (("--sizes", "1,2", "--token-counts", "1,4"), "too few"),
        (("--scores", "no.csv"), "no.csv: there is no such file"),
    ],
)
def test_refusals(arguments, says):
    text = error_of("power", "--simulations", 1, *arguments)
    assert says in " ".join(text.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ("--narrow", "gamma"),
        ("--trainings", 20, "--gpu-hours", 10),
        ("--gpu-hours", 10),
        ("--family", "maths"),
        ("--sizes", "big,7"),
        ("--seeds", 0),
    ],
)
def test_options_that_exclude_each_other(arguments):
    result = CliRunner().invoke(app, ["power", *map(str, arguments)])
    assert result.exit_code == 2
    assert "Invalid value" in result.output
