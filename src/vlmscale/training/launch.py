"""Start a training process: `python -m vlmscale.training SPEC.json`. Needs no torch."""

import os
import shlex
import subprocess
import sys

from vlmscale.errors import UserError
from vlmscale.provenance import atomic_path
from vlmscale.training.spec import Spec


def launch(spec: Spec) -> None:
    """Write the spec beside the checkpoints and train in a process of its own.

    Raises UserError when it fails; the reason stands above in the log.
    """
    file = spec.paths.work / "spec.json"
    with atomic_path(file) as scratch:
        scratch.write_text(spec.model_dump_json(indent=2) + "\n")
    # Progress bars go to a log: one line in a while, not ten a second.
    environment = {**os.environ, "TQDM_MININTERVAL": "5", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-m", "vlmscale.training", str(file)]
    print(f"$ {shlex.join(command)}", flush=True)
    status = subprocess.run(command, env=environment).returncode
    if status:
        reason = f"killed by signal {-status}" if status < 0 else f"status {status}"
        raise UserError(
            f"training ended with {reason}. Run again: it goes on from the last checkpoint in "
            f"{spec.paths.work}."
        )
