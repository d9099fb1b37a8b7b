"""The optimality system of a program, equation by equation, as text: what the implicit function theorem is applied to.

    L = f(x) + sum_i multiplier_i' e_i(x)       over the constraints  e_i == 0,  e_i <= 0,  -E_i in psd
    F = (grad_x L,  e_i of the equalities,  multiplier_i * e_i of the inequalities) = 0

Where the coefficients of a term are known its gradient is written out, else it reads ``grad_x[term]``.

Reference: Boyd and Vandenberghe, Convex Optimization, 2004, section 5.5.3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from declarative.canonical.algebra import ONE, call, combine, is_zero, minus, number, plus, terms, times, transpose
from declarative.canonical.linear_map import Column, Inner, Map, Matrix, Scale, affine_parts
from declarative.canonical.normalise import Affine, NormalForm, Squares, Term
from declarative.canonical.quadratic import QuadraticForm
from declarative.ir.expression import Call, Constant, Expression, IndexRange, Parameter, Variable
from declarative.ir.matrices import Full
from declarative.ir.shape import Shape
from declarative.ir.shape import show as show_shape
from declarative.ir.show import show, show_ranges
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
    def symbol(self) -> Parameter:
        """The multiplier of one member of the family."""
        at = f"[{', '.join(r.name for r in self.ranges)}]" if self.ranges else ""
        return Parameter(f"{self.multiplier}{at}", self.expression.shape)

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


def equations(system: System) -> list[tuple[str, str, str]]:
    """Label, equation and shape: the Lagrangian, stationarity in each variable, then every constraint's part of F."""
    found = [("L", _lagrangian(system), "")]
    for variable in system.variables:
        gradient = _gradient(system, variable)
        found.append((f"grad_{variable.name} L", f"{gradient} = 0", show_shape(variable.shape)))
    for row in system.rows:
        found += _conditions(row)
    return found


def unknowns(system: System) -> str:
    """The stacked w, primal first."""
    parts = [f"{v.name} {show_shape(v.shape)}" for v in system.variables]
    return ", ".join([*parts, *(f"{r.multiplier} {show_shape(r.shape)}" for r in system.rows)])


def term_text(term: Term) -> str:
    """A term with its weight, as a program would write it."""
    match term:
        case Affine(weight=weight, expression=expression):
            body = expression
        case Squares(weight=weight, inner=inner, metric=None):
            body = call("sum_squares" if inner.rank else "square", inner)
        case Squares(weight=weight, inner=inner, metric=metric) if metric is not None:
            body = call("quad_form", inner, metric)
        case _:
            weight, body = term.weight, term.function  # type: ignore[union-attr]
    return _family(show(_weighted(weight, body)), term.ranges)


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


def _lagrangian(system: System) -> str:
    return _sum([*map(term_text, system.terms), *map(_product, system.rows)])


def _product(row: Row) -> str:
    """The multiplier's term of the Lagrangian."""
    positive, sign = _positive(row)
    inside, symbol = show(positive), row.symbol.name
    inside = f"({inside})" if isinstance(positive, Call) and positive.atom.name != "sum" else inside
    match row.relation, row.expression.rank:
        case "psd", _:
            return _family(f"-trace({symbol} @ {inside})", row.ranges)
        case _, 0:
            text = f"{symbol} * {inside}"
        case _, 1:
            text = f"{symbol} @ {inside}"
        case _:
            text = f"sum({symbol} * {inside})"
    return f"{sign}{_family(text, row.ranges)}"


def _positive(row: Row) -> tuple[Expression, str]:
    """e of ``-e <= 0``, and the sign that its term of the Lagrangian has."""
    e = row.expression
    if row.relation == "<=" and isinstance(e, Call) and e.atom.name == "neg":
        return e.args[0], "-"
    return e, ""


def _family(text: str, ranges: tuple[IndexRange, ...]) -> str:
    return f"sum({text} for {show_ranges(ranges)})" if ranges else text


def _sum(pieces: Iterable[str]) -> str:
    """The pieces with their signs between them."""
    text = ""
    for piece in pieces:
        if not text:
            text = piece
        elif piece.startswith("-"):
            text += f" - {piece[1:]}"
        else:
            text += f" + {piece}"
    return text or "0"


# Stationarity


def _gradient(system: System, variable: Variable) -> str:
    """grad_x L for one variable."""
    known: list[Expression] = []
    opaque: list[str] = []
    for term in system.terms:
        own = _term_gradient(term, variable)
        if own is not None:
            known += own
        else:
            opaque.append(_opaque(term_text(term), variable))
    for row in system.rows:
        if variable.name not in symbols(row.expression):
            continue
        parts = None if row.ranges or row.relation == "psd" else affine_parts(row.expression)
        m = None if parts is None else parts.of(variable)
        if m is None:
            opaque.append(_opaque(_product(row), variable))
        else:
            known.append(_pulled_back(m, row.symbol))
    written = [show(plus(*known))] if known else []
    return _sum([*(w for w in written if not w.startswith("zeros(") and w != "0"), *opaque])


def _opaque(text: str, variable: Variable) -> str:
    sign = "-" if text.startswith("-") else ""
    return f"{sign}grad_{variable.name}[{text.removeprefix('-')}]"


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


# Feasibility and complementarity


def _conditions(row: Row) -> list[tuple[str, str, str]]:
    positive, sign = _positive(row)
    text, name = show(positive), row.symbol.name
    factor = f"({text})" if isinstance(positive, Call) and positive.atom.name != "sum" else text
    shape = show_shape(row.shape)
    family = f"  for {show_ranges(row.ranges)}" if row.ranges else ""
    label = row.multiplier
    match row.relation:
        case "==":
            return [(label, f"{text} = 0{family}", shape)]
        case "psd":
            return [(label, f"{name} in psd, {text} in psd, trace({name} @ {factor}) = 0{family}", shape)]
    return [(label, f"{name} * {factor} = 0, {name} >= 0, {text} {'>=' if sign else '<='} 0{family}", shape)]
