"""vlmscale cells: sizes and costs of a study's runs, and what is done."""

import pytest
import yaml

from tests.support.cli import call, call_json, error_of
from tests.support.paths import ROOT
from vlmscale.planning.sizing import size_trainings
from vlmscale.study.grid import expand_grid
from vlmscale.study.load import load_study


def cells(*arguments, config="smoke"):
    return call_json("cells", "--config", ROOT / f"config/{config}.yaml", *arguments)


def test_cells(tmp_path):
    report = cells("--gpu", "h100", "--utilisation", 0.5, "--results", tmp_path)
    totals = report["totals"]
    assert totals["runs"] == len(report["runs"]) == 26
    assert (totals["cells"], totals["trainings"], totals["done"]) == (42, 52, 0)
    run = report["runs"][0]
    assert (run["llm"], run["method"], run["visual_tokens"]) == ("d32", "tokenpacker", 1)
    # two layers: attention 4 x 32 x 32 with 3 x 32 biases, MLP 3 x 32 x 96, two norms; and a last norm
    assert run["parameters"] == 2 * (4 * 32 * 32 + 3 * 32 + 3 * 32 * 96 + 2 * 32) + 32
    assert run["total_parameters"] is None  # there is no tokenizer yet
    flops = run["stage1_flops"] + run["stage2_flops"]
    assert run["gpu_hours"] == pytest.approx(flops / (0.5 * 989e12) / 3600)
    assert totals["gpu_hours_left"] == totals["gpu_hours"]
    text = call("cells", "--config", ROOT / "config" / "smoke.yaml", "--results", tmp_path)
    assert "26 runs serve 42 cells" in text
    assert "Done: 0 of 52 trainings" in text
    assert "a GPU of the study's `cluster` at 26% (known) of its 312 TFLOP/s" in text
    other = call("cells", "--config", ROOT / "config/smoke.yaml", "--gpu", "h100")
    assert "H100 SXM at 26% (assumed)" in other


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
    assert (large["gpus"], large["nodes"]) == (16, 2)
    # weights of LLM and tower and the projector, once more from stage 1, at two bytes
    assert large["disk_gb"] == pytest.approx(2 * (14.167 + 0.3035 + 2 * 0.0315), rel=1e-3)
    # two checkpoints of weights and two moments, while it is trained
    assert large["work_gb"] == pytest.approx(2 * 12 * (14.167 + 0.0315), rel=1e-3)
    assert report["totals"]["work_gb"] == pytest.approx(large["work_gb"], rel=0.01)  # quecc's
    # the hours of its two jobs, which were sized by the same GPU
    study = load_study(ROOT / "config/paper.yaml")
    sizes = size_trainings(study, expand_grid(study)[1].values())
    hours = [s.gpus * s.hours for (_, name), s in sizes.items() if name == large["run"]]
    assert len(hours) == 2
    assert large["gpu_hours"] == pytest.approx(sum(hours))
    assert sum(report["questions"].values()) == 48_135
    assert report["too_large"] == []
    assert "no GPU 'tpu' in resources/gpus.csv" in error_of("cells", "--gpu", "tpu")


def test_cells_tell_what_a_gpu_cannot_hold():
    chosen = ("--gpu", "a100-40gb")
    found = cells(*chosen, config="table1")["too_large"]
    assert found[0].startswith("Vicuna-7B__mlp__v576__s0, stage1: needs ")
    text = call("cells", "--config", ROOT / "config/table1.yaml", *chosen)
    assert f"{len(found) - 3} more do not fit" in text
    assert "Does not fit NVIDIA A100 SXM 40 GB: Vicuna-7B__mlp__v576__s0, stage1: needs" in text


def test_cells_of_budgets_count_a_shared_stage_1_once(tmp_path):
    raw = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    raw["budgets"] = {"short": {"steps": 100}}
    raw["grid"][0]["budgets"] = ["full", "short"]
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(raw))
    report = call_json("cells", "--config", tmp_path / "x.yaml")
    assert report["totals"]["runs"] == 26 + 12
    full, short = report["runs"][:2]
    assert short["run"] == full["run"] + "__short" == "d32__tokenpacker__v1__s0__short"
    assert (full["budget"], short["budget"]) == ("full", "short")
    assert full["stage1_flops"] > short["stage1_flops"] == 0
    assert full["stage2_flops"] == pytest.approx(3 * short["stage2_flops"])
    once = call_json("cells", "--config", ROOT / "config" / "smoke.yaml")["totals"]
    assert report["totals"]["stage1_flops"] == pytest.approx(once["stage1_flops"])


def test_a_config_that_is_not_there():
    assert "no.yaml cannot be read" in error_of("cells", "--config", "no.yaml")
