"""Checkpoints with checksums of their files, so that a training resumes from the newest intact one.

All ranks call these functions together, and share the work of reading the files.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

from transformers import TrainerState

from vlmscale.errors import UserError
from vlmscale.records.files import flush_to_disk, read_json, write_json
from vlmscale.records.signature import compute_sha256
from vlmscale.training.distributed import gather, rank, world_size

_MARK = "complete"  # written last, with the layout and the checksums of the checkpoint


def mark_complete(folder: Path, layout: dict[str, int]) -> None:
    """Declare a checkpoint complete, when all its files are on disk. layout: see `check_layout`."""
    gather(None)  # every rank has written its files
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != _MARK)
    names, *_ = gather([file.relative_to(folder).as_posix() for file in files])
    checksums = _hash_files(folder, names, flush=True)
    if rank() == 0:
        write_json(folder / _MARK, {"layout": layout, "files": checksums})


def find_checkpoint(work: Path) -> Path | None:
    """Return the newest intact checkpoint; remove those that a kill left incomplete, and damaged ones.

    Says on stdout which were damaged, and where the training begins instead.
    """
    if rank() == 0:
        for folder in work.glob("checkpoint-*"):
            if not (folder / _MARK).exists():
                shutil.rmtree(folder)
    damages: list[str] = []
    found: Path | None = None
    # Those of rank 0, the newest first.
    folders, *_ = gather(sorted(work.glob("checkpoint-*"), key=_read_step, reverse=True))
    for folder in folders:
        damage = _find_damage(folder)
        if damage is None:
            found = folder
            break
        damages.append(f"{folder / damage} is damaged.")
        if rank() == 0:
            shutil.rmtree(folder)
    if damages and rank() == 0:
        start = f"Resuming from the older {found}." if found else "Starting again from step 0."
        print(*damages, start, flush=True)
    return found


def _read_step(folder: Path) -> int:
    return int(folder.name.removeprefix("checkpoint-"))


def _find_damage(folder: Path) -> str | None:
    """Return the name of a file that is missing or not what was written; None if there is none."""
    try:
        expected = read_json(folder / _MARK)["files"]
    except (UserError, KeyError):
        return _MARK
    found = _hash_files(folder, expected)
    return next((name for name in expected if found[name] != expected[name]), None)


def _hash_files(folder: Path, names: Iterable[str], *, flush: bool = False) -> dict[str, str]:
    """Return the SHA-256 of each file, "" for a missing one; each rank reads its share."""
    own = {}
    for name in list(names)[rank() :: world_size()]:
        if flush:
            flush_to_disk(folder / name)
        own[name] = compute_sha256(folder / name) if (folder / name).is_file() else ""
    return {name: checksum for part in gather(own) for name, checksum in part.items()}


def check_layout(checkpoint: Path, layout: dict[str, int]) -> None:
    """Raise UserError unless ranks of this `layout` (zero, processes) can resume from the checkpoint.

    With DeepSpeed each rank has written its own part; without it any number of ranks can resume.
    """
    written = read_json(checkpoint / _MARK)["layout"]
    if written != layout and (written["zero"] or layout["zero"]):
        was, now = (
            f"{of['processes']} process{'es' if of['processes'] > 1 else ''} with zero: {of['zero']}"
            for of in (written, layout)
        )
        raise UserError(
            f"{checkpoint} was written by {was}; {now} cannot resume from it. Request the former, or "
            f"delete {checkpoint.parent} to start again."
        )


def read_final_state(checkpoint: Path) -> TrainerState | None:
    """Return the state of a checkpoint after the last step, None for an earlier one."""
    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    return state if state.global_step >= state.max_steps else None
