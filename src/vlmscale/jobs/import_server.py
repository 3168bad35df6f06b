"""One process that has imported what jobs with torch need, and forks itself for every short one.

`python -m vlmscale.jobs.import_server COMMAND...` runs COMMAND, a snakemake call on this machine, beside
such a process. What jobs below it `start` then skips seconds of imports each, which of a tiny study are a
large part. Everything else is as in a process of its own: arguments, environment, folder, output, exit
status; and it ends with the process that started it.
"""

import ctypes
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from multiprocessing import connection, get_context
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any, Protocol

# Where the warm process listens, for those below it.
_ADDRESS = "VLMSCALE_WARM"
_IMPORTED = (
    "vlmscale.training.stages",
    "vlmscale.training.backbones",
    "vlmscale.training.features",
    "vlmscale.evaluation.run",
    "lmms_eval.evaluator",
    "lmms_eval.tasks",
    "vlmscale.latency.measure",
)
_LARGEST = 1 << 18  # bytes of a message; a request holds the environment
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux' prctl


class Started(Protocol):
    """What `start` gives: a process with its id, and its exit status, negative for a signal."""

    pid: int

    def wait(self) -> int: ...


def start(command: Sequence[str], environment: Mapping[str, str]) -> Started:
    """Start `python -m MODULE ARGUMENTS...` with this process's output and folder: warm, if that can be."""
    address = os.environ.get(_ADDRESS, "")
    # Inherited by a job on another machine, the address leads nowhere.
    if command[:2] != [sys.executable, "-m"] or not Path(address).is_socket():
        return subprocess.Popen(command, env=dict(environment))
    request = {
        "arguments": list(command[2:]),
        "folder": os.getcwd(),
        "environment": {k: v for k, v in environment.items() if k != _ADDRESS},
    }
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.connect(address)
    socket.send_fds(server, [json.dumps(request).encode()], [1, 2])
    return _Job(server)


def die_with_parent() -> None:
    """Have this process killed when the one that started it ends, however that ends (on Linux)."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


class _Job:
    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self.pid = self._receive("pid")

    def wait(self) -> int:
        with self._server:
            return self._receive("status")

    def _receive(self, key: str) -> int:
        answer = self._server.recv(_LARGEST)
        if not answer:
            raise ConnectionError("the warm process that should run this job has died")
        return int(json.loads(answer)[key])


class _Server:
    """Starts what is asked for, and ends it when its asker is gone."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.jobs: dict[socket.socket, ForkProcess | None] = {}  # by asker; None: has not asked yet

    def serve_until(self, end: int) -> None:
        """Serve until the file `end` is readable; then end what still runs."""
        while True:
            askers = {job.sentinel: asker for asker, job in self.jobs.items() if job is not None}
            for ready in connection.wait([end, self.listener, *self.jobs, *askers]):
                if ready is self.listener:
                    self.jobs[self.listener.accept()[0]] = None
                elif isinstance(ready, int) and ready in askers:
                    self._finish(askers[ready])
                elif isinstance(ready, socket.socket) and ready in self.jobs:
                    self._hear(ready)
                elif ready == end:
                    for job in filter(None, self.jobs.values()):
                        job.kill()
                        job.join()
                    return

    def _hear(self, asker: socket.socket) -> None:
        """A request, or the asker's end."""
        message, files, _, _ = socket.recv_fds(asker, _LARGEST, 2)
        job = self.jobs[asker]
        if job is not None:
            job.kill()  # its end is noticed next
        elif not message:
            del self.jobs[asker]
            asker.close()
        else:
            self._start(asker, json.loads(message), files)

    def _start(self, asker: socket.socket, request: dict[str, Any], files: list[int]) -> None:
        _prepare()
        job = get_context("fork").Process(target=self._become, args=(request, files))
        job.start()
        for file in files:
            os.close(file)
        self.jobs[asker] = job
        self._tell(asker, {"pid": job.pid})

    def _finish(self, asker: socket.socket) -> None:
        job = self.jobs.pop(asker)
        assert job is not None
        job.join()
        self._tell(asker, {"status": job.exitcode})
        asker.close()

    def _tell(self, asker: socket.socket, answer: dict[str, int | None]) -> None:
        with suppress(BrokenPipeError):  # nobody waits any more
            asker.send(json.dumps(answer).encode())

    def _become(self, request: dict[str, Any], files: list[int]) -> None:
        """In the forked process: run what was asked for, as if started from nothing."""
        die_with_parent()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for held in (self.listener, *self.jobs):
            held.close()
        for target, file in zip((1, 2), files, strict=True):
            os.dup2(file, target)
            os.close(file)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        threads = os.environ.get("OMP_NUM_THREADS")
        if threads is not None:
            import_module("torch").set_num_threads(int(threads))  # read at its import otherwise
        module, *arguments = request["arguments"]
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)


@cache
def _prepare() -> None:
    """Do once what every job would do first."""
    for module in _IMPORTED:
        import_module(module)
    # A thousand regular expressions, which transformers makes when it first loads a model.
    import_module("transformers.conversion_mapping").get_checkpoint_conversion_mapping("")
    # What is there by now stays: no garbage is looked for among it, neither here nor in a forked process.
    gc.collect()
    gc.freeze()


def main() -> None:
    """Run the command line's command beside a warm process, and end with its status."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(
            "usage: python -m vlmscale.jobs.import_server COMMAND...   (a snakemake call on this machine)"
        )
    with (
        tempfile.TemporaryDirectory(prefix="vlmscale-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
    ):
        address = str(Path(folder, "socket"))
        listener.bind(address)
        listener.listen()
        command = subprocess.Popen(sys.argv[1:], env={**os.environ, _ADDRESS: address})
        # An interrupt reaches the command from the terminal too; it decides what becomes of it.
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: command.terminate())
        _Server(listener).serve_until(os.pidfd_open(command.pid))
        status = command.wait()
    sys.exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
