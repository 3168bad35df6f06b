"""Write files that are whole or absent, and list the package versions that a result depends on."""

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vlmscale.errors import Damaged, UserError
from vlmscale.records.locks import acquire_lock
from vlmscale.records.signature import (
    RERUN,
    UNSIGNED,
    compute_checksums,
    compute_sha256,
    find_damage,
    read_signed,
    sign,
)

# Packages whose version can change a number; every result records them.
PACKAGES = ("vlmscale", "numpy", "scipy", "pandas", "pyarrow", "torch", "transformers", "lmms-eval")
_CHECKSUMS = "checksums.json"
# Seconds after which an unlocked scratch folder belongs to no process that is just starting to write.
_ABANDONED = 10


def list_versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Return the version of each package that is installed."""
    found = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a path for a file or folder; move it to `path` if the block ends without an exception.

    What moves is on disk by then. Removes what killed writers of `path` have left. Raises UserError where
    `path` cannot be written, and for a file in place of a folder, which stays.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in path.parent.glob(f".{escape(path.name)}.*"):
            remove_abandoned(leftover)
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"{path} cannot be written: {error.strerror}. Make {path.parent} a folder that you can write "
            "to, or name another place."
        ) from None
    try:
        with acquire_lock(scratch / ".lock", f"another process writes {path}"):
            written = scratch / path.name
            yield written
            for file in [*written.rglob("*"), written]:
                if file.is_file():  # safetensors writes files that only their owner reads
                    file.chmod(file.stat().st_mode | (scratch / ".lock").stat().st_mode)
                flush_to_disk(file)
            if path.is_dir():
                if written.is_file():
                    raise UserError(f"{path} is a folder. Name a file, or move the folder away.")
                shutil.rmtree(path)
            os.replace(written, path)
            flush_to_disk(path.parent)
    finally:
        shutil.rmtree(scratch)


def remove_abandoned(scratch: Path) -> bool:
    """Remove a scratch folder of `atomic_path` unless its writer lives; return whether it was removed."""
    lock = scratch / ".lock"
    if not re.fullmatch(r"\..+\.\w{8}", scratch.name):  # as mkdtemp names it
        return False
    try:
        if time.time() - lock.stat().st_mtime < _ABANDONED:
            return False
        with acquire_lock(lock, "its writer lives"):
            shutil.rmtree(scratch)
    except (OSError, UserError):
        return False
    return True


def remove_scratch(root: Path) -> list[Path]:
    """Remove what killed writers left below `root`, and return its folders."""
    return [scratch for scratch in sorted(root.glob("**/.*")) if remove_abandoned(scratch)]


def flush_to_disk(path: Path) -> None:
    """Wait until a file, or the entries of a folder, would survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems cannot; a full disk is another matter.
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` atomically as signed JSON with sorted keys: equal values give equal bytes."""
    text = json.dumps({**value, **UNSIGNED}, indent=2, sort_keys=True) + "\n"
    with atomic_path(path) as scratch:
        scratch.write_bytes(sign(text.encode()))


def read_json(path: Path, remedy: str = RERUN) -> dict[str, Any]:
    """Read a JSON object. Raises Damaged, ending with `remedy`, for a damaged file.

    Damaged is what is no JSON object or, if `write_json` wrote it, no longer the same bytes.
    """
    content = read_signed(path, remedy)
    try:
        value = json.loads(content)
        if not isinstance(value, dict):
            raise ValueError(f"a {type(value).__name__}")
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path} is damaged: no JSON object ({error}).", remedy, path) from None
    return {key: value[key] for key in value if key not in UNSIGNED}


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder; move it to `path` with checksums of its files, as `atomic_path` does."""
    with atomic_path(path) as scratch:
        scratch.mkdir()
        yield scratch
        write_json(scratch / _CHECKSUMS, {"files": compute_checksums(scratch)})


def check_folder_content(folder: Path) -> None:
    """Raise Damaged naming a file of `folder` that is not as `atomic_folder` left it.

    Folders from elsewhere have no checksums and pass.
    """
    if (folder / _CHECKSUMS).exists():
        remedy = f"Delete {folder} and run again to make it anew."
        try:
            expected = read_json(folder / _CHECKSUMS, remedy)["files"]
        except Damaged as error:
            raise Damaged(error.problem, remedy, folder) from None
        damaged = find_damage(folder, expected)
        if damaged is not None:
            raise Damaged(f"{folder / damaged} is damaged: not what was written.", remedy, folder)


def identify_content(source: Path) -> str:
    """Return a hash of the content of a file or folder: what its own checksums say, or else computed."""
    if source.is_file():
        return compute_sha256(source)
    for name, key in (("manifest.json", "shards"), (_CHECKSUMS, "files")):
        if (source / name).exists():
            content = read_json(source / name)[key]
            break
    else:
        content = compute_checksums(source)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def set_aside(path: Path) -> Path:
    """Rename a damaged file or folder to `path`.damaged, in place of an earlier one; return that path."""
    aside = path.with_name(f"{path.name}.damaged")
    if aside.is_dir():
        shutil.rmtree(aside)
    with suppress(FileNotFoundError):  # another process of the same job has done it
        os.replace(path, aside)
    return aside


def modification_time(path: Path) -> float:
    """Return when a file or folder was last changed, as snakemake sees it: seconds since 1970."""
    stamp = path / ".snakemake_timestamp"
    return (stamp if stamp.exists() else path).stat().st_mtime
