"""Prints an expression back in the language's own syntax, with no more parentheses than its precedences need.

Blanks stand where `declarative format` puts them.
"""

from __future__ import annotations

import re

from declarative.ir.expression import (
    Call,
    Constant,
    Expression,
    ExternCall,
    Index,
    IndexRange,
    Let,
    Nested,
    Range,
    SizeValue,
    Subscript,
    Sum,
    Symbol,
)
from declarative.ir.matrices import Full, Identity
from declarative.ir.shape import Size

SUM, PRODUCT, UNARY, POWER, POSTFIX = range(1, 6)
"""Precedences, loosest first: ``+ -``, ``* / @``, unary minus, ``^``, transpose and subscripts."""

_WORD = re.compile(r"[A-Za-z_]\w*|(?P<number>[0-9][0-9.]*(e[-+]?[0-9]+)?)", re.ASCII)

PRODUCTS = {"mul": "*", "div": "/", "matmul": "@"}


def show(expression: Expression) -> str:
    """The expression as a program would write it; parsing the text gives the expression again."""
    return _show(expression)[0]


def show_number(value: Nested) -> str:
    """A number without a needless ``.0``, a vector or matrix in brackets."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(show_number, value))}]"
    number = float(value)
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


def show_ranges(ranges: tuple[IndexRange, ...]) -> str:
    """``for t in a..b, ...`` without the ``for``."""
    return ", ".join(f"{r.name} in {r.first}..{r.last}" for r in ranges)


def show_subscript(subscript: Subscript) -> str:
    """``i`` or ``a..b``."""
    return f"{subscript.first}..{subscript.last}" if isinstance(subscript, Range) else str(subscript.index)


def _within(expression: Expression, precedence: int) -> str:
    """The expression as an operand of an operator that needs at least this precedence."""
    text, own = _show(expression)
    return text if own >= precedence else f"({text})"


def _show(expression: Expression) -> tuple[str, int]:
    """The text and its precedence."""
    match expression:
        case Constant(value):
            negative = not isinstance(value, tuple) and value < 0
            return show_number(value), UNARY if negative else POSTFIX
        case SizeValue(size):
            return re.sub(r"(?<=.)([-+*])", r" \1 ", str(size)), _size_precedence(size)
        case Symbol() | Let():
            return expression.name, POSTFIX
        case Index(base, subscripts):
            return f"{_within(base, POSTFIX)}[{', '.join(map(show_subscript, subscripts))}]", POSTFIX
        case Sum(body, ranges):
            return f"sum({show(body)} for {show_ranges(ranges)})", POSTFIX
        case ExternCall(extern, args):
            return f"{extern.name}({', '.join(map(show, args))})", POSTFIX
        case Identity(size):
            return f"eye({size})", POSTFIX
        case Full(number, filled):
            ones = f"{'zeros' if number == 0 else 'ones'}({', '.join(map(str, filled))})"
            return (ones, POSTFIX) if number in (0, 1) else (f"{show_number(number)} * {ones}", PRODUCT)
        case Call():
            return _show_call(expression)
    raise TypeError(f"{type(expression).__name__} has no syntax")


def _show_call(call: Call) -> tuple[str, int]:
    name, args = call.atom.name, call.args
    if name == "add" and len(args) == 2:
        left, right = args
        if isinstance(right, Call) and right.atom.name == "neg":
            return f"{_within(left, SUM)} - {_within(right.args[0], PRODUCT)}", SUM
        return f"{_within(left, SUM)} + {_within(right, PRODUCT)}", SUM
    if name == "div" and _is_fraction(*args):
        return f"{show(args[0])}/{show(args[1])}", PRODUCT
    if name in PRODUCTS:
        return f"{_within(args[0], PRODUCT)} {PRODUCTS[name]} {_within(args[1], UNARY)}", PRODUCT
    if name == "neg":
        return f"-{_within(args[0], UNARY)}", UNARY
    if name == "power":
        return f"{_within(args[0], POSTFIX)}^{_within(args[1], UNARY)}", POWER
    if name == "transpose":
        return f"{_within(args[0], POSTFIX)}'", POSTFIX
    return f"{name}({', '.join(map(show, args))})", POSTFIX


def _is_fraction(above: Expression, below: Expression) -> bool:
    """Whether a quotient is of two words with a number among them, which is written tight."""
    first, second = _WORD.fullmatch(show(above).lstrip("-")), _WORD.fullmatch(show(below))
    return first is not None and second is not None and "number" in (first.lastgroup, second.lastgroup)


def _size_precedence(size: Size) -> int:
    if len(size.terms) + (size.constant != 0) > 1:
        return SUM
    if not size.terms:
        return UNARY if size.constant < 0 else POSTFIX
    coefficient = size.terms[0][1]
    return POSTFIX if coefficient == 1 else UNARY if coefficient == -1 else PRODUCT
