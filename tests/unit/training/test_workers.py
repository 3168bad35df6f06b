"""Worker processes that cannot share memory, die or hang end a training with one message."""

import shlex
import subprocess
import time

import psutil
import pytest
import torch
from torch.utils.data import Dataset, DistributedSampler

from tests.support.drills import SAME
from tests.support.trainings import STEPS, last_complete, last_step, weights
from vlmscale.errors import UserError
from vlmscale.training import batches as module
from vlmscale.training.batch_split import split_batch
from vlmscale.training.batches import Batches, name_lost_workers
from vlmscale.training.launch import prepare
from vlmscale.training.stages import train_stage

KILOBYTE = 250  # floats


class Floats(Dataset):
    """Samples of one kilobyte; `act` runs in the worker that reads the last one."""

    def __init__(self, samples, act=None):
        self.samples, self.act = samples, act

    def __len__(self):
        return self.samples

    def __getitem__(self, index):
        if self.act and index == self.samples - 1 and torch.utils.data.get_worker_info():
            self.act()
        return torch.full((KILOBYTE,), float(index))


def collate(samples, rng):
    return {"x": torch.stack(samples) if samples else torch.zeros(0), "sample_ids": []}


def load(dataset, workers, batch_size=4, passes=1):
    order = DistributedSampler(dataset, 1, 0, shuffle=False)
    split = split_batch(batch_size, 1, batch_size // passes)
    return Batches(dataset, collate, split, order, rank=0, workers=workers, pin_memory=False)


@pytest.mark.parametrize(("workers", "batch_size", "ranks"), [(1, 4, 1), (2, 4, 1), (1, 16, 4)])
def test_refuses_less_shared_memory_than_workers_load_ahead(
    workers, batch_size, ranks, monkeypatch, cost_of
):
    cost = cost_of("/dev/shm is too small for the batches loaded ahead")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
    loader = load(Floats(64), workers, batch_size)
    needed = ranks * workers * 3 * batch_size * 1024  # in pages, with the batch in use
    with pytest.raises(
        UserError, match=rf"{workers * ranks} worker processes .*/dev/shm.*--shm-size"
    ):
        loader.check_shared_memory(needed - 1)
    cost.run(
        "`docker run --shm-size`, or fewer `execution.workers`", loader.check_shared_memory, needed
    )


def test_the_size_is_that_of_a_micro_batch_and_no_workers_need_none():
    load(Floats(64), 1, batch_size=4, passes=4).check_shared_memory(3 * 4096)
    load(Floats(64), 0).check_shared_memory(0)
    load(Floats(1), 1, batch_size=1).check_shared_memory(3 * 4096)


@pytest.mark.slow
def test_a_hanging_worker_is_noticed(monkeypatch, cost_of):
    cost = cost_of("a process that loads data hangs for 15 minutes")
    assert module._TIMEOUT == 15 * 60
    monkeypatch.setattr(module, "_TIMEOUT", 2)
    batches, taken = iter(load(Floats(32, lambda: time.sleep(600)), 1)), []
    with pytest.raises(UserError, match="loading training data failed: DataLoader timed out"):  # noqa: SIM117
        with name_lost_workers():
            taken.extend(batches)
    again = cost.run(SAME, list, load(Floats(32), 1))
    cost.lose(len(again) - len(taken), "batches, and what was computed since the last checkpoint")


@pytest.mark.slow
def test_a_killed_worker_ends_training_with_one_message_and_the_weights_come_out_the_same(
    spec, cost_of
):
    cost = cost_of("a process that loads data is killed")
    whole, killed = spec("whole"), spec("killed", execution={"workers": 1})
    train_stage(whole)
    child = subprocess.Popen(prepare(killed), stderr=subprocess.PIPE, text=True)
    with child:
        while not last_complete(killed.paths.work):
            time.sleep(0.01)
            assert child.poll() is None, "ended too early"
        (worker,) = psutil.Process(child.pid).children()
        worker.kill()
        said = child.stderr.read()
    assert child.returncode == 1
    assert "error: loading training data failed: " in said
    lost = last_step(said, STEPS) - last_complete(killed.paths.work)
    # It ends when it misses a batch, up to two of which were loaded ahead.
    cost.lose(max(lost, 0), "steps, of 4 between checkpoints", at_most=4)
    cost.run(SAME, train_stage, killed)
    assert weights(killed) == weights(whole)


SMALL = "mount -t tmpfs -o size=40k tmpfs /dev/shm"


@pytest.mark.slow
def test_a_training_with_little_shared_memory_ends_before_its_first_step(spec, tmp_path):
    """As in a container: its workers would wait for ever."""
    unshared = ["unshare", "--mount", "sh", "-ec"]
    if subprocess.run([*unshared, SMALL], capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    small = spec("small", execution={"workers": 1})
    training = shlex.join(prepare(small))
    done = subprocess.run(
        [*unshared, f"{SMALL}; exec {training}"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert "/dev/shm has 0 MB left" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(small.paths.work.glob("checkpoint-*"))


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="a bug"), name_lost_workers():
        raise RuntimeError("a bug")
