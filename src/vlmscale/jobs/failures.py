"""The report at the end of a failed run."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_LINES = 20  # of a log that are shown


@dataclass(frozen=True)
class FailedJob:
    """A job that failed, and did not succeed when it was tried again."""

    rule: str
    outputs: Sequence[str]
    logs: Sequence[str]


def format_failures(jobs: Iterable[FailedJob], command: Sequence[str]) -> str:
    """Describe each failed job: its log's end, and how to run it by `command`, a snakemake call."""
    parts = [_describe(job, command) for job in jobs]
    parts.append("Fix the cause and run the same command again: what is finished is kept.")
    return "\n\n".join(parts)


def _describe(job: FailedJob, command: Sequence[str]) -> str:
    lines = [", ".join([f"Failed: {job.rule}", *job.outputs[:1]])]
    for name in job.logs:
        log = Path(name)
        text = log.read_text(errors="replace").splitlines() if log.is_file() else []
        lines.append(f"{name}:" if text else f"{name}: nothing was written")
        lines += [f"  {line}" for line in text[-_LINES:]]
    if job.outputs:
        lines.append(f"This job alone: {shlex.join([*command, job.outputs[0]])}")
    return "\n".join(lines)
