"""The normal form: a minimisation as a sum of weighted terms, and constraints as expressions against zero.

    minimise    sum_k w_k * (affine_k | ||e_k||^2_W | f_k)
    subject to  e_i == 0,  e_i <= 0,  X_i in psd

Spelling ends here. A maximisation is the minimisation of its negative, scalar factors and signs become weights, sums
are split, `let` is looked through, sums and rows over all entries of a vector are the vector's, a chain of two
relations is two constraints that know which side of it they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from declarative.atoms.entropy import entropy_term
from declarative.canonical.algebra import ONE, ZERO, call, difference, minus, number, over, terms, times
from declarative.canonical.families import summed_whole, whole_rows
from declarative.diagnostics.span import Span
from declarative.ir.definiteness import untransposed
from declarative.ir.expression import Call, Constant, Expression, IndexRange, Sum, Variable
from declarative.ir.matrices import Full, Identity
from declarative.ir.program import Constraint, Program
from declarative.ir.traverse import transform, without_lets

Side = Literal["only", "lower", "upper"]


@dataclass(frozen=True)
class Affine:
    """``weight * expression``, a scalar affine in the variables, summed over ``ranges``."""

    weight: Expression
    expression: Expression
    ranges: tuple[IndexRange, ...] = ()


@dataclass(frozen=True)
class Squares:
    """``weight * e' W e`` with e affine (its entries taken as one vector); W the identity where ``metric`` is None."""

    weight: Expression
    inner: Expression
    metric: Expression | None = None
    ranges: tuple[IndexRange, ...] = ()
    span: Span | None = None


@dataclass(frozen=True)
class Other:
    """``weight * function``, a scalar that is neither affine nor a square."""

    weight: Expression
    function: Expression
    ranges: tuple[IndexRange, ...] = ()
    span: Span | None = None


Term = Affine | Squares | Other


@dataclass(frozen=True)
class NormalConstraint:
    """``expression == 0``, ``expression <= 0`` or ``expression in psd``, for each value of ``ranges``.

    ``origin`` is the name of the program's constraint, None for one that stems from a variable's attribute; ``side``
    tells which half of a two-sided constraint this is. The multiplier of ``expression`` is the dual of the program's
    constraint where the side is ``only`` or ``upper``, and minus the dual where it is ``lower``.
    """

    origin: str | None
    relation: Literal["==", "<=", "psd"]
    expression: Expression
    ranges: tuple[IndexRange, ...] = ()
    side: Side = "only"
    span: Span | None = None


@dataclass(frozen=True)
class NormalForm:
    """A program in normal form. ``sense`` is +1 for a minimisation, -1 where the objective was negated."""

    program: Program
    sense: float
    terms: tuple[Term, ...]
    constraints: tuple[NormalConstraint, ...]

    @property
    def variables(self) -> tuple[Variable, ...]:
        return self.program.variables


def normalise(program: Program) -> NormalForm:
    """The normal form of a (convex) optimisation program."""
    sense = -1.0 if program.objective.sense == "maximize" else 1.0
    found: tuple[Term, ...] = ()
    if program.objective.expression is not None:
        found = tuple(split(Constant(sense), _plain(program.objective.expression), ()))
    constraints: list[NormalConstraint] = []
    for position, constraint in enumerate(program.constraints):
        constraints += _against_zero(program.constraint_name(position), constraint)
    for variable in program.variables:
        constraints += [
            c for c in _of_attributes(variable) if not any(_says_the_same(c, other) for other in constraints)
        ]
    return NormalForm(program, sense, found, tuple(constraints))


def _plain(e: Expression) -> Expression:
    """The expression without names of parts, with sums over whole tensors for sums over their indices."""
    return transform(without_lets(e), _respelled)


def _respelled(e: Expression) -> Expression | None:
    if isinstance(e, Sum):
        return summed_whole(e)
    if not isinstance(e, Call) or e.is_constant:
        return None
    inner = e.args[0]
    if e.atom.name == "max" and isinstance(inner, Call) and inner.atom.name == "abs":
        return call("norm_inf", *inner.args)
    if e.atom.name == "mean" or (e.atom.name in ("mul", "matmul") and entropy_term(*e.args) is not None):
        return e.atom.expand(*e.args)
    if e.atom.name == "trace":
        return e.atom.expand(*e.args)
    if e.atom.name in ("sum_squares", "norm_fro", "norm_nuc") and inner.rank == 2:
        turned = untransposed(inner)
        return None if turned is None else call(e.atom.name, turned)
    if e.atom.name in ("abs", "norm1") and inner.sign.is_nonneg:
        return inner if e.atom.name == "abs" or not inner.rank else call("sum", inner)
    return None


def split(weight: Expression, e: Expression, ranges: tuple[IndexRange, ...]) -> list[Term]:
    """A scalar expression times a weight, as weighted terms."""
    if e.curvature.is_affine:
        return [Affine(weight, e, ranges)]
    if isinstance(e, Sum):
        return split(weight, e.body, ranges + e.ranges)
    if not isinstance(e, Call):
        return [Other(weight, e, ranges, e.span)]
    args = e.args
    match e.atom.name:
        case "add":
            return split(weight, args[0], ranges) + split(weight, args[1], ranges)
        case "neg":
            return split(minus(weight), args[0], ranges)
        case "mul" if args[0].is_constant and args[0].rank == 0:
            return split(times(weight, args[0]), args[1], ranges)
        case "mul" if args[1].is_constant and args[1].rank == 0:
            return split(times(weight, args[1]), args[0], ranges)
        case "div" if args[1].is_constant and args[1].rank == 0:
            return split(over(weight, args[1]), args[0], ranges)
        case "matmul" | "mul" | "norm1" if (expanded := e.atom.expand(*args)) is not None:
            return split(weight, expanded, ranges)
        case "matmul" if e.rank == 0 and args[0].rank == 1 and (args[0].is_constant or args[1].is_constant):
            return split(weight, call("sum", call("mul", *args)), ranges)
        case "sum":
            return _sum(weight, e, ranges)
    square = squared(e)
    if square is not None:
        factor, inner, metric = square
        if isinstance(metric, Identity):
            metric = None
        return [Squares(times(weight, factor), inner, metric, ranges, e.span)]
    return [Other(weight, e, ranges, e.span)]


def _sum(weight: Expression, e: Call, ranges: tuple[IndexRange, ...]) -> list[Term]:
    """``sum`` of a vector or matrix: moved inside sums and scalar factors, then ``sum(square(e))`` is a square."""
    (inner,) = e.args
    if inner.rank == 0:
        return split(weight, inner, ranges)
    if isinstance(inner, Call):
        name, args = inner.atom.name, inner.args
        if name == "add":
            left, right = (a if a.rank else call("mul", a, Full(1.0, inner.shape)) for a in args)
            return split(weight, call("sum", left), ranges) + split(weight, call("sum", right), ranges)
        if name == "neg":
            return split(minus(weight), call("sum", args[0]), ranges)
        if name == "mul":
            for factor, rest in (args, args[::-1]):
                if factor.is_constant and factor.rank == 0:
                    return split(times(weight, factor), call("sum", rest), ranges)
        if name == "div" and args[1].is_constant and args[1].rank == 0:
            return split(over(weight, args[1]), call("sum", args[0]), ranges)
        if (name == "square" or (name == "power" and number(args[1]) == 2.0)) and args[0].curvature.is_affine:
            return [Squares(weight, args[0], None, ranges, e.span)]
        if name == "mul" and args[0] == args[1] and args[0].curvature.is_affine:
            return [Squares(weight, args[0], None, ranges, e.span)]
        if name == "mul":
            for factor, rest in (args, args[::-1]):
                if factor.is_constant and factor.shape == rest.shape:
                    return _weighted_sum(weight, factor, rest, ranges, e.span)
    return [Other(weight, e, ranges, e.span)]


def _weighted_sum(
    weight: Expression, factor: Expression, e: Expression, ranges: tuple[IndexRange, ...], span: Span | None
) -> list[Term]:
    """``sum(factor * e)`` with a factor per entry: split where e is a sum, a diagonal metric where e is a square."""
    if isinstance(e, Call):
        name, args = e.atom.name, e.args
        if name == "add" and args[0].shape == args[1].shape:
            return [t for a in args for t in split(weight, call("sum", call("mul", factor, a)), ranges)]
        if name == "neg":
            return split(minus(weight), call("sum", call("mul", factor, args[0])), ranges)
        if name == "mul" and (scalar := next((a for a in args if a.is_constant and not a.rank), None)) is not None:
            rest = args[1] if args[0] is scalar else args[0]
            return split(times(weight, scalar), call("sum", call("mul", factor, rest)), ranges)
        is_square = name == "square" or (name == "power" and number(args[1]) == 2.0)
        if is_square and args[0].curvature.is_affine and e.rank == 1:
            return [Squares(weight, args[0], call("diag", factor), ranges, span)]
    return [Other(weight, call("sum", call("mul", factor, e)), ranges, span)]


def squared(e: Call) -> tuple[Expression, Expression, Expression | None] | None:
    """(factor, inner, metric) where ``e`` is ``factor * inner' metric inner`` with an affine inner, else None."""
    name, args = e.atom.name, e.args
    inner, metric = args[0], None
    factor: Expression = ONE
    match name:
        case "sum_squares" | "square":
            pass
        case "power" if number(args[1]) == 2.0:
            inner = _under_norm(args[0])
        case "quad_form" if args[1].is_constant:
            metric = args[1]
        case "quad_over_lin" if args[1].is_constant:
            factor = over(ONE, args[1])
        case _:
            return None
    if name == "square":
        inner = _under_norm(inner)
    if e.rank or not inner.curvature.is_affine:
        return None
    return factor, inner, metric


def _under_norm(e: Expression) -> Expression:
    """e of ``norm2(e)`` and ``norm_fro(e)``, whose square is a sum of squares; else the expression itself."""
    return e.args[0] if isinstance(e, Call) and e.atom.name in ("norm2", "norm_fro") else e


def _against_zero(name: str, constraint: Constraint) -> list[NormalConstraint]:
    parts = [_plain(e) for e in constraint.terms]
    ranges, at = constraint.indices, constraint.at
    if constraint.relation == "psd":
        return [NormalConstraint(name, "psd", parts[0], ranges, "only", at)]
    parts, ranges = whole_rows(parts, ranges)
    relation: Literal["==", "<="] = "==" if constraint.relation == "==" else "<="
    if constraint.relation == ">=":
        parts = parts[::-1]
    if len(parts) == 2:
        return [NormalConstraint(name, relation, _minus(parts[0], parts[1]), ranges, "only", at)]
    low, middle, high = parts
    return [
        NormalConstraint(name, relation, _minus(low, middle), ranges, "lower", at),
        NormalConstraint(name, relation, _minus(middle, high), ranges, "upper", at),
    ]


def _minus(left: Expression, right: Expression) -> Expression:
    if right == ZERO:
        return left
    if left == ZERO:
        return minus(right)
    return difference(left, right) if left.shape == right.shape else call("add", left, minus(right))


def _says_the_same(one: NormalConstraint, other: NormalConstraint) -> bool:
    """Whether two constraints without indices are the same up to a positive number in front."""
    if one.relation != other.relation or one.ranges or other.ranges or one.expression.shape != other.expression.shape:
        return False
    mine, theirs = terms(one.expression), terms(other.expression)
    if mine.keys() != theirs.keys():
        return False
    ratios = {theirs[term] / mine[term] for term in mine}
    return len(ratios) == 1 and ratios.pop() > 0


def _of_attributes(variable: Variable) -> list[NormalConstraint]:
    """A variable's attributes as constraints; ``symmetric`` and ``diag`` concern its entries, not its values."""
    found = []
    if "nonneg" in variable.attributes:
        found.append(NormalConstraint(None, "<=", call("neg", variable), (), "lower", variable.at))
    if "nonpos" in variable.attributes:
        found.append(NormalConstraint(None, "<=", variable, (), "upper", variable.at))
    if "psd" in variable.attributes:
        found.append(NormalConstraint(None, "psd", variable, (), "only", variable.at))
    if "nsd" in variable.attributes:
        found.append(NormalConstraint(None, "psd", call("neg", variable), (), "only", variable.at))
    return found
