"""``quad_form(x, P)``: x'Px for a constant matrix P.

Convex where P is known to be positive semidefinite, concave where negative semidefinite; `declarative.ir.definiteness`
says what is known of a matrix.
"""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.shapes import require_rank, require_square
from declarative.ir.atom import Atom, AtomError, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.definiteness import is_nsd, is_psd
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape, show


@final
class QuadForm(Atom):
    name = "quad_form"
    doc = "Quadratic form of a constant matrix; convex in x if P is known to be positive semidefinite."
    formula = "x' P x"
    latex = r"@1^\top @2 @1"
    latex_level = "product"
    arguments = ("x", "P")
    domain = ("any", "psd")

    def shape(self, *args: Expression) -> Shape:
        x, P = args
        require_rank(self.name, "x", 0, x, 1)
        require_square(self.name, "P", 1, P)
        if P.shape[0] != x.shape[0]:
            raise AtomError(
                f"`quad_form` needs a matrix that fits the vector, but {show(x.shape)} meets {show(P.shape)}",
                argument=1,
                label=f"{P.shape[0]} is not {x.shape[0]}",
            )
        return ()

    def sign(self, *args: Expression) -> Sign:
        x, P = args
        if is_psd(P):
            return Sign.NONNEG
        return Sign.NONPOS if is_nsd(P) else x.sign * x.sign * P.sign

    def intrinsic(self, *args: Expression) -> Curvature:
        x, P = args
        if x.is_constant:
            return Curvature.AFFINE
        if not P.is_constant:
            return Curvature.UNKNOWN
        return Curvature.CONVEX if is_psd(P) else Curvature.CONCAVE if is_nsd(P) else Curvature.UNKNOWN

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        x, P = args
        return (Monotonicity.of(x.sign * P.sign), Monotonicity.of(x.sign * x.sign))

    def torch(self, *args: Operand) -> str:
        x, P = args
        return f"functions.quad_form({x.text}, {P.text})"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        x, P = args
        return cp.quad_form(x, P)

    def is_psd(self, *args: Expression) -> bool:
        return self.sign(*args).is_nonneg


QUAD_FORM = QuadForm()
