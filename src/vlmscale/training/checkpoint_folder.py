"""The folder that holds a training's checkpoints until its result exists. Needs no torch."""

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
    """Remove the checkpoints of a finished training; a kill leaves no incomplete checkpoint behind.

    The result exists by now, so files that a network file system holds back for other processes may stay.
    """
    done = work.with_name(f"{work.name}.done")
    shutil.rmtree(done, ignore_errors=True)
    work.rename(done)
    shutil.rmtree(done, ignore_errors=True)


def remove_leftovers(root: Path, current: Mapping[Path, Path]) -> list[Path]:
    """Remove the checkpoints below `root` that no training will resume from, and return their folders.

    current: folder -> record of each training as it would start now. Removes checkpoints of trainings
    that were killed after their result, of outdated code, and of runs that the study no longer has.
    Keeps folders in which a process is training.
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
            continue  # a process is training there
        removed.append(folder)
    return removed
