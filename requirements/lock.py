"""Resolve requirements/direct.in to requirements/lock.txt: every package pinned, installed with --no-deps.

torch is left out, because the right build (CPU or CUDA) depends on the machine: `make setup` installs
TORCH first. torchvision is left out on purpose: it has no CPU build on the package index, and beside a
CPU torch it breaks the import of transformers.

    python requirements/lock.py          (make lock)
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
TORCH = "torch==2.13.0"
LEFT_OUT = re.compile(r"(torch|torchvision|triton|nvidia-.*|cuda-.*)$")


def resolve(direct: Path) -> dict[str, str]:
    """Name -> version of everything pip would install for `direct`, with nothing installed yet."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"),
                *("--quiet", "--report", str(report), "-r", str(direct), TORCH),
            ],
            check=True,
        )
        chosen = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    return {re.sub(r"[-_.]+", "-", m["name"]).lower(): m["version"] for m in chosen}


def main() -> None:
    pins = resolve(HERE / "direct.in")
    lines = [f"{name}=={pins[name]}" for name in sorted(pins) if not LEFT_OUT.match(name)]
    header = (
        f"# Written by requirements/lock.py. Install {TORCH} first, then this with --no-deps.\n"
    )
    (HERE / "lock.txt").write_text(header + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
