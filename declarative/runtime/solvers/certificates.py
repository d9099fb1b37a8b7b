"""Proof that a quadratic program has no solution, by two auxiliary programs that always have one.

Infeasible: the least squared violation over the box,

    minimise 1/2 |r|^2 + 1/2 |t|^2   subject to  Ax - r = b,  Gx - t <= h,  lower <= x <= upper,

is positive exactly where no point is feasible, and its multipliers (r, t) then separate the constraints.
Unbounded: the projection of -q on the directions along which neither the curvature nor a constraint rises,

    minimise 1/2 |d + q|^2   subject to  Pd = 0,  Ad = 0,  Gd <= 0,  d <= 0 below an upper bound, d >= 0 above a lower,

is not zero exactly where one of them descends: q'd = -|d|^2 there.

Reference: Boyd and Vandenberghe, Convex Optimization, 2004, sections 5.8 and 2.6.3 (Moreau's decomposition).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from declarative.runtime.quadratic import QPPoint
from declarative.runtime.solvers.standard_form import Form

THRESHOLD = 1e-6
"""Relative size of a violation, or of a direction of descent, that counts as not zero."""

Engine = Callable[[Form], tuple[QPPoint, Tensor]]
"""Solves a form: the point and its relative residual (B,)."""


def infeasible(form: Form, engine: Engine, eps: float) -> Tensor:
    """Mask (B,) of the instances of a scaled form in which no point satisfies the constraints.

    ``eps``: the relative rounding that the data came with, which may by itself set rows against each other.
    """
    p, m = form.b.shape[-1], form.h.shape[-1]
    if p + m == 0:
        return torch.zeros_like(form.q[:, 0] if form.q.shape[-1] else form.q.sum(-1), dtype=torch.bool)
    finite = form.h.isfinite()
    extra = torch.eye(p + m, dtype=form.q.dtype, device=form.q.device).expand(form.q.shape[0], -1, -1)
    zero, free = form.q.new_zeros(form.q.shape[0], p + m), form.q.new_full((form.q.shape[0], p + m), torch.inf)
    auxiliary = Form(
        P=torch.diag_embed(torch.cat([torch.zeros_like(form.q), zero + 1], -1)),
        q=torch.cat([torch.zeros_like(form.q), zero], -1),
        A=torch.cat([form.A, -extra[:, :p]], -1),
        b=form.b,
        G=torch.cat([form.G, -extra[:, p:]], -1),
        h=form.h,
        lower=torch.cat([form.lower, -free], -1),
        upper=torch.cat([form.upper, free], -1),
    )
    point, residual = engine(auxiliary)
    violation: Tensor = point.x[:, form.q.shape[-1] :].abs().amax(-1)
    scale: Tensor = 1 + torch.cat([form.b.abs(), torch.where(finite, form.h, 0).abs()], -1).amax(-1)
    return (violation > max(THRESHOLD, 100 * eps) * scale) & (residual < THRESHOLD)


def unbounded(form: Form, engine: Engine) -> Tensor:
    """Mask (B,) of the instances of a scaled form with a direction that descends for ever."""
    size = torch.linalg.vector_norm(form.q, dim=-1, keepdim=True)
    q = form.q / torch.where(size > 0, size, 1)
    auxiliary = Form(
        P=torch.eye(q.shape[-1], dtype=q.dtype, device=q.device).expand_as(form.P),
        q=q,
        A=torch.cat([form.P, form.A], -2),
        b=torch.cat([torch.zeros_like(form.q), torch.zeros_like(form.b)], -1),
        G=form.G,
        h=torch.where(form.h.isfinite(), 0, form.h),
        lower=torch.where(form.lower.isfinite(), 0, form.lower),
        upper=torch.where(form.upper.isfinite(), 0, form.upper),
    )
    point, residual = engine(auxiliary)
    length: Tensor = torch.linalg.vector_norm(point.x, dim=-1)
    return (length > THRESHOLD) & (residual < THRESHOLD**2)
