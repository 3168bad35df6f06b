"""Finds the tables kept with the code, in resources/ beside src/; they are not part of a wheel."""

from pathlib import Path

from vlmscale.errors import UserError


def resource(name: str) -> Path:
    """The file resources/`name` of the checkout this package runs from, else of the current folder."""
    places = [folder / "resources" / name for folder in (Path(__file__).parents[2], Path.cwd())]
    for place in places:
        if place.exists():
            return place
    raise UserError(
        f"resources/{name} is not found; looked for {' and '.join(map(str, places))}. "
        "Run vlmscale in a checkout of its repository."
    )
