"""Child processes: a job's heavy work runs apart from the script that snakemake runs."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from pydantic import BaseModel

from vlmscale.errors import Stopped, UserError
from vlmscale.jobs.import_server import start_process
from vlmscale.records.files import write_json


def run_module(spec: BaseModel, module: str, what: str, work: Path) -> None:
    """Write `spec` to the folder `work` and run `python -m module` on it, which does `what`.

    Removes `work` on success. Raises UserError when the process fails.
    """
    file = work / "spec.json"
    write_json(file, spec.model_dump(mode="json"))
    run_command([sys.executable, "-m", module, str(file)], what, "Fix the cause and run again.")
    shutil.rmtree(work)


def run_command(command: list[str], what: str, cure: str) -> None:
    """Run `command`, which does `what`; its output is this process's.

    Raises UserError, which ends with `cure`, when the command fails (its output says why), and Stopped
    when it was asked to stop.
    """
    print(f"$ {shlex.join(command)}", flush=True)
    # In a log, one line of a progress bar in 5 seconds is enough. Tokenizers would start threads beyond
    # those that snakemake gave the job.
    quiet = {"TQDM_MININTERVAL": "5", "TOKENIZERS_PARALLELISM": "false"}
    status = start_process(command, {**os.environ, **quiet}).wait()
    if status == Stopped.status:
        raise Stopped(f"{what} was asked to stop. {cure}")
    if status:
        reason = f"killed by signal {-status}" if status < 0 else f"status {status}"
        raise UserError(f"{what} ended with {reason}. {cure}")
