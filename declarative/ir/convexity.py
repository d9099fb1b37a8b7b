"""Why an expression is not convex: the smallest part that breaks the composition rule, and what to write instead.

The rule is the one of `declarative.ir.curvature`. Descending from an expression that lacks the curvature it should
have, each function tells what its arguments must be. The culprit is the first function whose arguments break its rule,
or whose arguments are in order while it is not itself what its place needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from declarative.ir.curvature import Curvature, Monotonicity, Sign, admissible
from declarative.ir.expression import Call, Constant, Expression, ExternCall, Index, Let, Sum, Symbol
from declarative.ir.show import show
from declarative.ir.traverse import walk, without_lets

MAXIMUM_QUOTE = 48
COMPOSITION = (
    "a convex function takes a convex argument where it increases and a concave one where it decreases; "
    "a concave function the other way round"
)


@dataclass(frozen=True)
class Finding:
    """The culprit: ``reason`` is a sentence about it, ``label`` the few words under it."""

    expression: Expression
    reason: str
    label: str
    notes: tuple[str, ...] = ()
    help: str | None = None
    wanted: Curvature | None = None
    foreign: bool = False
    """Whether it is a function that no convex problem may apply to variables."""


def culprit(expression: Expression, wanted: Curvature) -> Finding | None:
    """What keeps an expression from being AFFINE, CONVEX or CONCAVE as its place needs; None if it is."""
    if fits(expression, wanted):
        return None
    match expression:
        case Let(body=body) | Sum(body=body):
            return culprit(body, wanted)
        case Index(base=base):
            return culprit(base, wanted)
        case ExternCall(extern=extern):
            return Finding(
                expression,
                f"nothing is known of the curvature of the extern `{extern.name}`",
                "applied to a variable",
                help="write `minimize locally`, which needs derivatives only",
                foreign=True,
            )
        case Call():
            return _call(expression, wanted)
    return Finding(expression, f"{quote(expression)} is {word(expression)}", f"this is {word(expression)}")


def culprits(expression: Expression, wanted: Curvature) -> Iterator[Finding]:
    """What `culprit` finds in each term of a sum."""
    match expression:
        case Call(atom=atom, args=args) if atom.name in ("add", "neg"):
            for arg in args:
                yield from culprits(arg, -wanted if atom.name == "neg" else wanted)
        case Let(body=body):
            yield from culprits(body, wanted)
        case _:
            found = culprit(expression, wanted)
            if found is not None:
                yield found


def fits(expression: Expression, wanted: Curvature) -> bool:
    """Whether an expression has the curvature that its place needs."""
    own = expression.curvature
    return own.is_affine or (own is wanted and wanted is not Curvature.UNKNOWN)


def quote(expression: Expression) -> str:
    """The expression in backticks, or the word for a long one."""
    text = show(expression)
    return f"`{text}`" if len(text) <= MAXIMUM_QUOTE else "this expression"


def word(expression: Expression) -> str:
    """Its curvature as an adjective."""
    own = expression.curvature
    return "neither convex nor concave" if own is Curvature.UNKNOWN else own.value


def _call(call: Call, wanted: Curvature) -> Finding | None:
    intrinsic = call.atom.intrinsic(*call.args)
    monotonicity = call.atom.monotonicity(*call.args)
    for arg in call.args:
        if arg.curvature is Curvature.UNKNOWN:
            known = _rewrite(call)
            if known is not None:
                return Finding(call, f"{quote(call)} has no curvature as written", "another spelling has", help=known)
            return culprit(arg, wanted)
    if intrinsic is Curvature.UNKNOWN:
        return _without_curvature(call)
    if intrinsic.is_affine:
        return _affine(call, monotonicity, wanted)
    broken = [
        position
        for position, (m, arg) in enumerate(zip(monotonicity, call.args, strict=True))
        if not admissible(intrinsic, m, arg.curvature)
    ]
    if broken:
        return _composition(call, intrinsic, monotonicity[broken[0]], broken[0])
    label = f"this is {intrinsic.value} and must be {wanted.value} here"
    return Finding(call, f"{quote(call)} is {intrinsic.value}", label, help=_flipped(call, wanted), wanted=wanted)


def _affine(call: Call, monotonicity: Sequence[Monotonicity], wanted: Curvature) -> Finding | None:
    """Of a sum, a multiple, a part: the argument that is not what it must be."""
    for m, arg in zip(monotonicity, call.args, strict=True):
        needed = {Monotonicity.INCREASING: wanted, Monotonicity.DECREASING: -wanted}.get(m, Curvature.AFFINE)
        if fits(arg, needed):
            continue
        if m is Monotonicity.NONE and wanted is not Curvature.AFFINE:
            return _unknown_sign(call, arg)
        return culprit(arg, needed)
    return Finding(call, f"{quote(call)} is {word(call)}", f"this is {word(call)}")


def _unknown_sign(call: Call, arg: Expression) -> Finding:
    """A curved argument times a factor whose sign is not known."""
    factor = next((other for other in call.args if other is not arg), None)
    if factor is None:
        return Finding(call, f"{quote(call)} keeps no curvature of {quote(arg)}", f"its argument is {word(arg)}")
    help = None
    if isinstance(factor, Symbol):
        help = f"declare the sign, if it has one: param {show_declaration(factor)} nonneg"
    return Finding(
        call,
        f"{quote(arg)} is {word(arg)}, and the sign of its factor {quote(factor)} is not known",
        "convex or concave, by the sign of the factor",
        help=help,
    )


def show_declaration(symbol: Symbol) -> str:
    """A name with its shape, as in its declaration."""
    return f"{symbol.name}[{', '.join(map(str, symbol.declared))}]" if symbol.declared else symbol.name


def _composition(call: Call, outer: Curvature, monotonicity: Monotonicity, position: int) -> Finding:
    """A function of known curvature whose argument does not fit."""
    arg, name = call.args[position], operator(call)
    needed = {Monotonicity.INCREASING: outer.value, Monotonicity.DECREASING: (-outer).value}.get(monotonicity, "affine")
    how = {
        Monotonicity.INCREASING: f"is {outer.value} and increasing",
        Monotonicity.DECREASING: f"is {outer.value} and decreasing",
    }.get(monotonicity, f"is {outer.value} but not monotone for arguments of this sign")
    return Finding(
        call,
        f"`{name}` takes {'an' if needed == 'affine' else 'a'} {needed} argument and {quote(arg)} is {word(arg)}",
        f"`{name}` {how}",
        notes=(COMPOSITION,),
        help=_rewrite(call),
    )


def _without_curvature(call: Call) -> Finding:
    """A function that has no curvature for these arguments."""
    name, args = call.atom.name, call.args
    if name in ("mul", "matmul", "div") and not any(arg.is_constant for arg in args[-2 if name != "div" else -1 :]):
        return _product(call)
    if call.atom.local_only:
        return Finding(
            call, f"`{name}` is neither convex nor concave", "applied to a variable",
            help="write `minimize locally`, which needs derivatives only", foreign=True,
        )  # fmt: skip
    if name == "quad_form" and args[1].is_constant:
        return _indefinite(call, args[1])
    if name == "power":
        return Finding(
            call, f"{quote(call)} has no curvature, since the sign of {quote(args[0])} is not known",
            f"`^{show(args[1])}`", notes=("an even power is convex; others are where the base is nonnegative",),
            help=_declare_sign(args[0]),
        )  # fmt: skip
    return Finding(call, f"{quote(call)} is neither convex nor concave", "no curvature", help=_rewrite(call))


def _declare_sign(base: Expression) -> str | None:
    return f"var {show_declaration(base)} nonneg" if isinstance(base, Symbol) else None


def _indefinite(call: Call, matrix: Expression, factor: Sign = Sign.NONNEG) -> Finding:
    """A quadratic form times a constant of this sign."""
    if not (factor.is_nonneg or factor.is_nonpos):
        return Finding(
            call, f"{quote(call)} is a quadratic form times a constant of unknown sign", "neither convex nor concave",
            help="declare the constant `nonneg` and the matrix `psd`, if they are",
        )  # fmt: skip
    curvature = "convex" if factor.is_nonneg else "concave"
    plain = without_lets(matrix)
    help = f"param {show_declaration(plain)} psd" if isinstance(plain, Symbol) else "write it as a Gram matrix: F' @ F"
    return Finding(
        call, f"{quote(call)} is {curvature} only if {quote(matrix)} is positive semidefinite, which is not known",
        "an indefinite quadratic form", help=f"declare it, if it is: {help}" if isinstance(plain, Symbol) else help,
    )  # fmt: skip


def _product(call: Call) -> Finding:
    """A product or quotient of two expressions with variables."""
    left = call.args[0]
    form = _quadratic_form(call) if call.atom.name == "matmul" else None
    if form is not None:
        return _indefinite(call, *form)
    what = "quotient" if call.atom.name == "div" else "product"
    if call.atom.name == "div" and left.is_constant:
        reason = f"{quote(call)} divides by a variable of unknown sign"
    else:
        reason = f"{quote(call)} is a {what} of two expressions with variables"
    return Finding(
        call, reason, "neither convex nor concave", help=_rewrite(call) or "write `minimize locally` if this is meant"
    )  # fmt: skip


def _quadratic_form(call: Call) -> tuple[Expression, Sign] | None:
    """P of ``c * x @ P @ x`` with a constant P, and the sign of c, wherever the constant c is written."""
    (x_sign, x), (y_sign, y) = (_unscaled(arg) for arg in call.args)
    for outer, product in ((x, y), (y, x)):
        if isinstance(product, Call) and product.atom.name == "matmul":
            for P, other in (product.args, product.args[::-1]):
                sign, inner = _unscaled(other)
                if inner == outer and P.is_constant and P.rank == 2:
                    return P, x_sign * y_sign * sign
    return None


def _unscaled(expression: Expression) -> tuple[Sign, Expression]:
    """A vector without the constant scalars that multiply it, and the sign of their product."""
    plain = without_lets(expression)
    if isinstance(plain, Call):
        match plain.atom.name, plain.args:
            case "neg", (inner,):
                sign, vector = _unscaled(inner)
                return -sign, vector
            case "div", (inner, factor) if factor.is_constant and not factor.rank:
                sign, vector = _unscaled(inner)
                return factor.sign * sign, vector
            case "mul", args:
                for factor, inner in (args, args[::-1]):
                    if factor.is_constant and not factor.rank and inner.rank:
                        sign, vector = _unscaled(inner)
                        return factor.sign * sign, vector
    return Sign.NONNEG, plain


def operator(call: Call) -> str:
    """The name of a function, or the sign of an operator."""
    return {"add": "+", "neg": "-", "mul": "*", "div": "/", "matmul": "@", "power": "^", "transpose": "'"}.get(
        call.atom.name, call.atom.name
    )


def _rewrite(call: Call) -> str | None:
    """The known spelling of a well-known function, where the call is another spelling of it."""
    plain = without_lets(call)
    if not isinstance(plain, Call):
        return None
    name, args = plain.atom.name, plain.args
    inner = args[0] if isinstance(args[0], Call) else None
    match name, inner.atom.name if inner else None:
        case "sqrt", "sum_squares":
            return f"norm2({show(inner.args[0])})" if inner else None
        case "sqrt", "matmul" if inner and inner.args[0] == inner.args[1]:
            return f"norm2({show(inner.args[0])})"
        case "sqrt", "sum" if inner and _is_square(inner.args[0]):
            return f"norm2({show(_is_square(inner.args[0]) or inner)})"
        case "sqrt", "quad_form":
            return "norm2(F @ x) with a factor F of the matrix, F' @ F"
        case "log", "sum" if inner and isinstance(inner.args[0], Call) and inner.args[0].atom.name == "exp":
            return f"log_sum_exp({show(inner.args[0].args[0])})"
        case "log", "add" if inner and Constant(1.0) in inner.args:
            exponential = next((a for a in inner.args if isinstance(a, Call) and a.atom.name == "exp"), None)
            return f"logistic({show(exponential.args[0])})" if exponential else None
    if name == "mul":
        for factor, other in (args, args[::-1]):
            if isinstance(other, Call) and other.atom.name == "log":
                return _entropy(factor, other.args[0])
    if name == "div" and args[0].is_constant and not any(s.rank for s in args):
        return f"{_scaled(args[0])}inv_pos({show(args[1])}), for a positive {show(args[1])}"
    if name == "div":
        square = _is_square(args[0])
        if square is not None and not args[1].rank:
            return f"quad_over_lin({show(square)}, {show(args[1])})"
    return None


def _entropy(factor: Expression, inside: Expression) -> str | None:
    if isinstance(inside, Call) and inside.atom.name == "div" and inside.args[0] == factor:
        return f"rel_entr({show(factor)}, {show(inside.args[1])})"
    return None


def _is_square(expression: Expression) -> Expression | None:
    """x of ``x^2``, ``square(x)`` or ``sum_squares(x)``."""
    if isinstance(expression, Call):
        if expression.atom.name in ("square", "sum_squares"):
            return expression.args[0]
        if expression.atom.name == "power" and expression.args[1] == Constant(2.0):
            return expression.args[0]
    return None


def _scaled(factor: Expression) -> str:
    return "" if factor == Constant(1.0) else f"{show(factor)} * "


def _flipped(call: Call, wanted: Curvature) -> str | None:
    """Advice for a function that bends the wrong way."""
    rewritten = _rewrite(call)
    if rewritten:
        return rewritten
    if call.atom.name == "entr" and wanted is Curvature.CONVEX:
        return "entr(x) is -x * log(x): maximize it, or minimize its negative"
    return None


def variables(expression: Expression) -> frozenset[str]:
    """Names of the variables that occur."""
    return frozenset(n.name for n in walk(expression) if isinstance(n, Symbol) and not n.is_constant)
