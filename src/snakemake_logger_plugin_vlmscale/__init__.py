"""`snakemake --logger vlmscale`: what is running and how long is left, in place of a growing text."""

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

from snakemake_logger_plugin_vlmscale.progress import Job, Progress, clock

# What the panel shows better, or nobody misses. Everything else is printed as snakemake words it.
_WITHHELD = {
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
_LINE_EVERY = 60  # seconds, where there is no terminal
_LINES = 20  # or whenever another of so many parts of the jobs is done
_NAMED = 3  # jobs that such a line names


class LogHandler(LogHandlerBase):
    """A live panel on a terminal, now and then a line elsewhere; failures as snakemake tells them."""

    # Snakemake then gives its own filter (--quiet) and its own wording (--show-failed-logs).
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
        # A dry run is all text, and what --quiet hides is what progress is counted from.
        self.text_only = settings.dryrun or bool(settings.quiet)
        self.now = time.time()  # of the last message
        self.progress = Progress()
        self.live: Live | None = None
        self.last_line = (0.0, -1)  # when, and how many parts were done

    def emit(self, record: LogRecord) -> None:
        try:
            self._handle(record)
        except Exception:  # it would end the thread that all messages come through
            self.handleError(record)

    def close(self) -> None:
        """Remove the panel; leave how far the run came. Snakemake calls this more than once."""
        if self.live:
            self.live.stop()
        run, self.progress = self.progress, Progress()
        for job in run.running.values():
            self._print(f"Started and not finished:\n{job.details}", "yellow")
        if run.jobs:
            self._print(", ".join(run.text(self.now)[:2]))
        super().close()

    def _handle(self, record: LogRecord) -> None:
        self.now = record.created
        event = getattr(record, "event", None)
        message = self.format(record)
        if not self.text_only:
            self._follow(event, vars(record), message)
            if event in _WITHHELD and record.levelno <= INFO:
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
                    took = clock(self.now - finished.started)
                    self._print(f"{took:>8}  {finished}", "dim")
                self._print_line()
            case LogEvent.JOB_ERROR:
                if failed := self.progress.running.pop(fields["jobid"], None):
                    self._print(failed.details, "yellow")

    def _print(self, message: str, style: str = "") -> None:
        # As Text and unwrapped: paths have square brackets and are there to be copied.
        self.console.print(Text(message, style), soft_wrap=True)

    def _print_line(self) -> None:
        """Say how far the run is where no panel does, unless it has just been said."""
        run = self.progress
        part = _LINES * run.done // max(1, run.jobs.total())
        since, last_part = self.now - self.last_line[0], self.last_line[1]
        if self.on_terminal or not run.running or (since < _LINE_EVERY and part == last_part):
            return
        self.last_line = (self.now, part)
        names = [str(job) for job in run.running.values()]
        more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
        running = ", ".join([*names[:_NAMED], *more])
        self._print(f"{', '.join(run.text(self.now))}, running: {running}")

    def _show_panel(self) -> None:
        self.live = Live(
            console=self.console,
            get_renderable=self.panel,
            refresh_per_second=2,
            transient=True,
            # Rich would send what the Snakefile prints to this console, and so out of its file.
            redirect_stdout=sys.stdout.isatty(),
        )
        self.live.start()

    def panel(self) -> Panel:
        """The run as one bar, and a row for each running job."""
        now, run = time.time(), self.progress
        done, *times = run.text(now)
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
            jobs.add_row(job.rule, job.wildcards, clock(now - job.started))
        return Panel(Group(overall, jobs))
