"""Start a training: one process, or torchrun on one node or several. Needs no torch."""

import hashlib
import os
import shutil
import socket
import sys
from pathlib import Path

from vlmscale.errors import Stopped, UserError
from vlmscale.jobs.process import run
from vlmscale.records.files import atomic_path
from vlmscale.training.batch_split import share
from vlmscale.training.graceful_stop import heeded, note
from vlmscale.training.spec import Spec, StageSpec

# torchrun would end its processes half a minute after a SIGTERM, saved or not. It is made deaf: they
# hear the signal themselves, or read the note of whoever did.
_DEAF = ["sh", "-c", 'trap "" TERM; exec "$@"', "sh"]


def launch(spec: Spec, *, processes: int = 1, nodes: int = 1) -> None:
    """Train in processes of its own, `processes` altogether on `nodes` nodes (0 means 1, as resources do).

    Raises UserError when it fails (the reason stands in the log) and when the recipe's batch cannot be
    shared; Stopped when SIGTERM came first.
    """
    command = prepare(spec, processes=max(processes, 1), nodes=max(nodes, 1))
    cure = f"Run again: it goes on from the last checkpoint in {spec.paths.work}."
    with heeded(spec.paths.work) as asked:
        try:
            run(command, "training", cure)
        except UserError:
            if asked.is_set():  # torchrun hides the status of its processes
                raise Stopped(f"training was asked to stop. {cure}") from None
            raise


def prepare(spec: Spec, *, processes: int = 1, nodes: int = 1) -> list[str]:
    """Write the spec beside its checkpoints and return the command that trains it.

    Checkpoints of another spec, or of inputs that have changed since, are removed. Raises UserError
    when the recipe's batch, or the processes, cannot be shared.
    """
    if isinstance(spec, StageSpec):
        share(spec.recipe.batch_size, processes, spec.execution.micro_batch_size)
    if processes % nodes:
        raise UserError(f"{processes} processes cannot have equal shares of {nodes} nodes")
    work, identity = spec.paths.work, _identity(spec)
    mark, file = work / "identity", work / "spec.json"
    if work.exists() and not (mark.exists() and mark.read_text() == identity):
        shutil.rmtree(work)
    for path, text in ((mark, identity), (file, spec.model_dump_json(indent=2) + "\n")):
        with atomic_path(path) as scratch:
            scratch.write_text(text)
    note(work).unlink(missing_ok=True)
    return training_command(file, processes, nodes, _meeting_place() if nodes > 1 else "")


def training_command(file: Path, processes: int, nodes: int, meeting_place: str) -> list[str]:
    """What trains the spec in `file`; on several nodes, processes meet at `meeting_place` (host:port)."""
    training = ["-m", "vlmscale.training", str(file)]
    if processes == 1:
        return [sys.executable, *training]
    if nodes == 1:
        return agent_command(training, processes, ["--standalone"])
    meeting = [f"--nnodes={nodes}", "--rdzv-backend=c10d", f"--rdzv-endpoint={meeting_place}"]
    each = agent_command(training, processes // nodes, meeting)
    return ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", *each]


def agent_command(training: list[str], processes: int, meeting: list[str]) -> list[str]:
    """The command, torchrun, for the `processes` of one node."""
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    signals = "--signals-to-handle=SIGINT,SIGHUP,SIGQUIT"
    return [*_DEAF, *torchrun, *meeting, f"--nproc-per-node={processes}", signals, *training]


def _meeting_place() -> str:
    """Host and a free port of this node, the first of a Slurm job, which is where it runs its commands."""
    if "SLURM_JOB_ID" not in os.environ:
        raise UserError("several nodes are Slurm's: run this as a Slurm job, or ask for one node")
    with socket.socket() as place:
        place.bind(("", 0))
        return f"{socket.gethostname()}:{place.getsockname()[1]}"


def _identity(spec: Spec) -> str:
    """What a checkpoint belongs to: the spec, and name, size and time of every input file.

    How the spec is carried out is left out: another number of samples at once is no other training.
    """
    digest = hashlib.sha256(spec.model_dump_json(exclude={"execution"}).encode())
    for name in ("llm", "tower", "tokenizer", "data", "features", "projector"):
        source: Path | None = getattr(spec, name, None)
        if source is not None:
            for file in sorted(source.iterdir()) if source.is_dir() else [source]:
                stat = file.stat()
                digest.update(f"{file.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()
