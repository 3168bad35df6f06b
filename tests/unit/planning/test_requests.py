"""What the jobs of the paper's studies ask for, and which of them GPUs cannot hold."""

from pathlib import Path

import pytest
import torch

from vlmscale.errors import UserError
from vlmscale.planning.requests import (
    check_memory,
    misfits,
    of_backbones,
    of_encoding,
    of_evaluation,
    of_training,
)
from vlmscale.planning.trainings import benchmark_rows
from vlmscale.study.grid import expand_grid
from vlmscale.study.load import load_study
from vlmscale.training.trainer import set_precision

ROOT = Path(__file__).parents[3]
BENCHMARKS = benchmark_rows(ROOT / "src/vlmscale/resources/benchmarks.csv")


def study(name, *, memory_gb=80, **execution):
    """A study of config/, its GPUs and how its stages are carried out changed."""
    found = load_study(ROOT / f"config/{name}.yaml")
    changed = {"cluster": found.cluster.model_copy(update={"gpu_memory_gb": memory_gb})}
    for stage, keys in execution.items():
        recipe = getattr(found, stage)
        chosen = recipe.execution.model_copy(update=keys)
        changed[stage] = recipe.model_copy(update={"execution": chosen})
    return found.model_copy(update=changed)


@pytest.mark.parametrize("name", ["paper", "table1"])
def test_the_papers_studies_fit_80_gb(name):
    chosen = study(name)
    check_memory(chosen, expand_grid(chosen)[1])


def test_the_cells_that_do_not_fit_are_named_with_what_would():
    chosen = study("table1", stage2={"micro_batch_size": 16})
    (message,) = misfits(chosen, expand_grid(chosen)[1])
    # M3 alone learns five scales at once.
    assert message.startswith("Vicuna-7B__m3__v576__s0, stage2: needs ")
    assert "activations of 80 sequences" in message
    # With 8 (40 sequences) it is 58 GB of activations and 16 GB of states.
    assert "What would fit: micro_batch_size: 4; or GPUs of " in message


def test_a_budget_may_need_more():
    chosen = study("table1")
    longer = chosen.model_copy(update={"budgets": {"two_epochs": {"max_length": 32_768}}})
    found = list(misfits(longer, expand_grid(longer)[1]))
    (name,) = {line.partition(", ")[0] for line in found}
    assert name == "Vicuna-7B__mqt__v256__s0__two_epochs"


def test_a_study_that_does_not_fit_is_refused_with_a_few_names():
    chosen = study("paper", memory_gb=40)
    runs = expand_grid(chosen)[1]
    found = list(misfits(chosen, runs))
    with pytest.raises(UserError) as caught:
        check_memory(chosen, runs)
    lines = str(caught.value).split("\n  ")
    assert lines[1:] == [*found[:3], f"and {len(found) - 3} more."]
    named = {line.partition("__s0, ")[0] for line in found}
    assert "Qwen1.5-14B__quecc__v1" in named


def test_smaller_gpus_get_more_of_them_before_they_are_refused():
    few, many = study("table1"), study("table1", memory_gb=40)
    run = expand_grid(few)[1]["Vicuna-7B__mlp__v576__s0"]
    asked = [of_training(chosen, "stage2", run).gpus for chosen in (few, many)]
    assert asked == [8, 16]


def test_main_memory_of_each_node_holds_the_llm_in_16_bits_once_a_process():
    """Embeddings included: of Qwen1.5-0.5B they are a third."""
    chosen = study("paper")
    runs = expand_grid(chosen)[1]
    for llm, parameters, gpus in (("0.5B", 463_987_712, 1), ("14B", 14_167_290_880, 8)):
        asked = of_training(chosen, "stage2", runs[f"Qwen1.5-{llm}__mlp__v576__s0"])
        assert asked.gpus // asked.nodes == gpus
        assert asked.mem_mb == pytest.approx(4_000 + gpus * (8_000 + 2 * parameters / 1e6), abs=16)


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
    chosen = study("paper")
    cells, _ = expand_grid(chosen)
    questions = sum(chosen.count_questions(BENCHMARKS).values())

    def hours(name):
        return of_evaluation(chosen, cells[f"Qwen1.5-{name}__s0"], questions).minutes / 60

    # 48,135 questions: 2 x 14.17 billion x (576 + 256) positions at 125 TFLOP/s are 2.53 hours, and a tenth of
    # a second for each 1.34 more; twice that, and half an hour to start.
    assert hours("14B__mlp__v576") == pytest.approx(0.5 + 2 * (2.53 + 1.34), rel=0.01)
    assert hours("0.5B__tokenpacker__v1") == pytest.approx(0.5 + 2 * 1.34, rel=0.03)
    assert of_backbones(chosen) == {}


@pytest.mark.parametrize("name", ["smoke", "mini-full"])
def test_jobs_of_a_tiny_study_ask_for_one_gpu_for_an_hour_at_most(name):
    chosen = study(name)
    cells, runs = expand_grid(chosen)
    questions = sum(chosen.count_questions(BENCHMARKS).values())
    found = [of_training(chosen, s, run) for run in runs.values() for s in ("stage1", "stage2")]
    found += [of_evaluation(chosen, cell, questions) for cell in cells.values()]
    backbones = of_backbones(chosen)
    assert set(backbones) == {"tower", *chosen.llms}
    assert {(job.gpus, job.nodes) for job in (*found, *backbones.values())} == {(1, 1)}
    assert max(job.minutes for job in (*found, *backbones.values())) <= 60


def test_encoding_asks_for_the_time_of_its_images():
    """A tenth of a second each, twice; text has none."""
    smoke, paper = study("smoke"), study("paper")
    images = smoke.data.stage2.scenes + smoke.data.stage2.pages
    assert smoke.data.stage2.text > 0
    minutes = of_encoding(smoke, "stage2", 1000).minutes
    assert minutes == pytest.approx(30 + images * 0.2 / 60, abs=1)
    minutes = of_encoding(paper, "test", 1000).minutes
    assert minutes == pytest.approx(30 + 1000 * 0.2 / 60, abs=1)
    assert of_encoding(paper, "stage1", 1000).minutes > 558_128 * 0.2 / 60
