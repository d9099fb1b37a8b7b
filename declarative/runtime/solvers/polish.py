"""From a point near a solution to the solution itself: read the active set off, and solve its linear system.

An interior point ends at multipliers and slacks that are small, not zero. With the right active set the KKT conditions
are linear equations, whose solution is exact to rounding; where the guess was wrong, rows with a negative multiplier
are let go, violated ones are taken up, and it is tried again. A trial is kept, per instance, where it lowers the
residual.

Reference: Stellato et al., OSQP, 2020, section 4 (solution polishing), with the corrections of an active-set method.
"""

from __future__ import annotations

import torch
from torch import Tensor

from declarative.runtime.kkt_system import solve_active_system
from declarative.runtime.quadratic import ActiveSet, QPPoint, matvec
from declarative.runtime.solvers.standard_form import Form

ROUNDS = 5
EXACT = 1e-14
"""Relative residual at which there is nothing left to polish."""


def polish(form: Form, point: QPPoint, active: ActiveSet) -> tuple[QPPoint, Tensor]:
    """The best point of a few trials and its relative residual (B,), from a guess of the active set."""
    fixed = form.lower == form.upper
    active = ActiveSet(active.ineq, (active.lower | fixed) & ~active.upper, active.upper)
    residual = _residual(form, point)
    lanes = torch.arange(form.q.shape[0], device=form.q.device)
    part, at = form, point
    for trial in range(ROUNDS):
        at = _solution_on(part, at, active)
        value = _residual(part, at)
        better = value < residual[lanes]
        point = QPPoint(
            *(
                old.index_copy(0, lanes, torch.where(better[:, None], new, old[lanes]))
                for old, new in zip(point, at, strict=True)
            )
        )
        residual = residual.index_copy(0, lanes, torch.where(better, value, residual[lanes]))
        changed, active = _corrected(part, at, active)
        again = (changed & (value > EXACT)).nonzero()[:, 0]
        if not again.numel() or trial == ROUNDS - 1:
            break
        lanes, part = lanes[again], part.take(again)
        active, at = ActiveSet(*(t[again] for t in active)), QPPoint(*(t[again] for t in at))
    return point, residual


def _residual(form: Form, point: QPPoint) -> Tensor:
    value = form.as_problem().relative_residual(point._replace(ineq=point.ineq.clamp_min(0)))
    return torch.where(value.isfinite(), value, torch.inf)


def _solution_on(form: Form, point: QPPoint, active: ActiveSet) -> QPPoint:
    """The point moved, by the least-norm step, to where the conditions of the active set hold."""
    bound = torch.where(active.upper, form.upper, torch.where(active.lower, form.lower, 0))
    held = active.bounds
    x = torch.where(held, bound, point.x)
    ineq, bounds = torch.where(active.ineq, point.ineq, 0), torch.where(held, point.bounds, 0)
    force = matvec(form.P, x) + form.q + matvec(form.A.mT, point.eq) + matvec(form.G.mT, ineq) + bounds
    rows = torch.where(active.ineq, form.h - matvec(form.G, x), 0)
    change = solve_active_system(
        form.as_problem(), active, QPPoint(-force, form.b - matvec(form.A, x), rows, torch.zeros_like(x))
    )
    return QPPoint(x + change.x, point.eq + change.eq, ineq + change.ineq, bounds + change.bounds)


def _corrected(form: Form, point: QPPoint, active: ActiveSet) -> tuple[Tensor, ActiveSet]:
    """Which instances want another active set (B,), and that set."""
    fixed = form.lower == form.upper
    ineq = torch.where(active.ineq, point.ineq >= 0, matvec(form.G, point.x) > form.h)
    upper = torch.where(active.upper, (point.bounds >= 0) | fixed, ~fixed & (point.x > form.upper))
    lower = torch.where(active.lower, (point.bounds <= 0) | fixed, ~fixed & (point.x < form.lower))
    wanted = ActiveSet(ineq, lower, upper)
    changed = torch.cat([a != b for a, b in zip(active, wanted, strict=True)], -1).any(-1)
    return changed, wanted
