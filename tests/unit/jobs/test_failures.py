"""What is told of a failed run: the failed jobs, the end of their logs, how to run one of them again."""

import pytest

from vlmscale.jobs.failures import failure_report, failures

COMMAND = ["snakemake", "--configfile", "config/my study.yaml", "--cores", "2", "--"]


@pytest.fixture
def log(tmp_path):
    job = tmp_path / "a.log"
    job.write_text("".join(f"line {i}\n" for i in range(100)) + "error: out of memory\n")
    text = f"""\
[Sat Nov 21 14:09:50 2026]
rule train_stage1:
    output: results/s/runs/a/stage1/projector.safetensors
    jobid: 7
    wildcards: run=a
RuleException:
CalledProcessError in file "rules/train.smk", line 26:
Command failed.
[Sat Nov 21 14:09:51 2026]
Error in rule train_stage1:
    message: None
    jobid: 7
    input: data/x, data/y
    output: results/s/runs/a/stage1/projector.safetensors, results/s/runs/a/stage1/run.json
    log: {job} (check log file(s) for error details)
[Sat Nov 21 14:09:52 2026]
Error in rule collect:
    message: None
    jobid: 8
    output: results/s/errors.parquet
    log: {tmp_path}/none.log (check log file(s) for error details)

Trying to restart job 8.
[Sat Nov 21 14:09:53 2026]
Finished jobid: 8 (Rule: collect)
[Sat Nov 21 14:09:54 2026]
Error in rule train_stage2:
    message: SLURM-job '12' failed, SLURM status is: 'TIMEOUT'.
    jobid: 9
    output: results/s/runs/b/stage2/model
    log: {tmp_path}/none.log (check log file(s) for error details)
    external_jobid: 12
"""
    path = tmp_path / "snakemake.log"
    path.write_text(text)
    return path


def test_jobs_that_failed_for_good(log):
    first, second = failures(log.read_text())
    assert (first.rule, second.rule) == ("train_stage1", "train_stage2")
    assert first.outputs[1] == "results/s/runs/a/stage1/run.json"
    assert "TIMEOUT" in second.message


def test_a_job_that_failed_twice_is_told_once_and_one_that_ended_badly_is_told(log):
    text = log.read_text()
    again = text.replace("\nFinished jobid: 8 (Rule: collect)", "")
    rules = [failure.rule for failure in failures(text + again)]
    assert sorted(rules) == ["collect", "train_stage1", "train_stage2"]


def test_the_report(log):
    text = failure_report([log], COMMAND)
    assert "Failed: train_stage1, results/s/runs/a/stage1/projector.safetensors\n" in text
    assert "  error: out of memory\n" in text
    assert "  line 81\n" in text
    assert "line 80\n" not in text
    assert "none.log: nothing was written" in text
    command = "snakemake --configfile 'config/my study.yaml' --cores 2 -- "
    assert f"This job alone: {command}results/s/runs/a/stage1/projector.safetensors\n" in text
    assert "collect" not in text


def test_a_run_that_failed_without_a_job(tmp_path):
    (tmp_path / "empty.log").write_text("nothing\n")
    text = failure_report([tmp_path / "empty.log"], COMMAND)
    assert text == "Fix the cause and run the same command again: what is finished is kept."
