"""A job's process: one at a time in a folder, and an end that says why."""

import sys

import pytest
from pydantic import BaseModel

from tests.support.drills import SAME
from vlmscale.errors import UserError
from vlmscale.jobs.process import run_command, run_module
from vlmscale.records.locks import acquire_lock


class Nothing(BaseModel):
    """A spec without fields."""


def test_two_processes_never_share_a_folder(tmp_path, cost_of):
    cost = cost_of("a second snakemake runs the same job (--nolock)")
    work = tmp_path / "cell"
    work.mkdir()
    first = {work / "lock", work / "answers"}
    (work / "answers").touch()
    with acquire_lock(work / "lock", ""):
        with pytest.raises(UserError, match="another process does this"):
            run_module(Nothing(), "json.tool", "evaluation", work)
        cost.lose(len(first - set(work.iterdir())), "files")
    assert not (work / "spec.json").exists()
    cost.run(SAME, run_module, Nothing(), "json.tool", "evaluation", work)
    assert not work.exists()


@pytest.mark.parametrize(
    ("number", "says"), [(9, "memory was full"), (7, "the disk or /dev/shm was full"), (6, "")]
)
def test_a_killed_process_is_told_with_its_usual_cause(number, says):
    command = [sys.executable, "-c", f"import os; os.kill(os.getpid(), {number})"]
    with pytest.raises(
        ValueError, match=rf"training ended with signal {number}.*{says}.* Run again\."
    ):
        run_command(command, "training", "Run again.")
