"""Import torch and the other heavy packages once in a server, and fork it for each job.

`python -m vlmscale.jobs.import_server COMMAND...` starts the server and runs COMMAND, a snakemake call on
this machine. Processes that its jobs start by `start_process` then skip seconds of imports, a large part of
a tiny study. A forked process has the arguments, environment, working directory, output and exit status of
a newly started one, and is killed when its client ends.
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
from typing import Any

# Environment variable with the path of the server's socket.
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
_LARGEST = 1 << 18  # maximum bytes per message; a request includes the environment
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux' prctl


class _Forked:
    """A client's handle for a process that the server forked; has pid and wait() like Popen."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self.pid = self._receive("pid")

    def wait(self) -> int:
        with self._server:
            return self._receive("status")

    def _receive(self, key: str) -> int:
        answer = self._server.recv(_LARGEST)
        if not answer:
            raise ConnectionError("the import server died while it ran this job; run again")
        return int(json.loads(answer)[key])


def start_process(
    command: Sequence[str], environment: Mapping[str, str]
) -> subprocess.Popen[bytes] | _Forked:
    """Start `command`: fork `python -m MODULE ...` from the server if one runs, else spawn it."""
    address = os.environ.get(_ADDRESS, "")
    # A job on another machine inherits the address, but not the server.
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
    return _Forked(server)


def die_with_parent() -> None:
    """Make Linux kill this process when its parent ends, even if the parent is killed."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


class _Server:
    """Forks one process per client, and kills it when its client disconnects."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        # Client -> its process; None until the client has sent its request.
        self.jobs: dict[socket.socket, ForkProcess | None] = {}

    def serve_until(self, end: int) -> None:
        """Serve until the file descriptor `end` is readable; then kill all running jobs."""
        while True:
            clients = {job.sentinel: client for client, job in self.jobs.items() if job is not None}
            for ready in connection.wait([end, self.listener, *self.jobs, *clients]):
                if ready is self.listener:
                    self.jobs[self.listener.accept()[0]] = None
                elif isinstance(ready, int) and ready in clients:
                    self._finish(clients[ready])
                elif isinstance(ready, socket.socket) and ready in self.jobs:
                    self._receive(ready)
                elif ready == end:
                    for job in filter(None, self.jobs.values()):
                        job.kill()
                        job.join()
                    return

    def _receive(self, client: socket.socket) -> None:
        """Handle a client's request or disconnection."""
        message, files, _, _ = socket.recv_fds(client, _LARGEST, 2)
        job = self.jobs[client]
        if job is not None:
            job.kill()  # serve_until notices its end
        elif not message:
            del self.jobs[client]
            client.close()
        else:
            self._start(client, json.loads(message), files)

    def _start(self, client: socket.socket, request: dict[str, Any], files: list[int]) -> None:
        _import_once()
        job = get_context("fork").Process(target=self._run_request, args=(request, files))
        job.start()
        for file in files:
            os.close(file)
        self.jobs[client] = job
        self._send(client, {"pid": job.pid})

    def _finish(self, client: socket.socket) -> None:
        if job := self.jobs.pop(client):
            job.join()
            self._send(client, {"status": job.exitcode})
        client.close()

    def _send(self, client: socket.socket, answer: dict[str, int | None]) -> None:
        with suppress(BrokenPipeError):  # the client has disconnected
            client.send(json.dumps(answer).encode())

    def _run_request(self, request: dict[str, Any], files: list[int]) -> None:
        """Run a request in the forked process, with the state of a newly started interpreter."""
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
            import_module("torch").set_num_threads(int(threads))  # torch reads it only at import
        module, *arguments = request["arguments"]
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)


@cache
def _import_once() -> None:
    """Import the modules that jobs need, at the first request."""
    for module in _IMPORTED:
        import_module(module)
    # Transformers compiles a thousand regular expressions when it first loads a model.
    import_module("transformers.conversion_mapping").get_checkpoint_conversion_mapping("")
    # Exempt these objects from garbage collection: it would write to, and so copy, pages shared with forks.
    gc.collect()
    gc.freeze()


def main() -> None:
    """Run the command given in sys.argv beside a server, and exit with its status."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit("usage: python -m vlmscale.jobs.import_server snakemake ...   (on this machine)")
    with (
        tempfile.TemporaryDirectory(prefix="vlmscale-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
    ):
        address = str(Path(folder, "socket"))
        listener.bind(address)
        listener.listen()
        command = subprocess.Popen(sys.argv[1:], env={**os.environ, _ADDRESS: address})
        # Ignore Ctrl-C here: the terminal sends it to the command too, which handles it.
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: command.terminate())
        _Server(listener).serve_until(os.pidfd_open(command.pid))
        status = command.wait()
    sys.exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
