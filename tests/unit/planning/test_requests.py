"""What the jobs of a study request of a cluster."""

import math
from pathlib import Path

import pytest
import torch

from tests.support.studies import change_study
from vlmscale.errors import UserError
from vlmscale.planning.requests import (
    request_backbones,
    request_encoding,
    request_evaluation,
    request_trainings,
)
from vlmscale.planning.sizing import size_trainings
from vlmscale.settings import STAGES
from vlmscale.study.grid import expand_grid, list_stage1_trainings
from vlmscale.training.trainer import set_precision


def runs_of(study):
    return expand_grid(study)[1].values()


def test_what_a_config_chooses_is_in_no_request():
    """Then the rule has it once, for all trainings of the stage."""
    study = change_study("paper", stage2={"activation_checkpointing": True})
    requests = request_trainings(study, runs_of(study))
    asked = {
        stage: {"activation_checkpointing" in r.resources(1) for r in requests[stage].values()}
        for stage in STAGES
    }
    assert asked == {"stage1": {True}, "stage2": {False}}


@pytest.mark.parametrize("name", ["paper", "table1", "modern"])
def test_jobs_request_their_trainings_size_with_time_to_spare(name):
    study = change_study(name)
    sizes, requests = (
        size_trainings(study, runs_of(study)),
        request_trainings(study, runs_of(study)),
    )
    assert set(requests["stage1"]) == set(list_stage1_trainings(runs_of(study)))
    assert set(requests["stage2"]) == {run.run for run in runs_of(study)}
    for stage in STAGES:
        for training, request in requests[stage].items():
            size = sizes[stage, training]
            assert (request.gpus, request.nodes) == (size.gpus, math.ceil(size.gpus / 8))
            assert request.minutes == 30 + math.ceil(2 * 60 * size.hours)
            chosen = request.resources(attempt=2)["activation_checkpointing"]
            assert chosen == size.layout.checkpointing


def test_a_study_that_does_not_fit_is_refused_with_a_few_names():
    study = change_study("paper", cluster={"gpu_memory_gb": 40})
    sizes = size_trainings(study, runs_of(study)).values()
    refused = list(dict.fromkeys(str(size) for size in sizes if isinstance(size, UserError)))
    with pytest.raises(UserError) as caught:
        request_trainings(study, runs_of(study))
    lines = str(caught.value).split("\n  ")
    assert lines[1:] == [*refused[:3], f"and {len(refused) - 3} more."]
    named = {line.partition("__s0, ")[0] for line in refused}
    assert "Qwen1.5-14B__quecc__v1" in named


def test_main_memory_of_each_node_holds_the_llm_in_16_bits_once_a_process():
    """Embeddings included: of Qwen1.5-0.5B they are a third."""
    chosen = change_study("paper")
    requests = request_trainings(chosen, runs_of(chosen))["stage2"]
    for llm, parameters, gpus in (("0.5B", 463_987_712, 1), ("14B", 14_167_290_880, 8)):
        request = requests[f"Qwen1.5-{llm}__mlp__v576__s0"]
        assert request.gpus // request.nodes == gpus
        assert request.mem_mb == pytest.approx(
            4_000 + gpus * (8_000 + 2 * parameters / 1e6), abs=16
        )


@pytest.mark.parametrize(("dtype", "mapped"), [(torch.float32, True), (torch.bfloat16, False)])
def test_processes_of_a_node_share_weights_that_have_the_type_computed_in(
    build, backbones, dtype, mapped
):
    """They are pages of the file, not copies of it: the LLM is in main memory once. Others are copied."""
    model, _ = build("mlp", 36)
    set_precision(model, dtype, include_trainable=True)
    file = str(backbones["llm"] / "model.safetensors")
    lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if file in line]
    places = [[int(end, 16) for end in line.split()[0].split("-")] for line in lines]
    blocks = list(model.model.language_model.layers.parameters())
    within = [any(low <= p.data_ptr() < high for low, high in places) for p in blocks]
    assert within == [mapped] * len(blocks)


def test_evaluations_ask_for_the_time_of_their_questions():
    chosen = change_study("paper")
    cells, _ = expand_grid(chosen)
    questions = sum(chosen.count_questions().values())

    def hours(name):
        return request_evaluation(chosen, cells[f"Qwen1.5-{name}__s0"], questions).minutes / 60

    # 48,135 questions: 2 x 12.61 billion x (576 + 50 + 8) positions and the tower's 0.38 TFLOPs at 81 TFLOP/s
    # are 2.7 hours, and a tenth of a second for each 1.34 more; twice that, and half an hour to start.
    assert hours("14B__mlp__v576") == pytest.approx(0.5 + 2 * (2.7 + 1.34), rel=0.02)
    # Of the smallest answers the tower is most: 0.07 hours.
    assert hours("0.5B__tokenpacker__v1") == pytest.approx(0.5 + 2 * (0.07 + 1.34), rel=0.01)
    assert request_backbones(chosen) == {}


@pytest.mark.parametrize("name", ["smoke", "mini-full"])
def test_jobs_of_a_tiny_study_ask_for_one_gpu_for_an_hour_at_most(name):
    chosen = change_study(name)
    cells, runs = expand_grid(chosen)
    trainings = request_trainings(chosen, runs.values())
    questions = sum(chosen.count_questions().values())
    found = [job for stage in STAGES for job in trainings[stage].values()]
    found += [request_evaluation(chosen, cell, questions) for cell in cells.values()]
    backbones = request_backbones(chosen)
    assert set(backbones) == {"tower", *chosen.llms}
    assert {(job.gpus, job.nodes) for job in (*found, *backbones.values())} == {(1, 1)}
    assert max(job.minutes for job in (*found, *backbones.values())) <= 60


def test_encoding_asks_for_the_time_of_its_images():
    """A tenth of a second each, twice; text has none."""
    smoke, paper = change_study("smoke"), change_study("paper")
    images = smoke.data.stage2.scenes + smoke.data.stage2.pages
    assert smoke.data.stage2.text > 0
    minutes = request_encoding(smoke, "stage2", 1000).minutes
    assert minutes == pytest.approx(30 + images * 0.2 / 60, abs=1)
    minutes = request_encoding(paper, "test", 1000).minutes
    assert minutes == pytest.approx(30 + 1000 * 0.2 / 60, abs=1)
    assert request_encoding(paper, "stage1", 1000).minutes > 558_128 * 0.2 / 60
