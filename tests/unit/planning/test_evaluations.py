"""What a study of released VLMs costs and requests, and its jobs."""

import pytest

from tests.support.cli import call, call_json, error_of
from tests.support.paths import ROOT
from vlmscale.costs.image_tokens import find_vlm_tower
from vlmscale.planning.evaluations import (
    ModelSpecs,
    estimate_model_answer,
    request_model_evaluation,
)
from vlmscale.planning.trainings import Assumptions
from vlmscale.study.load import load_any_study

CONFIG = ROOT / "config/released-vlms.yaml"


@pytest.fixture(scope="module")
def study():
    return load_any_study(CONFIG)


def test_an_answer_costs_its_tower_at_these_pixels_and_its_llm(study):
    cells = study.list_cells()
    assumed = Assumptions(question_tokens=50, answer_tokens=0)
    few, many = (cells[f"Qwen2.5-VL-7B__v{v}"] for v in (64, 1024))
    low, high = (estimate_model_answer(study, cell, assumed) for cell in (few, many))
    tower = find_vlm_tower("Qwen2.5-VL-ViT")
    assert low.tower == 1e9 * tower.gflops([256], 3584)
    assert high.tower > 16 * low.tower  # the tower's cost grows with V, its attention faster
    # 2 N (Q + V), and attention and head beside it.
    assert low.llm == pytest.approx(2 * 6.525e9 * (50 + 64), rel=0.03)
    tiles = estimate_model_answer(study, cells["InternVL3-8B__v1280"], assumed)
    one = estimate_model_answer(study, cells["InternVL3-8B__v256"], assumed)
    assert tiles.tower == pytest.approx(5 * one.tower)


def test_a_cell_requests_a_gpu_for_its_questions(study):
    cell = study.list_cells()["Qwen2.5-VL-32B__v64"]
    request = request_model_evaluation(study, cell, 7200)
    assert request.gpus == 1
    assert request.hours > 1  # half a second a question
    assert request.parameters == pytest.approx(33.4e9, rel=0.02)


def test_specs_decide_answers_and_change_with_nothing_else(study):
    specs = ModelSpecs(study, scripts=ROOT / "workflow/scripts")
    spec = specs.evaluation_spec("Qwen3-VL-2B__v64")
    assert (spec["family"], spec["budget"], spec["protocol"]) == ("qwen3_vl", 64, "lmms")
    assert specs.model_of("Qwen3-VL-2B__v64") == "results/released-vlms/models/Qwen3-VL-2B"
    assert specs.result_fingerprints()["Qwen3-VL-2B__v64"] == spec["fingerprint"]
    assert not specs.runs
    assert set(specs.sizes()) == {"non_embedding", "total", "tower"}


def test_cells_lists_them_with_their_costs():
    report = call_json("cells", "--config", CONFIG)
    assert report["totals"]["cells"] == len(report["cells"]) == 74
    first = report["cells"][0]
    assert first["flops"] == pytest.approx(
        sum(report["questions"].values()) * (first["tower_flops"] + first["llm_flops"])
    )
    text = call("cells", "--config", CONFIG)
    assert "74 cells, 0 evaluated" in text
    assert "Nothing is trained." in text
    assert "describe the GPU in the study's" in error_of("cells", "--config", CONFIG, "--gpu", "x")
