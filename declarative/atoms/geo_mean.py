"""``geo_mean(x)``: the geometric mean of a vector, for x >= 0."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.shapes import require_rank
from declarative.ir.atom import Atom, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape


@final
class GeoMean(Atom):
    name = "geo_mean"
    doc = "Geometric mean of a vector."
    formula = "(x_1 ... x_n)^(1/n), x >= 0"
    latex = r"\operatorname{geomean}(#1)"
    arguments = ("x",)
    domain = ("positive",)

    def shape(self, *args: Expression) -> Shape:
        require_rank(self.name, "x", 0, args[0], 1)
        return ()

    def sign(self, *args: Expression) -> Sign:
        return Sign.NONNEG

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONCAVE

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.INCREASING,)

    def torch(self, *args: Operand) -> str:
        return f"{args[0]}.log().mean(-1).exp()"

    def has_edge(self, *args: Expression) -> bool:
        return True

    def torch_at_edge(self, *args: Operand) -> str:
        (x,) = args
        return f"functions.at_edge(torch.pow, {x.text}, 1 / {x}.shape[-1]).prod(-1)"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.geo_mean(args[0])


GEO_MEAN = GeoMean()
