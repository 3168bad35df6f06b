"""Every method trains on the device as on the CPU, and a training that is stopped resumes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from tests.gpu.tiny import STEPS, make_spec
from vlmscale.methods import find_method, list_method_names
from vlmscale.training.launch import launch, prepare
from vlmscale.training.stages import train_stage

STAGES = ("stage1", "stage2")
CASES = [(method, kind) for method in list_method_names() for kind in STAGES]
# Of losses of about 3: another order of sums, and eight bits of significand.
FP32, BF16 = 1e-4, 0.06
# On the CPU a reference of fp32 is the same computation: of the methods that share their code, one each repeats it.
REPEATED = ("mlp", "fastv", "m3", "quecc")
# On the CPU, too few to take long: each number of processes, and each stage of ZeRO, once.
ZERO_REHEARSED = ((2, 1), (3, 2))
# Eight bits rank nearly equal attention otherwise, and seed other draws, so other patches are chosen: losses
# differ by up to 0.17 on the CPU.
BF16_OF_CHOICES = 0.25


def read_losses(spec):
    return [loss for _, loss in json.loads(spec.record.read_text())["losses"]]


@pytest.fixture(scope="module")
def cpu_losses(parts, tmp_path_factory):
    """The losses of every method and stage by step, in fp32 on the CPU."""
    folder = tmp_path_factory.mktemp("cpu")
    specs = {case: make_spec(parts, folder / "-".join(case), *case) for case in CASES}
    file = folder / "specs.json"
    file.write_text(json.dumps([spec.model_dump(mode="json") for spec in specs.values()]))
    subprocess.run([sys.executable, "-m", "tests.gpu.train_on_cpu", str(file)], check=True)
    return {case: read_losses(spec) for case, spec in specs.items()}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("method", "kind"), CASES)
def test_losses_are_those_of_the_cpu(device, parts, cpu_losses, tmp_path, method, kind, precision):
    if device.type == "cpu" and precision == "fp32" and method not in REPEATED:
        pytest.skip("its reference is the same computation on the CPU")
    spec = make_spec(parts, tmp_path / "run", method, kind, precision=precision)
    train_stage(spec)
    losses, expected = read_losses(spec), cpu_losses[method, kind]
    record = json.loads(spec.record.read_text())
    assert torch.device(record["device"]).type == device.type
    assert record["deterministic"] == (device.type == "cpu")
    assert len(losses) == len(expected) == STEPS
    chooses = method in ("random", "divprune", "cdpruner", "tome")
    chooses |= bool({"tower_attention", "block_attention"} & set(find_method(method).needs))
    tolerance = {"fp32": FP32, "bf16": BF16_OF_CHOICES if chooses else BF16}[precision]
    assert losses == pytest.approx(expected, abs=tolerance)
    assert max(expected) - min(expected) > 4 * FP32, "the comparison sees no step"
    if precision == "bf16":
        assert losses != expected


def test_resumes_after_sigterm(device, parts, tmp_path):
    """With the losses and, up to sums in another order on a GPU, the weights of one that was not stopped."""
    steps = 40
    recipe = {"steps": steps, "checkpoint_every": 10}
    whole, stopped = (
        make_spec(parts, tmp_path / name, "tokenpacker", "stage2", recipe=recipe)
        for name in ("whole", "stopped")
    )
    train_stage(whole)
    child = subprocess.Popen(prepare(stopped))
    deadline = time.monotonic() + 240
    while not list(stopped.paths.work.glob("checkpoint-*/complete")):
        assert child.poll() is None, "ended before it could be stopped"
        assert time.monotonic() < deadline, "no checkpoint"
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGTERM)
    assert child.wait(timeout=60) == 75
    assert not stopped.record.exists()
    train_stage(stopped)
    record = json.loads(stopped.record.read_text())
    assert (record["steps"], record["attempts"]) == (steps, 2)
    assert read_losses(stopped) == pytest.approx(read_losses(whole), abs=1e-3)
    found, expected = (load_file(s.output / "model.safetensors") for s in (stopped, whole))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=5e-3, rtol=0)


def has_deepspeed():
    try:
        import deepspeed  # noqa: F401
    except ImportError:
        return False
    return True


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("zero", [2, 3])
def test_zero_trains_as_one_process(device, parts, cpu_losses, tmp_path, zero, processes):
    """One process of DeepSpeed, too, which has nothing to share."""
    if not has_deepspeed():
        pytest.skip("deepspeed is not installed")
    if device.type == "cuda" and torch.cuda.device_count() < processes:
        pytest.skip(f"needs {processes} GPUs")
    if device.type == "cpu" and (zero, processes) not in ZERO_REHEARSED:
        pytest.skip("shares its code with the cases that the CPU runs")
    shared = make_spec(
        parts, tmp_path / "shared", "tokenpacker", "stage2", execution={"zero": zero}
    )
    if processes == 2:
        launch(shared, processes=2)
    else:
        file = tmp_path / "spec.json"
        file.write_text(shared.model_dump_json())
        subprocess.run([sys.executable, "-m", "tests.gpu.train_by_zero", str(file)], check=True)
    assert read_losses(shared) == pytest.approx(cpu_losses["tokenpacker", "stage2"], abs=2 * FP32)
