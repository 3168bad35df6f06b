"""How far a run is and how long it may still take."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean


@dataclass(frozen=True)
class Job:
    """A job that has started, with what is to be printed of it should it fail."""

    rule: str
    wildcards: str
    started: float
    details: str = ""

    def __str__(self) -> str:
        return f"{self.rule} {self.wildcards}".rstrip()


@dataclass
class Progress:
    """The jobs of a run by rule: all of them, those running by id, the times of the finished ones."""

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
        # Not what runs at any moment: that drops between the end of a job and the next one's start.
        self.at_once = len(self.running)

    def finish(self, jobid: int, now: float) -> Job | None:
        if job := self.running.pop(jobid, None):
            self.times.setdefault(job.rule, []).append(now - job.started)
        return job

    def left(self, now: float) -> float | None:
        """Seconds left, None while nothing has finished."""
        # Copies: the panel is drawn in a thread of its own.
        running, times = list(self.running.values()), dict(self.times)
        waiting = self.jobs - Counter(job.rule for job in running)
        waiting -= Counter({rule: len(seconds) for rule, seconds in times.items()})
        elapsed = [(job.rule, now - job.started) for job in running]
        return time_left(waiting, elapsed, times, self.at_once)

    def text(self, now: float) -> list[str]:
        """Jobs done, time elapsed and, once it can be told, time left."""
        parts = [f"{self.done} of {self.jobs.total()} jobs", f"{clock(now - self.began)} elapsed"]
        left = self.left(now)
        return parts if left is None else [*parts, rough(left)]


def time_left(
    waiting: Mapping[str, int],
    running: Sequence[tuple[str, float]],
    times: Mapping[str, Sequence[float]],
    at_once: int,
) -> float | None:
    """Seconds until all jobs are done, with `at_once` of them running; None while none has finished.

    `waiting` counts the jobs of a rule not yet started, `running` has the rule and the seconds of each
    that has, `times` the seconds of a rule's finished jobs. A job takes the mean of its rule. Where none
    of a rule has finished, it takes the mean over rules, or what one has already run for if that is more.
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


def clock(seconds: float) -> str:
    """9:12, or 1:09:12 from an hour on."""
    minutes, second = divmod(max(0, int(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def rough(seconds: float) -> str:
    """A time left in words, no more exact than it is known."""
    if seconds < 60:
        return "less than a minute left"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min left"
    return f"about {seconds / 3600:.1f} h left"
