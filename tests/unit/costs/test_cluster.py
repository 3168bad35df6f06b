"""What jobs ask a cluster for: enough for their model, in numbers that divide their batch."""

from pathlib import Path

import pytest

from vlmscale.costs.cluster import (
    RESOURCES,
    Cluster,
    agreed,
    backbone,
    inference,
    samples,
    training,
)
from vlmscale.costs.shapes import load_architectures
from vlmscale.errors import UserError
from vlmscale.settings import Counts, Dataset, Recipe

ROOT = Path(__file__).parents[3]
LLMS = load_architectures(ROOT / "src/vlmscale/resources/architectures.csv")
# LLaVA-1.5: 558 thousand captions, 665 thousand conversations
ALIGN = {"recipe": Recipe(epochs=1, batch_size=256, learning_rate=1e-3), "frozen": True}
TUNE = {"recipe": Recipe(epochs=1, batch_size=128, learning_rate=2e-5)}
CAPTIONS, CONVERSATIONS = Counts(scenes=558_000), Counts(scenes=665_000)


def tuned(llm, visual_tokens=576, cluster=None, **changes):
    size = LLMS[llm].total_b * 1e9
    asked = {**TUNE, **changes}
    return training(
        cluster or Cluster(),
        size,
        asked.pop("recipe"),
        CONVERSATIONS,
        visual_tokens=visual_tokens,
        **asked,
    )


@pytest.mark.parametrize(
    ("llm", "gpus", "nodes"),
    [
        ("Qwen1.5-0.5B", 1, 1),
        ("Qwen1.5-1.8B", 2, 1),
        ("Qwen1.5-4B", 4, 1),
        ("Qwen1.5-7B", 8, 1),
        ("Vicuna-7B", 8, 1),
        ("Qwen1.5-14B", 16, 2),
    ],
)
@pytest.mark.parametrize("visual_tokens", [1, 576])
def test_stage_2_of_real_llms(llm, gpus, nodes, visual_tokens):
    asked = tuned(llm, visual_tokens)
    assert (asked.gpus, asked.nodes) == (gpus, nodes)


def test_stage_1_needs_no_room_for_gradients_of_the_llm():
    one = training(Cluster(hours=48), 14e9, data=CAPTIONS, visual_tokens=1, **ALIGN)
    assert one.gpus == 2  # 28 GB of weights
    assert tuned("Qwen1.5-14B", 1, Cluster(hours=48)).gpus == 16


def test_larger_gpus_take_fewer():
    assert tuned("Qwen1.5-14B", 1, Cluster(gpu_memory_gb=141)).gpus == 8


def test_a_long_training_gets_more_gpus_and_as_many_visual_tokens_more_time():
    cluster = Cluster(gpu_memory_gb=1000)
    few, many = (tuned("Qwen1.5-7B", v, cluster) for v in (1, 576))
    assert few.gpus < many.gpus
    assert tuned("Qwen1.5-7B", 1).minutes < tuned("Qwen1.5-7B", 576).minutes


def test_gpus_divide_the_batch_and_fill_their_nodes():
    recipe = Recipe(epochs=1, batch_size=24, learning_rate=1e-3)
    assert tuned("Qwen1.5-7B", 1, recipe=recipe).gpus == 6  # five would do, but not divide
    assert tuned("Qwen1.5-14B", 1, recipe=recipe).gpus == 24  # not twelve on two nodes
    with pytest.raises(UserError, match=r"at least 10 GPUs.*divides its batch of 8\. Change"):
        tuned("Qwen1.5-14B", recipe=recipe.model_copy(update={"batch_size": 8}))


def test_resources_on_one_node_and_on_several():
    one, two = (tuned(llm).resources(1) for llm in ("Qwen1.5-7B", "Qwen1.5-14B"))
    assert tuple(one) == tuple(two) == RESOURCES
    assert (one["gpus"], one["gpu"], one["nodes"], one["cpus_per_task"]) == (8, 8, 1, 64)
    assert one["mpi"] is None
    assert (two["gpus"], two["nodes"], two["mpi"]) == (16, 2, "srun")
    assert (two["tasks_per_node"], two["cpus_per_task"]) == (8, 8)
    small = tuned("Qwen1.5-7B", cluster=Cluster(gpus_per_node=1)).resources(1)
    assert (small["nodes"], small["tasks_per_node"]) == (8, 2)  # one is refused by the executor
    assert 100_000 < one["mem_mb"] < 500_000


def test_an_attempt_asks_for_more_time_and_memory_up_to_the_longest_job():
    asked = [tuned("Qwen1.5-7B", 1).resources(attempt) for attempt in (1, 2, 9)]
    assert asked[1]["runtime"] == 2 * asked[0]["runtime"]
    assert asked[2]["runtime"] == 24 * 60
    assert asked[1]["mem_mb"] == pytest.approx(1.5 * asked[0]["mem_mb"], abs=1)
    assert asked[1]["gpus"] == asked[0]["gpus"]


def test_what_requests_agree_in_leaves_out_what_grows_with_the_attempt():
    small, large = tuned("Qwen1.5-1.8B"), tuned("Qwen1.5-7B")  # two GPUs and eight
    constant = {"nodes": 1, "mpi": None, "tasks_per_node": 8}
    assert agreed([small, large]) == constant
    assert agreed([small, small]) == {**constant, "gpus": 2, "gpu": 2, "cpus_per_task": 16}
    assert agreed([small, tuned("Qwen1.5-14B")]) == {"tasks_per_node": 8}  # on two nodes


def test_evaluation_and_backbones_take_one_gpu():
    assert inference(Cluster(), 14e9, 48_000, 300).gpus == 1
    recipe = Recipe(epochs=1, batch_size=128, learning_rate=2e-5)
    long = backbone(Cluster(), 14e9, recipe, CONVERSATIONS, visual_tokens=576)
    assert long.gpus == 1  # it is one process
    assert long.resources(1)["runtime"] == 24 * 60


def test_an_evaluation_has_time_for_its_arithmetic_and_for_its_questions():
    fast = Cluster(tflops=100, utilisation=0.5)
    # 1000 questions take 100 s; with 9 billion parameters at 500 positions 1000 * 0.9e13 / 5e13 = 180 s more.
    assert inference(fast, 0, 1000, 500).minutes == 30 + 4  # twice 100 s
    assert inference(fast, 9e9, 1000, 500).minutes == 30 + 10


def test_samples_of_steps_and_of_epochs():
    assert samples(Recipe(steps=7, batch_size=4, learning_rate=1), 20) == 28
    assert samples(Recipe(epochs=1.5, batch_size=4, learning_rate=1), 20) == 30
    made = Counts(scenes=10, pages=5, text=5)
    released = Dataset(dataset="llava_pretrain", samples=20, text_tokens=16)
    assert made.samples == released.samples == 20
