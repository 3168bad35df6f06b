"""Locks between processes."""

import errno
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from filelock import FileLock, SoftFileLock, Timeout

from vlmscale.errors import UserError

# How flock fails on a file system that has none: Lustre without `-o flock`, NFS without its lock service.
_NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)


class _OwnLock(FileLock):
    """A lock of its own for each call: lmms-eval makes FileLock itself one object a file in its process."""


def acquire_lock(file: Path, refusal: str) -> AbstractContextManager[Any]:
    """Lock `file` until the context is left or this process ends, however it ends.

    Where the file system has no locks, `file` itself is the lock and names its holder, whose end is noticed
    on the same machine only. Raises UserError, `refusal`, if another process holds the lock.
    """
    try:
        return _OwnLock(file).acquire(blocking=False)
    except Timeout:
        raise UserError(refusal) from None
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise UserError(
                f"{file} cannot be locked: {error.strerror}. Make its folder writable."
            ) from None
    try:
        if file.stat().st_size == 0:
            file.unlink()  # FileLock has just made it; a holder would be named in it
        return SoftFileLock(file).acquire(blocking=False)
    except Timeout:
        raise UserError(f"{refusal} If none runs, on any machine, delete {file}.") from None
