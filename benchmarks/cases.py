"""The problems that are measured: random data, a cotangent to pull back, and how exact an answer has to be.

Programs are strictly feasible and strictly convex, of order one, with some half of their inequalities active at the
solution or fewer; that is what every candidate takes. Robustness is not measured here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

DOUBLE, SINGLE = torch.float64, torch.float32


class Program(NamedTuple):
    """minimise 1/2 x'Px + q'x subject to Ax = b, Gx <= h; each tensor with or without a leading batch dimension."""

    P: Tensor
    q: Tensor
    A: Tensor
    b: Tensor
    G: Tensor
    h: Tensor

    @property
    def sizes(self) -> tuple[int, int, int]:
        """n variables, m inequalities, p equalities."""
        return self.q.shape[-1], self.h.shape[-1], self.b.shape[-1]


class Tolerance(NamedTuple):
    """Beyond which an answer is marked as inexact."""

    x: float
    """Largest error of x, relative to the largest entry of the exact x where that exceeds one."""
    gradient: float
    """Largest error of a parameter's gradient, relative to the largest entry of the exact one."""


EXACT = {DOUBLE: Tolerance(1e-6, 1e-4), SINGLE: Tolerance(1e-4, 1e-2)}
"""What counts as exact, by the precision of the data."""


@dataclass(frozen=True)
class Case:
    """One problem: ``parameters`` to differentiate with respect to, and ``cotangent`` (batch, n) of the solution."""

    parameters: tuple[Tensor, ...]
    cotangent: Tensor

    @property
    def batch(self) -> int:
        return self.cotangent.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        return self.cotangent.dtype

    def to(self, dtype: torch.dtype) -> Case:
        return Case(tuple(t.to(dtype) for t in self.parameters), self.cotangent.to(dtype))

    def first(self, count: int) -> Case:
        """The first instances of a batch whose every parameter has the batch dimension."""
        return Case(tuple(t[:count] for t in self.parameters), self.cotangent[:count])

    def repeated(self) -> Case:
        """The same with every shared parameter written out once per instance."""
        ranks = (2, 1, 2, 1, 2, 1)
        whole = (
            t if t.dim() > rank else t.expand(self.batch, *t.shape).contiguous()
            for t, rank in zip(self.parameters, ranks, strict=True)
        )
        return Case(tuple(whole), self.cotangent)


@dataclass(frozen=True)
class Answer:
    """``x`` (batch, n) and the gradients of <cotangent, x>, one for each parameter and in its shape."""

    x: Tensor
    gradients: tuple[Tensor, ...]

    def first(self, count: int) -> Answer:
        """A copy of the first instances: of a batch whose every parameter has the batch dimension, or of all."""
        part = count < len(self.x)
        return Answer(self.x[:count].clone(), tuple(g[:count].clone() if part else g.clone() for g in self.gradients))


Layer = Callable[..., Tensor]
"""From the parameters of a case to x, differentiable by torch."""


def quadratic_program(batch: int, n: int, m: int, p: int, *, shared: bool = False, seed: int = 0) -> Case:
    """A batch of programs; with ``shared`` one P, A, b, G, h for all, and a q for each."""
    at = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*(() if shared else (batch,)), *shape, dtype=DOUBLE, generator=at)

    root, inside, G, A = normal(n, n), normal(n), normal(m, n), normal(p, n)
    P = root @ root.mT / n + 0.1 * torch.eye(n, dtype=DOUBLE)
    slack = torch.rand(*inside.shape[:-1], m, dtype=DOUBLE, generator=at)
    h = (G @ inside[..., None])[..., 0] + slack
    b = (A @ inside[..., None])[..., 0]
    q = torch.randn(batch, n, dtype=DOUBLE, generator=at)
    return Case(tuple(Program(P, q, A, b, G, h)), torch.randn(batch, n, dtype=DOUBLE, generator=at))


def scores(batch: int, n: int, dtype: torch.dtype = SINGLE, seed: int = 0) -> Case:
    """Rows of standard normal scores, as an attention would hand them to a projection."""
    at = torch.Generator().manual_seed(seed)
    return Case(
        (torch.randn(batch, n, dtype=DOUBLE, generator=at).to(dtype),),
        torch.randn(batch, n, dtype=DOUBLE, generator=at).to(dtype),
    )
