"""The report of a failed run: the failed jobs, the end of their logs, how to run one of them again."""

from vlmscale.jobs.failures import FailedJob, format_failures

COMMAND = ["snakemake", "--configfile", "config/my study.yaml", "--cores", "2", "--"]
PROJECTOR = "results/s/runs/a/stage1/projector.safetensors"


def test_names_each_job_and_shows_the_end_of_its_log(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("".join(f"line {i}\n" for i in range(100)) + "error: out of memory\n")
    jobs = [
        FailedJob("train_stage1", [PROJECTOR, "run.json"], [str(log)]),
        FailedJob("collect", ["errors.parquet"], [f"{tmp_path}/none.log"]),
    ]
    text = format_failures(jobs, COMMAND)
    assert f"Failed: train_stage1, {PROJECTOR}\n" in text
    assert "  error: out of memory\n" in text
    assert "  line 81\n" in text
    assert "line 80\n" not in text
    assert "Failed: collect, errors.parquet\n" in text
    assert "none.log: nothing was written" in text


def test_gives_the_command_that_runs_a_job_alone():
    text = format_failures([FailedJob("train_stage1", [PROJECTOR, "run.json"], [])], COMMAND)
    command = "snakemake --configfile 'config/my study.yaml' --cores 2 -- "
    assert f"This job alone: {command}{PROJECTOR}\n" in text


def test_reads_logs_that_are_no_text(tmp_path):
    log = tmp_path / "a.log"
    log.write_bytes(b"\xff\xfe broken\n")
    assert "broken" in format_failures([FailedJob("fit", [], [str(log)])], COMMAND)


def test_a_run_that_failed_without_a_job():
    text = format_failures([], COMMAND)
    assert text == "Fix the cause and run the same command again: what is finished is kept."
