"""Write tables of users in many forms, damage them, and read them: each must be refused by one error, or mean
what it says.

python -m tests.fuzz.tables --minutes 10
"""

import argparse
import json
import math
import random
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from typer.testing import CliRunner

from tests.fuzz.table_cases import Case, make_case
from tests.support.limits import TooSlow, limit_time
from vlmscale.analysis.laws.power_law import fit_power_law
from vlmscale.cli import app
from vlmscale.cli.points import read_points
from vlmscale.errors import UserError

_SECONDS = 20  # that reading a table may take, and a fifth of what both commands may


def judge(case: Case, folder: Path, *, commands: bool = False) -> tuple[str, str]:
    """Return what became of a table (refused, sound, traceback, hang or silent) and the details."""
    file = folder / f"x{case.suffix}"
    file.write_bytes(case.content)
    try:
        with limit_time(_SECONDS * (5 if commands else 1)):
            outcome = _judge_points(case, file)
            if commands and outcome[0] in ("sound", "refused"):
                return _judge_commands(outcome, file)
            return outcome
    except TooSlow:
        return "hang", f"more than {_SECONDS} s"
    except Exception:
        return "traceback", traceback.format_exc()


def _judge_points(case: Case, file: Path) -> tuple[str, str]:
    try:
        families = read_points(file)
    except UserError as error:
        if case.checked and case.expected is not None:
            return "silent", f"refused, though it means {case.expected[:3]}: {error}"
        return _judge_message(str(error), file)
    points = pd.concat(families.values())
    values = points[["n_params_b", "visual_tokens", "error"]]
    found = values.to_numpy(float)
    assert all(dtype.kind in "iuf" for dtype in values.dtypes), values.dtypes
    assert np.isfinite(found).all()
    assert (found[:, :2] > 0).all()
    assert ((found[:, 2] >= 0) & (found[:, 2] <= 1)).all()
    if case.checked and case.expected is None:
        return "silent", f"accepted: {found[:3]}"
    if case.checked and not np.allclose(np.sort(found, 0), np.sort(case.expected, 0), rtol=1e-6):
        return "silent", f"{case.expected[:3]} became {found[:3]}"
    for rows in families.values():
        law = fit_power_law(rows)
        assert math.isfinite(law.amplitude)
        assert math.isfinite(law.sse)
    return "sound", ""


def _judge_message(message: str, file: Path) -> tuple[str, str]:
    if (file.name not in message and "protocols" not in message) or len(message) > 1000:
        return "traceback", f"a message that does not help: {message[:500]}"
    return "refused", message


def _judge_commands(outcome: tuple[str, str], file: Path) -> tuple[str, str]:
    """Run the commands: each ends well or with one error, and prints no escapes."""
    for command in (
        ["fit", str(file), "--draws", "0", "--json"],
        ["recommend", "--gflops", "3000", "--scores", str(file), "--json"],
    ):
        result = CliRunner().invoke(app, command)
        if isinstance(result.exception, TooSlow):
            raise result.exception
        if result.exit_code != 0 and not isinstance(result.exception, SystemExit):
            return "traceback", f"{command[0]}: {result.exception!r}"
        if "\x1b" in result.output:
            return "silent", f"{command[0]} prints escapes"
        if result.exit_code == 0:
            json.loads(result.stdout)
        elif command[0] == "fit" and outcome[0] == "sound":
            return "silent", f"fit refuses what can be read: {result.output}"
    return outcome


def main() -> int:
    """Try tables for some minutes; print counts, and keep what failed in a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--commands-every", type=int, default=50, help="tables; 0: never")
    parser.add_argument("--keep", type=Path, default=Path("work/fuzz/tables"))
    options = parser.parse_args()
    counts: Counter[str] = Counter(dict.fromkeys(_MEANINGS, 0))
    end, commands, number = time.monotonic() + 60 * options.minutes, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < end:
            number += 1
            case = make_case(random.Random(f"{options.seed} {number}"))
            run = bool(options.commands_every) and number % options.commands_every == 0
            commands += run
            outcome, details = judge(case, Path(folder), commands=run)
            counts[outcome] += 1
            if outcome not in ("refused", "sound"):
                options.keep.mkdir(parents=True, exist_ok=True)
                kept = options.keep / f"{outcome}-{options.seed}-{number}{case.suffix}"
                kept.write_bytes(case.content)
                print(f"{outcome}: {kept} ({'; '.join(case.about)})\n{details}\n", flush=True)
    print(f"tables: {number} inputs (seed {options.seed}), {commands} of them by both commands")
    for outcome, times in counts.items():
        print(f"  {times:7d} {_MEANINGS[outcome]}")
    return int(counts["refused"] + counts["sound"] < number)


_MEANINGS = {
    "refused": "refused by one error",
    "sound": "accepted and read soundly",
    "traceback": "tracebacks",
    "hang": "hangs",
    "silent": "read as something else than they say, or refused without need",
}


if __name__ == "__main__":
    raise SystemExit(main())
