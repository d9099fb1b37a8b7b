"""What functions ask of constant arguments: their number, and whether two arguments are the same expression."""

from __future__ import annotations

from declarative.ir.expression import Call, Constant, Expression, Let, SizeValue
from declarative.ir.traverse import without_lets


def number(expression: Expression) -> float | None:
    """The value of an expression of numbers alone, such as ``1/2``; None for anything else."""
    match expression:
        case Constant(value) if isinstance(value, float | int):
            return float(value)
        case SizeValue(size) if size.is_number:
            return float(size.constant)
        case Let(_, body):
            return number(body)
        case Call() if expression.atom.name in ("add", "neg", "mul", "div", "power"):
            return _computed(expression)
    return None


def _computed(call: Call) -> float | None:
    values = [number(arg) for arg in call.args]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    try:
        match call.atom.name, known:
            case "add", [a, b]:
                return a + b
            case "neg", [a]:
                return -a
            case "mul", [a, b]:
                return a * b
            case "div", [a, b]:
                return a / b
            case "power", [a, b]:
                result = a**b
                return result if isinstance(result, float) else None
    except (ZeroDivisionError, OverflowError):
        return None
    return None


def same(a: Expression, b: Expression) -> bool:
    """Whether two arguments are one expression, whatever names `let` gave to its parts."""
    return a.shape == b.shape and (a == b or without_lets(a) == without_lets(b))
