"""Child processes: a job's heavy work runs apart from the script that snakemake runs."""

import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel

from vlmscale.errors import Stopped, UserError
from vlmscale.jobs.import_server import NO_HUB, run_process
from vlmscale.records.files import atomic_path, modification_time
from vlmscale.records.locks import acquire_lock

_TOLERANCE = 60  # seconds by which clocks of machines may differ
# What usually sends a process these signals.
_SIGNALS: dict[int, str] = {
    signal.SIGKILL: ", perhaps because memory was full",
    signal.SIGBUS: ", perhaps because the disk or /dev/shm was full",
}


def run_module(spec: BaseModel, module: str, what: str, work: Path) -> None:
    """Write `spec` to the folder `work` and run `python -m module` on it, which does `what`.

    Removes `work` on success. Raises UserError when the process fails, or another one does this.
    """
    work.mkdir(parents=True, exist_ok=True)
    with acquire_lock(work / "lock", f"{what}: another process does this in {work}. End it first."):
        command = [sys.executable, "-m", module, str(write_spec(spec, work))]
        run_command(command, what, "Fix the cause and run again.")
    shutil.rmtree(work, ignore_errors=True)


def write_spec(spec: BaseModel, work: Path) -> Path:
    """Write `spec` as JSON to the folder `work`, and return the file."""
    file = work / "spec.json"
    with atomic_path(file) as scratch:
        scratch.write_text(spec.model_dump_json(indent=2) + "\n")
    return file


def refuse_future(sources: Iterable[Path]) -> None:
    """Raise UserError for an input that is newer than now: snakemake would delete what is made from it."""
    for source in sources:
        if (ahead := modification_time(source) - time.time()) > _TOLERANCE:
            raise UserError(
                f"{source} is dated {ahead / 3600:.1f} hours in the future, so snakemake would discard the "
                f"result as older than its input. Set the clock right, or: touch {source}"
            )


def run_command(command: list[str], what: str, cure: str) -> None:
    """Run `command`, which does `what`; its output is this process's.

    Raises UserError, which ends with `cure`, when the command fails (its output says why), and Stopped
    when it was asked to stop.
    """
    print(f"$ {shlex.join(command)}", flush=True)
    # In a log, one line of a progress bar in 5 seconds is enough. Tokenizers would start threads beyond
    # those that snakemake gave the job.
    quiet = {"TQDM_MININTERVAL": "5", "TOKENIZERS_PARALLELISM": "false"}
    status = run_process(command, {**os.environ, **quiet, **NO_HUB})
    if status == Stopped.status:
        raise Stopped(f"{what} was asked to stop. {cure}")
    if status:
        reason = (
            f"status {status}" if status > 0 else f"signal {-status}{_SIGNALS.get(-status, '')}"
        )
        raise UserError(f"{what} ended with {reason}. {cure}")
