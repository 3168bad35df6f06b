"""Start a training process: `python -m vlmscale.training SPEC.json`. Needs no torch."""

import hashlib
import shutil
import sys
from pathlib import Path

from vlmscale.process import run
from vlmscale.provenance import atomic_path
from vlmscale.training.spec import Spec


def launch(spec: Spec) -> None:
    """Train in a process of its own. Raises UserError when it fails; the reason stands in the log."""
    run(
        prepare(spec),
        "training",
        f"Run again: it goes on from the last checkpoint in {spec.paths.work}.",
    )


def prepare(spec: Spec) -> list[str]:
    """Write the spec beside its checkpoints and return the command that trains it.

    Checkpoints of another spec, or of inputs that have changed since, are removed.
    """
    work, identity = spec.paths.work, _identity(spec)
    mark, file = work / "identity", work / "spec.json"
    if work.exists() and not (mark.exists() and mark.read_text() == identity):
        shutil.rmtree(work)
    for path, text in ((mark, identity), (file, spec.model_dump_json(indent=2) + "\n")):
        with atomic_path(path) as scratch:
            scratch.write_text(text)
    return [sys.executable, "-m", "vlmscale.training", str(file)]


def _identity(spec: Spec) -> str:
    """What a checkpoint belongs to: the spec, and name, size and time of every input file."""
    digest = hashlib.sha256(spec.model_dump_json().encode())
    for name in ("llm", "tower", "tokenizer", "data", "features", "projector"):
        source: Path | None = getattr(spec, name, None)
        if source is not None:
            for file in sorted(source.iterdir()) if source.is_dir() else [source]:
                stat = file.stat()
                digest.update(f"{file.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()
