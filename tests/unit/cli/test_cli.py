"""The command line: reference answers, JSON alone on stdout, and one clear error for bad input."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from vlmscale.cli import app
from vlmscale.methods import list_method_names
from vlmscale.resources import find_resource

ROOT = Path(__file__).parents[3]
REASONING = ROOT / "src/vlmscale/resources/published" / "reasoning_scores.csv"


@pytest.fixture(scope="module")
def scores():
    return pd.read_csv(REASONING).drop(columns="note")


def call(*arguments):
    """What a command prints, once it has ended well."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def call_json(*arguments):
    return json.loads(call(*arguments, "--json"))


def error_of(*arguments):
    """What a command that refuses its input says."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 1
    # A traceback would mean any other exception.
    assert isinstance(result.exception, SystemExit)
    return result.output


def recommend(*arguments):
    return call_json("recommend", *arguments)


def written(folder, table, name="points.csv"):
    path = folder / name
    table.to_csv(path, index=False)
    return path


# Help


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


@pytest.mark.parametrize("command", ["fit", "recommend", "audit", "summary", "cells", "data"])
def test_each_command_shows_an_example(command):
    assert f"Example: vlmscale {command}" in call(command, "--help")


def test_an_error_is_one_line_on_stderr(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from vlmscale.cli import main; main()", "fit", tmp_path / "no.csv"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: {tmp_path / 'no.csv'}: there is no such file\n"


# fit


@pytest.fixture(scope="module")
def fitted():
    return call_json("fit", REASONING, "--draws", 200, "--text-tokens", "0,50")["fits"][0]


def test_fit_of_the_released_scores(fitted):
    law = fitted["law"]
    found = [law[name] for name in ("amplitude", "alpha", "beta", "ratio")]
    assert found == pytest.approx([0.5908, 0.07094, 0.01510, 4.697], rel=3e-4)
    assert law["floor_bound"] == "lower"
    assert fitted["notes"] == [
        "D lies at its lower bound, 0. alpha and beta hold for this D only, their ratio hardly depends "
        "on it."
    ]
    errors = {row["quantity"]: row["standard_error"] for row in fitted["standard_errors"]}
    assert errors["ratio"] == pytest.approx(0.232, rel=5e-3)
    # one row a cell: there are no repeats to resample
    assert {row["scheme"] for row in fitted["intervals"]} == {"cases", "residual", "wild", "sizes"}


def test_best_tokens_of_the_released_scores(fitted):
    none, fifty = fitted["optimal_tokens"]
    assert none["tokens"] == 1
    assert fifty["tokens"] == pytest.approx(13.52, abs=0.01)
    assert (fifty["flat_low"], fifty["flat_high"]) == pytest.approx((2.98, 43.9), abs=0.05)
    assert fifty["interval_scheme"] == "sizes"
    assert fifty["low"] < fifty["tokens"] < fifty["high"]


def test_forms_of_the_released_scores(fitted):
    assert fitted["forms"][0]["form"] == "logit-linear"
    assert fitted["forms"][0]["aicc"] == pytest.approx(-313.0, abs=0.1)


def test_fit_for_people():
    text = call("fit", REASONING, "--draws", 50)
    for words in (
        "error = 0.5908 N^-0.07094 T^-0.0151 + 0",
        "N is column n_params_b as given",
        "Asymptotic errors",
        "sizes: the honest one",
        "logit-linear",
    ):
        assert words in text


def test_families_are_fitted_apart_and_methods_chosen(tmp_path, scores):
    both = [scores.assign(family=f, method=m) for f in ("a", "b") for m in ("x", "y")]
    path = tmp_path / "errors.parquet"
    table = pd.concat(both).assign(benchmark="mean", role="fit", size_axis="nominal")
    table["budget"] = "full"
    # neither single benchmarks nor held-out LLMs nor other budgets belong to a law
    other = table.assign(score=0.0)
    for change in ({"benchmark": "pope"}, {"role": "holdout"}, {"budget": "short"}):
        table = pd.concat([table, other.assign(**change)])
    table.to_parquet(path)
    pooled, _ = call_json("fit", path, "--draws", 0)["fits"]
    assert pooled["points"] == 56
    assert pooled["notes"][-1] == "One law for x, y together; choose with --methods."
    fits = call_json("fit", path, "--draws", 0, "--methods", "x")["fits"]
    assert [fit["family"] for fit in fits] == ["a", "b"]
    for fit in fits:
        assert fit["points"] == 28
        assert fit["law"]["ratio"] == pytest.approx(4.697, rel=1e-3)
        assert "nominal" in fit["size_axis"]
        assert fit["intervals"] == []


def test_other_losses_and_searches():
    def law(*arguments):
        fit = call_json("fit", REASONING, "--draws", 0, *arguments)["fits"][0]
        return fit["law"], " ".join(fit["notes"])

    assert law("--floor", 0.1)[0]["alpha"] == pytest.approx(0.08699, rel=3e-4)
    assert law("--weights", "relative")[0]["ratio"] == pytest.approx(4.634, rel=1e-3)
    assert law("--loss", "huber")[0]["beta"] == pytest.approx(0.01579, rel=3e-3)
    found, notes = law("--search", "released-grid")
    assert (found["alpha"], found["beta"]) == pytest.approx((0.0747475, 0.0161616), rel=1e-5)
    assert "5,000,000 nodes" in notes
    assert "4.5% above that of least squares" in notes


def test_points_without_a_miss(tmp_path, scores):
    error = 0.5 * scores["n_params_b"] ** -0.1 * scores["visual_tokens"] ** -0.02
    path = written(tmp_path, scores.assign(error=error).drop(columns="score"))
    assert call_json("fit", path, "--draws", 0)["fits"][0]["law"]["ratio"] == pytest.approx(5)


def test_four_points_give_a_law_without_intervals(tmp_path, scores):
    path = written(tmp_path, scores.iloc[[0, 6, 21, 27]])
    fit = call_json("fit", path)["fits"][0]
    assert fit["intervals"] == []
    assert fit["standard_errors"] is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="score"), "column 'score' or 'error' is missing"),
        (lambda t: t.drop(columns="n_params_b"), "column 'n_params_b' is missing"),
        (lambda t: t.assign(score=t["score"] * 100), "scores must lie in [0, 1]; divide"),
        (lambda t: t.assign(error=t["score"]), "'score' and 'error' differ"),
        (lambda t: t.assign(score="high"), "column 'score' must hold numbers"),
        (lambda t: t.assign(score=np.nan), "column 'score' has missing values"),
        (
            lambda t: t.assign(n_params_b=np.inf),
            "column 'n_params_b' has missing or infinite values",
        ),
        (lambda t: t.assign(visual_tokens=0), "column 'visual_tokens' must be positive"),
        (lambda t: t[t["n_params_b"] == 7], "all rows have the same n_params_b"),
        (lambda t: pd.concat([t, t]), "two rows for N = 0.5, T = 1; repeats need a column 'seed'"),
        (lambda t: t.iloc[:0], "has no rows"),
        (lambda t: t.assign(family=np.nan), "column 'family' has missing values"),
        (lambda t: t.assign(benchmark="pope"), "no row has benchmark 'mean'"),
    ],
)
def test_points_that_cannot_be_fitted(tmp_path, scores, change, words):
    path = written(tmp_path, change(scores))
    text = error_of("fit", path)
    assert text.startswith(f"error: {path}")
    assert words in text


def test_files_that_are_no_tables(tmp_path):
    for name, content, words in (
        ("scores.txt", "a,b\n1,2\n", "its name must end in .csv or .parquet"),
        ("scores.parquet", "a,b\n1,2\n", "cannot be read as parquet"),
        ("scores.csv", "", "cannot be read as csv"),
        ("more.csv", "a,b\n1,2,3\n4,5\n6,7,8,9\n", "cannot be read as csv"),
    ):
        path = tmp_path / name
        path.write_text(content)
        assert words in error_of("fit", path)
    assert "cannot be read as csv" in error_of("fit", _folder(tmp_path / "folder.csv"))


def _folder(path):
    path.mkdir()
    return path


def test_a_method_or_floor_that_does_not_fit():
    assert "no points of method 'x'" in error_of("fit", REASONING, "--methods", "x")
    assert "--floor 0.9 is above the smallest error" in error_of("fit", REASONING, "--floor", 0.9)


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", REASONING, "--loss", "huber", "--weights", "relative"],
        ["fit", REASONING, "--search", "released-grid", "--floor", 0],
        ["fit", REASONING, "--share", 0.2],
        ["fit", REASONING, "--delta", 0.01],
        ["recommend", "--gflops", 10, "--method", "quecc"],
        ["fit", REASONING, "--text-tokens", "many"],
        ["recommend"],
        ["recommend", "--gflops", 10, "--latency-ms", 10],
        ["recommend", "--latency-ms", 10],
        ["recommend", "--gflops", 10, "--with-tower"],
        ["recommend", "--gflops", 10, "--methods", "quecc"],
    ],
)
def test_options_that_exclude_each_other(arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 2
    assert "Invalid value" in result.output


# recommend


def test_recommend_by_the_reasoning_law():
    report = recommend("--gflops", 2000, "--text-tokens", 50)
    choice, second = report["choice"], report["runner_up"]
    assert (choice["llm"], choice["visual_tokens"]) == ("Qwen1.5-14B", 21)
    # 0.4678 belongs to the 21.43 tokens that the budget would pay for
    assert choice["error"] == pytest.approx(0.4679, abs=5e-5)
    assert (second["llm"], second["visual_tokens"]) == ("Qwen1.5-7B", 92)
    assert second["margin"] == second["error"] - choice["error"] > 0
    assert len(report["choices"]) == 5
    best = report["continuous"]
    found = (best["n_params_b"], best["visual_tokens"], best["error"])
    assert found == pytest.approx((15.74, 13.52, 0.4671), rel=4e-4)
    assert (best["flat_low"], best["flat_high"]) == pytest.approx((2.98, 43.9), abs=0.05)
    assert report["warnings"][0].startswith("Qwen1.5-14B is extrapolated: LLM 14B is beyond")


def test_recommend_for_people():
    text = call("recommend", "--gflops", 2000)
    assert text.startswith("Qwen1.5-14B with 21 visual tokens: predicted error 0.4679, for 1988 of")
    assert "Runner-up: Qwen1.5-7B with 92 visual tokens" in text
    assert "warning: Qwen1.5-14B is extrapolated" in text
    assert "N is the nominal size in billions" in text


def test_choices_among_the_fitted_sizes_are_no_extrapolation():
    report = recommend("--gflops", 1000, "--sizes", "4, 7B", "--token-counts", "1,16,64")
    found = [(row["llm"], row["visual_tokens"]) for row in report["choices"]]
    assert found == [("7B", 16), ("4B", 64)]
    assert [row["extrapolates"] for row in report["choices"]] == ["", ""]


def test_ocr_keeps_all_tokens():
    text = call("recommend", "--gflops", 5100, "--family", "ocr")
    assert "with 576 visual tokens" in text.splitlines()[0]
    assert "more tokens beat a larger LLM at every budget" in text
    assert "T* = 576 tokens" in text


def test_an_impossible_budget_names_the_smallest():
    text = error_of("recommend", "--gflops", 20)
    assert "a budget of 20 GFLOPs allows no answer at all" in text
    assert "51 GFLOPs: Qwen1.5-0.5B with 1 visual token." in text


def test_cached_text_leaves_the_budget_to_visual_tokens():
    new, cached = (recommend("--gflops", 2000, *flag)["choice"] for flag in ([], ["--cached-text"]))
    assert cached["visual_tokens"] == 71 == new["visual_tokens"] + 50
    assert recommend("--gflops", 2000, "--cached-text")["continuous"]["visual_tokens"] == 1


def test_generated_tokens_count_as_text():
    one = recommend("--gflops", 2000, "--text-tokens", 30, "--generated-tokens", 20)["choice"]
    assert one == recommend("--gflops", 2000)["choice"]


def test_exact_costs():
    arguments = ["--gflops", 2000, "--cost", "exact", "--sizes", "Qwen1.5-7B"]
    choice = recommend(*arguments)["choice"]
    # attention aside, 6.48 billion parameters do the work of the nominal 7
    assert choice["visual_tokens"] > 92
    assert choice["cost"] <= 2000
    assert recommend(*arguments)["continuous"] is None
    with_tower = recommend(*arguments, "--with-tower")["choice"]
    assert with_tower["visual_tokens"] == 64  # one of tokenpacker's counts
    assert "no decoder is called '7B'" in error_of(*["recommend", *arguments[:-1], "7"])


def test_latencies(tmp_path):
    rows = [("Qwen1.5-7B", 1, 20), ("Qwen1.5-7B", 101, 40), ("4", 1, 12), ("4", 101, 22)]
    table = pd.DataFrame(rows, columns=["llm", "visual_tokens", "latency_ms"])
    path = written(tmp_path, table)
    report = recommend("--latency-ms", 30, "--latencies", path)
    found = {row["llm"]: row["visual_tokens"] for row in report["choices"]}
    # never beyond what was measured
    assert found == {"Qwen1.5-7B": 51, "4B": 101}
    assert report["unit"] == "ms"
    assert "The smallest possible one is 12 ms" in error_of(
        "recommend", "--latency-ms", 5, "--latencies", path
    )
    assert "column 'latency_ms' is missing" in error_of(
        "recommend",
        "--latency-ms",
        5,
        "--latencies",
        written(tmp_path, table.drop(columns="latency_ms"), "bad.csv"),
    )


def test_a_studys_latencies_answer_for_its_own_law(tmp_path):
    """As latency.parquet has them: rows by method, text and caching, and the sizes of the study's LLMs."""
    sizes = {"d8": 1e-5, "d16": 4e-5, "d32": 1.6e-4}
    points = [(llm, n, v) for llm, n in sizes.items() for v in (1, 4, 16)]
    scores = pd.DataFrame(points, columns=["llm", "n_params_b", "visual_tokens"])
    scores["error"] = 0.3 * scores["n_params_b"] ** -0.08 * scores["visual_tokens"] ** -0.02
    law = written(tmp_path, scores.assign(method="tokenpacker"), "errors.csv")
    rows = [
        (
            llm,
            n,
            method,
            v,
            q,
            cached,
            100 * 1e4 * n + v + (0 if cached else q) + (method == "quecc"),
        )
        for llm, n in sizes.items()
        for method in ("tokenpacker", "quecc")
        for v in (1, 16)
        for q, cached in ((0, True), (10, False), (10, True))
    ]
    columns = ["llm", "n_params_b", "method", "visual_tokens", "text_tokens", "cached_text"]
    table = pd.DataFrame(rows, columns=[*columns, "latency_ms"])
    table = table.assign(batch=1, skipped="", decode_ms=2.0)
    path = written(tmp_path, table, "latency.csv")
    asked = ["--latency-ms", 60, "--latencies", path, "--scores", law, "--text-tokens", 10]
    asked += ["--methods", "tokenpacker"]
    report = recommend(*asked, "--cached-text")
    # d16 takes 40 ms and one for each visual token, d32 never less than 161
    found = {row["llm"]: (row["visual_tokens"], row["cost"]) for row in report["choices"]}
    assert found == {"d8": (16, 26), "d16": (16, 56)}
    assert report["choice"]["n_params_b"] == 4e-5
    assert report["notes"][-1] == (
        "Latencies are those measured with 10 text tokens, cached, and a straight line between token counts."
    )
    new = {row["llm"]: row["visual_tokens"] for row in recommend(*asked)["choices"]}
    assert new == {"d8": 16, "d16": 10}  # ten for the text
    slow = recommend(*asked, "--cached-text", "--generated-tokens", 5)["choices"]
    assert {row["llm"]: row["visual_tokens"] for row in slow} == {"d8": 16, "d16": 10}
    refused = ["recommend", *asked[:-2], "--cached-text"]
    assert "choose with --methods" in error_of(*refused)
    assert "no decoder is called 'd64'" in error_of("recommend", *asked, "--sizes", "d64")
    other = ["recommend", *asked, "--text-tokens", 30]
    assert "no row has text_tokens 30. There are: 0, 10" in error_of(*other)


def test_scores_of_the_users_own(tmp_path, scores):
    own = scores.assign(family="reasoning", score=scores["score"] / 2)
    path = written(tmp_path, own)
    report = recommend("--gflops", 2000, "--scores", path)
    assert report["law"]["source"] == f"{path}, reasoning"
    assert report["choice"]["error"] > 0.7
    assert "no points of family 'ocr'" in error_of(
        "recommend", "--gflops", 2000, "--scores", path, "--family", "ocr"
    )


def test_llms_count_as_the_points_do(tmp_path, scores):
    """A law over all parameters is asked about all parameters, not about the size in a name."""
    own = scores.assign(n_params_b=1.1 * scores["n_params_b"], size_axis="total")
    report = recommend("--gflops", 2000, "--scores", written(tmp_path, own))
    n = {row["llm"]: row["n_params_b"] for row in report["choices"]}
    assert n["Qwen1.5-14B"] == pytest.approx(14.167290880)
    assert "LLMs count with their total size" in report["notes"][0]


def test_scores_of_two_protocols_are_refused(tmp_path, scores):
    own = scores.assign(protocol=["lmms", "llava15"] * (len(scores) // 2))
    path = written(tmp_path, own)
    assert "scores of protocols lmms and llava15 meet" in error_of("fit", path)


def test_unknown_sizes_and_counts():
    assert "no decoder is called 'GPT'" in error_of("recommend", "--gflops", 9, "--sizes", "GPT")
    assert "give a size above 0" in error_of("recommend", "--gflops", 9, "--sizes", "-1")
    assert "give numbers above 0" in error_of("recommend", "--gflops", 9, "--token-counts", "0")


# audit and cells


def test_audit(monkeypatch):
    report = call_json("audit")
    table = pd.DataFrame(report["claims"])  # seconds to find; what follows only shows it
    monkeypatch.setattr("vlmscale.cli.audit.load_evidence", lambda resources, studies: None)
    monkeypatch.setattr("vlmscale.cli.audit.audit", lambda evidence: table)
    assert sum(report["verdicts"].values()) == len(report["claims"])
    claim = report["claims"][0]
    one = call("audit", "--claim", claim["id"].lower())
    assert claim["claim"] in one
    assert claim["verdict"] in one
    assert "Claims of the paper" in call("audit")
    assert "no claim 'none'" in error_of("audit", "--claim", "none")


def cells(*arguments, config="smoke"):
    return call_json("cells", "--config", ROOT / f"config/{config}.yaml", *arguments)


def test_cells(tmp_path):
    report = cells("--gpu", "h100", "--utilisation", 0.5, "--results", tmp_path)
    totals = report["totals"]
    assert totals["runs"] == len(report["runs"]) == 24
    assert (totals["cells"], totals["trainings"], totals["done"]) == (33, 48, 0)
    run = report["runs"][0]
    assert (run["llm"], run["method"], run["visual_tokens"]) == ("d32", "tokenpacker", 1)
    # two layers: attention 4 x 32 x 32 with 3 x 32 biases, MLP 3 x 32 x 96, two norms; and a last norm
    assert run["parameters"] == 2 * (4 * 32 * 32 + 3 * 32 + 3 * 32 * 96 + 2 * 32) + 32
    assert run["total_parameters"] is None  # there is no tokenizer yet
    flops = run["stage1_flops"] + run["stage2_flops"]
    assert run["gpu_hours"] == pytest.approx(flops / (0.5 * 989e12) / 3600)
    assert totals["gpu_hours_left"] == totals["gpu_hours"]
    text = call("cells", "--config", ROOT / "config" / "smoke.yaml", "--results", tmp_path)
    assert "24 runs serve 33 cells" in text
    assert "Done: 0 of 48 trainings" in text
    assert "H100 SXM at 40% (assumed)" in text


def test_cells_tell_what_is_done(tmp_path):
    for stage in ("stage1", "stage2"):
        record = tmp_path / f"smoke/runs/d32__quecc__v4__s0/{stage}/run.json"
        record.parent.mkdir(parents=True)
        record.write_text("{}")
    scores = tmp_path / "smoke/cells/d32__quecc__v4__s0/scores.parquet"
    scores.parent.mkdir(parents=True)
    scores.touch()
    report = cells("--results", tmp_path)
    assert report["totals"]["evaluated"] == 1
    done = {run["run"]: run["done"] for run in report["runs"] if run["done"]}
    assert done == {"d32__quecc__v4__s0": ["stage1", "stage2"]}
    (run,) = [run for run in report["runs"] if run["done"]]
    totals = report["totals"]
    assert (totals["done"], run["gpu_hours_left"]) == (2, 0)
    left = totals["gpu_hours"] - run["gpu_hours"]
    assert totals["gpu_hours_left"] == pytest.approx(left)


def test_cells_of_the_papers_study(tmp_path):
    report = cells("--gpu", "a100", "--results", tmp_path, config="paper")
    assert report["assumed"]["utilisation"] == 0.26
    runs = {run["run"]: run for run in report["runs"]}
    # the grid, and what the claims without numbers need; repeated tokens have no training of their own
    assert len(runs) == 5 * 3 * (3 * 6 + 1) + 3 * (2 * 2 + 1)
    assert not [run for run in runs.values() if run["method"] == "repeat"]
    large = runs["Qwen1.5-14B__mlp__v576__s0"]
    assert large["total_parameters"] == 14_167_290_880
    assert (large["least_gpus"], large["gpus"], large["nodes"]) == (4, 16, 2)
    # weights of LLM and tower and the projector, once more from stage 1, at two bytes
    assert large["disk_gb"] == pytest.approx(2 * (14.167 + 0.3035 + 2 * 0.0315), rel=1e-3)
    # two checkpoints of weights and two moments, while it is trained
    assert large["work_gb"] == pytest.approx(2 * 12 * (14.167 + 0.0315), rel=1e-3)
    assert report["totals"]["work_gb"] == pytest.approx(large["work_gb"], rel=0.01)  # quecc's
    assert sum(report["questions"].values()) == 48_135
    assert report["too_large"] == []
    assert "no GPU 'tpu' in resources/gpus.csv" in error_of("cells", "--gpu", "tpu")


def test_cells_tell_what_a_gpu_cannot_hold():
    chosen = ("--gpu", "a100-40gb")
    found = cells(*chosen, config="table1")["too_large"]
    assert found[0].startswith("Vicuna-7B__mlp__v576__s0, stage1: needs ")
    text = call("cells", "--config", ROOT / "config/table1.yaml", *chosen)
    assert f"So do {len(found) - 3} more" in text
    assert "Does not fit NVIDIA A100 SXM 40 GB: Vicuna-7B__mlp__v576__s0, stage1: needs" in text


def test_cells_of_budgets_count_a_shared_stage_1_once(tmp_path):
    raw = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    raw["budgets"] = {"short": {"steps": 100}}
    raw["grid"][0]["budgets"] = ["full", "short"]
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(raw))
    report = call_json("cells", "--config", tmp_path / "x.yaml")
    assert report["totals"]["runs"] == 24 + 12
    full, short = report["runs"][:2]
    assert short["run"] == full["run"] + "__short" == "d32__tokenpacker__v1__s0__short"
    assert (full["budget"], short["budget"]) == ("full", "short")
    assert full["stage1_flops"] > short["stage1_flops"] == 0
    assert full["stage2_flops"] == pytest.approx(3 * short["stage2_flops"])
    once = call_json("cells", "--config", ROOT / "config" / "smoke.yaml")["totals"]
    assert report["totals"]["stage1_flops"] == pytest.approx(once["stage1_flops"])


def test_a_config_that_is_not_there():
    assert "no.yaml cannot be read" in error_of("cells", "--config", "no.yaml")


def test_resources_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_resource("published/reasoning_scores.csv") == REASONING


# Methods


def test_methods_with_the_published_numbers():
    rows = {row["method"]: row for row in call_json("methods")["methods"]}
    assert set(rows) == set(list_method_names())
    assert rows["tokenpacker"]["parameters"] == 36_722_688
    assert rows["mqt"]["parameters"] == 8_660_992
    assert rows["quecc"]["gflops"] == pytest.approx(18.58, abs=0.01)
    assert (rows["mqt"]["from"], rows["mqt"]["to"]) == (1, 256)
    assert rows["prumerge"]["training"] == ["free", "trained"]
    assert rows["m3"]["served_by"] == {"elastic": ["self", "most"]}
    shown = call("methods")
    assert "elastic" in shown
    assert "arXiv" in shown


# summary


@pytest.fixture
def finished(tmp_path):
    """Tables of a study with one law, each verdict, and one failed check of two."""
    law = {"series": "tokenpacker", "family": "ocr", "alpha": 0.1, "beta": 0.2, "ratio": 0.5}
    law |= {"floor": 0.0, "floor_bound": "lower", "points": 12}
    span = {"series": "tokenpacker", "family": "ocr", "median": 0.1}
    intervals = [
        {**span, "scheme": scheme, "quantity": name, "low": low, "high": 9 * low}
        for scheme, low in (("cases", 0.7), ("sizes", 0.05))
        for name in ("alpha", "beta", "ratio")
    ]
    about = {"hypothesis": "planted", "series": "tokenpacker", "budget": "full", "family": "ocr"}
    verdicts = [
        {**about, "id": f"H{i}", "value": 0.3, "low": 0.1, "high": 0.4, "verdict": verdict}
        for i, verdict in enumerate(["supported", "contradicted", "undecided"])
    ]
    verdicts.append({**about, "id": "H9", "verdict": "not tested", "note": "no such cells"})
    check = {"budget": "full", "value": 1.5, "reference": 1.0, "note": ""}
    sanity = [
        {**check, "check": "training loss falls", "subject": "run-a", "holds": False},
        {**check, "check": "training loss falls", "subject": "run-b", "holds": True},
    ]
    tables = {"laws": [law], "intervals": intervals, "verdicts": verdicts, "sanity": sanity}
    for name, rows in tables.items():
        pd.DataFrame(rows).to_parquet(tmp_path / f"{name}.parquet")
    return tmp_path


def test_summary_for_people(finished):
    text = call("summary", finished)
    for words in (
        "0.1 [0.05, 0.45]",
        "0 (bound)",
        "✔ supported",
        "✘ contradicted",
        "? undecided",
        "H9 planted\n  – not tested    tokenpacker, full, ocr  no such cells",
        "Sanity: 1 of 2 checks fail",
        "run-a",
        f"audit: {finished / 'audit.md'}",
    ):
        assert words in text
    assert "run-b" not in text
    sanity = pd.read_parquet(finished / "sanity.parquet")
    sanity.assign(holds=True).to_parquet(finished / "sanity.parquet")
    assert "all 2 checks hold" in call("summary", finished)


def test_summary_for_machines(finished):
    report = call_json("summary", finished)
    (law,) = report["laws"]
    assert (law["alpha"], law["alpha_low"], law["alpha_high"]) == (0.1, 0.05, pytest.approx(0.45))
    assert law["resampled"] == "sizes"
    assert [row["id"] for row in report["verdicts"]] == ["H0", "H1", "H2", "H9"]
    assert report["verdicts"][3]["value"] is None
    assert report["sanity"]["checks"] == 2
    assert [row["subject"] for row in report["sanity"]["failed"]] == ["run-a"]
    assert set(report["where"]) == {"figures", "tables", "audit"}


def test_summary_of_no_finished_study(finished):
    (finished / "verdicts.parquet").unlink()
    text = error_of("summary", finished)
    assert text.startswith(
        f"error: {finished} holds no finished study: verdicts.parquet is missing"
    )
    assert "holds no finished study: verdicts.parquet" in error_of("summary", finished / "none")


def test_summary_of_a_study_without_a_law(finished):
    for name in ("laws", "intervals"):
        (finished / f"{name}.parquet").unlink()
    report = call_json("summary", finished)
    assert report["laws"] == []
    assert len(report["verdicts"]) == 4
    assert "planted" in call("summary", finished)
