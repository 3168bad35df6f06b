"""Several processes, passes and DeepSpeed give the same training; a stopped training resumes.

Cells of 36,000 parameters on CPUs, connected by gloo. Answers differ in length, some samples have no image,
and the last batch of an epoch is short.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
import torch
from safetensors.torch import load_file

from tests.support.drills import SAME
from tests.support.trainings import last_complete, last_step, stage_spec, weights
from vlmscale.errors import UserError
from vlmscale.models.checkpoint import load
from vlmscale.training.batches import Batches
from vlmscale.training.launch import launch, prepare, torchrun_command, training_command
from vlmscale.training.stages import train_stage

pytestmark = pytest.mark.slow
STEPS = 12
RECIPE = {
    "steps": STEPS,
    "batch_size": 10,
    "learning_rate": 1e-3,
    "projector_learning_rate": 2e-3,
    "checkpoint_every": 2,
}
# Tolerances for sums in another order and the optimiser steps that follow; measured: 1e-6 and 1e-5.
LOSS, LOGITS = 1e-5, 1e-4
SHARED = {
    "plain": {"micro_batch_size": 2, "workers": 1},
    "zero2": {"zero": 2},
    "zero3": {"zero": 3},
}


@pytest.fixture(scope="module")
def cell(backbones, splits, tmp_path_factory):
    """cell(name, **changes) -> a spec of the cell; QueCC asks the LLM about the question in each pass."""
    folder = tmp_path_factory.mktemp("cells")

    def make(name, *, recipe=None, **changes):
        values = {"method": "quecc", "recipe": {**RECIPE, **(recipe or {})}, **changes}
        return stage_spec(backbones, splits, folder / name, **values)

    return make


@pytest.fixture(scope="module")
def whole(cell):
    """The cell, trained by one process in one pass per step."""
    spec = cell("whole")
    train_stage(spec)
    return spec


@pytest.fixture(scope="module")
def shared(cell):
    """shared(kind) -> the cell, trained by two processes in one of the ways in SHARED."""
    done = {}

    def train(kind):
        if kind not in done:
            done[kind] = cell(kind, execution=SHARED[kind])
            launch(done[kind], processes=2)
        return done[kind]

    return train


def record(spec):
    return json.loads(spec.record.read_text())


def assert_same_training(found, expected):
    """Compare the losses of every step, tokens, and the logits of the trained models."""
    (_, losses), (_, wanted) = (zip(*record(s)["losses"], strict=True) for s in (found, expected))
    assert len(losses) == STEPS
    assert losses == pytest.approx(wanted, abs=LOSS)
    assert losses[-1] < losses[0] - 0.1  # the loss falls
    assert record(found)["tokens"] == record(expected)["tokens"]
    ours, theirs = logits(found), logits(expected)
    torch.testing.assert_close(ours, theirs, atol=LOGITS, rtol=0)
    assert theirs.std() > 100 * LOGITS


def logits(spec):
    from PIL import Image

    model, processor = load(spec.output)
    images = [Image.new("RGB", (48, 48), colour) for colour in ("red", "blue")]
    with torch.no_grad():
        return model.eval()(**processor.ask(images, ["how many ?", "line 1 ?"])).logits


def test_passes_add_up_to_the_batch(cell, whole):
    passes = cell("passes", execution={"micro_batch_size": 3})
    train_stage(passes)
    assert_same_training(passes, whole)


def test_activation_checkpointing_keeps_the_weights(cell, whole):
    again = cell("again", execution={"activation_checkpointing": True})
    train_stage(again)
    assert weights(again) == weights(whole)


def test_worker_processes_keep_the_weights(cell, whole, monkeypatch):
    """Over several epochs; every loader uses its workers."""
    here = []
    take = Batches.__iter__
    monkeypatch.setattr(Batches, "__iter__", lambda self: here.append(self) or take(self))
    ahead = cell("ahead", execution={"workers": 2})
    train_stage(ahead)
    assert weights(ahead) == weights(whole)
    assert [batches.num_workers for batches in here] == [2] * len(here) != []


@pytest.mark.parametrize("kind", SHARED)
def test_two_processes_train_as_one(shared, whole, kind):
    assert_same_training(shared(kind), whole)
    made = record(shared(kind))
    assert (made["processes"], made["attempts"], made["gpu_hours"]) == (2, 1, 0)
    for key in ("trained_parameters", "llm_parameters", "projector_parameters"):
        assert made[key] == record(whole)[key]
    assert not shared(kind).paths.work.exists()


def test_zero_3_in_bf16_writes_a_whole_projector(cell, whole):
    """In the recipe's precision, and stage 2 loads it."""
    first = cell("first", kind="stage1", recipe={"precision": "bf16"}, execution={"zero": 3})
    first = first.model_copy(update={"output": first.output.with_name("projector.safetensors")})
    launch(first, processes=2)
    projector = load_file(first.output)
    assert {value.dtype for value in projector.values()} == {torch.bfloat16}
    assert (
        sum(value.numel() for value in projector.values()) == record(whole)["projector_parameters"]
    )
    second = cell("second", recipe={"precision": "bf16", "steps": 2}, projector=first.output)
    train_stage(second)
    model, _ = load(second.output)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert logits(second).isfinite().all()


def test_zero_3_resumes_after_a_kill(cell, shared, tmp_path, cost_of):
    cost = cost_of("all processes of a ZeRO training are killed")
    killed = cell("killed", execution=SHARED["zero3"])
    with (tmp_path / "shown").open("w") as shown:
        child = start(prepare(killed, processes=2), stderr=shown)
    await_checkpoint(killed, child)
    killed_ones = family(child)
    for one in killed_ones:
        one.kill()
    child.wait()
    psutil.wait_procs(killed_ones)  # the lock is theirs until they have ended
    with pytest.raises(
        UserError,
        match=r"written by 2 processes with zero: 3; 1 process with zero: 0 cannot resume",
    ):
        train_stage(killed)
    lost = last_step((tmp_path / "shown").read_text(), STEPS) - last_complete(killed.paths.work)
    cost.lose(max(lost, 0), "steps, of 2 between checkpoints", at_most=2)
    cost.run(SAME, launch, killed, processes=2)
    assert weights(killed) == weights(shared("zero3"))
    assert record(killed)["attempts"] == 2


def test_stops_and_resumes_after_sigterm(cell, shared, tmp_path, cost_of):
    """First all processes get SIGTERM, as from Slurm, then the launcher alone."""
    cost = cost_of("SIGTERM, to all processes or to one: a time limit, a preemption")
    lost = 0
    spec = cell("stopped", execution=SHARED["plain"])
    reached = 0
    for choose in (family, lambda child: [child]):
        file = spec.paths.work.parent / "job.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(spec.model_dump_json())
        with (tmp_path / "shown").open("w") as shown:
            child = start([sys.executable, "-c", JOB, str(file)], stderr=shown)
        await_checkpoint(spec, child, after=reached)
        for one in choose(child):
            one.send_signal(signal.SIGTERM)
        assert child.wait(timeout=60) == 75
        step = last_complete(spec.paths.work)
        assert reached < step < STEPS
        assert not spec.record.exists()
        reached = step
        lost += max(last_step((tmp_path / "shown").read_text(), STEPS) - step, 0)
    cost.lose(lost, "steps")
    cost.run(SAME, launch, spec, processes=2)
    assert weights(spec) == weights(shared("plain"))
    assert record(spec)["attempts"] == 3


JOB = """
import sys
from vlmscale.jobs.entry import exit_with_message
from vlmscale.training.launch import launch
from vlmscale.training.spec import StageSpec
with exit_with_message():
    launch(StageSpec.model_validate_json(open(sys.argv[1]).read()), processes=2)
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_a_single_process_stops_and_resumes(cell, whole, workers):
    """Its worker gets SIGTERM, too, as from Slurm, and yet lives until the checkpoint exists."""
    spec = cell(f"single{workers}", execution={"workers": workers})
    child = start(prepare(spec))
    await_checkpoint(spec, child)
    processes = family(child)[::-1]
    assert len(processes) == 1 + workers
    for one in processes:
        one.send_signal(signal.SIGTERM)
    assert child.wait(timeout=60) == 75
    assert 2 <= last_complete(spec.paths.work) < STEPS
    train_stage(spec)
    assert weights(spec) == weights(whole)
    assert record(spec)["attempts"] == 2


def test_a_worker_ends_with_the_training_process(cell, whole):
    """And releases its lock: the next attempt resumes at once."""
    spec = cell("orphan", execution={"workers": 1})
    child = start(prepare(spec))
    await_checkpoint(spec, child)
    child.kill()
    child.wait()
    train_stage(spec)  # in this process, which need not start first
    assert weights(spec) == weights(whole)
    assert record(spec)["attempts"] == 2


def test_two_nodes_train_as_one(cell):
    """As srun starts them: a torchrun on each node, with the rendezvous on one. The method draws a V per
    global batch, not per micro-batch; batches are of one modality.
    """
    changes = {"method": "mqt", "visual_tokens": 16, "recipe": {"order": "grouped"}}
    alone, spec = (cell(name, **changes) for name in ("node", "nodes"))
    train_stage(alone)
    prepare(spec)
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    meeting = ["--nnodes=2", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}"]
    training = ["-m", "vlmscale.training", str(spec.paths.work / "spec.json")]
    nodes = [start(torchrun_command(training, 1, meeting)) for _ in range(2)]
    assert [node.wait(timeout=120) for node in nodes] == [0, 0]
    assert_same_training(spec, alone)
    assert record(spec)["processes"] == 2


def test_torchrun_runs_per_node_and_ignores_sigterm(tmp_path):
    file = tmp_path / "spec.json"
    training = ["-m", "vlmscale.training", str(file)]
    assert training_command(file, 1, 1, "") == [sys.executable, *training]
    agent = training_command(file, 8, 1, "")
    assert agent[:3] == ["sh", "-c", 'trap "" TERM; exec "$@"']
    assert {"--standalone", "--nproc-per-node=8"} < set(agent)
    assert agent[-3:] == training
    nodes = training_command(file, 16, 2, "n1:29500")
    assert nodes[:4] == ["srun", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1"]
    assert {"--nnodes=2", "--nproc-per-node=8", "--rdzv-endpoint=n1:29500"} < set(nodes)
    assert nodes[-3:] == training


def test_refuses_processes_that_cannot_share_the_batch(cell):
    spec = cell("three")
    with pytest.raises(
        UserError, match=r"3 processes .* batch of 10 samples .* Request one of: 1, 2, 5, 10"
    ):
        launch(spec, processes=3)
    with pytest.raises(UserError, match="2 nodes cannot run 5 processes in equal numbers"):
        launch(spec, processes=5, nodes=2)
    assert not spec.paths.work.exists()


def start(command, stderr=None):
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    return subprocess.Popen(command, env=environment, stderr=stderr)


def family(child):
    """The process and all its descendants."""
    first = psutil.Process(child.pid)
    return [first, *first.children(recursive=True)]


def await_checkpoint(spec, child, after=0):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert child.poll() is None, "ended too early"
        if last_complete(spec.paths.work) > after:
            return
        time.sleep(0.01)
    raise AssertionError("no checkpoint")
