"""``huber(x, M)``, entry by entry: quadratic up to the threshold M, linear beyond it, once differentiable there.

With c = min(max(x, -M), M) it is c (2x - c); it is also the least value of (x - n)^2 + 2 M |n| over n.

Reference: Huber, Robust estimation of a location parameter, 1964 (twice his function, as in Boyd and Vandenberghe).
"""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.abs import ABS
from declarative.atoms.add import ADD
from declarative.atoms.mul import MUL
from declarative.atoms.neg import NEG
from declarative.atoms.shapes import require_rank
from declarative.atoms.square import SQUARE
from declarative.ir.atom import Atom, AtomError, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Call, Constant, Expression
from declarative.ir.shape import Shape


@final
class Huber(Atom):
    name = "huber"
    doc = "Huber loss entry by entry, with threshold M (1 if left out)."
    formula = "x^2 for |x| <= M, else 2 M |x| - M^2"
    arguments = ("x", "M")
    optional = 1
    smooth = False
    domain = ("any", "positive number")

    def shape(self, *args: Expression) -> Shape:
        x, *threshold = args
        for M in threshold:
            require_rank(self.name, "M", 1, M, 0)
            if not M.is_constant:
                raise AtomError("the threshold of `huber` must be constant", argument=1, label="this is solved for")
        return x.shape

    def sign(self, *args: Expression) -> Sign:
        return Sign.NONNEG

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONVEX

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.of(args[0].sign), *(Monotonicity.NONE for _ in args[1:]))

    def latex_of(self, *args: Expression) -> str:
        return rf"\operatorname{{huber}}_{{{'#2' if len(args) > 1 else '1'}}}(#1)"

    def torch(self, *args: Operand) -> str:
        x, *threshold = args
        M = threshold[0].lifted(x.rank) if threshold else "1.0"
        return f"functions.huber({x.text}, {M})"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.huber(*args)

    def infimum(self, fresh: Expression, *args: Expression) -> Expression | None:
        """``min over n of (x - n)^2 + 2 M |n|``: n is what lies beyond the threshold."""
        x, *threshold = args
        beyond = Call(MUL, (Constant(2.0), Call(ABS, (fresh,))))
        if threshold:
            beyond = Call(MUL, (threshold[0], beyond))
        return Call(ADD, (Call(SQUARE, (Call(ADD, (x, Call(NEG, (fresh,)))),)), beyond))


HUBER = Huber()
