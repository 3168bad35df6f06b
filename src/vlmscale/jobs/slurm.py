"""Jobs that a killed snakemake left in Slurm: they would write to the files of the next run."""

import subprocess
import time
from collections.abc import Collection, Iterable
from pathlib import Path

from vlmscale.errors import UserError

# Seconds until SIGTERM is sent again: a job that is just starting misses the first one.
_AGAIN = 15


def make_comment(rule: str, wildcards: Iterable[str]) -> str:
    """Return the comment that snakemake's executor gives a job in Slurm."""
    values = "_".join(wildcards).replace("/", "_")
    return f"rule_{rule}" + (f"_wildcards_{values}" if values else "")


def find_leftover_jobs(listing: str, folder: Path, comments: Collection[str]) -> dict[str, str]:
    """Return {id: state} of the jobs in squeue's listing with folder `folder` and one of `comments`."""
    rows = (line.split("|", 3) for line in listing.splitlines())
    return {
        job: state
        for job, state, place, comment in rows
        if Path(place) == folder and comment in comments
    }


def end_leftover_jobs(folder: Path, comments: Collection[str], *, patience: int = 600) -> list[str]:
    """End the user's jobs in `folder` with one of `comments`; return their ids when all have ended.

    Running jobs get SIGTERM, on which a training saves a checkpoint, and are cancelled after `patience`
    seconds. Pending jobs are cancelled at once. Raises UserError when Slurm does not answer.
    """
    found: set[str] = set()
    seconds = 0
    while left := find_leftover_jobs(_squeue(), folder, comments):
        found |= set(left)
        waiting = [job for job, state in left.items() if state == "PENDING" or seconds > patience]
        if waiting:
            subprocess.run(["scancel", *waiting], check=False)
        if seconds % _AGAIN == 0:
            subprocess.run(["scancel", "--signal=TERM", "--state=RUNNING", *left], check=False)
        time.sleep(1)
        seconds += 1
    return sorted(found)


def _squeue() -> str:
    command = ["squeue", "--me", "--noheader", "--format=%i|%T|%Z|%k"]  # id, state, folder, comment
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"squeue failed: {done.stderr.strip()}. Check that Slurm is up.")
    return done.stdout
