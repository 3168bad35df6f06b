"""A time limit for what may hang."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class TooSlow(BaseException):
    """Raised when the limit is over; no handler of exceptions takes it for an error of the code."""


@contextmanager
def limit_time(seconds: int) -> Iterator[None]:
    """Raise TooSlow in the main thread if the block takes longer."""

    def stop(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
