"""Ending early: whoever is asked to (SIGTERM) leaves a note, and training ends after its present step.

A file, because everyone has to hear of it: the launcher as well as every process of the training, be
the signal sent to all of them, as Slurm does, or to one. Needs no torch.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def note(work: Path) -> Path:
    """The file that asks the training in `work` to end; it takes the note away when it has."""
    return work / "stop"


@contextmanager
def heeded(work: Path) -> Iterator[threading.Event]:
    """Within the block SIGTERM leaves the note, sets the event and does nothing else. For main threads."""
    asked = threading.Event()

    def leave_note(*_: object) -> None:
        asked.set()
        work.mkdir(parents=True, exist_ok=True)
        note(work).touch()

    before = signal.signal(signal.SIGTERM, leave_note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)
