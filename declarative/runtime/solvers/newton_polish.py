"""From the end of an interior method to the KKT point it stands for: Newton steps on the active constraints.

An interior point ends where lambda_i * s_i = mu > 0. Where multiplier and slack are both small, each is of the size of
sqrt(mu), and x is off by as much. With the active inequalities a (those whose multiplier exceeds the slack) as
equations, and the others left out with lambda_i = 0, the KKT conditions are a square system whose Newton step is

    [ W   Jh'  Ja' ] [dx     ]     [grad_x L]
    [ Jh           ] [dnu    ] = - [h       ]
    [ Ja           ] [dlambda]     [g_a     ]

with an error that is squared by every step. Inequalities whose multiplier turns negative are let go, violated ones are
taken up. An instance keeps the point that it came with unless signs and residual are right at another one close by.

Reference: Nocedal and Wright, Numerical Optimization, 2006, section 18.1 (local Newton steps on the active set).
"""

from __future__ import annotations

import torch
from torch import Tensor

from declarative.runtime.linear_solve import linear_solve
from declarative.runtime.smooth import LocalProblem, largest
from declarative.runtime.solvers.lagrangian import Values, apply, evaluate, kkt_residual

ROUNDS = 5


def polish(problem: LocalProblem, x: Tensor, nu: Tensor, lam: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x (B, N), nu (B, p), lambda (B, m) of a flat problem after the steps, and the KKT residual there (B,)."""
    eps = torch.finfo(x.dtype).eps
    values = evaluate(problem, x, nu, lam)
    residual = kkt_residual(values, nu, lam)
    reach = eps**0.25 * largest(x).clamp_min(1)
    first, ends = x, [x, nu, lam, residual]
    active = lam > (-values.g).clamp_min(0)
    rows = torch.arange(x.shape[0], device=x.device)
    for _ in range(ROUNDS):
        here = problem.take(rows)
        before, (x, nu, lam) = x, _step(here, (x, nu, lam), active)
        values = evaluate(here, x, nu, lam)
        rounding, row_rounding = _rounding(here, values, (x, nu, lam))
        lost, found = active & (lam < 0), ~active & (values.g > row_rounding)
        value = kkt_residual(values, nu, lam)
        close = largest(x - first[rows]) <= reach[rows]
        right = values.finite & close & ~(lost | found).any(-1) & (value <= torch.maximum(ends[3][rows], rounding))
        ends = [
            end.index_copy(0, rows, torch.where(right.reshape(-1, *[1] * (end.dim() - 1)), new, end[rows]))
            for end, new in zip(ends, (x, nu, _without_ties(lam, rounding), value), strict=True)
        ]
        ended = right & (largest(x - before) <= eps**0.5 * largest(x).clamp_min(1))
        left = (~ended & values.finite & close).nonzero()[:, 0]
        if not left.numel():
            break
        rows, active = rows[left], ((active & ~lost) | found)[left]
        x, nu, lam = x[left], nu[left], lam[left]
    x, nu, lam, residual = ends
    return x, nu, lam, residual


def _step(problem: LocalProblem, at: tuple[Tensor, Tensor, Tensor], active: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The point after one Newton step, by the least-norm step where the rows are dependent."""
    x, nu, lam = at
    lam = torch.where(active, lam, 0)
    values = evaluate(problem, x, nu, lam)
    order = active.to(torch.int8).argsort(dim=-1, descending=True, stable=True)
    chosen = order[:, : int(active.sum(-1).max()) if active.numel() else 0]
    live = active.take_along_dim(chosen, -1)
    Ja = torch.where(live[..., None], values.Jg.take_along_dim(chosen[..., None], -2), 0)
    J = torch.cat([values.Jh, Ja], -2)
    corner = torch.diag_embed(torch.cat([torch.zeros_like(nu), (~live).to(x.dtype)], -1))
    matrix = torch.cat([torch.cat([problem.hessian((x, nu, lam)), J.mT], -1), torch.cat([J, corner], -1)], -2)
    g = torch.where(live, values.g.take_along_dim(chosen, -1), 0)
    change = linear_solve(matrix, -torch.cat([values.stationarity, values.h, g], -1), symmetric=True)
    dx, dnu, dlam = torch.split(change, [x.shape[-1], nu.shape[-1], chosen.shape[-1]], -1)
    return x + dx, nu + dnu, lam.scatter_add(-1, chosen, torch.where(live, dlam, 0))


def _rounding(problem: LocalProblem, values: Values, at: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """What rounding alone, of x and of the terms that are summed, makes of the residual, (B,), and of g, (B, m)."""
    x, nu, lam = at
    eps = 8 * torch.finfo(x.dtype).eps
    scale = torch.maximum(largest(nu), largest(lam)).clamp_min(1)
    of_slope = apply(problem.hessian(at).abs(), x.abs()) + values.slope.abs()
    of_slope = of_slope + apply(values.Jh.abs().mT, nu.abs()) + apply(values.Jg.abs().mT, lam.abs())
    of_h, of_g = (eps * apply(J.abs(), x.abs()).clamp_min(1) for J in (values.Jh, values.Jg))
    terms = [eps * largest(of_slope) / scale, largest(of_h), largest(of_g)]
    return torch.stack(terms).amax(0), of_g


def _without_ties(lam: Tensor, rounding: Tensor) -> Tensor:
    """Multipliers with those that rounding does not tell from zero as zero: such an inequality is weakly active, and
    its derivative is the one towards the side where it lets go."""
    scale = largest(lam).clamp_min(1)
    return torch.where(lam > (rounding * scale)[:, None], lam, 0)
