"""docs/upstream.md names the installed transformers, and every line of it that our code depends on."""

import ast
import importlib.metadata
import re
from functools import cache
from pathlib import Path

import pytest
import transformers

from tests.support.paths import ROOT

PAGE = (ROOT / "docs/upstream.md").read_text()
OURS, THEIRS = ROOT / "src/vlmscale", Path(transformers.__file__).parent
ROWS = re.findall(r"^\| `(\S+): (\S+)` \| `(\S+): (\S+)` \| (\d+)-(\d+) \|", PAGE, re.M)


@cache
def parse(file):
    return ast.parse(file.read_text())


def find_definition(file, name):
    """The syntax tree of the class or function `name`, with dots, in `file`; None if there is none."""
    node = parse(file)
    for part in name.split("."):
        parts = {child.name: child for child in reversed(node.body) if hasattr(child, "name")}
        node = parts.get(part)
        if node is None:
            return None
    return node


def test_the_page_is_about_the_installed_version():
    (named,) = re.findall(r"\*\*transformers (\d+\.\d+)\*\*", PAGE)
    installed = importlib.metadata.version("transformers")
    assert installed.startswith(f"{named}."), (
        f"transformers {installed} is installed, but src/vlmscale was compared with {named}. Compare the "
        "lines that docs/upstream.md lists, adapt our side, then correct the page."
    )


def test_every_row_of_the_page_is_read():
    assert len(ROWS) == len(re.findall(r"^\| `", PAGE, re.M)) > 20


@pytest.mark.parametrize(("ours", "name", "theirs", "their_name", "first", "last"), ROWS)
def test_both_sides_are_where_the_page_says(ours, name, theirs, their_name, first, last):
    assert find_definition(OURS / ours, name), f"src/vlmscale/{ours} has no {name}"
    node = find_definition(THEIRS / theirs, their_name)
    assert node, f"{theirs} has no {their_name}: docs/upstream.md"
    assert (node.lineno, node.end_lineno) == (int(first), int(last)), f"{their_name} has moved"
