"""How far a run is and how long it may still take."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean


@dataclass(frozen=True)
class Job:
    """A job that has started; `details` are printed if it fails."""

    rule: str
    wildcards: str
    started: float
    details: str = ""

    def __str__(self) -> str:
        return f"{self.rule} {self.wildcards}".rstrip()


@dataclass
class Progress:
    """The jobs of a run by rule, those running by id, and the times of finished ones."""

    began: float = 0.0
    jobs: Counter[str] = field(default_factory=Counter)
    running: dict[int, Job] = field(default_factory=dict)
    times: dict[str, list[float]] = field(default_factory=dict)
    at_once: int = 1

    @property
    def done(self) -> int:
        return sum(map(len, list(self.times.values())))

    def start(self, jobid: int, job: Job) -> None:
        self.running[jobid] = job
        # Updated at starts alone: between the end of a job and the next start fewer run.
        self.at_once = len(self.running)

    def finish(self, jobid: int, now: float) -> Job | None:
        if job := self.running.pop(jobid, None):
            self.times.setdefault(job.rule, []).append(now - job.started)
        return job

    def seconds_left(self, now: float) -> float | None:
        """Estimate the seconds left; None while nothing has finished."""
        # Copies: the panel is drawn in a thread of its own.
        running, times = list(self.running.values()), dict(self.times)
        waiting = self.jobs - Counter(job.rule for job in running)
        waiting -= Counter({rule: len(seconds) for rule, seconds in times.items()})
        elapsed = [(job.rule, now - job.started) for job in running]
        return estimate_seconds_left(waiting, elapsed, times, self.at_once)

    def describe(self, now: float) -> list[str]:
        """Return jobs done, time elapsed and, if there is an estimate, time left."""
        parts = [
            f"{self.done} of {self.jobs.total()} jobs",
            f"{format_clock(now - self.began)} elapsed",
        ]
        left = self.seconds_left(now)
        return parts if left is None else [*parts, format_rough(left)]


def estimate_seconds_left(
    waiting: Mapping[str, int],
    running: Sequence[tuple[str, float]],
    times: Mapping[str, Sequence[float]],
    at_once: int,
) -> float | None:
    """Estimate the seconds until all jobs are done, `at_once` at a time; None while none has finished.

    waiting: jobs not yet started, by rule. running: rule and seconds so far of each started job. times:
    seconds of finished jobs, by rule. A job takes the mean of its rule or, where none of the rule has
    finished, the mean over rules, and at least what one of the rule has run for.
    """
    if not times:
        return None
    means = {rule: fmean(seconds) for rule, seconds in times.items()}
    typical = fmean(means.values())
    for rule, elapsed in running:
        if rule not in times:
            means[rule] = max(means.get(rule, typical), elapsed)
    rests = [max(0.0, means[rule] - elapsed) for rule, elapsed in running]
    work = sum(rests) + sum(n * means.get(rule, typical) for rule, n in waiting.items())
    jobs = len(running) + sum(waiting.values())
    return max([work / max(1, min(at_once, jobs)), *rests])


def format_clock(seconds: float) -> str:
    """Format as 9:12, and as 1:09:12 from an hour on."""
    minutes, second = divmod(max(0, int(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def format_rough(seconds: float) -> str:
    """Word a time left, rounded to what an estimate is worth."""
    if seconds < 60:
        return "less than a minute left"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min left"
    return f"about {seconds / 3600:.1f} h left"
