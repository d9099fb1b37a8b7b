"""Extreme eigenvalues of symmetric matrices that are known by their products alone, by the Lanczos process.

After k steps from one vector, the eigenvalues of the k x k tridiagonal matrix T = V'HV lie within the spectrum of H,
and those at its ends are found first. The basis V is kept and every vector is made orthogonal to it twice, so rounding
produces no copies of an eigenvalue.

Reference: Golub and Van Loan, Matrix Computations, 2013, section 10.1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]


def extreme_eigenvalues(product: Product, like: Tensor, steps: int = 30) -> tuple[Tensor, Tensor]:
    """Smallest and largest eigenvalue (*batch) of v -> H v, on vectors of the shape (*batch, n) of ``like``, as far as
    ``steps`` products show; exact for n up to ``steps``."""
    n = like.shape[-1]
    vector = torch.cos(torch.arange(n, dtype=like.dtype, device=like.device).square() + 1).expand(like.shape)
    vector = vector / torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    basis: list[Tensor] = []
    diagonal: list[Tensor] = []
    beside: list[Tensor] = []
    for _ in range(min(n, steps)):
        basis.append(vector)
        image = product(vector)
        diagonal.append((vector * image).sum(-1))
        spanned = torch.stack(basis, -1)
        for _ in range(2):
            image = image - (spanned @ (spanned.mT @ image[..., None]))[..., 0]
        length = torch.linalg.vector_norm(image, dim=-1)
        ended = length <= torch.finfo(like.dtype).eps * n * torch.stack(diagonal, -1).abs().amax(-1)
        beside.append(torch.where(ended, 0, length))
        vector = torch.where(ended[..., None], 0, image / torch.where(ended, 1, length)[..., None])
    tridiagonal = torch.diag_embed(torch.stack(diagonal, -1))
    if len(beside) > 1:
        off = torch.diag_embed(torch.stack(beside[:-1], -1), offset=1)
        tridiagonal = tridiagonal + off + off.mT
    finite = tridiagonal.isfinite().all(-1).all(-1)
    values = torch.linalg.eigvalsh(torch.where(finite[..., None, None], tridiagonal, 0))
    return torch.where(finite, values[..., 0], torch.nan), torch.where(finite, values[..., -1], torch.nan)
