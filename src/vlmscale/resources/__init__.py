"""The tables that the code reads; the wheel carries them."""

from pathlib import Path

from vlmscale.errors import UserError


def find_resource(name: str) -> Path:
    """Return the path of the table or folder `name` in this package.

    Raises UserError when there is none.
    """
    path = Path(__file__).parent / name
    if not path.exists():
        raise UserError(f"vlmscale has no resource {name!r}: {path} does not exist. Reinstall it.")
    return path
