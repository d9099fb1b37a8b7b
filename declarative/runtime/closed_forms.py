"""The entropic problem on the simplex, whose solution is a softmax: its residual and conditions, for diagnosis.

    minimise  -c'y + tau sum_i y_i log y_i   subject to  f (1'y - s) = 0,

with the Lagrangian L = objective + nu f (1'y - s). Stationarity tau (log y_i + 1) = c_i - f nu is stated solved for y,
so that an entry that underflows to zero needs no logarithm and no division:

    F(w; theta) = ( y - exp((c - f nu) / tau - 1),   f (1'y - s) ),    w = (y, nu).

The entropy keeps y positive: no inequality is ever active. On the tangent space of the row the inverse of the Hessian
tau diag(1/y) is J = (diag(y) - yy'/s) / tau, whose largest eigenvalue is the reciprocal of the second-order margin.

Reference: Boyd and Vandenberghe, Convex Optimization, 2004, exercise 4.47.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from declarative.runtime.conditions import Conditions, condition_number
from declarative.runtime.problem import Point, Problem


@dataclass(frozen=True, eq=False)
class EntropicSimplex(Problem):
    """A batch of linear objectives with an entropy on the simplex.

    ``scores`` c (*batch, n); ``temperature`` tau and ``total`` s (*batch) or numbers, positive; ``factor`` f, the
    number that the row is stated with. Its point is (y, nu), (*batch, n) and (*batch, 1).
    """

    scores: Tensor
    temperature: Tensor | float = 1.0
    total: Tensor | float = 1.0
    factor: float = 1.0

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.scores, self._scalar(self.temperature), self._scalar(self.total)

    @property
    def core_ranks(self) -> tuple[int, ...]:
        return 1, 0, 0

    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        scores, temperature, total = tensors
        return type(self)(scores, temperature, total, self.factor)

    def residual(self, point: Point) -> Point:
        y, nu = point
        return y - self._stationary(nu), self.factor * (y.sum(-1, keepdim=True) - self.tensors[2][..., None])

    def relative_residual(self, point: Point) -> Tensor:
        """Largest entry of F, relative to the total; (*batch)."""
        scale = self.tensors[2].abs().clamp_min(torch.finfo(self.scores.dtype).tiny)
        worst = torch.cat(self.residual(point), -1).abs().amax(-1)
        return worst / scale

    def conditions(self, point: Point) -> Conditions:
        """The conditions of the theorem: one row, no inequality, and the second-order margin of the entropy."""
        with torch.no_grad():
            return self._conditions(*point)

    def _conditions(self, y: Tensor, nu: Tensor) -> Conditions:
        _, temperature, total = self.tensors
        batch, n = y.shape[:-1], y.shape[-1]
        one = torch.ones(batch, dtype=torch.int64, device=y.device)
        spread = torch.diag_embed(y) - y[..., :, None] * y[..., None, :] / total[..., None, None]
        finite = spread.isfinite().all(-1).all(-1)
        widest = torch.linalg.eigvalsh(torch.where(finite[..., None, None], spread, 0))[..., -1]
        margin = torch.where(finite, temperature / widest, torch.nan) if n > 1 else torch.full_like(widest, torch.inf)
        return Conditions(
            licq_rank=one,
            licq_rows=one,
            complementarity=torch.full_like(widest, torch.inf),
            complementarity_row=-one,
            second_order=margin,
            kkt_residual=self.relative_residual((y, nu)),
            adjoint_condition=condition_number(self._jacobian(nu)),
        )

    def _jacobian(self, nu: Tensor) -> Tensor:
        """dF/dw; (*batch, n + 1, n + 1)."""
        column = (self.factor / self.tensors[1])[..., None] * self._stationary(nu)
        n = column.shape[-1]
        identity = torch.eye(n, dtype=nu.dtype, device=nu.device).expand(*column.shape[:-1], n, n)
        row = torch.cat([torch.full_like(column, self.factor), torch.zeros_like(nu)], -1)
        return torch.cat([torch.cat([identity, column[..., None]], -1), row[..., None, :]], -2)

    def _stationary(self, nu: Tensor) -> Tensor:
        """y at which the gradient of the Lagrangian vanishes, for a multiplier."""
        return torch.exp((self.scores - self.factor * nu) / self.tensors[1][..., None] - 1)

    def _scalar(self, value: Tensor | float) -> Tensor:
        return value if isinstance(value, Tensor) else self.scores.new_tensor(value)
