"""The two one-dimensional cones: {0}, whose rows are equalities, and the half-line, whose rows are inequalities.

K = {0}        K* = R          proj(v) = 0            D = 0
K = R_+        K* = R_+        proj(v) = max(v, 0)    D = 1 if v >= 0, else 0
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from declarative.runtime.cones.base import Cone


@dataclass(frozen=True)
class Zero(Cone):
    """{0}."""

    @property
    def dim(self) -> int:
        return 1

    def project(self, v: Tensor) -> Tensor:
        return torch.zeros_like(v)

    def derivative(self, v: Tensor, weak: Tensor) -> Tensor:
        return torch.zeros_like(v)[..., None]

    def second_derivative(self, v: Tensor, weak: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return torch.zeros_like(v)

    def margin(self, v: Tensor) -> Tensor:
        return torch.full_like(v[..., 0], torch.inf)


@dataclass(frozen=True)
class Nonnegative(Cone):
    """{v: v >= 0}."""

    @property
    def dim(self) -> int:
        return 1

    def project(self, v: Tensor) -> Tensor:
        return v.clamp_min(0)

    def derivative(self, v: Tensor, weak: Tensor) -> Tensor:
        return (v >= -weak[..., None]).to(v.dtype)[..., None]

    def second_derivative(self, v: Tensor, weak: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return torch.zeros_like(v)

    def margin(self, v: Tensor) -> Tensor:
        return v[..., 0].abs()
