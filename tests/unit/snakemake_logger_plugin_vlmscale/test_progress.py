"""`--logger vlmscale`: the time left, and what becomes of the messages of a run."""

import io
import logging
import logging.handlers
import sys
from collections import Counter

import pytest
from rich.console import Console
from snakemake.logging import LoggerManager
from snakemake.settings.enums import Quietness
from snakemake.settings.types import OutputSettings
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

from snakemake_logger_plugin_vlmscale import LogHandler
from snakemake_logger_plugin_vlmscale.progress import Job, Progress, format_clock, format_rough

NO_FILES = {"input": [], "output": [], "benchmark": None, "shellcmd": None, "indent": False}
RUN = {"run": "d36__tokenpacker__v4__s0"}
ROW = "train_stage2 run=d36__tokenpacker__v4__s0"


class Run:
    """A run of snakemake as its logger sees it, with a format_clock of its own."""

    def __init__(self, **settings):
        self.logger = logging.Logger("run")
        self.now = 1000.0
        self.logger.addFilter(self._stamp)
        settings = OutputSettings(**settings)
        self.manager = LoggerManager(self.logger, settings)
        # Fed directly, with what snakemake gives a plugin: the queue would reorder nothing.
        self.handler = LogHandler(settings, None)
        self.handler.addFilter(self.manager._default_filter())
        self.handler.setFormatter(self.manager._default_formatter())
        queue = logging.handlers.QueueHandler(None)
        queue.enqueue = self.handler.handle
        self.logger.handlers = [queue]

    def _stamp(self, record):
        record.created = self.now
        return True

    def tell(self, event, message=None, level=logging.INFO, **fields):
        self.logger.log(level, message, extra={"event": event, **fields})

    def stats(self, **jobs):
        self.tell(LogEvent.RUN_INFO, stats={**jobs, "total": sum(jobs.values())})

    def start(self, jobid, rule="train_stage2", wildcards=RUN, reason="Missing output"):
        fields = {**NO_FILES, "log": [], "local": False, "is_checkpoint": False, "rule_msg": None}
        fields |= {"reason": reason, "priority": 0, "threads": 1, "resources": {}}
        names = {"jobid": jobid, "rule_name": rule, "wildcards": wildcards}
        self.tell(LogEvent.JOB_INFO, **names, **fields)
        self.tell(LogEvent.SHELLCMD, "Shell command: None", shellcmd=None)

    def finish(self, jobid):
        self.tell(LogEvent.JOB_FINISHED, f"Finished jobid: {jobid}", job_id=jobid)
        self.tell(LogEvent.PROGRESS, done=1, total=2)

    def fail(self, jobid, log, rule="train_stage2"):
        fields = {**NO_FILES, "log": [str(log)], "conda_env": None, "rule_msg": "out of memory"}
        names = {"jobid": jobid, "rule_name": rule}
        error = f"Error in rule {rule}, jobid: {jobid}"
        self.tell(LogEvent.JOB_ERROR, error, logging.ERROR, aux={}, **names, **fields)

    def text(self, capsys):
        return capsys.readouterr().err


def a_terminal(monkeypatch):
    """Make stderr, until the test ends, a terminal 90 columns wide that keeps what it was sent."""
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "90")
    return screen


def estimate(waiting, running, times, at_once):
    """Estimate the seconds left, from jobs by rule, (rule, seconds so far) and seconds of finished jobs."""
    jobs = Counter(waiting) + Counter(rule for rule, _ in running)
    jobs += Counter({rule: len(seconds) for rule, seconds in times.items()})
    started = {i: Job(rule, "", -elapsed) for i, (rule, elapsed) in enumerate(running)}
    return Progress(0.0, jobs, started, times, at_once).seconds_left(0.0)


def test_nothing_is_estimated_before_a_job_has_finished():
    assert estimate({"fit": 3}, [("fit", 50.0)], {}, 1) is None


def test_each_rule_counts_with_its_own_mean():
    assert estimate({"fit": 2, "draw": 3}, [], {"fit": [50, 70], "draw": [10]}, 1) == 150


def test_a_rule_without_finished_jobs_counts_with_the_mean_over_rules():
    times = {"fit": [60.0] * 9, "draw": [20.0]}
    assert estimate({"new": 2, "fit": 2}, [], times, 1) == 200
    assert estimate({"new": 2, "fit": 2}, [("new", 10)], times, 1) == 230
    # One of them has run for longer already: the others will not be faster than that.
    assert estimate({"new": 2, "fit": 2}, [("new", 100)], times, 1) == 320


def test_nothing_is_estimated_from_other_rules_for_most_of_the_jobs():
    assert estimate({"train": 3, "fit": 2}, [], {"fit": [60.0]}, 1) is None
    assert estimate({"train": 2, "fit": 2}, [], {"fit": [60.0]}, 1) == 240


def test_what_has_elapsed_is_subtracted_and_never_below_nothing():
    assert estimate({"fit": 1}, [("fit", 20.0)], {"fit": [60.0]}, 1) == 100
    assert estimate({"fit": 1}, [("fit", 90.0)], {"fit": [60.0]}, 1) == 60


def test_jobs_at_once_share_the_work_but_no_job_is_split():
    times = {"fit": [60.0], "draw": [2.0]}
    assert estimate({"fit": 2}, [("fit", 0), ("fit", 0)], times, 2) == 120
    assert estimate({}, [("fit", 0), ("draw", 0)], times, 2) == 60
    assert estimate({"fit": 1}, [], times, 8) == 60
    assert estimate({"fit": 2}, [], times, 0) == 120


def test_nothing_left_takes_no_time():
    assert estimate({}, [], {"fit": [60.0]}, 2) == 0


def test_progress_counts_jobs_and_remembers_how_many_run_at_once():
    run = Progress(began=0.0)
    run.jobs.update(fit=4)
    for jobid in (1, 2):
        run.start(jobid, Job("fit", "", 0.0))
    run.finish(1, 60.0)
    assert (run.done, run.at_once) == (1, 2)
    assert run.seconds_left(60.0) == 60  # one about to end, two waiting, two at once
    run.running.pop(2)  # failed: it is to be done again
    assert run.seconds_left(60.0) == 90
    assert run.finish(7, 60.0) is None


@pytest.mark.parametrize(
    ("seconds", "shown", "words"),
    [
        (8, "0:08", "less than a minute left"),
        (552, "9:12", "about 9 min left"),
        (4152, "1:09:12", "about 69 min left"),
        (9000, "2:30:00", "about 2.5 h left"),
    ],
)
def test_times_for_people(seconds, shown, words):
    assert (format_clock(seconds), format_rough(seconds)) == (shown, words)


def test_without_a_terminal_a_line_says_how_far_the_run_is(capsys):
    run = Run()
    run.stats(train_stage2=100)
    run.start(0)
    assert run.text(capsys) == f"0 of 100 jobs, 0:00 elapsed, running: {ROW}\n"
    for jobid in range(5):  # seven seconds each: silence until a twentieth of the jobs is done
        assert run.text(capsys) == ""
        run.now += 7
        run.finish(jobid)
        run.start(jobid + 1)
    line = f"5 of 100 jobs, 0:35 elapsed, about 11 min left, running: {ROW}\n"
    assert run.text(capsys) == line
    run.now += 61  # or a minute has passed
    run.finish(5)
    run.start(6)
    assert run.text(capsys).startswith("6 of 100 jobs, 1:36 elapsed, about 25 min left")
    run.handler.close()
    assert run.text(capsys).endswith("6 of 100 jobs, 1:36 elapsed\n")
    run.handler.close()  # as snakemake does
    assert run.text(capsys) == ""


def test_a_line_names_a_few_of_many_jobs(capsys):
    run = Run()
    run.stats(fit=40)
    for jobid in range(5):
        run.start(jobid, "fit", {"n": str(jobid)})
    run.now += 60
    run.finish(0)
    assert "running: fit n=1, fit n=2, fit n=3, 1 more" in run.text(capsys)


@pytest.mark.parametrize("where", ["terminal", "file"])
def test_a_failure_is_told_as_snakemake_tells_it(where, monkeypatch, tmp_path, capsys):
    screen = a_terminal(monkeypatch) if where == "terminal" else None
    log = tmp_path / "job.log"
    log.write_text("[bold]RuntimeError[/bold]: " + 30 * "far too long " + "\n")
    run = Run(show_failed_logs=True, nocolor=True)
    run.stats(train_stage2=2)
    run.start(7)
    run.tell(LogEvent.ERROR, "RuleException:\nCalledProcessError in file x", logging.ERROR)
    run.fail(7, log)
    run.tell(None, "Trying to restart job 7.")
    run.tell(None, "Select jobs to execute...")
    run.tell(None, "At least one job did not complete successfully.", logging.ERROR)
    run.handler.close()
    text = screen.getvalue() if screen else run.text(capsys)
    for words in (
        "CalledProcessError in file x",
        "rule train_stage2:\n",
        f"wildcards: run={RUN['run']}",
        "reason: Missing output",
        "Error in rule train_stage2:\n    message: out of memory\n    jobid: 7\n",
        f"log: {log} (check log file(s) for error details)\nLogfile {log}:\n",
        log.read_text(),
        "Trying to restart job 7.\n",
        "At least one job did not complete successfully.\n",
        "0 of 2 jobs, 0:00 elapsed\n",
    ):
        assert words in text
    assert "Select jobs" not in text
    assert "None" not in text


def test_jobs_that_were_cut_off_are_named_at_the_end(capsys):
    run = Run()
    run.stats(train_stage2=1)
    run.start(7)
    run.text(capsys)
    run.handler.close()
    text = run.text(capsys)
    assert text.startswith("Started and not finished:")
    assert f"wildcards: run={RUN['run']}" in text


def test_on_a_terminal_a_panel_shows_what_runs(monkeypatch):
    terminal = a_terminal(monkeypatch)
    run = Run(nocolor=True)
    run.stats(train_stage2=3)
    try:
        run.start(0)
        run.now += 192
        run.finish(0)
        assert f"    3:12  {ROW}\x1b[0m\n" in terminal.getvalue()
        run.start(1)
        drawn = Console(file=io.StringIO(), width=90)
        drawn.print(run.handler.draw_panel())
        panel = drawn.file.getvalue()
    finally:
        run.handler.close()
    assert "1 of 3 jobs" in panel
    assert "left" in panel
    assert ROW.replace(" ", "  ") in panel
    assert "jobs, 3:12 elapsed, running" not in terminal.getvalue()  # lines are for files
    assert terminal.getvalue().endswith("1 of 3 jobs, 3:12 elapsed\n")


def test_a_dry_run_is_a_row_for_each_rule(capsys):
    run = Run(dryrun=True)
    run.tell(LogEvent.RUN_INFO, "Job stats:\nfit 1", stats={"fit": 1, "total": 1})
    run.start(0, "train_llm", {"llm": "a"}, "Missing output files: x, y; Updated input files: z")
    run.start(1, "train_llm", {"llm": "b"}, "Missing output files: v")
    run.start(2, "train_llm", {"llm": "c"}, "Params have changed since last execution: spec; x")
    run.start(3, "fit", {}, "Input files updated by another job: errors.parquet")
    run.tell(None, "a warning", logging.WARNING)
    run.handler.close()
    assert (
        run.text(capsys)
        == """a warning
  jobs  rule       why
     3  train_llm  Missing output files (2), Params have changed since last execution (1)
     1  fit        Input files updated by another job
     4  in all, of which none has been run
"""
    )


def test_quiet_runs_are_snakemakes_own_text(monkeypatch):
    terminal = a_terminal(monkeypatch)
    run = Run(quiet={Quietness.HOST})
    run.tell(LogEvent.RUN_INFO, "Job stats:\nfit 1", stats={"fit": 1, "total": 1})
    run.start(0, "fit", {})
    run.handler.close()
    assert "Job stats:\nfit 1\n" in terminal.getvalue()
    assert "rule fit:\n" in terminal.getvalue()
    assert "of 1 jobs" not in terminal.getvalue()


def test_snakemake_finds_the_plugin_and_a_bad_message_does_not_stop_it(capsys):
    logger = logging.Logger("run")
    manager = LoggerManager(
        logger, OutputSettings(log_handler_settings={"vlmscale": LogHandlerSettingsBase()})
    )
    logger.info("broken", extra={"event": LogEvent.JOB_FINISHED})
    logger.error("still here")
    manager.stop()
    text = capsys.readouterr().err
    assert "KeyError: 'job_id'" in text
    assert text.endswith("still here\n")
