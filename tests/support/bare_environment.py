"""`python -m tests.support.bare_environment ARGUMENTS`: run pytest where few packages seem to be installed.

Imports find only what `pip install` of NEEDED brings along, this project, and what `--also NAME` adds.
"""

import re
import sys
from collections.abc import Iterable
from importlib import metadata

NEEDED = ("torch", "transformers", "accelerate", "safetensors", "pydantic", "numpy", "pandas")
NEEDED += ("pyarrow", "pillow", "einops", "pytest")


def normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def list_brought(names: Iterable[str]) -> set[str]:
    """Return the installed distributions that `names` need, extras aside, and themselves."""
    found, waiting = set(), [normalise(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # of another platform
        found.add(name)
        waiting += [
            normalise(re.match(r"[\w.-]+", requirement)[0])
            for requirement in requirements
            if "extra ==" not in requirement
        ]
    return found


def list_refused(also: Iterable[str] = ()) -> set[str]:
    """Return the top-level modules of all other installed distributions."""
    kept = {*list_brought((*NEEDED, *also)), "vlmscale"}
    return {
        module
        for module, distributions in metadata.packages_distributions().items()
        # Some distribution installs its own tests under that name.
        if module != "tests" and not any(normalise(name) in kept for name in distributions)
    }


class Hidden:
    """A finder that does not find the modules in `refused`."""

    def __init__(self, finder, refused):
        self.finder, self.refused = finder, refused

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.refused:
            return None
        return self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)


def hide(refused: set[str]) -> None:
    """Let no import find these modules from now on."""
    loaded = refused & {name.partition(".")[0] for name in sys.modules}
    assert not loaded, f"already imported: {loaded}"
    sys.meta_path[:] = [Hidden(finder, refused) for finder in sys.meta_path]


if __name__ == "__main__":
    arguments = sys.argv[1:]
    also = [arguments.pop(1) for _ in arguments[:1] if arguments[0] == "--also"]
    arguments = arguments[len(also) :]
    hide(list_refused(also))
    import os

    import pytest

    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # plugins are packages, too
    sys.exit(pytest.main(arguments))
