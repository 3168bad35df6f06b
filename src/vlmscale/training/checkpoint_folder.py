"""The folder that holds a training's checkpoints until its result exists. Needs no torch."""

import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from typing import Any

from vlmscale.errors import UserError
from vlmscale.records.files import read_json, write_json
from vlmscale.records.locks import acquire_lock

IDENTITY = "identity.json"  # what the checkpoints of a folder depend on


def lock_folder(work: Path) -> AbstractContextManager[Any]:
    """Keep other processes from training in `work` until the context is left or this process ends."""
    work.mkdir(parents=True, exist_ok=True)
    return acquire_lock(
        work / "lock",
        f"another process is training in {work}, left by an earlier attempt. End it first.",
    )


def claim(work: Path, inputs: Mapping[str, str]) -> None:
    """Make `work` the folder of the training with these `inputs`, {name: checksum}.

    Checkpoints of a training with other inputs move to another folder, which is named on stdout with the
    inputs that differ. Raises UserError while a process trains in `work`.
    """
    with lock_folder(work):
        try:
            earlier = read_json(work / IDENTITY)
        except UserError:
            earlier = {}  # missing or damaged
        changed = [
            name for name in sorted({*earlier, *inputs}) if earlier.get(name) != inputs.get(name)
        ]
        if changed and any(work.glob("checkpoint-*")):
            number = next(
                n for n in count(1) if not work.with_name(f"{work.name}.other{n}").exists()
            )
            aside = work.rename(work.with_name(f"{work.name}.other{number}"))
            print(
                f"The checkpoints in {work} are of another training: {', '.join(changed)} differ. They are "
                f"now in {aside}; `snakemake clean_work` deletes them.",
                flush=True,
            )
        elif changed:
            shutil.rmtree(work, ignore_errors=True)
    write_json(work / IDENTITY, inputs)


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
    marks = [*root.glob("**/identity*"), *root.glob("**/checkpoint-*")]
    for folder in sorted({mark.parent for mark in marks}):
        if folder in current and not current[folder].exists():
            continue
        try:
            with lock_folder(folder):
                discard(folder)
        except UserError:
            continue  # a process is training there
        removed.append(folder)
    return removed
