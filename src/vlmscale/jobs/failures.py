"""Which jobs of a run failed, as snakemake's log tells it: what an `onerror` hook is given."""

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_ERROR = re.compile(r"^ *Error in rule (?P<rule>\S+):\n(?P<fields>(?: {4,}\S.*\n)+)", re.M)
_FINISHED = re.compile(r"^Finished jobid: (\d+)\b", re.M)
_LINES = 20  # of a log that are shown


@dataclass(frozen=True)
class Failure:
    """A job that failed, and did not succeed when it was tried again."""

    rule: str
    message: str
    outputs: tuple[str, ...]
    logs: tuple[str, ...]


def failures(text: str) -> list[Failure]:
    """The failed jobs in the text of a snakemake log, each once."""
    last = {}
    for error in _ERROR.finditer(text):
        fields = dict(re.findall(r"^ {4}(\w+): (.*)$", error["fields"], re.M))
        logs = fields.get("log", "").removesuffix(" (check log file(s) for error details)")
        failure = Failure(
            error["rule"],
            fields.get("message", "None"),
            _paths(fields.get("output", "")),
            _paths(logs),
        )
        last[fields.get("jobid")] = (error.end(), failure)
    finished = {match[1]: match.start() for match in _FINISHED.finditer(text)}
    return [failure for job, (at, failure) in last.items() if finished.get(str(job), -1) < at]


def failure_report(logs: Iterable[Path], command: Sequence[str]) -> str:
    """What to tell of a run that failed: every failed job, the end of its log, how to run it alone.

    logs: of snakemake. command: the snakemake command without targets.
    """
    found = [failure for log in logs for failure in failures(log.read_text())]
    parts = [_told(failure, command) for failure in found]
    # Finished jobs are kept, and trainings go on from their checkpoints: that is worth saying at the end.
    parts.append("Fix the cause and run the same command again: what is finished is kept.")
    return "\n\n".join(parts)


def _told(failure: Failure, command: Sequence[str]) -> str:
    lines = [f"Failed: {failure.rule}" + (f", {failure.outputs[0]}" if failure.outputs else "")]
    if failure.message != "None":
        lines.append(failure.message)
    for name in failure.logs:
        log = Path(name)
        text = log.read_text(errors="replace").splitlines() if log.is_file() else []
        lines.append(f"{name}:" if text else f"{name}: nothing was written")
        lines += [f"  {line}" for line in text[-_LINES:]]
    if failure.outputs:
        lines.append(f"This job alone: {shlex.join([*command, failure.outputs[0]])}")
    return "\n".join(lines)


def _paths(text: str) -> tuple[str, ...]:
    return tuple(path for path in text.split(", ") if path)
