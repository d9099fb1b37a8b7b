"""The problems that spectral closed forms solve: their residual and conditions, for diagnosis.

    nuclear norm            minimise  p/2 ||X - V||^2 + w ||X - C||_*
    semidefinite matrices   minimise  p/2 ||X - V||^2   subject to  X psd, X symmetric

Optimality of the first: G = p (V - X) has no singular value above w and <G, X - C> = w ||X - C||_*; of the second: with
Z = p (X - V) for the symmetric part of V, X and Z are positive semidefinite and XZ = 0. Strict complementarity is the
distance of the spectrum from the threshold w, or from zero.

Reference: Parikh and Boyd, Proximal algorithms, 2014, section 6.7; Boyd and Vandenberghe, Convex Optimization, 2004,
section 8.1.1.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, final

import torch
from torch import Tensor

from declarative.runtime.conditions import Conditions
from declarative.runtime.problem import Point, Problem
from declarative.runtime.spectral import semidefinite_parts, shrink_singular_values


@dataclass(frozen=True, eq=False)
class SpectralProblem(Problem):
    """What both have: ``target`` V (*batch, m, n), ``curvature`` p > 0 (*batch) or a number; the point is X, flat."""

    target: Tensor
    curvature: Tensor | float

    @abstractmethod
    def solution(self) -> Tensor:
        """X, (*batch, m, n)."""

    @abstractmethod
    def defect(self, X: Tensor) -> Tensor:
        """Violation of the optimality conditions at X, in units of a multiplier; (*batch)."""

    @abstractmethod
    def margin(self) -> Tensor:
        """Distance of the spectrum from where the solution has a kink, in units of a multiplier; (*batch)."""

    def residual(self, point: Point) -> Point:
        return (point[0] - self.solution().flatten(-2),)

    def relative_residual(self, point: Point) -> Tensor:
        """The violation of optimality relative to the size of the multipliers; (*batch)."""
        X = point[0].reshape(*point[0].shape[:-1], *self.target.shape[-2:])
        finite = X.isfinite().all(-1).all(-1)
        for tensor, rank in zip(self.tensors, self.core_ranks, strict=True):
            finite = finite & tensor[..., None].isfinite().flatten(tensor.dim() - rank).all(-1)
        kept = [finite.reshape((*finite.shape, *[1] * rank)) for rank in self.core_ranks]
        sound = self.with_tensors([torch.where(k, t, 0) for k, t in zip(kept, self.tensors, strict=True)])
        defect = sound.defect(torch.where(finite[..., None, None], X, 0))
        size = 1 + self._scalar(self.curvature).clamp_min(1) * self.target.abs().amax((-2, -1))
        return torch.where(finite, defect / size, torch.nan)

    def complementarity(self, point: Point) -> tuple[Tensor, Tensor]:
        margin = self.margin().expand(point[0].shape[:-1])
        return margin, torch.full_like(margin, -1, dtype=torch.int64)

    def conditions(self, point: Point) -> Conditions:
        """No rows; the second-order margin is the curvature, and the solution depends on the target with a factor of
        at most one."""
        with torch.no_grad():
            residual = self.relative_residual(point)
            none = torch.zeros_like(residual, dtype=torch.int64)
            return Conditions(
                licq_rank=none,
                licq_rows=none,
                complementarity=self.margin().expand(residual.shape),
                complementarity_row=none - 1,
                second_order=self._scalar(self.curvature).expand(residual.shape),
                kkt_residual=residual,
                adjoint_condition=torch.ones_like(residual),
            )

    def _scalar(self, value: Tensor | float) -> Tensor:
        return value if isinstance(value, Tensor) else self.target.new_tensor(value)


@final
@dataclass(frozen=True, eq=False)
class NuclearNormProximal(SpectralProblem):
    """``weight`` w >= 0 (*batch) or a number, ``centre`` C (*batch, m, n) or zero."""

    weight: Tensor | float
    centre: Tensor | float = 0.0

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        centre = self.centre if isinstance(self.centre, Tensor) else torch.zeros_like(self.target)
        return self.target, self._scalar(self.curvature), self._scalar(self.weight), centre

    @property
    def core_ranks(self) -> tuple[int, ...]:
        return 2, 0, 0, 2

    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        return type(self)(*tensors)

    def solution(self) -> Tensor:
        target, curvature, weight, centre = self.tensors
        return centre + shrink_singular_values(target - centre, weight / curvature)

    def defect(self, X: Tensor) -> Tensor:
        target, curvature, weight, centre = self.tensors
        slope, distance = curvature[..., None, None] * (target - X), X - centre
        over = torch.linalg.svdvals(slope).amax(-1) - weight
        unit = distance / (1 + distance.abs().amax((-2, -1), keepdim=True))
        norm = torch.linalg.svdvals(unit).sum(-1)
        return torch.maximum(over.clamp_min(0), ((slope * unit).sum((-2, -1)) - weight * norm).abs())

    def margin(self) -> Tensor:
        target, curvature, weight, centre = self.tensors
        distances: Tensor = curvature[..., None] * torch.linalg.svdvals(target - centre) - weight[..., None]
        return distances.abs().amin(-1)


@final
@dataclass(frozen=True, eq=False)
class SemidefiniteProjection(SpectralProblem):
    """The nearest positive semidefinite matrix to the symmetric part of the target."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.target, self._scalar(self.curvature)

    @property
    def core_ranks(self) -> tuple[int, ...]:
        return 2, 0

    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        return type(self)(*tensors)

    @property
    def symmetric(self) -> Tensor:
        """The symmetric part of the target."""
        return (self.target + self.target.mT) / 2

    def solution(self) -> Tensor:
        return semidefinite_parts(self.symmetric)[0]

    def defect(self, X: Tensor) -> Tensor:
        Z = self._scalar(self.curvature)[..., None, None] * (X - self.symmetric)
        least = [torch.linalg.eigvalsh((M + M.mT) / 2)[..., 0] for M in (X, Z)]
        negative = torch.maximum((-least[0]).clamp_min(0), (-least[1]).clamp_min(0))
        unit = X / (1 + X.abs().amax((-2, -1), keepdim=True))
        return torch.maximum(negative, (unit * Z).sum((-2, -1)).abs())

    def margin(self) -> Tensor:
        values: Tensor = torch.linalg.eigvalsh(self.symmetric)
        return self._scalar(self.curvature) * values.abs().amin(-1)
