"""Locks between processes."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vlmscale.errors import UserError


def acquire_lock(file: Path, refusal: str) -> AbstractContextManager[Any]:
    """Lock `file` until the context is left or this process ends, however it ends.

    Raises UserError: `refusal` if another process holds the lock, or that the file system has no locks.
    """
    try:
        return FileLock(file).acquire(blocking=False)
    except Timeout:
        raise UserError(refusal) from None
    except OSError as error:
        raise UserError(f"{file} cannot be locked: {error}. Choose another file system.") from None
