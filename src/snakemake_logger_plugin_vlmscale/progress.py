"""How far a run is and how long it may still take."""

from collections import Counter
from collections.abc import Mapping
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
        """Estimate the seconds until all jobs are done, `at_once` at a time.

        None until half of the waiting jobs are of rules with a finished job. A job takes the mean of its
        rule or, where none of the rule has finished, the mean over rules, but at least as long as one of
        the rule has run.
        """
        # Copies: the panel is drawn in a thread of its own.
        times = dict(self.times)
        running = [(job.rule, now - job.started) for job in list(self.running.values())]
        if not times:
            return None
        means = {rule: fmean(seconds) for rule, seconds in times.items()}
        typical = fmean(means.values())
        for rule, elapsed in running:
            if rule not in times:
                means[rule] = max(means.get(rule, typical), elapsed)
        waiting = self.jobs - Counter(rule for rule, _ in running)
        waiting -= Counter({rule: len(seconds) for rule, seconds in times.items()})
        known = sum(number for rule, number in waiting.items() if rule in times)
        if 2 * known < waiting.total():
            return None  # a guess from rules of other lengths misleads
        rests = [max(0.0, means[rule] - elapsed) for rule, elapsed in running]
        work = sum(rests) + sum(n * means.get(rule, typical) for rule, n in waiting.items())
        jobs = len(running) + waiting.total()
        return max([work / max(1, min(self.at_once, jobs)), *rests])

    def describe(self, now: float) -> list[str]:
        """Return jobs done, time elapsed and, if there is an estimate, time left."""
        parts = [
            f"{self.done} of {self.jobs.total()} jobs",
            f"{format_clock(now - self.began)} elapsed",
        ]
        left = self.seconds_left(now)
        return parts if left is None else [*parts, format_rough(left)]


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


def shorten_reason(reason: str) -> str:
    """Return the first of snakemake's reasons for a job, without the files."""
    return reason.partition(";")[0].partition(":")[0].strip()


def format_plan(planned: Mapping[str, Counter[str]]) -> str:
    """Format one row per rule: its jobs, and the reasons that they would run for."""
    rows = [("jobs", "rule", "why")]
    for rule, reasons in planned.items():
        why = [
            reason if len(reasons) == 1 else f"{reason} ({jobs})"
            for reason, jobs in reasons.most_common()
        ]
        rows.append((str(reasons.total()), rule, ", ".join(why)))
    total = sum(reasons.total() for reasons in planned.values())
    width = max(len(rule) for _, rule, _ in rows)
    lines = [f"{jobs:>6}  {rule:<{width}}  {why}" for jobs, rule, why in rows]
    return "\n".join([*lines, f"{total:>6}  in all, of which none has been run"])
