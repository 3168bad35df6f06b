"""What of the surroundings of a workflow would make every job fail: refused before the first one."""

import re
from pathlib import Path

from vlmscale.errors import UserError

_PLACEHOLDER = "CHANGE_ME"


def check_interpreter(interpreter: str) -> None:
    """Raise UserError for a path of Python that a shell reads as something else.

    Snakemake writes it into the command of each job without quotes.
    """
    if found := re.search(r"[^\w/.@%+=:,~-]", interpreter):
        raise UserError(
            f"snakemake cannot start jobs by {interpreter!r}: a shell reads {found[0]!r} as more than a "
            "letter. Move the checkout (its environment is .venv) to a folder without spaces and quotes, "
            "and run `make setup` there."
        )


def check_checkout(folder: Path) -> None:
    """Raise UserError for a folder of the workflow in which snakemake would look for variables."""
    if set("{}") & set(str(folder)):
        raise UserError(
            f"snakemake reads the braces in the path of the checkout, {str(folder)!r}, as names of "
            "variables. Move it to a folder without braces."
        )


def check_profile(file: Path) -> None:
    """Raise UserError for a snakemake profile that still has placeholders to be replaced."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    left = [
        f"\n  line {number}: {line.strip()}"
        for number, line in enumerate(lines, 1)
        if _PLACEHOLDER in line.partition("#")[0]
    ]
    if left:
        raise UserError(f"{file} has placeholders. Write your values, or remove:{''.join(left)}")
