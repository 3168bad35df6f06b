"""`snakemake --profile slurm`: jobs ask for what their cell needs, results are those of a local run."""

import json
import signal

import pandas as pd
import yaml

from tests.slurm.study import OUT

ON_GPU = ("train_tower", "train_llm", "train_stage1", "train_stage2", "evaluate_cell")
TABLES = ("errors", "samples", "laws", "paired", "verdicts")


def rules(study):
    """{rule: jobs submitted}."""
    found = {}
    for comment in study.submitted():
        rule = comment.removeprefix("rule_").partition("_wildcards_")[0]
        found[rule] = found.get(rule, 0) + 1
    return found


def test_cells_are_jobs_of_slurm_and_what_joins_them_is_not(finished):
    cells = pd.read_csv(finished.path / OUT / "cells.csv")
    assert len(cells) == 4
    assert rules(finished) == {
        "generate_split": 5,
        "train_tokenizer": 1,
        "train_tower": 1,
        "train_llm": 2,
        "train_stage1": cells["run"].nunique(),
        "train_stage2": cells["run"].nunique(),
        "evaluate_cell": len(cells),
    }
    assert (finished.path / OUT / "figures/mlp_ocr/fig1.pdf").exists()


def test_jobs_of_a_tiny_study_ask_for_one_gpu_where_they_use_it(finished):
    for comment, job in finished.submitted().items():
        gpu = any(rule in comment for rule in ON_GPU)
        assert job.get("TresPerJob") == ("gres:gpu:1" if gpu else None), comment
        assert job["JobState"] == "COMPLETED"
        assert job["NumNodes"] == "1"
        assert job["TimeLimit"] in (("00:31:00", "00:30:00") if gpu else ("01:00:00",))
        assert job["MinMemoryNode"] in (("12000M", "12001M") if gpu else ("2000M",))
        assert job["CPUs/Task"] == ("8" if gpu else "1")


def test_tables_are_those_of_a_local_run_bit_for_bit(finished, locally):
    for table in TABLES:
        file = f"{OUT}/{table}.parquet"
        assert (finished.path / file).read_bytes() == (locally.path / file).read_bytes(), table


# GPUs, nodes, tasks a node, cores a task of the paper's LLMs on nodes of eight GPUs of 80 GB. With all patches
# time decides, with a single token memory does.
PAPER = {
    ("stage1", "0.5B__mlp__v576"): (1, 1, 0, 8),
    ("stage1", "7B__mlp__v576"): (4, 1, 0, 32),
    ("stage1", "14B__mlp__v576"): (8, 1, 0, 64),
    ("stage2", "0.5B__quecc__v1"): (1, 1, 0, 8),
    ("stage2", "4B__quecc__v1"): (2, 1, 0, 16),
    ("stage2", "7B__quecc__v1"): (4, 1, 0, 32),
    ("stage2", "14B__quecc__v1"): (8, 1, 0, 64),
    ("stage2", "14B__quecc__v144"): (16, 2, 8, 8),
}


def test_every_training_of_the_papers_study_asks_for_its_gpus(copy):
    """Its jobs wait in the queue here: the nodes are drained. Empty files stand for what they would read."""
    study, out = yaml.safe_load((copy.path / "config/paper.yaml").read_text()), "results/paper"
    (copy.path / "study.yaml").write_text(yaml.safe_dump(study))
    folders = ["data/stage1", "data/stage2", *(f"backbones/{b}" for b in ("tower", *study["llms"]))]
    for folder in folders:
        (copy.path / out / folder).mkdir(parents=True)
    runs = {key: f"Qwen1.5-{key[1]}__s0" for key in PAPER}
    for stage, cell in PAPER:
        if stage == "stage2":
            start = copy.path / out / "runs" / runs[stage, cell] / "stage1"
            start.mkdir(parents=True)
            (start / "projector.safetensors").touch()
    slurm = copy.cluster
    slurm.drain()
    try:
        targets = [f"{out}/runs/{run}/{stage}/run.json" for (stage, _), run in runs.items()]
        driver = copy.start(*targets, "--jobs", str(len(PAPER)))
        slurm.wait_for(lambda: len(copy.submitted()) == len(PAPER), "jobs")
        jobs = copy.submitted()
        driver.send_signal(signal.SIGINT)
        assert driver.wait(60)
        assert not slurm.queue()  # an interrupted driver cancels its jobs
    finally:
        slurm.cancel()
        slurm.resume()
    for (stage, cell), (gpus, nodes, tasks, cores) in PAPER.items():
        job = jobs[f"rule_train_{stage}_wildcards_{runs[stage, cell]}"]
        assert job["TresPerJob"] == f"gres:gpu:{gpus}", (stage, cell)
        assert job["NumNodes"] == f"{nodes}-{nodes}"
        assert job["NtasksPerN:B:S:C"] == f"{tasks}:0:*:*"
        assert job["CPUs/Task"] == str(cores)


def test_a_new_method_submits_its_cells_and_no_others(copy):
    copy.edit(
        "study.yaml",
        "\ngrid:\n",
        "\ngrid:\n  - {methods: [avgpool], llms: [d16], visual_tokens: [4], seeds: [0]}\n",
    )
    assert copy.submitted() == {}  # the study's own jobs ran in another checkout
    copy.finish(copy.start(f"{OUT}/verdicts.parquet"))
    cell = "d16__avgpool__v4__s0"
    rules = ("train_stage1", "train_stage2", "evaluate_cell")
    assert set(copy.submitted()) == {f"rule_{rule}_wildcards_{cell}" for rule in rules}
    errors = pd.read_parquet(copy.path / OUT / "errors.parquet")
    assert cell in set(errors["cell"])


def test_a_training_on_two_nodes(copy):
    """The machines are none of a result's business: changing them reruns nothing."""
    record = f"{OUT}/runs/d32__mlp__v36__s0/stage2/run.json"
    # So short that this training takes two GPUs to end in time.
    copy.edit("study.yaml", "\ngrid:\n", "\ncluster: {gpus_per_node: 1, hours: 5.0e-9}\ngrid:\n")
    assert "Nothing to be done" in copy.local("-n", record)
    (copy.path / record).unlink()
    copy.finish(copy.start(record))
    (job,) = copy.jobs()
    assert (job["TresPerJob"], job["NumNodes"]) == ("gres:gpu:2", "2")
    assert json.loads((copy.path / record).read_text())["processes"] == 2
