"""A factor of a positive semidefinite matrix, singular or not, that can be differentiated.

    P = F'F,    F = D U'  for  P = U diag(l) U',  D = diag(sqrt(max(l, edge)))

A form x'Px = ||F x||^2 enters a cone program by such a factor. No factor is differentiable where P is singular, but
what depends on F'F alone is: its derivative by P is that of a matrix whose zero eigenvalues are raised to a small
``edge``, to within the edge. The derivative keeps the eigenvectors where they are, so that none of theirs is taken:
with M = U'PU, the factor of M near D is D + X, where

    D X + X'D = M - D^2 - X'X,    solved by    X = C o (M - D^2 - X'X),  C_ij = d_i / (d_i^2 + d_j^2),

and every step of that iteration from X = 0 gives derivatives of one order more. In exact arithmetic any factor would
do; this one is the smallest change X, and divides by no difference of eigenvalues.

Reference: Higham, Functions of Matrices, 2008, chapter 6.
"""

from __future__ import annotations

import torch
from torch import Tensor

EDGE = 1e-10
"""Smallest eigenvalue of F'F relative to the largest. The solution is off by about as much, and its gradient by the
accuracy of the solve over the root: Newton's method ends cone programs near 1e-14."""

ORDERS = 3
"""Highest order of derivatives."""


def semidefinite_factor(P: Tensor) -> Tensor:
    """F with F'F = P, (*batch, n, n), of symmetric positive semidefinite P; computed in float64.

    NaN for an instance that is not finite or has an eigenvalue that is negative beyond rounding.
    """
    exact = P.to(torch.float64)
    order = P.shape[-1]
    with torch.no_grad():
        fixed = exact.detach()
        finite = fixed.isfinite().all(-1).all(-1)
        values, basis = torch.linalg.eigh(torch.where(finite[..., None, None], fixed, 0))
        largest = values.abs().amax(-1, keepdim=True) if order else values
        eps = torch.finfo(P.dtype).eps
        edge = torch.where(largest > 0, largest, 1) * max(EDGE, eps)
        sound = finite & (values >= -torch.maximum(edge, 8 * order * eps * largest)).all(-1)
        squares = values.maximum(edge)
        D = squares.sqrt()
        C = D[..., :, None] / (squares[..., :, None] + squares[..., None, :])
    rotated = basis.mT @ exact @ basis
    change = rotated - rotated.detach()  # zero, with the derivatives of M
    step = C * change
    for _ in range(ORDERS - 1):
        step = step + C * (change - D[..., None] * step - step.mT * D[..., None, :] - step.mT @ step)
    factor = (torch.diag_embed(D) + step) @ basis.mT
    return torch.where(sound[..., None, None], factor, torch.nan).to(P.dtype)
