"""Stop a training early: SIGTERM leaves a stop file, and training saves and ends after its current step.

A file reaches the launcher and every rank, whether the signal was sent to all of them, as Slurm does,
or to one. Needs no torch.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def stop_file(work: Path) -> Path:
    """Return the file whose presence stops the training in `work`; training removes it on stopping."""
    return work / "stop"


@contextmanager
def request_stop_on_sigterm(work: Path) -> Iterator[threading.Event]:
    """Within the block, let SIGTERM only create the stop file and set the event. For main threads."""
    requested = threading.Event()

    def request_stop(*_: object) -> None:
        requested.set()
        work.mkdir(parents=True, exist_ok=True)
        stop_file(work).touch()

    before = signal.signal(signal.SIGTERM, request_stop)
    try:
        yield requested
    finally:
        signal.signal(signal.SIGTERM, before)
