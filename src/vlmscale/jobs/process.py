"""The process that does a job's heavy work, apart from the script that snakemake runs."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from pydantic import BaseModel

from vlmscale.errors import Stopped, UserError
from vlmscale.jobs.import_server import start
from vlmscale.records.files import write_json


def run_module(spec: BaseModel, module: str, what: str, work: Path) -> None:
    """Have `python -m module` do `what`, told by a file in the folder `work`, which is removed when that
    has ended well.

    Raises UserError when it fails.
    """
    file = work / "spec.json"
    write_json(file, spec.model_dump(mode="json"))
    run_command([sys.executable, "-m", module, str(file)], what, "Fix the cause and run again.")
    shutil.rmtree(work)


def run_command(command: list[str], what: str, cure: str) -> None:
    """Run `command`, which does `what`, with this process's output.

    Raises UserError, which ends with `cure`, when it fails (the reason stands in the log), and Stopped
    when it was asked to end early.
    """
    print(f"$ {shlex.join(command)}", flush=True)
    # Progress bars go to a log: one line in a while, not ten a second. And a job has the threads that it
    # was given, no others for its short texts.
    quiet = {"TQDM_MININTERVAL": "5", "TOKENIZERS_PARALLELISM": "false"}
    status = start(command, {**os.environ, **quiet}).wait()
    if status == Stopped.status:
        raise Stopped(f"{what} was asked to stop. {cure}")
    if status:
        reason = f"killed by signal {-status}" if status < 0 else f"status {status}"
        raise UserError(f"{what} ended with {reason}. {cure}")
