"""The Jacobian of the optimality system, block by block: what the implicit function theorem asks to be invertible.

    dF/dw = [ hess_xx L      D_x e'    ]      the rows of equalities and inequalities below;
            [ diag(l) D_x e  diag(e)   ]      diag(l) is I, and diag(e) is 0, where the row is an equality

Blocks that are zero are left out. Reference: Amos and Kolter, OptNet, 2017, equation 6.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from declarative.canonical.algebra import ONE, call, is_zero, minus, plus, product, times, transpose
from declarative.canonical.linear_map import Column, Inner, Map, Matrix, Scale, affine_parts, as_matrix
from declarative.canonical.normalise import Affine, Squares, Term
from declarative.cli.optimality import TWO, Row, System, row_map
from declarative.ir.expression import Expression, IndexRange, Parameter, Variable
from declarative.ir.traverse import symbols


@dataclass(frozen=True)
class Entry:
    """A block: ``known`` as an expression, a ``hessian`` of L, or the ``derivative`` of an expression.

    ``of`` names what it is taken with respect to. ``transposed`` is said of the expression or the derivative,
    ``weight`` stands in front (a vector as a diagonal matrix; alone it is that matrix), ``ranges`` are those of a
    family, whose blocks are one per index. Of the product E Z of a cone, ``cone`` is dX -> DE(dX) Z, and dZ -> E dZ
    where ``of`` is empty.
    """

    kind: Literal["known", "hessian", "derivative", "cone"]
    expression: Expression | None = None
    of: tuple[str, ...] = ()
    transposed: bool = False
    weight: Expression | None = None
    ranges: tuple[IndexRange, ...] = ()


@dataclass(frozen=True)
class Block:
    """Where an entry stands. ``stationarity``: its row is the gradient of L in the variable ``row``."""

    row: str
    column: str
    entry: Entry
    stationarity: bool = False


def blocks(system: System) -> Iterator[Block]:
    """The blocks that are not zero, row by row."""
    for variable in system.variables:
        for other in system.variables:
            entry = _hessian(system, variable, other)
            if entry is not None:
                yield Block(variable.name, other.name, entry, True)
        for row in system.rows:
            if variable.name in symbols(row.expression):
                yield Block(variable.name, row.multiplier, _adjoint(row, variable), True)
    for row in system.rows:
        for variable in system.variables:
            if variable.name in symbols(row.expression):
                yield Block(row.multiplier, variable.name, _slope(row, variable))
        if row.relation != "==":
            yield Block(row.multiplier, row.multiplier, _slack(row))


# Rows of constraints


def _derivative(row: Row, variable: Variable) -> Entry:
    """D e: a row vector where e is a scalar."""
    m = row_map(row, variable)
    if m is None or (variable.rank > 1 and not (isinstance(m, Scale) and not m.factor.rank)):
        return Entry("derivative", row.expression, (variable.name,), ranges=row.ranges)
    return Entry("known", _matrix(m), transposed=isinstance(m, Inner))


def _slope(row: Row, variable: Variable) -> Entry:
    entry = _derivative(row, variable)
    if row.relation == "==":
        return entry
    if row.relation == "psd":
        return Entry("cone", row.expression, (variable.name,), weight=row.symbol, ranges=row.ranges)
    weight, (_, negated) = row.symbol, row.positive
    m = row_map(row, variable)
    if entry.kind == "known" and isinstance(m, Scale) and not m.factor.rank:
        factor = minus(m.factor) if negated else m.factor
        if weight.rank < 2:
            return Entry("known", times(factor, call("diag", weight) if weight.rank else weight))
        return Entry("known", weight=times(factor, weight), ranges=row.ranges)
    weight = call("neg", weight) if negated else weight
    return Entry(entry.kind, entry.expression, entry.of, entry.transposed, weight, ranges=row.ranges)


def _adjoint(row: Row, variable: Variable) -> Entry:
    """(D e)'; minus it for a cone, whose multiplier enters L with a minus sign."""
    entry = _derivative(row, variable)
    if row.relation == "psd":
        return Entry("derivative", call("neg", row.expression), (variable.name,), True, ranges=row.ranges)
    assert entry.expression is not None
    if entry.kind == "known":
        if entry.transposed:
            return Entry("known", entry.expression)
        m = row_map(row, variable)
        if isinstance(m, Scale) and len(m.shape) > 1:
            return entry
        return Entry("known", transpose(entry.expression), transposed=isinstance(m, Column))
    return Entry("derivative", entry.expression, entry.of, True, ranges=row.ranges)


def _slack(row: Row) -> Entry:
    e, _ = row.positive
    if row.relation == "psd":
        return Entry("cone", e, ranges=row.ranges)
    if e.rank == 1:
        return Entry("known", call("diag", e), ranges=row.ranges)
    if e.rank == 0:
        return Entry("known", e, ranges=row.ranges)
    return Entry("known", weight=e, ranges=row.ranges)


# Second derivatives


def _hessian(system: System, variable: Variable, other: Variable) -> Entry | None:
    """The block of the Hessian of L; None where it is zero."""
    names = (variable.name, other.name)
    found: list[Expression] = []
    unknown = Entry("hessian", of=names if variable != other else (variable.name, variable.name))
    for term in system.terms:
        if not set(names) <= _nonlinear(term):
            continue
        own = _gram(term, variable, other) if isinstance(term, Squares) and not term.ranges else None
        if own is None:
            return unknown
        found.append(own)
    if any(not row.expression.curvature.is_affine and set(names) <= symbols(row.expression) for row in system.rows):
        return unknown
    total = plus(*found) if found else None
    return None if total is None or is_zero(total) else Entry("known", total)


def _nonlinear(term: Term) -> frozenset[str]:
    """The names in a term whose second derivatives need not vanish."""
    match term:
        case Affine():
            return frozenset()
        case Squares():
            return symbols(term.inner)
    return symbols(term.function)


def _gram(term: Squares, variable: Variable, other: Variable) -> Expression | None:
    """2 w M' W M of a square of two maps of vectors or scalars; None where it has no such form."""
    parts = affine_parts(term.inner)
    left, right = (parts.of(variable), parts.of(other)) if parts is not None else (None, None)
    if left is None or right is None:
        return None
    weight = times(TWO, term.weight)
    match left, right:
        case Scale(f, shape), Scale(g, _) if term.metric is None and not f.rank and not g.rank:
            factor = times(weight, times(f, g))
            return times(factor, _matrix(Scale(ONE, shape))) if shape else factor
    if variable.rank > 1 or other.rank > 1 or term.inner.rank != 1 or variable != other:
        return None
    a = _matrix(left)
    slope = a if term.metric is None else product(term.metric, a)
    return times(weight, product(transpose(a), slope))


def _matrix(m: Map) -> Expression:
    """The coefficient in print; the identity of a matrix variable is I."""
    match m:
        case Scale(factor, shape) if len(shape) > 1 and not factor.rank:
            return times(factor, Parameter("I", shape))
        case Matrix(matrix):
            return matrix
    return as_matrix(m)
