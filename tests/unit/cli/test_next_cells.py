"""vlmscale next: what a study has, what it may train, and refusals."""

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

import vlmscale as vs
from tests.support.cli import REASONING, call, call_json, error_of, write_csv
from tests.support.paths import ROOT
from vlmscale.cli import app
from vlmscale.records.parquet import read_parquet, read_provenance

PAPER = ROOT / "config/paper.yaml"


def order(*arguments, folder, config=PAPER):
    return call_json("next", "--config", config, "--results", folder, *arguments)


def write_errors(folder, cells):
    """Write errors.parquet of the paper's study: the released scores of the cells that a query keeps."""
    scores = pd.read_csv(REASONING).query(cells)
    table = pd.DataFrame(
        {
            "cell": [
                f"Qwen1.5-{n:g}B__{'mlp' if v == 576 else 'tokenpacker'}__v{v}__s0"
                for n, v in zip(scores["n_params_b"], scores["visual_tokens"], strict=True)
            ],
            "llm": [f"Qwen1.5-{n:g}B" for n in scores["n_params_b"]],
            "n_params_b": scores["n_params_b"],
            "family": "reasoning",
            "benchmark": "mean",
            "error": 1 - scores["score"],
        }
    )
    (folder / "paper").mkdir()
    table.to_parquet(folder / "paper/errors.parquet")
    return table


def test_hours_are_those_of_cells(tmp_path):
    report = order("--gpu-hours", 60, folder=tmp_path)
    runs = call_json("cells", "--config", PAPER, "--results", tmp_path)["runs"]
    hours = {row["run"]: row["gpu_hours"] for row in runs}
    assert report["cells"]
    for row in report["cells"]:
        assert row["hours"] == pytest.approx(hours[row["run"]])
    assert report["cells"][-1]["hours_total"] <= 60
    assert (report["scores"], report["waiting"], report["from_prior"]) == (0, 84, True)
    assert report["width_now"] is None
    held_out = [row for row in report["cells"] if row["llm"] == "Qwen1.5-14B"]
    assert held_out == []  # fitted nowhere, so it narrows nothing


def test_scores_of_the_study_are_where_it_begins(tmp_path):
    had = write_errors(tmp_path, "n_params_b in (0.5, 1.8) and visual_tokens in (1, 16, 576)")
    arguments = ("--gpu-hours", 60, "--narrow", "alpha-beta")
    report = order(*arguments, folder=tmp_path)
    assert (report["scores"], report["from_prior"]) == (6, False)
    widths = [report["width_now"], *(row["width"] for row in report["cells"])]
    assert widths == sorted(widths, reverse=True)
    assert not set(had["cell"]) & {row["run"] for row in report["cells"]}
    text = call("next", "--config", PAPER, "--results", tmp_path, *arguments)
    assert "6 scores. The 95 % interval of alpha-beta is now" in text
    assert "Train in this order" in text
    found = vs.choose_next(PAPER, gpu_hours=60, narrow="alpha-beta", results=tmp_path)
    assert found["cells"]["run"].tolist() == [row["run"] for row in report["cells"]]


def test_a_trained_cell_costs_nothing(tmp_path):
    run = "Qwen1.5-7B__tokenpacker__v1__s0"
    for stage in ("stage1", "stage2"):
        record = tmp_path / f"paper/runs/{run}/{stage}/run.json"
        record.parent.mkdir(parents=True)
        record.write_text("{}")
    first = order("--gpu-hours", 10, folder=tmp_path)["cells"][0]
    assert (first["run"], first["hours"]) == (run, 0)


def test_tables_are_kept(tmp_path):
    file = tmp_path / "next.parquet"
    report = order(
        *("--gpu-hours", 30, "--narrow", "error", "--llm", "Qwen1.5-14B"),
        *("--visual-tokens", 16, "--parquet", file),
        folder=tmp_path,
    )
    assert read_parquet(file)["run"].tolist() == [row["run"] for row in report["cells"]]
    assert read_provenance(file)["narrow"] == "error"


def test_a_table_that_cannot_be_written_is_one_error(tmp_path):
    (tmp_path / "file").touch()
    text = error_of(
        *("next", "--config", PAPER, "--gpu-hours", 5, "--results", tmp_path),
        *("--parquet", tmp_path / "file/x.parquet"),
    )
    assert "cannot be written" in text


def test_other_scores_may_stand_in(tmp_path):
    scores = pd.read_csv(REASONING).drop(columns="note")
    path = write_csv(tmp_path, scores.assign(score=scores["score"] - 0.2))
    report = order("--gpu-hours", 30, "--prior", path, folder=tmp_path)
    assert report["prior"] == "--prior"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--gpu-hours", 1), "1 GPU hours allow no training. The smallest takes 3.72"),
        (("--gpu-hours", 9, "--series", "none"), "no law 'none'. There are: tokenpacker, quecc"),
        (("--gpu-hours", 9, "--family", "vqa"), "laws are of reasoning and ocr"),
        (("--gpu-hours", 9, "--gpu", "tpu"), "no GPU 'tpu'"),
        (
            ("--gpu-hours", 9, "--narrow", "error", "--llm", "big", "--visual-tokens", 4),
            "--llm big: neither an LLM of the study",
        ),
    ],
)
def test_refusals(tmp_path, arguments, says):
    text = error_of("next", "--config", PAPER, "--results", tmp_path, *arguments)
    assert says in " ".join(text.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ("--narrow", "gamma"),
        ("--narrow", "error"),
        ("--llm", "Qwen1.5-14B"),
        ("--narrow", "V*", "--text-tokens", 0),
    ],
)
def test_options_that_exclude_each_other(arguments):
    command = ["next", "--config", str(PAPER), "--gpu-hours", "9", *map(str, arguments)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "Invalid value" in result.output


def test_what_fits_no_gpu_is_left_out_and_said(tmp_path):
    arguments = ("--gpu", "a100-40gb", "--gpu-hours", 30)
    report = order(*arguments, folder=tmp_path)
    assert report["waiting"] < 84
    assert all("Qwen1.5-0.5B" not in why for why in report["too_large"])
    text = call("next", "--config", PAPER, "--results", tmp_path, *arguments)
    assert f"Does not fit NVIDIA A100 SXM 40 GB: {report['too_large'][0]}" in text
    raw = {**yaml.safe_load(PAPER.read_text()), "cluster": {"gpu_memory_gb": 8}}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(raw))
    small = ("--config", tmp_path / "small.yaml", "--gpu-hours", 30, "--results", tmp_path)
    assert "fits a GPU of the study's `cluster`: " in error_of("next", *small)
