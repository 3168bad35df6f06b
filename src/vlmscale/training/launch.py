"""Start a training: one process, or torchrun on one node or several. Needs no torch."""

import hashlib
import os
import socket
import sys
from pathlib import Path

from vlmscale.errors import Stopped, UserError
from vlmscale.jobs.process import refuse_future, run_command, write_spec
from vlmscale.records.files import identify_content
from vlmscale.training.batch_split import split_batch
from vlmscale.training.checkpoint_folder import claim
from vlmscale.training.graceful_stop import request_stop_on_sigterm, stop_file
from vlmscale.training.spec import INPUTS, OUTPUTS, Spec, StageSpec

# On SIGTERM torchrun kills its processes after half a minute, saved or not. It ignores the signal here:
# the processes receive it themselves, or find the stop file.
_IGNORE_SIGTERM = ["sh", "-c", 'trap "" TERM; exec "$@"', "sh"]


def launch(spec: Spec, *, processes: int = 1, nodes: int = 1) -> None:
    """Train in child processes: `processes` in total on `nodes` nodes (0 counts as 1, as in resources).

    Raises UserError when training fails (its reason is in the log) or when the processes cannot share
    the recipe's batch; Stopped after SIGTERM.
    """
    command = prepare(spec, processes=max(processes, 1), nodes=max(nodes, 1))
    cure = f"Run again to resume from the last checkpoint in {spec.paths.work}."
    with request_stop_on_sigterm(spec.paths.work) as stop_requested:
        try:
            run_command(command, "training", cure)
        except UserError:
            if stop_requested.is_set():  # torchrun hides the status of its processes
                raise Stopped(f"training was asked to stop. {cure}") from None
            raise


def prepare(spec: Spec, *, processes: int = 1, nodes: int = 1) -> list[str]:
    """Write the spec beside its checkpoints and return the command that trains it.

    Sets aside checkpoints of another spec or of inputs that have changed since. Raises UserError for inputs
    from the future, and when the processes cannot share the recipe's batch, or the nodes the processes,
    equally.
    """
    if isinstance(spec, StageSpec):
        split_batch(spec.recipe.batch_size, processes, spec.execution.micro_batch_size)
    if processes % nodes:
        raise UserError(
            f"{nodes} nodes cannot run {processes} processes in equal numbers. "
            f"Request a multiple of {nodes}."
        )
    sources = {name: path for name in INPUTS if (path := getattr(spec, name, None)) is not None}
    refuse_future(sources.values())
    work = spec.paths.work
    decisive = spec.model_dump_json(exclude={*INPUTS, *OUTPUTS, "execution"})
    contents = {name: identify_content(path) for name, path in sources.items()}
    claim(work, {"spec": hashlib.sha256(decisive.encode()).hexdigest(), **contents})
    file = write_spec(spec, work)
    stop_file(work).unlink(missing_ok=True)
    return training_command(file, processes, nodes, _rendezvous_endpoint() if nodes > 1 else "")


def training_command(file: Path, processes: int, nodes: int, endpoint: str) -> list[str]:
    """Return the command that trains the spec in `file`; `endpoint` (host:port) is for several nodes."""
    training = ["-m", "vlmscale.training", str(file)]
    if processes == 1:
        return [sys.executable, *training]
    if nodes == 1:
        return torchrun_command(training, processes, ["--standalone"])
    rendezvous = [f"--nnodes={nodes}", "--rdzv-backend=c10d", f"--rdzv-endpoint={endpoint}"]
    per_node = torchrun_command(training, processes // nodes, rendezvous)
    return ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", *per_node]


def torchrun_command(training: list[str], processes: int, rendezvous: list[str]) -> list[str]:
    """Return the command that starts one node's `processes` with torchrun."""
    options = [f"--nproc-per-node={processes}", "--signals-to-handle=SIGINT,SIGHUP,SIGQUIT"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", *rendezvous, *options]
    return [*_IGNORE_SIGTERM, *torchrun, *training]


def _rendezvous_endpoint() -> str:
    """Return this host and a free port on it. A Slurm job runs its commands on its first node."""
    if "SLURM_JOB_ID" not in os.environ:
        raise UserError(
            "training on several nodes needs Slurm. Submit a Slurm job, or request one node."
        )
    with socket.socket() as free:
        free.bind(("", 0))
        return f"{socket.gethostname()}:{free.getsockname()[1]}"
