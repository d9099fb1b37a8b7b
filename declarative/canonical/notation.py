"""Coefficients as people read them: an expression in the language's syntax, with ``I`` and tensors of one number.

The language cannot write the identity or a tensor of ones, which canonical forms are full of.
"""

from __future__ import annotations

from declarative.canonical.matrices import Full, Identity
from declarative.ir.expression import Call, Expression, Parameter
from declarative.ir.show import show, show_number
from declarative.ir.traverse import transform


def notation(expression: Expression) -> str:
    """The expression as text. A tensor of one number is shown as the number, a parameter times ones as the parameter."""
    return show(transform(expression, _named))


def _named(node: Expression) -> Expression | None:
    match node:
        case Identity():
            return Parameter("I", node.shape)
        case Full(number=value):
            return Parameter(show_number(value), node.shape)
        case Call(atom=atom, args=(Parameter(declared=()) as scalar, Parameter(name="1"))) if atom.name == "mul":
            return Parameter(scalar.name, node.shape)
    return None
