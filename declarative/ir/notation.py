"""An expression as it is written in programs, with no more parentheses than its meaning needs."""

from __future__ import annotations

from declarative.ir.expression import (
    At,
    Call,
    Constant,
    Expression,
    ExternCall,
    Index,
    IndexRange,
    Let,
    Nested,
    SizeValue,
    Subscript,
    Sum,
    Symbol,
)

SUM, PRODUCT, NEGATION, POWER, ATOM = range(5)
"""Precedence, loosest first."""

INFIX = {"mul": " * ", "div": " / ", "matmul": " @ "}


def notation(expression: Expression) -> str:
    """The text of an expression in the language. A `let` is written by its name."""
    return _written(expression, SUM)


def _written(expression: Expression, context: int) -> str:
    text, precedence = _text(expression)
    return text if precedence >= context else f"({text})"


def _text(expression: Expression) -> tuple[str, int]:
    match expression:
        case Constant(value):
            return _constant(value), NEGATION if isinstance(value, float | int) and value < 0 else ATOM
        case SizeValue(size):
            single = size.is_number or (not size.constant and size.terms[0][1] == 1 and len(size.terms) == 1)
            return str(size), ATOM if single else SUM
        case Symbol() | Let():
            return expression.name, ATOM
        case Index(base, subscripts):
            return f"{_written(base, ATOM)}[{', '.join(map(_subscript, subscripts))}]", ATOM
        case Sum(body, ranges):
            return f"sum({notation(body)} for {indices(ranges)})", ATOM
        case ExternCall(extern, args):
            return f"{extern.name}({', '.join(map(notation, args))})", ATOM
        case Call():
            return _call(expression)
    raise TypeError(f"no notation for {type(expression).__name__}")


def _call(call: Call) -> tuple[str, int]:
    name, args = call.atom.name, call.args
    match name:
        case "add":
            left, right = args
            if isinstance(right, Call) and right.atom.name == "neg":
                return f"{_written(left, SUM)} - {_written(right.args[0], PRODUCT)}", SUM
            if isinstance(right, Constant) and isinstance(right.value, float | int) and right.value < 0:
                return f"{_written(left, SUM)} - {_constant(-right.value)}", SUM
            return f"{_written(left, SUM)} + {_written(right, PRODUCT)}", SUM
        case "neg":
            return f"-{_written(args[0], NEGATION)}", NEGATION
        case "mul" | "div" | "matmul":
            return f"{_written(args[0], PRODUCT)}{INFIX[name]}{_written(args[1], NEGATION)}", PRODUCT
        case "power":
            return f"{_written(args[0], ATOM)}^{_written(args[1], NEGATION)}", POWER
        case "transpose":
            return f"{_written(args[0], ATOM)}'", ATOM
    return f"{name}({', '.join(map(notation, args))})", ATOM


def indices(ranges: tuple[IndexRange, ...]) -> str:
    """``t in 0..T-1, i in 1..n``."""
    return ", ".join(f"{r.name} in {r.first}..{r.last}" for r in ranges)


def _subscript(subscript: Subscript) -> str:
    if isinstance(subscript, At):
        return str(subscript.index)
    return f"{subscript.first}..{subscript.last}"


def _constant(value: Nested) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_constant, value))}]"
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)
