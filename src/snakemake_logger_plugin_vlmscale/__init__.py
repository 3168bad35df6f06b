"""`snakemake --logger vlmscale`: a panel of running jobs and time left, instead of scrolling text.

Of a dry run it prints one row per rule: its jobs, and why they would run.

Every snakemake in this environment imports this plugin before it reads config files and writes its cache.
Both are checked here.
"""

import sys
import time
from collections import Counter
from collections.abc import Mapping
from logging import ERROR, INFO, WARNING, LogRecord
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_vlmscale.cache import provide_cache
from snakemake_logger_plugin_vlmscale.config_files import is_snakemake, refuse_programs
from snakemake_logger_plugin_vlmscale.progress import (
    Job,
    Progress,
    format_clock,
    format_plan,
    shorten_reason,
)

if is_snakemake(sys.argv[0]):
    provide_cache()
    refuse_programs()

# Events that the panel shows. All others are printed in snakemake's words.
_HIDDEN = {
    LogEvent.RUN_INFO,
    LogEvent.WORKFLOW_STARTED,
    LogEvent.JOB_INFO,
    LogEvent.JOB_STARTED,
    LogEvent.JOB_FINISHED,
    LogEvent.GROUP_INFO,
    LogEvent.RESOURCES_INFO,
    LogEvent.PROGRESS,
    LogEvent.RULEGRAPH,
}
_NOISE = ("", "None", "Select jobs to execute...")
# Without a terminal: a line every so many seconds, and for every 20th part of the jobs.
_SECONDS_PER_LINE = 60
_PARTS = 20
_NAMED = 3  # jobs named in such a line


class LogHandler(LogHandlerBase):
    """A live panel on a terminal, a line now and then elsewhere; failures in snakemake's words."""

    # So that snakemake applies its own filter (--quiet) and formatter (--show-failed-logs).
    has_filter = False
    has_formatter = False
    writes_to_stream = True
    writes_to_file = False
    needs_rulegraph = False

    def __post_init__(self) -> None:
        settings = self.common_settings
        self.console = Console(stderr=not settings.stdout, no_color=settings.nocolor or None)
        # Not console.is_terminal, which FORCE_COLOR turns on for a file too.
        self.on_terminal = self.console.file.isatty() and not self.console.is_dumb_terminal
        # --quiet hides the events that progress is counted from.
        self.text_only = bool(settings.quiet)
        self.dry_run = settings.dryrun
        self.planned: dict[str, Counter[str]] = {}  # rule -> reasons of its jobs
        self.now = time.time()  # of the last message
        self.progress = Progress()
        self.live: Live | None = None
        self.last_line = (0.0, -1)  # time, and parts done by then

    def emit(self, record: LogRecord) -> None:
        try:
            self._handle(record)
        except Exception:  # would end the thread that handles all messages
            self.handleError(record)

    def close(self) -> None:
        """Replace the panel by a line on how far the run came. Snakemake calls this more than once."""
        if self.live:
            self.live.stop()
        run, self.progress = self.progress, Progress()
        planned, self.planned = self.planned, {}
        if planned:
            self._print(format_plan(planned))
        for job in run.running.values():
            self._print(f"Started and not finished:\n{job.details}", "yellow")
        if run.jobs:
            self._print(", ".join(run.describe(self.now)[:2]))
        super().close()

    def _handle(self, record: LogRecord) -> None:
        self.now = record.created
        event = getattr(record, "event", None)
        message = self.format(record)
        if self.dry_run and not self.text_only:
            if event is LogEvent.JOB_INFO:
                reasons = self.planned.setdefault(vars(record)["rule_name"], Counter())
                reasons[shorten_reason(vars(record)["reason"])] += 1
            if record.levelno <= INFO:
                return
        elif not self.text_only:
            self._follow(event, vars(record), message)
            if event in _HIDDEN and record.levelno <= INFO:
                return
        if message not in _NOISE:
            styles = {WARNING: "yellow", ERROR: "red"}
            self._print(message, styles.get(record.levelno, ""))

    def _follow(self, event: LogEvent | None, fields: Mapping[str, Any], message: str) -> None:
        match event:
            case LogEvent.RUN_INFO:
                jobs = Counter({k: n for k, n in fields["stats"].items() if k != "total"})
                self.progress = Progress(began=self.now, jobs=jobs)
                if self.on_terminal:
                    self._show_panel()
            case LogEvent.JOB_INFO:
                words = " ".join(f"{name}={value}" for name, value in fields["wildcards"].items())
                job = Job(fields["rule_name"], words, self.now, message)
                self.progress.start(fields["jobid"], job)
                self._print_line()
            case LogEvent.JOB_FINISHED:
                finished = self.progress.finish(fields["job_id"], self.now)
                if finished and self.on_terminal:
                    took = format_clock(self.now - finished.started)
                    self._print(f"{took:>8}  {finished}", "dim")
                self._print_line()
            case LogEvent.JOB_ERROR:
                if failed := self.progress.running.pop(fields["jobid"], None):
                    self._print(failed.details, "yellow")

    def _print(self, message: str, style: str = "") -> None:
        # As Text, since paths may have square brackets, and unwrapped, so that they can be copied.
        self.console.print(Text(message, style), soft_wrap=True)

    def _print_line(self) -> None:
        """Print progress where there is no panel, at most as often as _SECONDS_PER_LINE and _PARTS say."""
        run = self.progress
        part = _PARTS * run.done // max(1, run.jobs.total())
        since, last_part = self.now - self.last_line[0], self.last_line[1]
        if self.on_terminal or not run.running or (since < _SECONDS_PER_LINE and part == last_part):
            return
        self.last_line = (self.now, part)
        names = [str(job) for job in run.running.values()]
        more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
        running = ", ".join([*names[:_NAMED], *more])
        self._print(f"{', '.join(run.describe(self.now))}, running: {running}")

    def _show_panel(self) -> None:
        self.live = Live(
            console=self.console,
            get_renderable=self.draw_panel,
            refresh_per_second=2,
            transient=True,
            # Or rich would redirect what the Snakefile prints into a file to this console.
            redirect_stdout=sys.stdout.isatty(),
        )
        self.live.start()

    def draw_panel(self) -> Panel:
        """Draw the run as one bar, and a row for each running job."""
        now, run = time.time(), self.progress
        done, *times = run.describe(now)
        overall = Table.grid(padding=(0, 2), expand=True)
        overall.add_column(no_wrap=True)
        overall.add_column(ratio=1)
        overall.add_column(no_wrap=True)
        bar = ProgressBar(total=run.jobs.total(), completed=run.done)
        overall.add_row(done, bar, ", ".join(times))
        jobs = Table.grid(padding=(0, 2), expand=True)
        jobs.add_column(no_wrap=True)
        jobs.add_column(no_wrap=True, ratio=1, style="cyan")
        jobs.add_column(no_wrap=True, justify="right")
        for job in list(run.running.values()):
            jobs.add_row(job.rule, job.wildcards, format_clock(now - job.started))
        return Panel(Group(overall, jobs))
