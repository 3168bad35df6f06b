"""A training resumes from the newest intact checkpoint of the same training, and says what it cannot use."""

import os
import re
import shutil
import time

import pytest

from tests.support.drills import SAME
from tests.support.trainings import last_complete, weights
from vlmscale.errors import UserError
from vlmscale.training.checkpoint_folder import lock_folder
from vlmscale.training.checkpoints import find_checkpoint, mark_complete
from vlmscale.training.launch import prepare
from vlmscale.training.stages import train_stage
from vlmscale.training.trainer import BatchTrainer

LAYOUT = {"zero": 0, "processes": 1}


@pytest.fixture
def checkpoints(tmp_path):
    """Two complete checkpoints and one that was being written when its process died."""
    for step in (4, 8, 12):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "weights").write_bytes(bytes(range(100)))
        (folder / "state.json").write_text(f"[{step}]")
        if step < 12:
            mark_complete(folder, LAYOUT)
    return tmp_path


def test_the_newest_complete_checkpoint_is_found_and_half_written_ones_go(checkpoints, capsys):
    assert find_checkpoint(checkpoints) == checkpoints / "checkpoint-8"
    assert not (checkpoints / "checkpoint-12").exists()
    assert capsys.readouterr().out == ""


def test_a_checkpoint_that_is_written_again_is_complete_again(checkpoints):
    mark_complete(checkpoints / "checkpoint-8", LAYOUT)
    assert find_checkpoint(checkpoints) == checkpoints / "checkpoint-8"


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(file):
    file.write_bytes(file.read_bytes()[:-1])


def empty(file):
    file.write_bytes(b"")


def zero(file):
    file.write_bytes(bytes(file.stat().st_size))


DAMAGES = [flip, truncate, empty, zero, os.remove]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["weights", "state.json"])
def test_a_damaged_checkpoint_falls_back_to_the_older_one(checkpoints, name, damage, capsys):
    damage(checkpoints / "checkpoint-8" / name)
    assert find_checkpoint(checkpoints) == checkpoints / "checkpoint-4"
    said = capsys.readouterr().out
    assert f"checkpoint-8/{name} is damaged" in said
    assert f"Resuming from the older {checkpoints}/checkpoint-4" in said


@pytest.mark.parametrize("damage", [flip, truncate, empty, zero])
def test_a_damaged_mark_counts_as_damage(checkpoints, damage):
    damage(checkpoints / "checkpoint-8" / "complete")
    assert find_checkpoint(checkpoints) == checkpoints / "checkpoint-4"


def test_without_an_intact_checkpoint_the_training_starts_again(checkpoints, capsys, cost_of):
    cost = cost_of("all checkpoints of a killed training are damaged")
    for step in (4, 8):
        truncate(checkpoints / f"checkpoint-{step}" / "weights")
    cost.lose(last_complete(checkpoints), "steps, all that it had made")
    assert cost.run(SAME, find_checkpoint, checkpoints) is None
    assert "Starting again from step 0" in capsys.readouterr().out
    assert not list(checkpoints.glob("checkpoint-*"))


@pytest.fixture
def started(spec):
    """started(name, **changes) -> the spec of a training that has left a checkpoint after four steps."""

    def start(name, **changes):
        made = spec(name, **changes)
        prepare(made)
        (made.paths.work / "checkpoint-4").mkdir()
        return made

    return start


def asides(made):
    return sorted(made.paths.work.parent.glob("work.other*"))


def test_checkpoints_of_the_same_training_stay_though_files_are_copied_or_touched(
    started, tmp_path, cost_of
):
    cost = cost_of("the study is copied, moved or touched")
    projector = tmp_path / "p.safetensors"
    projector.write_bytes(b"a")
    made = started("x", projector=projector)
    os.utime(projector, (1, 1))
    prepare(made)
    elsewhere = tmp_path / "copy" / "p.safetensors"
    elsewhere.parent.mkdir()
    shutil.copy(projector, elsewhere)
    cost.run(SAME, prepare, made.model_copy(update={"projector": elsewhere}))
    cost.lose(1 - len(list(made.paths.work.glob("checkpoint-4"))), "checkpoints")
    assert (made.paths.work / "checkpoint-4").exists()
    assert not asides(made)


@pytest.mark.parametrize("changed", ["spec", "projector"])
def test_checkpoints_of_another_training_are_kept_apart_and_named(
    started, tmp_path, changed, capsys, cost_of
):
    cost = cost_of("an input or setting of an unfinished training changes")
    projector = tmp_path / "p.safetensors"
    projector.write_bytes(b"a")
    made = started("x", projector=projector)
    if changed == "projector":
        projector.write_bytes(b"b")
    cost.run(SAME, prepare, made.model_copy(update={"seed": 9}) if changed == "spec" else made)
    assert not (made.paths.work / "checkpoint-4").exists()
    (aside,) = asides(made)
    cost.lose(1 - len(list(aside.glob("checkpoint-4"))), "checkpoints")
    assert (aside / "checkpoint-4").exists()
    assert f"{changed} differ. They are now in {aside}" in capsys.readouterr().out


def test_a_folder_in_use_is_not_moved(started):
    made = started("x")
    with (
        lock_folder(made.paths.work),
        pytest.raises(UserError, match="another process is training"),
    ):
        prepare(made.model_copy(update={"seed": 9}))
    assert (made.paths.work / "checkpoint-4").exists()


@pytest.mark.parametrize("days", [0.1, 1, 1000])
def test_inputs_from_the_future_are_refused_before_training(spec, tmp_path, days):
    projector = tmp_path / "p.safetensors"
    projector.write_bytes(b"a")
    tomorrow = time.time() + 86400 * days
    os.utime(projector, (tomorrow, tomorrow))
    with pytest.raises(UserError, match=rf"hours in the future.*touch {projector}"):
        prepare(spec("x", projector=projector))


def test_clocks_may_differ_by_seconds(spec, tmp_path):
    projector = tmp_path / "p.safetensors"
    projector.write_bytes(b"a")
    os.utime(projector, (time.time() + 20, time.time() + 20))
    prepare(spec("x", projector=projector))


class Killed(BaseException):
    """Ends a training as a kill does, in the middle."""


def kill_at(step, monkeypatch):
    computed = BatchTrainer.compute_loss

    def compute_loss(self, *args, **kwargs):
        if self.state.global_step == step:
            raise Killed
        return computed(self, *args, **kwargs)

    monkeypatch.setattr(BatchTrainer, "compute_loss", compute_loss)


FILES = ["trainable.safetensors", "optimizer.pt", "trainer_state.json", "rng_state.pth", "complete"]


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_weights_are_the_same_after_a_kill_and_a_damaged_checkpoint(
    spec, name, monkeypatch, capsys, cost_of
):
    cost = cost_of("a training is killed, and its newest checkpoint is damaged")
    whole, killed = spec("whole"), spec("killed")
    train_stage(whole)
    with monkeypatch.context() as patched:
        kill_at(11, patched)
        with pytest.raises(Killed):
            train_stage(killed)
    newest = killed.paths.work / f"checkpoint-{last_complete(killed.paths.work)}"
    assert newest.name == "checkpoint-8"
    flip(newest / name)
    cost.run(SAME, train_stage, killed)
    said = capsys.readouterr().out
    assert f"{newest / name} is damaged. Resuming from the older" in said
    resumed = int(re.search(r"Resuming from the older \S+checkpoint-(\d+)", said)[1])
    cost.lose(11 - resumed, "steps, of 4 between checkpoints")
    assert weights(killed) == weights(whole)


@pytest.mark.slow
def test_the_checkpoints_stay_where_snakemake_would_reject_the_result(
    spec, tmp_path, monkeypatch, cost_of
):
    """An input becomes newer while the training runs: a clock is wrong."""
    cost = cost_of("a clock runs ahead while a training runs")
    made = spec("x", recipe={"steps": 2, "batch_size": 4, "learning_rate": 1e-3})
    tomorrow = time.time() + 86400
    data = tmp_path / "data"
    shutil.copytree(made.data, data)
    os.utime(data, (tomorrow, tomorrow))
    made = made.model_copy(update={"data": data})
    train_stage(made)
    assert (made.paths.work / "checkpoint-2").exists()
    os.utime(data, (1, 1))
    cost.change("set the clock right")
    first, steps = weights(made), []
    computed = BatchTrainer.compute_loss
    monkeypatch.setattr(
        BatchTrainer, "compute_loss", lambda *a, **k: steps.append(1) or computed(*a, **k)
    )
    cost.run(SAME, train_stage, made)
    cost.lose(len(steps), "steps")
    assert weights(made) == first
    assert not made.paths.work.exists()
