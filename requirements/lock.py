"""Resolve requirements/direct.in to requirements/lock.txt: every package pinned, for --no-deps.

Also write envs/vlmscale.post-deploy.sh, which installs the lock for `snakemake --sdm conda`.

The lock has no torch, because its build (CPU or CUDA) depends on the machine: `make setup` installs TORCH
first. It has no torchvision: the package index has no CPU build, and beside a CPU torch the other build
breaks the import of transformers.

    python requirements/lock.py          (make lock)     resolve every package to its newest version
    python requirements/lock.py --keep   (make lock-new) resolve only what the lock lacks
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
TORCH = "torch==2.13.0"
POST_DEPLOY = HERE.parent / "envs" / "vlmscale.post-deploy.sh"
LEFT_OUT = re.compile(r"(torch|torchvision|triton|nvidia-.*|cuda-.*)$")


def resolve(direct: Path, pinned: Path | None) -> dict[str, str]:
    """Return name -> version of everything pip would install for `direct` in an empty environment.

    pinned: a lock whose versions are kept.
    """
    constraints = ["-c", str(pinned)] if pinned else []
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"),
                *("--quiet", "--report", str(report), "-r", str(direct), TORCH),
                *constraints,
            ],
            check=True,
        )
        chosen = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    return {re.sub(r"[-_.]+", "-", m["name"]).lower(): m["version"] for m in chosen}


def format_post_deploy(lock: str) -> str:
    """Return the script that snakemake runs in the checkout after it has created an environment.

    The script installs the lock. It names the lock's digest because snakemake recreates an environment
    when the script changes.
    """
    digest = hashlib.sha256(lock.encode()).hexdigest()
    return f"""\
#!/bin/bash
# Written by requirements/lock.py for the lock with SHA-256
# {digest}
# As `make setup` does. TORCH chooses another build of torch, for example one for your CUDA.
set -euo pipefail
pip install --no-deps "${{TORCH:-{TORCH}}}"
pip install --no-deps -r requirements/lock.txt
pip install --no-deps --no-build-isolation --editable .
"""


def main() -> None:
    """Write the lock and the script that installs it."""
    lock_file = HERE / "lock.txt"
    pins = resolve(HERE / "direct.in", lock_file if "--keep" in sys.argv[1:] else None)
    lines = [f"{name}=={pins[name]}" for name in sorted(pins) if not LEFT_OUT.match(name)]
    header = (
        f"# Written by requirements/lock.py. Install {TORCH} first, then this with --no-deps.\n"
    )
    lock = header + "\n".join(lines) + "\n"
    lock_file.write_text(lock)
    POST_DEPLOY.write_text(format_post_deploy(lock))


if __name__ == "__main__":
    main()
