"""Sums and products of coefficients, simplified: what makes two spellings of one mathematics the same expression.

A coefficient is a sum of terms ``number * factor * ... * factor``. Numbers are folded, like terms are collected, signs
and scalar factors are pulled to the front of products, transposes and diagonal matrices cancel where they can.
"""

from __future__ import annotations

from collections.abc import Iterable

from declarative.atoms import ATOMS
from declarative.ir.expression import Call, Constant, Expression, Let
from declarative.ir.matrices import Full, Identity
from declarative.ir.shape import Shape

ONE = Constant(1.0)
ZERO = Constant(0.0)

Terms = dict[Expression, float]
"""A linear combination: the sum of number times expression."""


def call(name: str, *args: Expression) -> Expression:
    """An atom applied, by name."""
    return Call(ATOMS[name], args)


def is_call(expression: Expression, name: str) -> bool:
    return isinstance(expression, Call) and expression.atom.name == name


def number(expression: Expression) -> float | None:
    """The value of a scalar that is a number already, else None."""
    match strip(expression):
        case Constant(value=float() as value):
            return float(value)
    return None


def strip(expression: Expression) -> Expression:
    """The expression behind the uses of ``let`` at its root."""
    while isinstance(expression, Let):
        expression = expression.body
    return expression


def terms(expression: Expression) -> Terms:
    """The expression as a linear combination of terms without numeric factor."""
    collected: Terms = {}
    for factor, term in _flatten(1.0, expression):
        collected[term] = collected.get(term, 0.0) + factor
    return {term: factor for term, factor in collected.items() if factor}


def _flatten(factor: float, expression: Expression) -> Iterable[tuple[float, Expression]]:
    expression = strip(expression)
    match expression:
        case Constant(value=float() as value):
            yield factor * value, ONE
        case Full(number=value, filled=filled) if value not in (0.0, 1.0):
            yield factor * value, Full(1.0, filled)
        case Full(number=0.0):
            return
        case Call(atom=atom, args=args) if atom.name == "add" and args[0].shape == args[1].shape:
            yield from _flatten(factor, args[0])
            yield from _flatten(factor, args[1])
        case Call(atom=atom, args=(argument,)) if atom.name == "neg":
            yield from _flatten(-factor, argument)
        case Call(atom=atom, args=(left, right)) if atom.name == "mul" and number(left) is not None:
            yield from _flatten(factor * (number(left) or 0.0), right)
        case Call(atom=atom, args=(left, right)) if atom.name == "mul" and number(right) is not None:
            yield from _flatten(factor * (number(right) or 0.0), left)
        case Call(atom=atom, args=(left, right)) if atom.name == "div" and number(right):
            yield from _flatten(factor / (number(right) or 1.0), left)
        case _:
            yield factor, expression


def combine(collected: Terms, shape: Shape) -> Expression:
    """The linear combination as one expression: positive terms first, so that it reads as people write it."""
    positive = [(f, t) for t, f in collected.items() if f > 0]
    negative = [(f, t) for t, f in collected.items() if f < 0]
    result: Expression | None = None
    for factor, term in positive:
        piece = _scaled(factor, term)
        result = piece if result is None else call("add", result, piece)
    for factor, term in negative:
        if result is None:
            result = call("neg", _scaled(-factor, term)) if term != ONE else Constant(factor)
        else:
            result = call("add", result, call("neg", _scaled(-factor, term)))
    if result is None:
        return Full(0.0, shape) if shape else ZERO
    return result


def _scaled(factor: float, term: Expression) -> Expression:
    if term == ONE:
        return Constant(factor)
    if isinstance(term, Full):
        return Full(factor * term.number, term.filled)
    return term if factor == 1.0 else call("mul", Constant(factor), term)


def is_zero(expression: Expression) -> bool:
    return not terms(expression)


def plus(*expressions: Expression) -> Expression:
    """Sum of expressions of one shape."""
    collected: Terms = {}
    for expression in expressions:
        for term, factor in terms(expression).items():
            collected[term] = collected.get(term, 0.0) + factor
    return combine({t: f for t, f in collected.items() if f}, expressions[0].shape)


def minus(expression: Expression) -> Expression:
    return combine({t: -f for t, f in terms(expression).items()}, expression.shape)


def difference(left: Expression, right: Expression) -> Expression:
    return plus(left, minus(right))


def times(left: Expression, right: Expression) -> Expression:
    """Elementwise product, or by a scalar, which comes to stand in front."""
    if right.rank == 0 and left.rank:
        left, right = right, left
    shape = right.shape if right.rank else left.shape
    collected: Terms = {}
    for a, p in terms(left).items() if _is_simple(left) else [(left, 1.0)]:
        for b, q in terms(right).items() if _is_simple(right) else [(right, 1.0)]:
            product = _product(a, b)
            collected[product] = collected.get(product, 0.0) + p * q
    return combine({t: f for t, f in collected.items() if f}, shape)


def _is_simple(expression: Expression) -> bool:
    """Whether the expression is one term (or none), so that a product with it need not be expanded."""
    return len(terms(expression)) <= 1


def _product(a: Expression, b: Expression) -> Expression:
    if a == ONE:
        return b
    if b == ONE:
        return a
    if isinstance(a, Full) and a.shape == b.shape:
        return b
    if isinstance(b, Full) and a.shape == b.shape:
        return a
    if is_call(b, "div") and number(b.args[0]) == 1.0 and b.args[1] == a:  # type: ignore[attr-defined]
        return ONE if not a.rank else Full(1.0, a.shape)
    return call("mul", a, b)


def over(left: Expression, right: Expression) -> Expression:
    """Quotient by a scalar, numbers folded and a common factor cancelled."""
    value = number(right)
    if value is not None:
        return combine({t: f / value for t, f in terms(left).items()}, left.shape)
    below = terms(right)
    if len(below) != 1:
        return call("div", left, right)
    ((denominator, scale),) = below.items()
    collected: Terms = {}
    for term, factor in terms(left).items():
        quotient = _cancel(term, denominator)
        collected[quotient] = collected.get(quotient, 0.0) + factor / scale
    return combine(collected, left.shape)


def _cancel(term: Expression, denominator: Expression) -> Expression:
    if term == denominator:
        return ONE if not term.rank else call("div", term, denominator)
    if is_call(term, "mul"):
        first, second = term.args  # type: ignore[attr-defined]
        if first == denominator:
            return second  # type: ignore[no-any-return]
        if second == denominator:
            return first  # type: ignore[no-any-return]
    if is_call(denominator, "div") and number(denominator.args[0]) == 1.0:  # type: ignore[attr-defined]
        return times(denominator.args[1], term)  # type: ignore[attr-defined]
    return call("div", term, denominator)


def transpose(expression: Expression) -> Expression:
    """The transpose; of a vector, a symmetric matrix or a transpose, without one."""
    collected: Terms = {}
    for term, factor in terms(expression).items():
        collected[_transposed(term)] = factor
    shape = expression.shape[::-1]
    return combine(collected, shape)


def _transposed(term: Expression) -> Expression:
    if term.rank < 2 or isinstance(term, Identity) or is_call(term, "diag"):
        return term
    if isinstance(term, Full):
        return Full(term.number, term.shape[::-1])
    if is_call(term, "transpose"):
        return term.args[0]  # type: ignore[attr-defined,no-any-return]
    if is_call(term, "mul") and term.args[0].rank == 0:  # type: ignore[attr-defined]
        return call("mul", term.args[0], _transposed(term.args[1]))  # type: ignore[attr-defined]
    if is_call(term, "matmul"):
        left, right = term.args  # type: ignore[attr-defined]
        if left.rank == 2 and right.rank == 2:
            return call("matmul", _transposed(right), _transposed(left))
    return call("transpose", term)


def product(left: Expression, right: Expression) -> Expression:
    """Matrix product with numbers and scalars pulled out, identities and zeros removed."""
    shape = Call(ATOMS["matmul"], (left, right)).shape
    collected: Terms = {}
    for a, p in terms(left).items() if _is_simple(left) else [(left, 1.0)]:
        for b, q in terms(right).items() if _is_simple(right) else [(right, 1.0)]:
            result = _matmul(a, b)
            collected[result] = collected.get(result, 0.0) + p * q
    return combine({t: f for t, f in collected.items() if f}, shape)


def _matmul(a: Expression, b: Expression) -> Expression:
    for first, other in ((a, b), (b, a)):
        if isinstance(first, Call) and first.atom.name == "mul" and not first.args[0].rank and first.args[1].rank:
            scalar, rest = first.args
            return _product(scalar, _matmul(rest, b) if first is a else _matmul(a, rest))
        if isinstance(first, Identity):
            return other
    if isinstance(a, Full) and a.rank == 1 and b.rank == 1:
        return call("sum", b)
    if isinstance(b, Full) and a.rank == 1 and b.rank == 1:
        return call("sum", a)
    return call("matmul", a, b)
