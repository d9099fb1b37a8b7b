"""Functions, first derivatives and KKT residual of a flat batch of smooth problems with constraints, at a point.

The residual is the largest entry of (grad_x L, h, max(g, 0), lambda * g), where the first and the last are relative to
the multipliers.

Reference: Nocedal and Wright, Numerical Optimization, 2006, sections 12.3 and 19.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from declarative.runtime import derivatives
from declarative.runtime.smooth import LocalProblem, largest


@dataclass(frozen=True)
class Values:
    """Functions and first derivatives at a point; ``stationarity`` is the gradient of the Lagrangian, (B, N)."""

    f: Tensor
    slope: Tensor
    h: Tensor
    Jh: Tensor
    g: Tensor
    Jg: Tensor
    stationarity: Tensor

    @property
    def finite(self) -> Tensor:
        return (
            torch.cat([t.flatten(1) if t.dim() > 1 else t[:, None] for t in vars(self).values()], -1).isfinite().all(-1)
        )


def evaluate(problem: LocalProblem, x: Tensor, nu: Tensor, lam: Tensor) -> Values:
    f, slope = derivatives.value_and_gradient(problem.objective, x)
    h, Jh = derivatives.value_and_jacobian(problem.equality, x)
    g, Jg = derivatives.value_and_jacobian(problem.inequality, x)
    return Values(f, slope, h, Jh, g, Jg, slope + apply(Jh.mT, nu) + apply(Jg.mT, lam))


def kkt_residual(values: Values, nu: Tensor, lam: Tensor) -> Tensor:
    """Largest entry of the residual, (B,)."""
    scale = torch.maximum(largest(nu), largest(lam)).clamp_min(1)
    return torch.stack(
        [
            largest(values.stationarity) / scale,
            largest(values.h),
            largest(values.g.clamp_min(0)),
            largest(lam * values.g) / scale,
        ]
    ).amax(0)


def apply(matrix: Tensor, vector: Tensor) -> Tensor:
    """Matrix times vector, instance by instance."""
    return (matrix @ vector[..., None])[..., 0]
