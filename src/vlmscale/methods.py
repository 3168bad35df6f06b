"""The declarations of every method, read from its source without importing torch.

Method `x` is the file models/projectors/x.py with one subclass of Projector. Its class attributes are
literals; models/projectors/base.py says what each means. No list of methods has to be maintained.

A *variant* is a method with chosen options under a name of its own, as in `methods` of a config. Every
method is also a variant with default options.
"""

import ast
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from vlmscale.errors import UserError
from vlmscale.settings import Setting, Stage
from vlmscale.settings.formulas import evaluate_formula

PROJECTORS = Path(__file__).parent / "models" / "projectors"
_BASE = "base"
# What a projector may read beside the patches, and the variables of its formulas: see Projector.
NEEDS = (
    *("multilayer", "question", "question_tokens", "question_embeddings", "tower_attention"),
    *("block_attention", "cls", "pixels", "merged_patches", "llm_attention", "text_embeddings"),
)
VARIABLES = ("w", "p", "v", "d", "h", "l", "n", "m", "b")


@dataclass(frozen=True)
class Method:
    """The declarations of one projector class."""

    name: str
    summary: str
    source: str
    needs: tuple[str, ...]
    counts: str
    options: dict[str, tuple[str, ...]]
    served_by: dict[str, tuple[str, int | str]]
    weights: str
    multiply_adds: str
    positions: str
    kept: str
    fusion_layers: str
    stage2_copies: str

    def list_counts(self, side: int) -> list[int]:
        """Return every V that this method can give on a grid of side x side patches."""
        patches = side * side
        squares = [g * g for g in range(1, side + 1) if side % g == 0]
        match self.counts.split(" "):
            case ["full"]:
                return [patches]
            case ["square"]:
                return squares
            case ["square", "+", "1"]:
                return [v + 1 for v in squares]
            case ["any"]:
                return list(range(1, patches + 1))
            case ["any", "to", *formula]:
                most = evaluate_formula(" ".join(formula), {"w": side})
                return list(range(1, int(most) + 1))
            case ["multiples", "of", number] if number.isdecimal():
                return list(range(int(number), patches + 1, int(number)))
        raise UserError(f"{_file(self.name)}: counts={self.counts!r} is none of those in base.py")

    def count_copies(self, side: int, stage: Stage) -> int:
        """Return how often a batch repeats each sample: once for every V trained at once."""
        if stage == "stage1":
            return 1
        names = {"w": side, "f": _count_prime_factors(side)}
        return int(evaluate_formula(self.stage2_copies, names))

    def complete_options(self, chosen: Mapping[str, str], variant: str = "") -> dict[str, str]:
        """Return the value of every option, by default the first allowed; refuse unknown ones."""
        key = f"methods.{variant or self.name}"
        for option, value in chosen.items():
            if option not in self.options:
                raise UserError(
                    f"{key}.{option}: no such option. "
                    f"{self.name} has: {', '.join(self.options) or 'none'}."
                )
            if value not in self.options[option]:
                raise UserError(
                    f"{key}.{option}: {value!r} is not allowed. "
                    f"Choose one of: {', '.join(self.options[option])}."
                )
        return {name: chosen.get(name, allowed[0]) for name, allowed in self.options.items()}

    def make_setting(self, visual_tokens: int, **options: str) -> Setting:
        """Return the setting of this method at `visual_tokens`; options not given have their defaults."""
        return Setting(
            method=self.name, visual_tokens=visual_tokens, options=self.complete_options(options)
        )

    @property
    def reads_question(self) -> bool:
        """Whether the projector uses the question."""
        return any(need.startswith("question") for need in self.needs)

    @property
    def reads_question_states(self) -> bool:
        """Whether the LLM passes over the question for the projector, not only its embedding."""
        return bool({"question", "question_tokens"}.intersection(self.needs))


@dataclass(frozen=True)
class Variant:
    """A method with all its options, under the name that a study uses."""

    name: str
    method: Method
    options: dict[str, str]

    def find_training(self, visual_tokens: int, side: int) -> tuple[str, int]:
        """Return (variant, V) of the training run that serves this variant at `visual_tokens`."""
        served = self.method.served_by.get(self.options.get("training", ""))
        if served is None:
            return self.name, visual_tokens
        name, tokens = served
        if tokens == "full":
            tokens = side * side
        elif tokens == "most":
            tokens = self.method.list_counts(side)[-1]
        return self.name if name == "self" else name, int(tokens)


def find_variant(name: str, configured: Mapping[str, Mapping[str, str]]) -> Variant:
    """Return the variant `name` of a study whose config has `configured` under `methods`."""
    chosen = dict(configured.get(name, {}))
    found = find_method(chosen.pop("method", name))
    return Variant(name, found, found.complete_options(chosen, name))


def list_method_names() -> list[str]:
    """Return the names of all methods, sorted."""
    return sorted(path.stem for path in PROJECTORS.glob("[!_]*.py") if path.stem != _BASE)


@cache
def find_method(name: str) -> Method:
    """Read the declarations of method `name`. Raises UserError when there is no such method.

    The error names the file, and the declaration that is not as models/projectors/base.py says.
    """
    if name not in list_method_names():
        raise UserError(f"no method {name!r}. There are: {', '.join(list_method_names())}.")
    node, defaults = _projector_class(name), _literals(_BASE, _projector_class(_BASE))
    declared = defaults | _literals(name, node, set(defaults))
    summary = (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
    found = Method(name, summary, **declared)
    _check_declarations(found)
    return found


def _check_declarations(method: Method) -> None:
    """Raise UserError, naming file and attribute, for declarations that nothing could use."""

    def refuse(attribute: str, reason: str) -> NoReturn:
        value = getattr(method, attribute)
        raise UserError(f"{_file(method.name)}: {attribute} = {value!r}: {reason}")

    for attribute in ("source", "weights", "multiply_adds"):
        if not (isinstance(getattr(method, attribute), str) and getattr(method, attribute).strip()):
            refuse(attribute, "declare a text that is not empty.")
    if not isinstance(method.needs, tuple) or set(method.needs) - set(NEEDS):
        refuse("needs", f"declare a tuple of some of {', '.join(NEEDS)}.")
    if not isinstance(method.options, dict) or not all(
        isinstance(values, tuple) and values and all(isinstance(value, str) for value in values)
        for values in method.options.values()
    ):
        refuse("options", 'declare {"option": ("default", "another value")}.')
    trained = method.options.get("training", ())
    if not isinstance(method.served_by, dict) or not set(method.served_by) <= set(trained):
        refuse(
            "served_by", f"its keys must be values of the option training: {', '.join(trained)}."
        )
    for run in method.served_by.values():
        if not (
            isinstance(run, tuple) and len(run) == 2 and run[0] in ("self", *list_method_names())
        ):
            refuse(
                "served_by", "each value must be (method or 'self', 'full', 'most' or a number)."
            )
        if not (run[1] in ("full", "most") or isinstance(run[1], int)):
            refuse("served_by", "its second part must be 'full', 'most' or a number.")
    try:
        method.list_counts(12)
    except (UserError, AttributeError) as error:
        refuse("counts", str(error))
    sizes = dict.fromkeys(VARIABLES, 12.0) | method.complete_options({})
    formulas = dict.fromkeys(
        ("weights", "multiply_adds", "positions", "kept", "fusion_layers"), sizes
    )
    for attribute, names in (formulas | {"stage2_copies": {"w": 12.0, "f": 3.0}}).items():
        try:
            value = evaluate_formula(getattr(method, attribute), names)
        except UserError as error:
            refuse(attribute, str(error))
        if not 0 <= value < math.inf:
            refuse(attribute, f"its value is {value}.")


def _count_prime_factors(number: int) -> int:
    """Return the number of prime factors, with multiplicity: 24 = 2 * 2 * 2 * 3 has four."""
    found, divisor = 0, 2
    while number > 1:
        if number % divisor:
            divisor += 1
        else:
            found, number = found + 1, number // divisor
    return found


def _file(stem: str) -> Path:
    return PROJECTORS / f"{stem}.py"


def _projector_class(stem: str) -> ast.ClassDef:
    wanted = "nn.Module" if stem == _BASE else "Projector"
    try:
        tree = ast.parse(_file(stem).read_bytes())
    except (SyntaxError, ValueError) as error:
        where, reason = "", str(error)
        if isinstance(error, SyntaxError):
            where, reason = f", line {error.lineno}", error.msg
        raise UserError(
            f"{_file(stem)}{where}: it is no Python: {reason}. Correct the file."
        ) from None
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    found = [node for node in classes if wanted in map(ast.unparse, node.bases)]
    if len(found) != 1:
        raise UserError(f"{_file(stem)}: needs one subclass of {wanted}, not {len(found)}")
    return found[0]


def _literals(stem: str, node: ast.ClassDef, known: Collection[str] = ()) -> dict[str, Any]:
    """Return the class attributes of a projector, of all names or of those `known`."""
    values = {}
    for statement in node.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case _:
                continue
        where = f"{_file(stem)}, line {statement.lineno}: {name}"
        if known and name not in known:
            if meant := get_close_matches(name, known, 1):
                raise UserError(f"{where} is no declaration. Do you mean {meant[0]}?")
            continue
        try:
            values[name] = ast.literal_eval(value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            raise UserError(
                f"{where} = {ast.unparse(value)} is no literal. The workflow reads it without running "
                "the file: write out the value."
            ) from None
    return values
