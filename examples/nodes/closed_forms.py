"""The published derivatives of three deep declarative nodes, to judge the layers by.

For y = argmin_y f(x, y) subject to h(y) = 0, with H = D²f - nu D²h in y at the solution, A = Dh and B = D²f in x and y,

    Dy = H⁻¹A'(A H⁻¹A')⁻¹ A H⁻¹B - H⁻¹B        and, without constraint,        Dy = -H⁻¹B.

Reference: Gould, Hartley and Campbell, Deep declarative networks: a new hope, 2021, propositions 4.4 and 4.5 and
section 5, robust pooling. Its multiplier has the other sign, L = f - nu h.
"""

from __future__ import annotations

import torch
from torch import Tensor


def ellipse(x: Tensor, a: Tensor, y: Tensor) -> Tensor:
    """dy/dx (*batch, n, n) at the projection ``y`` of ``x`` (*batch, n) on the ellipsoid of semi-axes ``a``."""
    A = 2 * y / a**2
    nu = ((y - x) * A).sum(-1, keepdim=True) / A.square().sum(-1, keepdim=True)  # from Df = nu A
    inverse = torch.diag_embed(1 / (1 - 2 * nu / a**2))
    along = inverse @ A[..., None]
    return inverse - along @ along.mT / (A[..., None, :] @ along)  # B = -I


def pseudo_huber(x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    """dy/dx (*batch, n): each value's curvature (1 + z²)^(-3/2), z = (y - x) / scale, relative to the sum."""
    curvature = (1 + ((y[..., None] - x) / scale).square()) ** -1.5
    return curvature / curvature.sum(-1, keepdim=True)


def welsch(x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    """dy/dx (*batch, n): each value's curvature (1 - z²) exp(-z² / 2), relative to the sum."""
    z = ((y[..., None] - x) / scale).square()
    curvature = (1 - z) * (-z / 2).exp()
    return curvature / curvature.sum(-1, keepdim=True)
