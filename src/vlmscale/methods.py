"""What each compression method declares about itself, read without importing it.

Method `x` is the file models/projectors/x.py with one subclass of Projector. Its class attributes
`needs`, `counts`, `served_by` and `options` are literals, so they can be read from the source: the
workflow knows every method without importing torch, and no list of methods exists to be kept.
"""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vlmscale.errors import UserError

PROJECTORS = Path(__file__).parent / "models" / "projectors"
_BASE = "base"


@dataclass(frozen=True)
class Method:
    """The declarations of one projector class; models/projectors/base.py says what each means."""

    name: str
    summary: str
    needs: tuple[str, ...]
    counts: str
    served_by: tuple[str, int | str] | None
    options: dict[str, tuple[str, ...]]

    def supported(self, side: int) -> list[int]:
        """Every number of visual tokens this method can give on a grid of side x side patches."""
        if self.counts == "full":
            return [side * side]
        if self.counts == "square":
            return [g * g for g in range(1, side + 1) if side % g == 0]
        raise UserError(
            f"{PROJECTORS / self.name}.py: counts={self.counts!r} is not full or square"
        )

    def trained_as(self, visual_tokens: int, side: int) -> tuple[str, int]:
        """(method, visual tokens) of the training run that serves this method at `visual_tokens`."""
        if self.served_by is None:
            return self.name, visual_tokens
        method, tokens = self.served_by
        if tokens == "same":
            return method, visual_tokens
        return method, side * side if tokens == "full" else int(tokens)

    def complete_options(self, chosen: dict[str, str]) -> dict[str, str]:
        """Every option of the method: the chosen value, else the default, which stands first.

        Raises UserError for an unknown option or value.
        """
        for option, value in chosen.items():
            if option not in self.options:
                raise UserError(
                    f"methods.{self.name}.{option}: no such option. "
                    f"{self.name} has: {', '.join(self.options) or 'none'}."
                )
            if value not in self.options[option]:
                raise UserError(
                    f"methods.{self.name}.{option}: {value!r} is not allowed. "
                    f"Choose one of: {', '.join(self.options[option])}."
                )
        return {name: chosen.get(name, allowed[0]) for name, allowed in self.options.items()}


def method_names() -> list[str]:
    return sorted(
        p.stem for p in PROJECTORS.glob("*.py") if p.stem != _BASE and not p.stem.startswith("_")
    )


@cache
def method(name: str) -> Method:
    """Read the declarations of method `name`. Raises UserError when there is no such method."""
    if name not in method_names():
        raise UserError(f"no method {name!r}. There are: {', '.join(method_names())}.")
    node = _projector_class(name)
    fields = {**_literals(_projector_class(_BASE)), **_literals(node)}
    return Method(
        name=name,
        summary=(ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " "),
        needs=tuple(fields["needs"]),
        counts=fields["counts"],
        served_by=fields["served_by"],
        options={key: tuple(values) for key, values in fields["options"].items()},
    )


def _projector_class(stem: str) -> ast.ClassDef:
    wanted = "nn.Module" if stem == _BASE else "Projector"
    tree = ast.parse((PROJECTORS / f"{stem}.py").read_text())
    found = [
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and wanted in [ast.unparse(b) for b in node.bases]
    ]
    if len(found) != 1:
        raise UserError(
            f"{PROJECTORS / stem}.py: expected one subclass of {wanted}, found {len(found)}"
        )
    return found[0]


def _literals(node: ast.ClassDef) -> dict[str, Any]:
    values = {}
    for statement in node.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                values[name] = ast.literal_eval(value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                values[name] = ast.literal_eval(value)
    return values
