"""Damage configs at random and plan them: each must be refused by one error, or mean what it says.

python -m tests.fuzz.configs --minutes 10
"""

import argparse
import json
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import yaml

from tests.fuzz.config_damage import damage
from tests.support.limits import TooSlow, limit_time
from tests.support.paths import ROOT
from vlmscale.errors import UserError
from vlmscale.planning.requests import (
    request_backbones,
    request_encoding,
    request_evaluation,
    request_latency,
    request_trainings,
)
from vlmscale.planning.specs import JobSpecs
from vlmscale.planning.trainings import estimate_features_gb, estimate_runs
from vlmscale.study.load import load_study, validate

_SECONDS, _BYTES = 20, 6 * 2**30  # that one input may take
_NULL = {"", "~", "null", "Null", "NULL"}


def plan(file: Path) -> JobSpecs:
    """Plan all that the workflow plans when it is parsed. Raises UserError, or AssertionError if unsound."""
    study = load_study(file)
    specs = JobSpecs(study, scripts=ROOT / "workflow/scripts")
    questions = study.count_questions()
    asked = sum(questions.values())
    requests = [
        job
        for jobs in request_trainings(study, specs.runs.values()).values()
        for job in jobs.values()
    ]
    requests += request_backbones(study).values()
    requests += [request_evaluation(study, cell, asked) for cell in specs.cells.values()]
    samples = study.list_samples({run.seed for run in specs.runs.values()})
    requests += [request_encoding(study, split, asked) for split, _ in samples.values()]
    requests += [request_latency(study, llm) for llm in study.llms]
    for request in set(requests):
        for name, value in request.resources(1).items():
            least = 0 if name == "activation_checkpointing" else 1e-9  # that one is 0 or 1
            assert value in (None, "srun") or least <= value < 10**9, request
    costs = estimate_runs(study, questions)
    assert all(0 < cost.training_flops < math.inf for cost in costs)
    assert math.isfinite(estimate_features_gb(study))
    assert min(questions.values()) > 0
    planned = [
        specs.stage_spec(stage, name) for stage, runs in specs.trainings.items() for name in runs
    ]
    planned += [specs.evaluation_spec(name) for name in specs.cells]
    json.dumps(planned, allow_nan=False)
    for name in (*specs.cells, *specs.runs, *specs.laws, *study.llms, study.study):
        assert Path(name).name == name, name
        assert name.isascii(), name
        assert len(name) < 230, name
    assert {cell.run for cell in specs.cells.values()} == set(specs.runs)
    return specs


def find_silent_changes(content: bytes, file: Path) -> list[str]:
    """Return where an accepted config's study differs from its text, read by another reader.

    Every scalar is compared as text, so no conversion escapes; keys that stand twice are found in the nodes.
    """
    text = content.decode("utf-8-sig")
    found = [
        f"twice: {key}" for key in _find_repeated_keys(yaml.compose(text, yaml.CBaseLoader), set())
    ]
    study = load_study(file).model_dump(mode="json")
    if validate(study, "again").model_dump(mode="json") != study:
        found.append("not the same when read again")
    return found + list(_compare(yaml.load(text, yaml.CBaseLoader), study, "study"))


def _find_repeated_keys(node, seen):
    if id(node) in seen or not isinstance(node, yaml.CollectionNode):
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys = Counter(key.value for key, _ in node.value)
        yield from (key for key, times in keys.items() if times > 1)
    for child in node.value:
        for part in child if isinstance(child, tuple) else [child]:
            yield from _find_repeated_keys(part, seen)


def _compare(written, value, place):
    if isinstance(written, dict):
        merged = written.pop("<<", [])
        for base in merged if isinstance(merged, list) else [merged]:
            written = {**base, **written}
        for key, part in written.items():
            if not isinstance(value, dict) or key not in value:
                yield f"{place}.{key}: dropped"
            else:
                yield from _compare(part, value[key], f"{place}.{key}")
    elif isinstance(written, list):
        if not isinstance(value, list) or len(value) != len(written):
            yield f"{place}: another list"
        else:
            for i, (part, kept) in enumerate(zip(written, value, strict=True)):
                yield from _compare(part, kept, f"{place}.{i}")
    elif not _means(written, value):
        yield f"{place}: {written!r} became {value!r}"


def _means(written, value):
    match value:
        case None:
            return written in _NULL
        case bool():
            return written.lower() == str(value).lower()
        case str():
            return written == value
    try:
        return math.isfinite(value) and float(written) == value
    except ValueError:
        return False


def judge(content: bytes, folder: Path) -> tuple[str, str]:
    """Return what became of a config (refused, sound, traceback, hang or silent) and the details."""
    file = folder / "x.yaml"
    file.write_bytes(content)
    try:
        with limit_time(_SECONDS):
            plan(file)
            found = find_silent_changes(content, file)
    except UserError as error:
        message = str(error)
        if "Traceback" in message or len(message) > 5000 or str(file) not in message:
            known = (
                "trainings do not fit",
                "grid:",
                "laws.series",
            )  # of the study, not of its file
            if not message.startswith(known):
                return "traceback", f"a message that does not help: {message[:500]}"
        return "refused", message
    except TooSlow:
        return "hang", f"more than {_SECONDS} s"
    except Exception:
        return "traceback", traceback.format_exc()
    return ("silent", "; ".join(found[:5])) if found else ("sound", "")


def dry_run(file: Path) -> str:
    """Return the output of a dry run that fails by anything but one error, else nothing."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "-n",
        "--quiet",
        "all",
        "--config",
        f"study={file}",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    text = done.stdout + done.stderr
    return "" if done.returncode == 0 or ("error: " in text and "Traceback" not in text) else text


def try_configs(seed: str, end: float, every: int, keep: Path) -> Counter[str]:
    """Try configs until `end`, a time of time.time(); print and keep what failed; return how many became what."""
    resource.setrlimit(resource.RLIMIT_AS, (_BYTES, resource.RLIM_INFINITY))
    counts: Counter[str] = Counter(dict.fromkeys((*_MEANINGS, "dry runs"), 0))
    number = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        while time.time() < end:
            number += 1
            rng = random.Random(f"{seed} {number}")
            base, content = damage(rng)
            outcome, details = judge(content, folder)
            if outcome == "sound" and every and counts["sound"] % every == 0:
                counts["dry runs"] += 1
                if details := dry_run(folder / "x.yaml"):
                    outcome = "traceback"
            counts[outcome] += 1
            if outcome not in ("refused", "sound"):
                keep.mkdir(parents=True, exist_ok=True)
                kept = keep / f"{outcome}-{seed}-{number}.yaml"
                kept.write_bytes(content)
                print(f"{outcome}: {kept}, from {base}\n{details}\n")
    return counts


def main() -> int:
    """Try configs for some minutes; print counts, and keep what failed in a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--dry-run-every", type=int, default=200, help="accepted configs; 0: never")
    parser.add_argument("--keep", type=Path, default=Path("work/fuzz/configs"))
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    end = time.time() + 60 * options.minutes
    seeds = [f"{options.seed}-{job}" for job in range(options.jobs)]
    with ProcessPoolExecutor(options.jobs) as pool:
        rest = (end, options.dry_run_every, options.keep)
        tried = [pool.submit(try_configs, seed, *rest) for seed in seeds]
        counts = sum((one.result() for one in tried), Counter[str]())
    number = sum(counts[outcome] for outcome in _MEANINGS)
    print(f"configs: {number} inputs (seed {options.seed}), {counts['dry runs']} dry runs")
    for outcome, meaning in _MEANINGS.items():
        print(f"  {counts[outcome]:7d} {meaning}")
    return int(counts["refused"] + counts["sound"] < number)


_MEANINGS = {
    "refused": "refused by one error",
    "sound": "accepted and planned soundly",
    "traceback": "tracebacks",
    "hang": "hangs",
    "silent": "accepted as another study than written",
}


if __name__ == "__main__":
    sys.exit(main())
