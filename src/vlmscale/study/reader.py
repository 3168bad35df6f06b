"""Read the YAML of a config so that nothing is silently another value than the one written.

Words and numbers are those of YAML 1.2 and JSON: `yes` and `1:30` are text, which a number refuses. A
key that stands twice, a tag and a key that is not text are errors, and nothing is ever executed.
"""

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from vlmscale.errors import UserError

_MOST_BYTES, _MOST_VALUES = 200_000, 50_000
# Snakemake would run the Python of a file with one of these keys (YTE) before any of our code sees it.
_PROGRAM_KEYS = {"__use_yte__", "__definitions__", "__variables__"}


class _Loader(yaml.SafeLoader):
    """The values of JSON, merge keys and aliases."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuse a tag, which can turn a value into another or run code."""
        event = self.peek_event()
        if tag := getattr(event, "tag", None):
            raise UserError(f"line {event.start_mark.line + 1}: remove the tag {tag}")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a key that is not text or stands twice."""
        assert isinstance(node, yaml.MappingNode)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                raise UserError(f"line {line}: a key must be text. Put it in quotes.")
            if key.value in lines:
                first = lines[key.value]
                where = f"line {line}" if first == line else f"lines {first} and {line}"
                raise UserError(f"key {key.value!r} stands twice, in {where}. Remove one.")
            lines[key.value] = line
        return super().construct_mapping(node, deep=deep)


_NUMBER = "-+0123456789."
_SCALARS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9_]*)", list(_NUMBER)),
    ("float", r"[-+]?((0|[1-9][0-9_]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?", list(_NUMBER)),
    ("merge", r"<<", ["<"]),
)
_Loader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in _SCALARS:
    _tag, _whole = f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$")
    _Loader.add_implicit_resolver(_tag, _whole, _first)


def read_config(path: str | Path) -> dict[str, Any]:
    """Return the keys and values of a YAML file. Raises UserError when it is not one."""
    try:
        file = Path(path)
        if file.exists() and not file.is_file():
            raise UserError("it is a folder, a pipe or a device, not a file")
        if file.stat().st_size > _MOST_BYTES:
            raise UserError(f"it has more than {_MOST_BYTES:,} bytes; a config has a few thousand")
        raw = parse_config(file.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not text in UTF-8: {error.reason} at byte {error.start}. Save it as UTF-8."
        ) from None
    except FileNotFoundError:
        raise UserError(f"{path} cannot be read: there is no such file") from None
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        problem = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise UserError(f"{path} cannot be read as YAML: {problem}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path} is not a valid study: expected keys and values at the top level")
    if program := _PROGRAM_KEYS & raw.keys():
        raise UserError(
            f"{path} is not a valid study: {', '.join(sorted(program))} makes it a program (YTE). "
            "Write out the values."
        )
    return raw


def parse_config(text: str) -> Any:
    """Return the value of a YAML document: what JSON has. Raises YAMLError or ValueError."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}
        _count_values(node, {})
        return loader.construct_document(node)
    finally:
        loader.dispose()


def resolve_words(value: Any) -> Any:
    """Return `value` with every text as the number or word that it is in YAML.

    Snakemake leaves the values in `--config stage2={steps: 5}` as text.
    """
    if isinstance(value, Mapping):
        return {key: resolve_words(part) for key, part in value.items()}
    if isinstance(value, list):
        return [resolve_words(part) for part in value]
    if not isinstance(value, str):
        return value
    loader = _Loader("")
    tag = loader.resolve(yaml.ScalarNode, value, (True, False))
    return loader.construct_object(yaml.ScalarNode(tag, value))


def _count_values(node: yaml.Node, counted: dict[int, int]) -> int:
    """Return how many values a node has with every alias written out. Raises UserError for too many."""
    if id(node) not in counted:
        counted[id(node)] = _MOST_VALUES  # for an alias of a node inside it
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        children = [
            child for part in parts for child in (part if isinstance(part, tuple) else [part])
        ]
        counted[id(node)] = 1 + sum(_count_values(child, counted) for child in children)
    if counted[id(node)] >= _MOST_VALUES:
        line = node.start_mark.line + 1
        raise UserError(f"line {line}: more than {_MOST_VALUES:,} values with aliases written out")
    return counted[id(node)]
