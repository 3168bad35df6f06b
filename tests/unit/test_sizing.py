"""What jobs of whole studies ask for: each what its cell needs."""

from pathlib import Path

import pytest

from vlmscale.cells import expand
from vlmscale.config import load_study
from vlmscale.sizing import (
    asked,
    backbone_requests,
    benchmark_rows,
    encoding_request,
    evaluation_request,
    stage_request,
)

ROOT = Path(__file__).parents[2]
BENCHMARKS = benchmark_rows(ROOT / "resources/benchmarks.csv")


def test_jobs_of_the_papers_study():
    study = load_study(ROOT / "config/paper.yaml")
    cells, runs = expand(study)

    def gpus(stage, name):
        return stage_request(study, stage, runs[f"Qwen1.5-{name}__s0"]).gpus

    assert (gpus("stage1", "7B__tokenpacker__v1"), gpus("stage2", "7B__tokenpacker__v1")) == (1, 8)
    assert (gpus("stage1", "14B__mlp__v576"), gpus("stage2", "14B__mlp__v576")) == (8, 16)
    questions = sum(asked(study, BENCHMARKS).values())

    def hours(name):
        return evaluation_request(study, cells[f"Qwen1.5-{name}__s0"], questions).minutes / 60

    # 48,135 questions: 2 x 12.6 billion x (576 + 256) positions at 125 TFLOP/s are 2.25 hours, and a tenth of
    # a second for each 1.34 more; twice that, and half an hour to start.
    assert hours("14B__mlp__v576") == pytest.approx(0.5 + 2 * (2.25 + 1.34), rel=0.01)
    assert hours("0.5B__tokenpacker__v1") == pytest.approx(0.5 + 2 * 1.34, rel=0.02)
    assert backbone_requests(study) == {}


@pytest.mark.parametrize("name", ["smoke", "mini-full"])
def test_jobs_of_a_tiny_study_ask_for_one_gpu_for_an_hour_at_most(name):
    study = load_study(ROOT / f"config/{name}.yaml")
    cells, runs = expand(study)
    questions = sum(asked(study, BENCHMARKS).values())
    requests = [
        stage_request(study, stage, r) for r in runs.values() for stage in ("stage1", "stage2")
    ]
    requests += [evaluation_request(study, cell, questions) for cell in cells.values()]
    requests += backbone_requests(study).values()
    assert set(backbone_requests(study)) == {"tower", *study.llms}
    assert {(request.gpus, request.nodes) for request in requests} == {(1, 1)}
    assert max(request.minutes for request in requests) <= 60


def test_an_image_without_text_is_encoded_once():
    """A tenth of a second each, twice."""
    smoke, paper = (load_study(ROOT / f"config/{name}.yaml") for name in ("smoke", "paper"))
    images = smoke.data.stage2.scenes + smoke.data.stage2.pages
    assert smoke.data.stage2.text > 0
    minutes = encoding_request(smoke, "stage2", 1000).minutes
    assert minutes == pytest.approx(30 + images * 0.2 / 60, abs=1)
    asked_of = encoding_request(paper, "test", 1000).minutes
    assert asked_of == pytest.approx(30 + 1000 * 0.2 / 60, abs=1)
    assert encoding_request(paper, "stage1", 1000).minutes > 558_128 * 0.2 / 60
