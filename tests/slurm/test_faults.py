"""Faults while a training runs on Slurm: it goes on where it was, and ends with the same weights.

Every drill trains one stage 2 and prints what it cost: `pytest tests/slurm/test_faults.py -rP`.
"""

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.slurm.study import OUT, Study
from tests.support.drills import SAME

RUN = "d32__mlp__v36__s0"
STAGE2 = f"{OUT}/runs/{RUN}/stage2"
RECORD, WEIGHTS = f"{STAGE2}/run.json", f"{STAGE2}/model/model.safetensors"
SCORES = f"{OUT}/cells/{RUN}/scores.parquet"
COMMENT = f"rule_train_stage2_wildcards_{RUN}"
STEPS, EVERY = 400, 20  # of the training, and between its checkpoints


def lengthen(study, steps=STEPS):
    study.edit(
        "study.yaml",
        "stage2: {steps: 20, batch_size: 8, learning_rate: 3.0e-3, checkpoint_every: 5}",
        f"stage2: {{steps: {steps}, batch_size: 8, learning_rate: 3.0e-3, checkpoint_every: {EVERY}}}",
    )


@pytest.fixture(scope="session")
def uninterrupted(finished, tmp_path_factory):
    """The record and the weights of the training that drills interrupt."""
    study = finished.copy(tmp_path_factory.mktemp("uninterrupted"))
    lengthen(study)
    study.local(RECORD)
    return json.loads((study.path / RECORD).read_text()), (study.path / WEIGHTS).read_bytes()


@dataclass
class Drill:
    """A training on Slurm that something happens to."""

    study: Study

    def begin(self, *arguments, target=RECORD):
        """Start the driver; returns it when the training has left two checkpoints."""
        driver = self.study.start(target, *arguments)
        self.study.cluster.wait_for(
            lambda: driver.poll() is not None or len(self.checkpoints()) > 1, "checkpoint", 240
        )
        assert driver.poll() is None, (self.study.path / "driver.log").read_text()[-3000:]
        assert not (self.study.path / RECORD).exists()
        return driver

    def checkpoints(self):
        """{step: time at which it was complete}."""
        found = (self.study.path / f"work/slurm-tests/{RUN}/stage2").glob("*/*/complete")
        return {int(file.parent.name.partition("-")[2]): file.stat().st_mtime for file in found}

    def step(self):
        """About how many steps the training has made by now; at most to the checkpoint that is not there yet."""
        (first, early), (last, late) = sorted(self.checkpoints().items())[-2:]
        since = (time.time() - late) / (late - early) * (last - first)
        return last + min(int(since), EVERY)

    def process(self):
        """The training process; of several, the youngest."""
        found = []
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = file.read_bytes()
            except OSError:  # ended meanwhile
                continue
            if b"vlmscale.training" in command and RUN.encode() in command:
                found.append(int(file.parent.name))
        return max(found)

    def job(self):
        """The Slurm job of the training: {key: value}, of the last one if there were several."""
        return self.study.submitted()[COMMENT]

    def resumed_from(self):
        """The step that the next attempt will go on from; waits for the end of the present one."""
        job = self.job()["JobId"]
        slurm, alive = self.study.cluster, ("RUNNING", "COMPLETING")
        slurm.wait_for(lambda: slurm.job(job)["JobState"] not in alive, f"end of job {job}", 120)
        return max(self.checkpoints())


@pytest.fixture
def drill(copy):
    lengthen(copy)
    return Drill(copy)


def check(drill, uninterrupted, cost, *, attempts, lost=0):
    """The training is complete, was resumed where it stood, and gave what an uninterrupted one gives."""
    reference, weights = uninterrupted
    lost = max(lost, 0)  # it is an estimate: the fault may have come a checkpoint later
    record = json.loads((drill.study.path / RECORD).read_text())
    bound = EVERY if attempts > 1 else None
    cost.lose(lost, "steps, of 20 between checkpoints", at_most=bound)
    print(f"{record['attempts']} attempts, {lost} of {STEPS} steps made again")
    assert record["attempts"] == attempts
    # An attempt that began from nothing would have seen far more.
    assert reference["tokens"] <= record["tokens"] <= reference["tokens"] * (1 + EVERY / STEPS)
    assert (drill.study.path / WEIGHTS).read_bytes() == weights
    assert "Nothing to be done" in drill.study.local("-n", RECORD)


def test_training_process_killed(drill, uninterrupted, cost_of):
    cost = cost_of("Slurm: a process of a training is killed")
    driver = drill.begin()
    step = drill.step()
    os.kill(drill.process(), signal.SIGKILL)
    lost = step - drill.resumed_from()
    drill.study.finish(driver)
    check(drill, uninterrupted, cost, attempts=2, lost=lost)


def test_job_cancelled(drill, uninterrupted, cost_of):
    cost = cost_of("Slurm: a job is cancelled")
    driver = drill.begin()
    step = drill.step()
    drill.study.cluster.run("scancel", drill.job()["JobId"])
    lost = step - drill.resumed_from()
    drill.study.finish(driver)
    check(drill, uninterrupted, cost, attempts=2, lost=lost)


def test_controller_restarted_and_nodes_drained_and_resumed(drill, uninterrupted, cost_of):
    """What runs goes on through both; what follows waits for the nodes."""
    cost = cost_of("Slurm: the controller restarts, nodes are drained")
    slurm = drill.study.cluster
    driver = drill.begin(target=SCORES)
    slurm.drain()
    try:
        slurm.stop_controller()
        time.sleep(3)
        slurm.start_controller()
        follows = f"rule_evaluate_cell_wildcards_{RUN}"
        slurm.wait_for(lambda: follows in drill.study.submitted(), "evaluation in the queue", 180)
        time.sleep(3)
        assert drill.study.submitted()[follows]["JobState"] == "PENDING"
    finally:
        slurm.resume()
    drill.study.finish(driver)
    check(drill, uninterrupted, cost, attempts=1)


def test_node_lost(drill, uninterrupted, cost_of):
    cost = cost_of("Slurm: a node is lost")
    driver = drill.begin()
    step, node, slurm = drill.step(), drill.job()["NodeList"], drill.study.cluster
    slurm.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    try:
        lost = step - drill.resumed_from()
    finally:
        slurm.run("scontrol", "update", f"nodename={node}", "state=resume")
    drill.study.finish(driver)
    check(drill, uninterrupted, cost, attempts=2, lost=lost)


def test_preempted(drill, uninterrupted, cost_of):
    """Slurm takes the node away for others and starts the job again; it keeps its number."""
    cost = cost_of("Slurm: a job is preempted")
    driver, slurm = drill.begin(), drill.study.cluster
    step, job = drill.step(), drill.job()["JobId"]
    others = ["sbatch", "--partition=urgent", "--nodes=2", "--gpus=16", "--wrap=sleep 3"]
    slurm.run(*others, "--output=/dev/null")
    slurm.wait_for(lambda: slurm.job(job)["JobState"] != "RUNNING", "preemption")
    lost = step - max(drill.checkpoints())
    drill.study.finish(driver)
    assert drill.job()["JobId"] == job
    assert drill.job()["Restarts"] == "1"
    check(drill, uninterrupted, cost, attempts=2, lost=lost)


def test_driver_killed_and_started_again(drill, uninterrupted, cost_of):
    """Its job runs on; the next driver ends it, and the training goes on in a job of its own."""
    cost = cost_of("Slurm: snakemake is killed")
    driver = drill.begin()
    step, job, training = drill.step(), drill.job(), drill.process()
    driver.kill()
    driver.wait()
    assert job["JobState"] == "RUNNING"
    os.kill(training, signal.SIGSTOP)  # on a busy machine it would end before the next driver comes
    driver, slurm = cost.run(SAME, drill.study.start, RECORD), drill.study.cluster
    request = f"REQUEST_KILL_JOB JobId={job['JobId']} "
    slurm.wait_for(lambda: request in slurm.log("slurmctld"), "request to end", 120)
    os.kill(training, signal.SIGCONT)
    lost = step - drill.resumed_from()
    printed = drill.study.finish(driver)
    assert f"Ended the jobs that an earlier run left in Slurm: {job['JobId']}." in printed
    check(drill, uninterrupted, cost, attempts=2, lost=lost)


def test_time_limit(copy):
    """A job over its limit of a minute is told before; the next attempt is given more."""
    steps = 4 * STEPS
    lengthen(copy, steps)
    driver = copy.start(
        RECORD,
        "--set-resources",
        "train_stage2:slurm_partition=short",
        "train_stage2:runtime=attempt",
        "train_stage2:slurm_extra=--signal=TERM@40",
    )
    copy.finish(driver)
    jobs = [job for job in copy.jobs() if job["Comment"] == COMMENT]
    record = json.loads((copy.path / RECORD).read_text())
    print(f"{len(jobs)} jobs: {', '.join(job['JobState'] for job in jobs)}")
    assert {job["Partition"] for job in jobs} == {"short"}
    assert [job["TimeLimit"] for job in jobs[:2]] == ["00:01:00", "00:02:00"]
    assert {job["JobState"] for job in jobs[:-1]} == {"FAILED"}  # told in time, or it were TIMEOUT
    # On a slow machine a minute may end before the first step, and that attempt leaves no checkpoint.
    assert len(jobs) > 1
    assert record["attempts"] <= len(jobs)
    assert record["steps"] == steps
