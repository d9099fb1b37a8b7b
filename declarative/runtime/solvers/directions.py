"""Descent directions of a batch of smooth functions: Newton's where the Hessian is positive definite, and near it
elsewhere.

Dense: H p = -g by Cholesky. Where that fails, H = V diag(w) V' is replaced by V diag(|w|) V' with |w| kept off zero:
negative curvature is descended along instead of climbed, and a saddle repels.

Matrix free: conjugate gradients on H p = -g, stopped early far from the solution, and with the first
direction of negative curvature.

References: Nocedal and Wright, Numerical Optimization, 2006, sections 3.4 and 7.1; Dauphin et al., Identifying and
attacking the saddle point problem in high-dimensional non-convex optimization, 2014.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from declarative.runtime.lanczos import Product


@dataclass(frozen=True)
class Direction:
    """``step``: (B, n), a direction of descent. ``convex``: (B,), whether no negative curvature was met."""

    step: Tensor
    convex: Tensor


def dense_direction(hessian: Tensor, slope: Tensor) -> Direction:
    """The direction for a symmetric ``hessian`` (B, n, n) and a gradient ``slope`` (B, n); NaN where these are not
    finite."""
    finite = hessian.isfinite().all(-1).all(-1) & slope.isfinite().all(-1)
    hessian = torch.where(finite[:, None, None], hessian, 0)
    # Scaled to rows with largest entry near one: curvatures of very different size (a barrier's) are all resolved.
    rows = hessian.abs().amax(-1)
    scale = torch.where(rows > 0, rows, 1).rsqrt()
    scaled, slope = scale[:, :, None] * hessian * scale[:, None, :], scale * slope
    factor, failed = torch.linalg.cholesky_ex(scaled)
    pivots = factor.diagonal(dim1=-2, dim2=-1)
    floor = (slope.shape[-1] * torch.finfo(slope.dtype).eps) ** 0.5
    convex = (failed == 0) & (pivots.amin(-1) > floor * pivots.amax(-1))
    identity = torch.eye(slope.shape[-1], dtype=slope.dtype, device=slope.device)
    step = -torch.cholesky_solve(slope[..., None], torch.where(convex[:, None, None], factor, identity))[..., 0]
    rest = (finite & ~convex).nonzero()[:, 0]
    if rest.numel():
        bent, upwards = _by_spectrum(scaled[rest], slope[rest])
        step, convex = step.index_copy(0, rest, bent), convex.index_copy(0, rest, upwards)
    return Direction(torch.where(finite[:, None], scale * step, torch.nan), convex)


def _by_spectrum(hessian: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    curvatures, axes = torch.linalg.eigh(hessian)
    largest = curvatures.abs().amax(-1, keepdim=True)
    largest = torch.where(largest > 0, largest, 1)
    accuracy = torch.finfo(slope.dtype).eps ** 0.5
    bent = curvatures.abs().clamp_min(accuracy * largest)
    step = -(axes @ ((axes.mT @ slope[..., None]) / bent[..., None]))[..., 0]
    return step, curvatures[..., 0] >= -accuracy * largest[..., 0]


def conjugate_gradient_direction(product: Product, slope: Tensor) -> Direction:
    """The direction for v -> H v and a gradient ``slope`` (B, n), to a relative residual min(0.05, sqrt|g|, |g|)."""
    size = torch.linalg.vector_norm(slope, dim=-1)
    target = size * torch.minimum(size, size.sqrt()).clamp(max=0.05, min=10 * torch.finfo(slope.dtype).eps)
    step = torch.zeros_like(slope)
    remainder, search = -slope, -slope
    square = size.square()
    convex = torch.ones_like(size, dtype=torch.bool)
    running = size > target
    accuracy = torch.finfo(slope.dtype).eps
    for iteration in range(2 * slope.shape[-1]):
        if not bool(running.any()):
            break
        image = product(search)
        curvature, squared = (search * image).sum(-1), (search * search).sum(-1)
        flat = running & (curvature.abs() <= accuracy * squared)
        negative = running & (curvature < -(accuracy**0.5) * squared)
        # Every search direction descends, also the one that is bent down: as far as the opposite curvature would lead.
        last = torch.where(negative, square / torch.where(negative, -curvature, 1), 0)
        if iteration == 0:
            last = torch.where(flat, 1, last)
        step = step + last[:, None] * search
        convex = convex & ~negative
        running = running & (curvature > accuracy * squared)
        length = torch.where(running, square / torch.where(running, curvature, 1), 0)[:, None]
        step = step + length * search
        remainder = remainder - length * image
        following = (remainder * remainder).sum(-1)
        turn = torch.where(running, following / torch.where(running, square, 1), 0)[:, None]
        search = torch.where(running[:, None], remainder + turn * search, search)
        square = torch.where(running, following, square)
        running = running & (square.sqrt() > target)
    return Direction(step, convex)
