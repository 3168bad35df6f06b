"""The folder in which a training keeps its checkpoints until it has ended. Needs no torch."""

import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from vlmscale.errors import UserError
from vlmscale.records.locks import acquire_lock


def lock_folder(work: Path) -> AbstractContextManager[Any]:
    """Keep other processes from training in `work` until the context is left or this process ends."""
    work.mkdir(parents=True, exist_ok=True)
    return acquire_lock(
        work / "lock",
        f"another process is training in {work}, left by an earlier attempt. End it first.",
    )


def discard(work: Path) -> None:
    """Remove the checkpoints of a finished optimisation; a kill leaves no half of one behind.

    The result is there by now: what a network's file system holds back for other processes may stay.
    """
    done = work.with_name(f"{work.name}.done")
    shutil.rmtree(done, ignore_errors=True)
    work.rename(done)
    shutil.rmtree(done, ignore_errors=True)


def remove_leftovers(root: Path, current: Mapping[Path, Path]) -> list[Path]:
    """Remove the checkpoints below `root` that no training will go on from, and return their folders.

    current: folder -> record of each training as it would be started now. Checkpoints of finished ones,
    killed while they were discarded, and those of other code or of runs that a study no longer has, go.
    Folders in which a process is training stay, whatever it trains.
    """
    removed = []
    for mark in sorted(root.glob("**/identity")):
        folder = mark.parent
        if folder in current and not current[folder].exists():
            continue
        try:
            with lock_folder(folder):
                discard(folder)
        except UserError:
            continue  # somebody is training there
        removed.append(folder)
    return removed
