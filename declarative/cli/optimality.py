"""The optimality system of a program as expressions: its Lagrangian, the gradients and the blocks of the Jacobian.

    L = f(x) + sum_i multiplier_i' e_i(x)       over the constraints  e_i == 0,  e_i <= 0,  -E_i in psd
    F = (grad_x L,  e_i of the equalities,  multiplier_i * e_i of the inequalities,  Z_i E_i) = 0

What is known is an expression; what is not is named as a derivative of one. Two printers read this: as text
`declarative.cli.kkt`, as mathematics `declarative.cli.latex_page`.

Reference: Boyd and Vandenberghe, Convex Optimization, 2004, section 5.5.3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from declarative.canonical.algebra import ONE, call, combine, is_zero, minus, number, plus, terms, times, transpose
from declarative.canonical.linear_map import Column, Inner, Map, Matrix, Scale, affine_parts
from declarative.canonical.normalise import Affine, NormalForm, Squares, Term
from declarative.canonical.quadratic import QuadraticForm
from declarative.ir.expression import At, Call, Constant, Expression, Index, IndexRange, Parameter, Sum, Variable
from declarative.ir.matrices import Full
from declarative.ir.shape import Shape, Size
from declarative.ir.show import show
from declarative.ir.traverse import symbols, transform

TWO = Constant(2.0)


@dataclass(frozen=True)
class Row:
    """A constraint against zero with its multiplier."""

    multiplier: str
    relation: str
    expression: Expression
    ranges: tuple[IndexRange, ...] = ()

    @property
    def symbol(self) -> Expression:
        """The multiplier, of one member of a family."""
        whole = Parameter(self.multiplier, self.shape)
        return Index(whole, tuple(At(Size.of(r.name)) for r in self.ranges)) if self.ranges else whole

    @property
    def positive(self) -> tuple[Expression, bool]:
        """e of a row ``-e <= 0``, and whether it is one."""
        e = self.expression
        if self.relation == "<=" and isinstance(e, Call) and e.atom.name == "neg":
            return e.args[0], True
        return e, False

    @property
    def shape(self) -> Shape:
        return tuple(r.length for r in self.ranges) + self.expression.shape


@dataclass(frozen=True)
class System:
    """A minimisation's terms and rows, ready to be written down."""

    variables: tuple[Variable, ...]
    terms: tuple[Term, ...]
    rows: tuple[Row, ...]


def system_of(form: NormalForm | QuadraticForm) -> System:
    """The system of a normal form, or of a quadratic program with the variables that its lowering added."""
    if isinstance(form, NormalForm):
        found = [(c.origin, c.side, c.relation, c.expression, c.ranges) for c in form.constraints]
        return System(form.variables, form.terms, _named(found, form.variables))
    found = [(r.origin, r.side, "==", r.expression, r.ranges) for r in form.equalities]
    found += [(r.origin, r.side, "<=", r.expression, r.ranges) for r in form.inequalities]
    for bound in form.lower:
        found.append((bound.origin, "lower", "<=", _below(bound.value, bound.variable), ()))
    for bound in form.upper:
        found.append((bound.origin, "upper", "<=", _below(bound.variable, bound.value), ()))
    added = form.variables[len(form.normal.variables) :]
    return System(form.variables, (*form.squares, *form.linear), _named(found, (*added, *form.variables)))


def _below(low: Expression, high: Expression) -> Expression:
    """``low - high``, where one of them may be of lower rank, the same for every slice of the other."""
    shape = max(low.shape, high.shape, key=len)
    low, high = _to_shape(low, shape), _to_shape(high, shape)
    return minus(high) if is_zero(low) else low if is_zero(high) else call("add", low, call("neg", high))


def _to_shape(e: Expression, shape: Shape) -> Expression:
    """An expression that may stand beside others of this shape: its scalar, where all its entries are one."""
    if e.shape == shape or not e.rank:
        return e
    scalars: dict[Expression, float] = {}
    for term, factor in terms(e).items():
        match term:
            case Full():
                scalars[ONE] = factor * term.number
            case Call(args=(scalar, Full(number=1.0))) if term.atom.name == "mul" and not scalar.rank:
                scalars[scalar] = factor
            case _:
                return Parameter(show(e) if not isinstance(e, Call) else f"({show(e)})", shape)
    return combine(scalars, ())


def tidy(e: Expression) -> Expression:
    """``e - 1`` for ``e + -1``."""
    return transform(e, _with_minus)


def _with_minus(node: Expression) -> Expression | None:
    match node:
        case Call(args=(left, Constant(value=float() as value))) if node.atom.name == "add" and value < 0:
            return call("add", left, call("neg", Constant(-value)))
    return None


def _named(
    found: Sequence[tuple[str | None, str, str, Expression, tuple[IndexRange, ...]]], variables: Sequence[Variable]
) -> tuple[Row, ...]:
    """Multipliers named after their constraints; one without a name after the first variable in it."""
    rows = []
    for origin, side, relation, expression, ranges in found:
        greek = {"==": "nu", "<=": "lambda"}.get(relation, "Z")
        inside = symbols(expression)
        name = origin or next((v.name for v in variables if v.name in inside), "")
        rows.append((f"{greek}_{name}", side, Row(f"{greek}_{name}", relation, tidy(expression), ranges)))
    often, sided = Counter(base for base, _, _ in rows), Counter((base, side) for base, side, _ in rows)
    seen: Counter[str] = Counter()
    result = []
    for base, side, row in rows:
        name = base
        if often[base] > 1 and sided[base, side] == 1:
            name = f"{base}_{side}"
        elif often[base] > 1:
            seen[base] += 1
            name = f"{base}_{seen[base]}"
        result.append(replace(row, multiplier=name))
    return tuple(result)


# The Lagrangian


def term_expression(term: Term) -> Expression:
    """A term with its weight, summed over its ranges."""
    match term:
        case Affine(weight=weight, expression=expression):
            body = expression
        case Squares(weight=weight, inner=inner, metric=None):
            body = call("sum_squares" if inner.rank else "square", inner)
        case Squares(weight=weight, inner=inner, metric=metric) if metric is not None:
            body = call("quad_form", inner, metric)
        case _:
            weight, body = term.weight, term.function  # type: ignore[union-attr]
    return family(_weighted(weight, body), term.ranges)


def product(row: Row) -> Expression:
    """The multiplier's term of the Lagrangian."""
    positive, negated = row.positive
    match row.relation, row.expression.rank:
        case "psd", _:
            found = call("trace", call("matmul", row.symbol, positive))
            negated = True
        case _, 0:
            found = call("mul", row.symbol, positive)
        case _, 1:
            found = call("matmul", row.symbol, positive)
        case _:
            found = call("sum", call("mul", row.symbol, positive))
    found = family(found, row.ranges)
    return call("neg", found) if negated else found


def family(e: Expression, ranges: tuple[IndexRange, ...]) -> Expression:
    """The sum over the ranges, where there are any."""
    return Sum(e, ranges) if ranges else e


# Stationarity


@dataclass(frozen=True)
class Gradient:
    """``known`` (None: nothing) plus the gradients of the expressions in ``opaque``, whose coefficients are unknown."""

    variable: Variable
    known: Expression | None
    opaque: tuple[Expression, ...]


def gradient(system: System, variable: Variable) -> Gradient:
    """grad_x L for one variable."""
    known: list[Expression] = []
    opaque: list[Expression] = []
    for term in system.terms:
        own = _term_gradient(term, variable)
        if own is not None:
            known += own
        else:
            opaque.append(term_expression(term))
    for row in system.rows:
        if variable.name not in symbols(row.expression):
            continue
        m = row_map(row, variable)
        if m is None:
            opaque.append(product(row))
        else:
            known.append(_pulled_back(m, row.symbol))
    total = plus(*known) if known else None
    return Gradient(variable, None if total is None or is_zero(total) else total, tuple(opaque))


def row_map(row: Row, variable: Variable) -> Map | None:
    """The coefficient of a variable in a row, where it has one."""
    parts = None if row.ranges or row.relation == "psd" else affine_parts(row.expression)
    return None if parts is None else parts.of(variable)


def _term_gradient(term: Term, variable: Variable) -> list[Expression] | None:
    """The gradient of a term as expressions to be added; None where its coefficients are not known."""
    inside = {Affine: "expression", Squares: "inner"}.get(type(term), "function")
    body: Expression = getattr(term, inside)
    if variable.name not in symbols(body):
        return []
    if not isinstance(term, Affine | Squares) or term.ranges:
        return None
    parts = affine_parts(body)
    m = None if parts is None else parts.of(variable)
    if m is None:
        return None
    if isinstance(term, Affine):
        return [_pulled_back(m, term.weight)]
    slope = body if term.metric is None else call("matmul", term.metric, body)
    return [_weighted(times(TWO, term.weight), _pulled_back(m, slope))]


def _pulled_back(m: Map, cotangent: Expression) -> Expression:
    """M' times a cotangent of the expression."""
    match m:
        case Scale(factor, _) | Inner(factor):
            return times(factor, cotangent)
        case Matrix(matrix):
            return call("matmul", transpose(matrix), cotangent)
        case Column(direction):
            return call("matmul", direction, cotangent)


def _weighted(weight: Expression, body: Expression) -> Expression:
    value = number(weight)
    if value == 1.0:
        return body
    if value == -1.0:
        return call("neg", body)
    if value is not None and value < 0:
        return call("neg", call("mul", Constant(-value), body))
    if isinstance(weight, Call) and weight.atom.name == "neg":
        return call("neg", call("mul", weight.args[0], body))
    return call("mul", weight, body)
