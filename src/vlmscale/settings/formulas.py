"""Formulas as texts, such as a projector declares its cost by: arithmetic, and nothing else."""

import ast
import operator
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from vlmscale.errors import UserError

_OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}


def evaluate_formula(formula: str, names: Mapping[str, float | str]) -> float:
    """Return the value of a formula of numbers, `names`, + - * / // ** and brackets; refuse all else.

    A name with a text is an option: `option == "value"` is 1 or 0, and a numeric text is its number.
    """

    def value(node: ast.expr) -> float:
        match node:
            case ast.Constant(value=int() | float() as number):
                return number
            case ast.Name(id=name) if name in names:
                return float(names[name])
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return float(_OPERATORS[type(op)](value(left), value(right)))
            case ast.Compare(left=ast.Name(id=name), ops=[ast.Eq()], comparators=[other]):
                if isinstance(names.get(name), str) and isinstance(other, ast.Constant):
                    return float(names[name] == other.value)
        raise UserError(
            f"formula {formula!r}: {ast.unparse(node)!r} is not allowed; it may use numbers and "
            f"{', '.join(names)}"
        )

    try:
        return value(_parse(formula.strip()))
    except UserError:
        raise
    except (SyntaxError, ArithmeticError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"formula {formula!r} cannot be computed: {error}") from None


@cache  # plans compute the same few formulas for thousands of cells
def _parse(formula: str) -> ast.expr:
    return ast.parse(formula, mode="eval").body
