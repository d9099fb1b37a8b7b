"""Products that are entropy terms: ``x * log(x)`` is ``-entr(x)``, and ``x * log(x / y)`` is ``rel_entr(x, y)``.

Neither factor bends the right way by itself, so that no rule of composition sees the product as convex. It is read as
the one function that it is, as ``x * x`` is read as a square.
"""

from __future__ import annotations

from typing import NamedTuple

from declarative.atoms.constants import same
from declarative.atoms.entr import ENTR
from declarative.atoms.neg import NEG
from declarative.atoms.rel_entr import REL_ENTR
from declarative.ir.curvature import Curvature
from declarative.ir.expression import Call, Constant, Expression, Let


class EntropyTerm(NamedTuple):
    """``factors`` times ``term``, which is ``-entr(x)`` or ``rel_entr(x, y)``; ``log`` is the logarithm's place."""

    factors: tuple[Expression, ...]
    term: Expression
    log: int

    @property
    def curvature(self) -> Curvature:
        """CONVEX or CONCAVE by the sign of the factors, UNKNOWN where that is not known."""
        bent = Curvature.CONVEX
        for factor in self.factors:
            if not (factor.sign.is_nonneg or factor.sign.is_nonpos):
                return Curvature.UNKNOWN
            bent = bent if factor.sign.is_nonneg else -bent
        return bent


def entropy_term(a: Expression, b: Expression) -> EntropyTerm | None:
    """What ``a * b`` is where one factor is the logarithm of the other, which may have constant factors."""
    for log, (x, logarithm) in enumerate(((b, a), (a, b))):
        opened = _opened(logarithm)
        if x.is_constant or x.shape != opened.shape or not (isinstance(opened, Call) and opened.atom.name == "log"):
            continue
        factors, plain = _split(_opened(x))
        of = _opened(opened.args[0])
        if same(plain, of):
            return EntropyTerm(factors, Call(NEG, (Call(ENTR, (plain,)),)), log)
        if isinstance(of, Call) and of.atom.name == "div" and of.args[1].is_constant and same(plain, of.args[0]):
            return EntropyTerm(factors, Call(REL_ENTR, (plain, of.args[1])), log)
    return None


def _split(x: Expression) -> tuple[tuple[Expression, ...], Expression]:
    """Constant factors, and what is left."""
    if isinstance(x, Call) and x.atom.name == "neg":
        factors, plain = _split(_opened(x.args[0]))
        return (Constant(-1.0), *factors), plain
    if isinstance(x, Call) and x.atom.name == "mul":
        for factor, other in (x.args, x.args[::-1]):
            if factor.is_constant and other.shape == x.shape:
                factors, plain = _split(_opened(other))
                return (factor, *factors), plain
    return (), x


def _opened(expression: Expression) -> Expression:
    while isinstance(expression, Let):
        expression = expression.body
    if isinstance(expression, Call) and expression.atom.name == "transpose" and expression.rank == 1:
        return _opened(expression.args[0])
    return expression
