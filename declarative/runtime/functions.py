"""Batched functions of the language that torch has no single right expression for.

Arguments are (*batch, *shape) with batch dimensions that broadcast, or Python numbers where a scalar may stand.
All are differentiable, twice wherever the function itself is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from declarative.runtime.factor import semidefinite_factor as semidefinite_factor

SMALL = 64
"""Largest order for which a batched LU is taken on the CPU: beyond about 140 torch's, on several threads, is wrong."""


def concat(*parts: Tensor | float) -> Tensor:
    """Vectors (*batch, n_i) end to end, (*batch, n_1 + ... + n_k). A number is a vector of length one."""
    return torch.cat(_of_one_batch([_vector(part, parts) for part in parts], instance_rank=1), -1)


def vstack(*parts: Tensor) -> Tensor:
    """Matrices (*batch, m_i, n) below each other, (*batch, m_1 + ... + m_k, n)."""
    return torch.cat(_of_one_batch(list(parts), instance_rank=2), -2)


def _vector(part: Tensor | float, parts: tuple[Tensor | float, ...]) -> Tensor:
    if isinstance(part, Tensor):
        return part
    like = next(p for p in parts if isinstance(p, Tensor))
    return torch.full((1,), part, dtype=like.dtype, device=like.device)


def _of_one_batch(parts: list[Tensor], instance_rank: int) -> list[Tensor]:
    batch = torch.broadcast_shapes(*(part.shape[:-instance_rank] for part in parts))  # type: ignore[no-untyped-call]
    return [part.expand(*batch, *part.shape[-instance_rank:]) for part in parts]


def quad_form(x: Tensor, P: Tensor) -> Tensor:
    """x'Px of x (*batch, n) and P (*batch, n, n), (*batch)."""
    return (x * (P @ x[..., None])[..., 0]).sum(-1)


def rel_entr(x: Tensor | float, y: Tensor | float) -> Tensor:
    """x log(x / y) entry by entry, 0 where x = 0 <= y, infinite where x < 0 or y < 0 < x.

    It is written x log x - x log y, since the gradient of x log(x / y) at x = 0 is 0/0.
    """
    x, y = _tensors(x, y)
    return torch.where((x < 0) | (y < 0), torch.inf, -torch.special.entr(x) - torch.special.xlogy(x, y))


def kl_div(x: Tensor | float, y: Tensor | float) -> Tensor:
    """x log(x / y) - x + y entry by entry, nonnegative, y where x = 0."""
    return rel_entr(x, y) - x + y


def huber(x: Tensor, M: Tensor | float) -> Tensor:
    """x² where |x| <= M and 2M|x| - M² beyond, entry by entry."""
    x, M = _tensors(x, M)
    within = torch.minimum(torch.maximum(x, -M), M)
    return within * (2 * x - within)


def at_edge(function: Callable[..., Tensor], x: Tensor, *others: Tensor | float) -> Tensor:
    """f(x, ...) entry by entry where x > 0; on the edge of its domain and by rounding beyond, where f is 0, its chord.

    The chord is the line from 0 to the value at the root of the dtype's precision: as steep as entries that solvers
    tell from zero, where the slope of f is infinite. An infinite chord counts as flat.
    """
    inside = x > 0
    near = torch.finfo(x.dtype).eps ** 0.5
    chord = function(torch.full_like(x, near), *others).detach() / near
    beyond = x * torch.where(chord.isfinite(), chord, 0)
    return torch.where(inside, function(torch.where(inside, x, 1), *others), beyond)


def symmetric_part(X: Tensor) -> Tensor:
    """(X + X') / 2, (*batch, n, n)."""
    return (X + X.mT) / 2


def log_det(X: Tensor) -> Tensor:
    """log det of the symmetric part of X (*batch, n, n), by Cholesky; NaN where that is not positive definite."""
    return 2 * cholesky(symmetric_part(X)).diagonal(dim1=-2, dim2=-1).log().sum(-1)


def cholesky(A: Tensor) -> Tensor:
    """Lower triangular L with LL' = A, (*batch, n, n); NaN for an instance that is not positive definite."""
    factor, info = torch.linalg.cholesky_ex(A)
    return torch.where((info == 0)[..., None, None], factor, torch.nan)


def inv(A: Tensor) -> Tensor:
    """Inverse of A (*batch, n, n); NaN for an instance that is singular."""

    def inverse(matrix: Tensor) -> Tensor:
        result, info = torch.linalg.inv_ex(matrix)
        return torch.where((info == 0)[..., None, None], result, torch.nan)

    return _instance_wise(inverse, A)


def det(A: Tensor) -> Tensor:
    """Determinant of A (*batch, n, n), (*batch)."""
    return _instance_wise(torch.linalg.det, A)


def _instance_wise(function: Callable[[Tensor], Tensor], A: Tensor) -> Tensor:
    """A function that rests on LU, one instance after the other where the batched one is not to be trusted."""
    if A.device.type != "cpu" or A.shape[-1] <= SMALL or A.dim() == 2:
        return function(A)
    results = torch.stack([function(matrix) for matrix in A.flatten(0, -3)])
    return results.reshape(*A.shape[:-2], *results.shape[1:])


def _tensors(*values: Tensor | float) -> list[Tensor]:
    like = next(v for v in values if isinstance(v, Tensor))
    return [v if isinstance(v, Tensor) else torch.full((), v, dtype=like.dtype, device=like.device) for v in values]
