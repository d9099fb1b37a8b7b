"""Which inequalities hold a point that is nearly a solution, where its multipliers do not tell.

Where multipliers are not unique or vanish together with their slacks, an interior point ends between the choices. Those
of

    minimise |Px + q + A'nu + C'lambda|   over nu free and lambda >= 0,

with C the rows that are nearly active at x, are found one after the other by an active-set method, so that the rows
which end with a positive multiplier are independent: a basis, whose linear system can be solved exactly.

Reference: Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23.
"""

from __future__ import annotations

import torch
from torch import Tensor

from declarative.runtime.quadratic import ActiveSet, QPPoint, matvec
from declarative.runtime.solvers.standard_form import Form, equilibrate, in_scaled_units


def independent_active_set(form: Form, point: QPPoint, slack: float) -> ActiveSet:
    """The inequalities with a positive multiplier in a basis, at points of the given form; one instance at a time.

    ``slack``: that of a row, on the scaled data, up to which it may be active.
    """
    scaled, scales = equilibrate(form)
    x = in_scaled_units(point, scales).x
    n, m = x.shape[-1], form.h.shape[-1]
    slope = matvec(scaled.P, x) + scaled.q
    room = torch.cat([scaled.h - matvec(scaled.G, x), scaled.upper - x, x - scaled.lower], -1)
    near = room <= slack * (1 + x.abs().amax(-1, keepdim=True))
    held = torch.zeros_like(near)
    eye = torch.eye(n, dtype=x.dtype, device=x.device)
    for i in range(x.shape[0]):
        rows = torch.cat([scaled.G[i], eye, -eye])[near[i]]
        basis = torch.linalg.svd(scaled.A[i].mT, full_matrices=False)
        span = basis[0][:, basis[1] > 1e-11 * basis[1].amax()] if basis[1].numel() else basis[0]
        target = -slope[i]
        held[i, near[i]] = nonnegative_least_squares(
            rows.mT - span @ (span.mT @ rows.mT), target - span @ (span.mT @ target)
        ).gt(0)
    fixed = form.lower == form.upper
    return ActiveSet(held[:, :m], held[:, m + n :] | fixed, held[:, m : m + n] & ~fixed)


def nonnegative_least_squares(columns: Tensor, target: Tensor, accuracy: float = 1e-9) -> Tensor:
    """y (k) >= 0 with the least |columns y - target|, for ``columns`` (n, k) and ``target`` (n); its positive entries
    belong to independent columns. ``accuracy``: share of the target's size that is not worth another column."""
    y = columns.new_zeros(columns.shape[1])
    passive = torch.zeros_like(y, dtype=torch.bool)
    least = accuracy * float(torch.linalg.vector_norm(target))
    for _ in range(3 * columns.shape[1]):
        gain = torch.where(passive, -torch.inf, columns.mT @ (target - columns @ y))
        if not gain.numel() or float(gain.amax()) <= least:
            break
        passive[gain.argmax()] = True
        while True:
            best = torch.zeros_like(y)
            best[passive] = torch.linalg.pinv(columns[:, passive]) @ target
            falling = passive & (best <= 0)
            if not bool(falling.any()):
                y = best
                break
            share = float(torch.where(falling, y / (y - best), torch.inf).amin())
            y = y + share * (best - y)
            passive = passive & (y > 1e-14 * y.amax())
            y = torch.where(passive, y, 0)
    return y
