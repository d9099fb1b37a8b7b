"""Whether the quadratic form of a program is convex, and what to say where it is not.

By a Cholesky factorisation of P + shift, whose shift is the rounding that the entries of P came with: a matrix that is
positive semidefinite in exact arithmetic has eigenvalues of that size below zero.

Reference: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., 2002, section 10.3.
"""

from __future__ import annotations

import torch
from torch import Tensor


def is_convex(P: Tensor, eps: float) -> Tensor:
    """Whether P (*batch, n, n) is positive semidefinite up to the rounding its entries came with; (*batch)."""
    n = P.shape[-1]
    if n == 0:
        return torch.ones(P.shape[:-2], dtype=torch.bool, device=P.device)
    allowance = max(10 * n * eps, 1e-11) * P.diagonal(dim1=-2, dim2=-1).abs().amax(-1)
    shift = torch.where(allowance > 0, allowance, 1e-11 * (P.abs().amax((-2, -1)) == 0))
    _, info = torch.linalg.cholesky_ex(P + shift[..., None, None] * torch.eye(n, dtype=P.dtype, device=P.device))
    convex: Tensor = info == 0
    return convex


def lack_of_convexity(P: Tensor) -> str:
    """A sentence for the message of a failure where the symmetric part of P (n, n) is not positive semidefinite, else
    nothing."""
    symmetric = ((P + P.mT) / 2).detach().to(torch.float64)
    if not bool(symmetric.isfinite().all()) or bool(is_convex(symmetric, torch.finfo(P.dtype).eps)):
        return ""
    smallest, largest = (float(v) for v in torch.linalg.eigvalsh(symmetric)[[0, -1]])
    return (
        f"the objective is not convex: the matrix of its quadratic part is not positive semidefinite, its eigenvalues "
        f"go from {smallest:.3g} to {largest:.3g}"
    )
