"""Piecewise-linear functions as linear rows: t >= f(x) for f the maximum of affine pieces is one row a piece.

    minimise sum |x_i|   becomes   minimise sum t_i  subject to  x_i - t_i <= 0, -x_i - t_i <= 0

A function that is an infimum over one more variable (Huber's is: min over n of (x - n)^2 + 2 M |n|) gets that variable.
Where a constraint is one such function against an affine expression, its pieces are bounded directly and no variable is
added. New variables inside an indexed family get the family's indices as leading dimensions.

Reference: Boyd and Vandenberghe, Convex Optimization, 2004, section 4.3.1.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

from declarative.canonical.algebra import Terms, call, is_call, strip, terms, times
from declarative.canonical.mismatch import DeclinedError
from declarative.canonical.normalise import Affine, NormalConstraint, NormalForm, Other, Term, split
from declarative.ir.curvature import Curvature
from declarative.ir.expression import At, Call, Constant, Expression, Index, IndexRange, Sum, Variable
from declarative.ir.shape import Shape, Size
from declarative.ir.traverse import rebuild


class Lowering:
    """One pass over a normal form; collects the variables and rows that it adds."""

    def __init__(self, normal: NormalForm) -> None:
        self.normal = normal
        self.variables: list[Variable] = []
        self.rows: list[NormalConstraint] = []
        self._taken = {v.name for v in normal.variables} | {p.name for p in normal.program.parameters}

    def term(self, term: Term) -> list[Term]:
        """An objective term as affine terms and squares; raises `DeclinedError` where it is neither."""
        if not isinstance(term, Other):
            return [term]
        function = strip(term.function)
        infimum = self._infimum(function, term.ranges)
        if infimum is not None:
            return [low for t in split(term.weight, infimum, term.ranges) for low in self.term(t)]
        return [Affine(term.weight, self.affine(function, term.ranges), term.ranges)]

    def constraint(self, constraint: NormalConstraint) -> list[tuple[NormalConstraint, Shape]]:
        """A constraint as rows that are affine, each with the shape that the constraint itself has."""
        e = constraint.expression
        if constraint.relation == "psd":
            raise DeclinedError("a semidefinite constraint is not linear", constraint.span)
        if e.curvature.is_affine:
            return [(constraint, e.shape)]
        direct = one_maximum(e)
        if direct is not None:
            pieces = [replace(constraint, expression=self.affine(p, constraint.ranges)) for p in direct]
            return [(piece, e.shape) for piece in pieces]
        return [(replace(constraint, expression=self.affine(e, constraint.ranges)), e.shape)]

    def affine(self, e: Expression, ranges: tuple[IndexRange, ...]) -> Expression:
        """The expression with every piecewise-linear function replaced by a variable that bounds it."""
        e = strip(e)
        if e.curvature.is_affine:
            return e
        if isinstance(e, Sum):
            return replace(e, body=self.affine(e.body, ranges + e.ranges))
        if isinstance(e, Index):
            return replace(e, base=self.affine(e.base, ranges))
        if not isinstance(e, Call):
            raise DeclinedError("an extern is not piecewise linear", e.span)
        pieces = e.atom.pieces(*e.args)
        if pieces is not None:
            return self._bounded(e, pieces, ranges)
        if e.atom.intrinsic(*e.args) is Curvature.AFFINE:
            return rebuild(e, tuple(self.affine(a, ranges) for a in e.args))
        expanded = e.atom.expand(*e.args)
        if expanded is not None:
            return self.affine(expanded, ranges)
        raise DeclinedError(f"`{e.atom.name}` is neither quadratic nor piecewise linear", e.span)

    def _bounded(self, e: Call, pieces: tuple[Expression, ...], ranges: tuple[IndexRange, ...]) -> Expression:
        fresh = self._fresh(e.atom.name, e.shape, ranges)
        concave = e.atom.intrinsic(*e.args) is Curvature.CONCAVE
        for piece in pieces:
            low, high = (fresh, self.affine(piece, ranges)) if concave else (self.affine(piece, ranges), fresh)
            gap = call("add", low, call("neg", high))
            self.rows.append(NormalConstraint(None, "<=", gap, ranges, "only", e.span))
        return fresh

    def _infimum(self, e: Expression, ranges: tuple[IndexRange, ...]) -> Expression | None:
        """``f(x)`` or ``sum(f(x))`` for an f that is an infimum over one more variable."""
        inner = e.args[0] if isinstance(e, Call) and e.atom.name == "sum" else e
        if not isinstance(inner, Call) or not all(a.curvature.is_affine for a in inner.args):
            return None
        if inner.atom.infimum(inner, *inner.args) is None:
            return None
        fresh = self._fresh(inner.atom.name, inner.shape, ranges)
        body = inner.atom.infimum(fresh, *inner.args)
        return call("sum", body) if body is not None and inner is not e else body

    def _fresh(self, name: str, shape: Shape, ranges: tuple[IndexRange, ...]) -> Expression:
        """A new variable; inside a family the entry of it that belongs to the current indices."""
        symbol, suffix = f"t_{name}", 2
        while symbol in self._taken:
            symbol, suffix = f"t_{name}_{suffix}", suffix + 1
        self._taken.add(symbol)
        variable = Variable(symbol, tuple(r.length for r in ranges) + shape)
        self.variables.append(variable)
        if not ranges:
            return variable
        return Index(variable, tuple(At(Size.of(r.name) - r.first) for r in ranges))


def one_maximum(e: Expression) -> tuple[Expression, ...] | None:
    """The pieces of ``c * f(x) + affine`` with f a maximum of affine pieces and c > 0; None for anything else."""
    collected = _summands(e)
    curved = [(t, f) for t, f in collected.items() if not t.curvature.is_affine]
    if len(curved) != 1:
        return None
    ((function, factor),) = curved
    weight: Expression | None = None
    if is_call(function, "mul") and isinstance(function, Call) and function.args[0].is_constant:
        weight, function = function.args
    if not isinstance(function, Call):
        return None
    pieces = function.atom.pieces(*function.args)
    if pieces is None or not all(p.curvature.is_affine for p in pieces):
        return None
    rest = [(t, f) for t, f in collected.items() if t.curvature.is_affine]
    return tuple(_scaled_sum([(p if weight is None else call("mul", weight, p), factor), *rest]) for p in pieces)


def _summands(e: Expression) -> Terms:
    """The terms of a sum in which scalars may meet vectors."""
    if isinstance(e, Call) and is_call(e, "add") and e.args[0].shape != e.args[1].shape:
        collected = dict(_summands(strip(e.args[0])))
        for term, factor in _summands(strip(e.args[1])).items():
            collected[term] = collected.get(term, 0.0) + factor
        return collected
    return terms(e)


def _scaled_sum(parts: list[tuple[Expression, float]]) -> Expression:
    """Sum of factor times expression, where a scalar may meet a vector."""
    scaled = [e if f == 1.0 else call("neg", e) if f == -1.0 else times(Constant(f), e) for e, f in parts]
    return reduce(lambda a, b: call("add", a, b), scaled)
