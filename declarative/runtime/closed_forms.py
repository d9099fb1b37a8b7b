"""Entropies and powers under a row, softmax among them: the residual and the conditions of their solution.

    minimise  -c'y + sum_i w_i f(y_i)   subject to  least <= a'y <= most,  l <= y <= u,

f(y) = y log y or y^p, see `declarative.runtime.curves`. With nu the multiplier of the row, positive at ``most`` and
negative at ``least``, stationarity is stated solved for y, so that an entry that underflows to zero, or is held there,
needs no logarithm and no division:

    F(w; theta) = ( y - clip(phi((c - a nu) / w), l, u),   a'y - level ),    w = (y, nu).

The margins c - a nu of large scores are known to the scores' rounding only. An entry counts as stationary where it lies
between its values at the ends of what that leaves of its margin.

The curve keeps y nonnegative by itself. On the entries F off their bounds the inverse of the Hessian is D = 1/(w f''),
along the row J = D - D a a'D / (a'D a), whose largest eigenvalue is the reciprocal of the second-order margin. For a
softmax J = (diag(y) - yy'/s) / tau.

Reference: Boyd and Vandenberghe, Convex Optimization, 2004, section 5.5.3 and exercise 4.47.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from declarative.runtime.conditions import Conditions, condition_number, smallest_margin
from declarative.runtime.curves import Curve
from declarative.runtime.problem import Point, Problem

Values = Tensor | float


@dataclass(frozen=True, eq=False)
class CurvedRow(Problem):
    """A batch of linear objectives with a separable curve, under one row and bounds.

    ``scores`` c (*batch, n); ``scale`` w, positive, ``weights`` a, ``lower`` and ``upper``, each (*batch, n),
    (*batch, 1) or a number; ``level``, the most that the row allows, and ``least``, (*batch, 1) or numbers: without
    ``least`` the row is an equality. Its point is (y, nu), (*batch, n) and (*batch, 1). Its inequalities are numbered:
    the lower bounds, the upper bounds, the row.
    """

    scores: Tensor
    scale: Values = 1.0
    weights: Values = 1.0
    level: Values = 1.0
    lower: Values = 0.0
    upper: Values = math.inf
    least: Values | None = None
    exponent: float = 1.0

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(self._tensor(getattr(self, name)) for name in self._names)

    @property
    def core_ranks(self) -> tuple[int, ...]:
        return (1,) * len(self._names)

    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        return type(self)(**dict(zip(self._names, tensors, strict=True)), exponent=self.exponent)

    @property
    def _names(self) -> tuple[str, ...]:
        names = [field.name for field in fields(self) if field.name != "exponent"]
        return tuple(name for name in names if getattr(self, name) is not None)

    def residual(self, point: Point) -> Point:
        y, nu = point
        return y - self._stationary(nu), self._excess(y, nu)

    def relative_residual(self, point: Point) -> Tensor:
        """Largest entry of F beyond the rounding of the margins, relative to the level, or to the entries where the
        level is none; (*batch)."""
        level = self._tensor(self.level)
        entries = point[0].abs()
        largest = entries.amax(-1, keepdim=True) if entries.shape[-1] else level.abs()
        sizes = torch.where(level.isfinite() & (level != 0), level.abs(), largest)
        y, nu = point
        least, most = self._stationary(nu, -1), self._stationary(nu, 1)
        off = torch.maximum(least - y, y - most).clamp_min(0)
        worst = torch.cat([off, self._excess(y, nu).abs()], -1).amax(-1)
        return worst / sizes.clamp_min(torch.finfo(self.scores.dtype).tiny)[..., 0]

    def complementarity(self, point: Point) -> tuple[Tensor, Tensor]:
        y, nu = point
        return smallest_margin(*self._pairs(y, nu, self._curve.entries(self._margins(nu))))

    def conditions(self, point: Point) -> Conditions:
        """The conditions of the theorem; a bound is active where the stationary point lies beyond it."""
        with torch.no_grad():
            return self._conditions(*point)

    def _conditions(self, y: Tensor, nu: Tensor) -> Conditions:
        lower, upper = self._bounds(y)
        inner = self._curve.entries(self._margins(nu))
        held = (inner < lower) & (lower > 0) | (inner > upper) | (lower == upper)
        inverse = torch.where(held, 0, self._curve.slopes(y) / self._tensor(self.scale))
        weights = self._tensor(self.weights).expand(y.shape)
        binds = (nu != 0) if self.least is not None else torch.ones_like(nu, dtype=torch.bool)
        along = (inverse * weights) * binds
        weight = (along * weights).sum(-1, keepdim=True)
        spread = (
            torch.diag_embed(inverse)
            - along[..., :, None] * along[..., None, :] / weight.clamp_min(torch.finfo(y.dtype).tiny)[..., None]
        )
        finite = spread.isfinite().all(-1).all(-1)
        widest = torch.linalg.eigvalsh(torch.where(finite[..., None, None], spread, 0))[..., -1]
        flat = (~held).sum(-1) <= binds[..., 0].to(torch.int64)
        margin = torch.where(flat, torch.inf, torch.where(finite, 1 / widest, torch.nan))
        complementarity, row = smallest_margin(*self._pairs(y, nu, inner))
        rows = held.sum(-1) + binds[..., 0]
        spanned = held.sum(-1) + (binds[..., 0] & ((weights != 0) & ~held).any(-1))
        return Conditions(
            licq_rank=spanned,
            licq_rows=rows,
            complementarity=complementarity,
            complementarity_row=row,
            second_order=margin,
            kkt_residual=self.relative_residual((y, nu)),
            adjoint_condition=condition_number(self._jacobian(weights, inverse, binds)),
        )

    def _pairs(self, y: Tensor, nu: Tensor, inner: Tensor) -> tuple[Tensor, Tensor]:
        """Multipliers, in units of y, and slacks of the inequalities; that of the domain y >= 0 is never weak."""
        lower, upper = self._bounds(y)
        sums = (self._tensor(self.weights) * y).sum(-1, keepdim=True)
        apart = torch.full_like(sums, torch.inf)
        if self.least is not None:
            apart = torch.minimum(self._tensor(self.level) - sums, sums - self._tensor(self.least))
        multipliers = torch.cat([lower - inner, inner - upper, nu.abs()], -1)
        slacks = torch.cat([torch.where(lower > 0, y - lower, torch.inf), upper - y, apart], -1)
        return multipliers.clamp_min(0), slacks

    def _jacobian(self, weights: Tensor, inverse: Tensor, binds: Tensor) -> Tensor:
        """dF/dw; (*batch, n + 1, n + 1)."""
        n = weights.shape[-1]
        identity = torch.eye(n, dtype=inverse.dtype, device=inverse.device).expand(*inverse.shape[:-1], n, n)
        row = torch.cat([weights * binds, (~binds).to(inverse.dtype)], -1)
        return torch.cat([torch.cat([identity, (inverse * weights)[..., None]], -1), row[..., None, :]], -2)

    def _excess(self, y: Tensor, nu: Tensor) -> Tensor:
        """The sum over the level that holds it; of a row that holds nothing, what it is over or under."""
        sums, most = (self._tensor(self.weights) * y).sum(-1, keepdim=True), self._tensor(self.level)
        if self.least is None:
            return sums - most
        least = self._tensor(self.least)
        idle = (sums - most).clamp_min(0) - (least - sums).clamp_min(0)
        at_most, at_least = torch.where(nu > 0, most, 0), torch.where(nu < 0, least, 0)
        return torch.where(nu == 0, idle, sums - at_most - at_least)

    def _stationary(self, nu: Tensor, side: int = 0) -> Tensor:
        """y at which the gradient of the Lagrangian vanishes, for a multiplier of the row; with a side of -1 or 1 the
        least or the largest that the rounding of its margin leaves."""
        margins = self._margins(nu)
        if side:
            terms = (self.scores.abs() + (self._tensor(self.weights) * nu).abs()) / self._tensor(self.scale)
            room = 4 * torch.finfo(margins.dtype).eps * torch.where(terms.isfinite(), terms, 0)
            margins = margins + side * room
        inner = self._curve.entries(margins)
        lower, upper = self._bounds(inner)
        return torch.minimum(torch.maximum(inner, lower), upper)

    def _margins(self, nu: Tensor) -> Tensor:
        return (self.scores - self._tensor(self.weights) * nu) / self._tensor(self.scale)

    def _bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return self._tensor(self.lower).clamp_min(0).expand(like.shape), self._tensor(self.upper).expand(like.shape)

    @property
    def _curve(self) -> Curve:
        return Curve(self.exponent)

    def _tensor(self, value: Values) -> Tensor:
        return value if isinstance(value, Tensor) else self.scores.new_full((1,), value)
