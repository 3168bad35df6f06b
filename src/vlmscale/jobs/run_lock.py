"""Remove the locks that a killed snakemake left, so that the same command goes on.

Snakemake's lock is files without a holder. So each snakemake that reads this workflow first takes a lock of
its own in `.snakemake/runs`, which ends with the process, however it ends.
"""

import atexit
import os
import socket
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from vlmscale.errors import UserError
from vlmscale.records.locks import acquire_lock

_HELD: list[AbstractContextManager[Any]] = []  # until this process ends


def hold_run(folder: Path) -> bool:
    """Hold a lock in `folder`, `.snakemake`, while this process lives; return whether another run locks it.

    Snakemake's locks are removed if no other process holds such a lock, and one that did was killed. Where
    the file system has no locks, processes of other machines count as living.
    """
    folder = folder.absolute()
    runs, locks = folder / "runs", folder / "locks"
    mine = runs / f"{socket.gethostname()}-{os.getpid()}.lock"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        _HELD.append(acquire_lock(mine, "a process has the id of this one"))
    except (OSError, UserError):
        return any(
            locks.glob("*")
        )  # a folder that cannot be written: snakemake says so, or only plans
    atexit.register(mine.unlink, missing_ok=True)
    others = [file for file in runs.glob("*.lock") if file != mine]
    killed = [file for file in others if not _is_held(file)]
    if killed and len(killed) == len(others):
        began = min(file.stat().st_mtime for file in killed)
        for lock in locks.glob("*"):
            if lock.stat().st_mtime >= began:
                lock.unlink()
        for file in killed:
            file.unlink(missing_ok=True)
    return any(locks.glob("*"))


def _is_held(file: Path) -> bool:
    with suppress(UserError), acquire_lock(file, "held"):
        return False
    return True
