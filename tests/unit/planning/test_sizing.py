"""GPUs of trainings: the fewest that hold them and end them in time, and advice that helps."""

import math
import re

import pytest

from tests.support.paths import ROOT
from tests.support.studies import change_study
from vlmscale.costs.memory import USABLE, Layout, gpu_memory
from vlmscale.errors import UserError
from vlmscale.planning.sizing import size_trainings
from vlmscale.planning.trainings import estimate_training, training_id
from vlmscale.settings import STAGES
from vlmscale.study.grid import expand_grid


def runs_of(study):
    return expand_grid(study)[1]


def size(study, stage, run):
    run = runs_of(study)[run]
    found = size_trainings(study, [run])[stage, training_id(stage, run)]
    if isinstance(found, UserError):
        raise found
    return found


def fits(study, stage, run, gpus, checkpointing=True):
    """Whether so many GPUs hold the training and end it in time, from the two estimates themselves."""
    recipe, method = study.get_recipe(stage, run.budget), study.find_variant(run.method).method
    execution = recipe.execution
    copies = method.count_copies(study.tower_shape.grid_side, stage)
    layout = Layout(
        gpus=gpus,
        zero=execution.zero,
        sequences=copies * execution.micro_batch_size,
        passes=math.ceil(recipe.batch_size / gpus / execution.micro_batch_size),
        max_length=recipe.max_length,
        checkpointing=checkpointing,
    )
    memory = gpu_memory(
        study.decoders[run.llm], study.tower_shape, method.name, run.visual_tokens, stage, layout
    )
    hours = study.cluster.gpu_hours(estimate_training(study, stage, run).flops) / gpus
    return (
        memory.total <= USABLE * study.cluster.gpu_memory_gb * 1e9 and hours <= study.cluster.hours
    )


@pytest.mark.parametrize("name", ["paper", "table1", "modern"])
def test_every_training_of_the_papers_studies_gets_the_fewest_gpus_that_do(name):
    study = change_study(name)
    sizes = size_trainings(study, runs_of(study).values())
    runs = [run for run in runs_of(study).values() if run.seed == 0]
    for stage in STAGES:
        for run in runs:
            found = sizes[stage, training_id(stage, run)]
            possible = study.cluster.possible_gpus(study.get_recipe(stage, run.budget).batch_size)
            assert found.gpus == next(n for n in possible if fits(study, stage, run, n))
            kept = fits(study, stage, run, found.gpus, checkpointing=False)
            assert found.layout.checkpointing != kept, "activations are kept where they fit"
            assert found.fits(study.cluster)
            assert found.hours <= study.cluster.hours


@pytest.mark.parametrize(
    ("name", "stage", "run", "gpus"),
    [
        # 0.46 billion parameters are 7 GB of states; the rest of a GPU holds activations.
        ("paper", "stage2", "Qwen1.5-0.5B__mlp__v576__s0", 1),
        # 1.8 billion are 29 GB: one GPU, until time takes two.
        ("paper", "stage2", "Qwen1.5-1.8B__tokenpacker__v1__s0", 1),
        ("paper", "stage2", "Qwen1.5-1.8B__mlp__v576__s0", 2),
        # 14 billion are 227 GB, 28 on each of eight; with all patches they take 157 hours of one GPU.
        ("paper", "stage2", "Qwen1.5-14B__tokenpacker__v1__s0", 8),
        ("paper", "stage2", "Qwen1.5-14B__mlp__v576__s0", 16),
        # Frozen, they are 28 GB.
        ("paper", "stage1", "Qwen1.5-14B__tokenpacker__v1__s0", 1),
        ("table1", "stage2", "Vicuna-7B__tokenpacker__v1__s0", 4),
        ("table1", "stage2", "Vicuna-7B__mlp__v576__s0", 8),
        ("table1", "stage2", "Vicuna-7B__mqt__v256__s0__two_epochs", 16),
    ],
)
def test_gpus_of_the_papers_trainings(name, stage, run, gpus):
    assert size(change_study(name), stage, run).gpus == gpus


@pytest.mark.parametrize("chosen", [True, False])
def test_what_a_config_says_of_checkpointing_holds(chosen):
    """By itself planning keeps the activations of the one, and recomputes those of the other."""
    study = change_study("paper", stage2={"activation_checkpointing": chosen})
    planned = change_study("paper")
    for run, recomputed in (("0.5B__mlp__v576__s0", False), ("1.8B__mlp__v576__s0", True)):
        assert size(study, "stage2", f"Qwen1.5-{run}").layout.checkpointing == chosen
        assert size(planned, "stage2", f"Qwen1.5-{run}").layout.checkpointing == recomputed


def test_smaller_gpus_and_less_time_take_more_gpus():
    def gpus(**cluster):
        found = size(
            change_study("table1", cluster=cluster), "stage2", "Vicuna-7B__tokenpacker__v1__s0"
        )
        return found.gpus

    # 6.8 billion parameters are 108 GB of states, 135 GB during an update, and 28 hours of one GPU.
    assert gpus() == 4
    assert gpus(gpu_memory_gb=32) == 8
    assert gpus(gpu_memory_gb=160, hours=100) == 1
    assert gpus(hours=2) == 16


def test_m3_holds_each_sample_at_five_scales():
    study = change_study("table1", stage2={"micro_batch_size": 16})
    sizes = size_trainings(study, runs_of(study).values())
    (error,) = {size for size in sizes.values() if isinstance(size, UserError)}
    # Five scales of eight samples are 58 GB, and the states of 16 GPUs 8 GB; those of eight would be 16.
    assert str(error).startswith("Vicuna-7B__m3__v576__s0, stage2: needs ")
    assert "activations of 80 sequences" in str(error)
    assert "What would fit: micro_batch_size: 8 on 16 GPUs; or 8 GPUs of " in str(error)


def test_a_budget_may_need_more():
    study = change_study("table1")
    longer = study.model_copy(update={"budgets": {"two_epochs": {"max_length": 32_768}}})
    sizes = size_trainings(longer, runs_of(longer).values())
    refused = [name for (_, name), size in sizes.items() if isinstance(size, UserError)]
    assert set(refused) == {f"Vicuna-7B__mqt__v256__s{seed}__two_epochs" for seed in range(3)}


FEW = {"gpus_per_node": 6, "hours": 2}
M3, MLP = "Vicuna-7B__m3__v576__s0", "Vicuna-7B__mlp__v576__s0"
REFUSED = [
    ("table1", {}, {"micro_batch_size": 16}, M3, "needs"),
    ("table1", {}, {"zero": 0}, MLP, "needs"),
    ("table1", {}, {"zero": 0, "micro_batch_size": 128}, MLP, "needs"),
    ("table1", {}, {"activation_checkpointing": False, "micro_batch_size": 16}, MLP, "needs"),
    ("table1", {"gpu_memory_gb": 8}, {}, MLP, "needs"),
    ("table1", FEW, {}, MLP, "takes"),
    ("table1", {**FEW, "gpu_memory_gb": 16}, {"micro_batch_size": 64}, MLP, "takes"),
    ("paper", {"gpu_memory_gb": 24}, {}, "Qwen1.5-14B__quecc__v1__s0", "needs"),
    ("paper", {"hours": 0.3}, {}, "Qwen1.5-14B__mlp__v576__s0", "takes"),
]


def follow(study, way):
    """The study after one piece of advice, in a refusal's words."""
    cluster, execution = {}, {}
    for part in way.partition(" on ")[0].split(" and "):
        if larger := re.fullmatch(r"(?:\d+ )?GPUs? of (\d+) GB", part):
            cluster["gpu_memory_gb"] = float(larger[1])
        elif part.startswith("cluster.hours: "):
            cluster["hours"] = float(part.split(": ")[1])
        else:
            key, value = part.split(": ")
            execution[key] = value == "true" or int(value)
    changed = study.cluster.model_copy(update=cluster)
    recipe = study.stage2.model_copy(
        update={"execution": study.stage2.execution.model_copy(update=execution)}
    )
    return study.model_copy(update={"cluster": changed, "stage2": recipe})


@pytest.mark.parametrize(("name", "cluster", "execution", "run", "problem"), REFUSED)
def test_all_that_a_refusal_says_would_fit_does(name, cluster, execution, run, problem):
    study = change_study(name, cluster=cluster, stage2=execution)
    with pytest.raises(UserError) as caught:
        size(study, "stage2", run)
    message = str(caught.value)
    assert message.startswith(f"{run}, stage2: {problem} ")
    ways = message.partition("What would fit: ")[2].removesuffix(".").split("; or ")
    for way in ways:
        found = size(follow(study, way), "stage2", run)
        said = re.search(r"(\d+) GPUs?\b", way)
        assert said is None or found.gpus == int(said[1]), way


def read_advice():
    """The changes that docs/slurm.md lists, with their effects."""
    page = (ROOT / "docs/slurm.md").read_text()
    rows = re.findall(r"^\| `(execution|cluster)\.(\w+): (\w+)` \| (.*) \|$", page, re.M)
    assert len(rows) == 6
    return rows


@pytest.mark.parametrize(("section", "key", "value", "effects"), read_advice())
def test_what_the_page_about_slurm_advises_helps(section, key, value, effects):
    change = {key: value == "true" or int(value)}
    plain = {"zero": 2, "activation_checkpointing": False, "micro_batch_size": 4}
    before = change_study("paper", stage2=plain if section == "execution" else {})
    if section == "execution":
        after = change_study("paper", stage2=plain | change)
    else:
        after = change_study("paper", cluster=change)
    # Memory decides the size of the one, time that of the other.
    better = {effect: [] for effect in effects.split(", ")}
    for cell in ("tokenpacker__v1", "mlp__v576"):
        old, new = (size(s, "stage2", f"Qwen1.5-4B__{cell}__s0") for s in (before, after))
        measures = {
            "less memory on a GPU": old.memory.total - new.memory.total,
            "more GPUs": new.gpus - old.gpus,
            "fewer GPUs": old.gpus - new.gpus,
            "shorter": old.hours - new.hours,
        }
        if new.gpus < old.gpus:  # which do where each needs less
            measures["less memory on a GPU"] = old.gpus - new.gpus
        for effect, gains in better.items():
            gains.append(measures[effect])
    for gains in better.values():
        assert min(gains) >= 0
        assert max(gains) > 0
