"""Import torch and the other heavy packages once in a server, and fork it for each job.

`python -m vlmscale.jobs.import_server COMMAND...` starts the server and runs COMMAND, a snakemake call on
this machine. Processes that its jobs start by `run_process` then skip seconds of imports, a large part of
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from importlib import import_module
from multiprocessing import active_children, connection, get_context, parent_process
from typing import Any

from vlmscale.errors import UserError

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
# No job that this server forks, or that stands in for one, needs the hub: what it offers is fetched before.
NO_HUB = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
_LARGEST = 1 << 18  # maximum bytes per message; a request includes the environment
_FORK = get_context("fork")
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux' prctl


def run_process(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run `command` and return its exit status, or minus the signal that killed it.

    `python -m MODULE ...` is forked from the server if one runs.
    """
    server = _connect() if command[:2] == [sys.executable, "-m"] else None
    if server is None:
        return subprocess.Popen(command, env=dict(environment)).wait()
    request = {
        "arguments": list(command[2:]),
        "folder": os.getcwd(),
        "environment": {k: v for k, v in environment.items() if k != _ADDRESS},
    }
    with server:
        socket.send_fds(server, [json.dumps(request).encode()], [1, 2])
        status = server.recv(_LARGEST)
    if not status:
        raise UserError("the import server died while it ran this job. Run again.")
    return int(status)


def _connect() -> socket.socket | None:
    """Return a connection to the server; None where none runs: on another machine, or after its end."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with _shorten(os.environ.get(_ADDRESS, "")) as address:
            server.connect(address)
    except OSError:
        server.close()
        return None
    return server


@contextmanager
def _shorten(address: str) -> Iterator[str]:
    """Yield another path of a socket: one in a deep folder is longer than Linux takes (107 bytes)."""
    folder = os.open(os.path.dirname(address), os.O_PATH)
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(address)}"
    finally:
        os.close(folder)


def die_with_parent() -> None:
    """Make Linux kill this child of multiprocessing when its parent ends, even if the parent is killed."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    parent = parent_process()
    if parent is not None and os.getppid() != parent.pid:
        os._exit(0)  # it ended before


def _serve(listener: socket.socket, end: int) -> None:
    """Fork a handler for each client until the file descriptor `end` is readable; then kill all of them."""
    while end not in connection.wait([end, listener]):
        client, _ = listener.accept()
        _import_once()
        _FORK.Process(target=_handle, args=(client, listener)).start()
        client.close()
    for handler in active_children():
        handler.kill()


def _terminate(command: subprocess.Popen[bytes]) -> None:
    """Ask `command` to end, and its jobs, which it would wait for: a training then saves a checkpoint."""
    command.terminate()
    for handler in active_children():
        handler.terminate()


def _handle(client: socket.socket, listener: socket.socket) -> None:
    """Fork the job that a client requests, and kill it when the client disconnects."""
    die_with_parent()
    listener.close()
    message, files, _, _ = socket.recv_fds(client, _LARGEST, 2)
    if not message:
        return
    job = _FORK.Process(target=_run_request, args=(json.loads(message), files, client))
    job.start()
    signal.signal(signal.SIGTERM, lambda *_: job.terminate())
    with suppress(BrokenPipeError):
        if job.sentinel in connection.wait([client, job.sentinel]):
            job.join()
            client.send(str(job.exitcode).encode())
    job.kill()


def _run_request(request: dict[str, Any], files: list[int], client: socket.socket) -> None:
    """Run a request in the forked process, with the state of a newly started interpreter."""
    die_with_parent()
    client.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for target, file in zip((1, 2), files, strict=True):
        os.dup2(file, target)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads is not None:
        import_module("torch").set_num_threads(int(threads))  # torch reads it only at import
    sys.argv = request["arguments"]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


@cache
def _import_once() -> None:
    """Import the modules that jobs need, at the first request."""
    os.environ |= NO_HUB  # huggingface_hub reads it only at import
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
    environment = dict(os.environ)
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="vlmscale-"))
            environment[_ADDRESS] = f"{folder}/socket"
            listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            with _shorten(environment[_ADDRESS]) as address:
                listener.bind(address)
            listener.listen()
        except OSError as error:
            print(f"Every job imports torch by itself: no import server, {error}.", file=sys.stderr)
            os.execvp(sys.argv[1], sys.argv[1:])
        command = subprocess.Popen(sys.argv[1:], env=environment)
        # Ignore Ctrl-C here: the terminal sends it to the command too, which handles it.
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: _terminate(command))
        _serve(listener, os.pidfd_open(command.pid))
        status = command.wait()
    sys.exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
