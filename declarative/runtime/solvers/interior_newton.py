"""A primal-dual interior point method for batches of smooth problems with equality and inequality constraints.

    minimise f(x) - mu sum(log s)   subject to   h(x) = 0,  g(x) + s = 0

for mu falling to zero. With multipliers nu, lambda and lambda * s = mu, one Newton step on its KKT system is

    M dx + Jh' dnu = -grad_x L - Jg'(mu/s - lambda + (lambda/s) * (g + s)),      Jh dx = -h,
    M = W + Jg' diag(lambda/s) Jg,   ds = -(g + s) - Jg dx,   dlambda = mu/s - lambda - (lambda/s) * ds.

It is taken in two parts, in the row space of Jh and in its null space, read off an SVD, so dependent constraints do
no harm. In the null space M is made positive definite as in `directions`. The step is halved until the
l1 merit function decreases, or, where the curvature is positive, the KKT residual falls below the best so far:
the second keeps full steps near the solution, where the merit function would refuse them (the Maratos effect).
What mu > 0 leaves of slacks and multipliers in the end goes by `newton_polish`.

References: Nocedal and Wright, Numerical Optimization, 2006, chapter 19; Wächter and Biegler, On the implementation of
an interior-point filter line-search algorithm for large-scale nonlinear programming, 2006.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from declarative.runtime.conditions import rank_and_curvature
from declarative.runtime.problem import Solved
from declarative.runtime.smooth import LocalProblem, largest
from declarative.runtime.solvers.directions import dense_direction
from declarative.runtime.solvers.lagrangian import Values, apply, evaluate, kkt_residual
from declarative.runtime.solvers.newton_polish import polish
from declarative.runtime.status import Status

ARMIJO = 1e-4
HALVINGS = 40
CENTRALITY = 1e10
"""Multipliers stay within this factor of mu / s."""


@dataclass(frozen=True)
class Iterate:
    """The variables of a flat batch: x (B, N), slacks s (B, m), nu (B, p), lambda (B, m), barrier and penalty (B,)."""

    x: Tensor
    s: Tensor
    nu: Tensor
    lam: Tensor
    mu: Tensor
    penalty: Tensor
    best: Tensor

    def take(self, index: Tensor) -> Iterate:
        return Iterate(*(getattr(self, f.name)[index] for f in fields(self)))

    def put(self, index: Tensor, other: Iterate) -> Iterate:
        return Iterate(*(getattr(self, f.name).index_copy(0, index, getattr(other, f.name)) for f in fields(self)))


@dataclass(frozen=True)
class Step:
    """Changes of x, s, nu, lambda, whether the curvature was positive, and the model's curvature along dx (B,)."""

    x: Tensor
    s: Tensor
    nu: Tensor
    lam: Tensor
    convex: Tensor
    curvature: Tensor


@dataclass(frozen=True)
class InteriorNewton:
    """KKT points of a flattened `LocalProblem` with constraints; called by `Newton`, whose tolerance it takes."""

    tolerance: float | None = None
    max_iterations: int = 200

    def solve(self, problem: LocalProblem) -> Solved:
        dtype = problem.start.dtype
        tolerance = self.tolerance if self.tolerance is not None else 1e-10 if dtype == torch.float64 else 1e-5
        iterate, finite = _begin(problem)
        count = finite.shape[0]
        status = torch.where(finite, int(Status.MAX_ITERATIONS), int(Status.NOT_FINITE)).to(torch.int8)
        error = torch.full_like(iterate.mu, torch.nan)
        iterations = torch.zeros(count, dtype=torch.int32, device=iterate.x.device)
        index = finite.nonzero()[:, 0]
        for _ in range(self.max_iterations):
            if not index.numel():
                break
            here, now = problem.take(index), iterate.take(index)
            values = evaluate(here, now.x, now.nu, now.lam)
            residual = kkt_residual(values, now.nu, now.lam)
            error[index] = residual
            ended = residual <= tolerance
            now = _lower_barrier(now, values, tolerance)
            step = _step(here, now, values)
            now, moved = _advance(here, now, values, step)
            iterations[index] += (~ended).to(torch.int32)
            kept = index[~ended]
            iterate = iterate.put(kept, now.take((~ended).nonzero()[:, 0]))
            outcome = torch.where(moved, int(Status.MAX_ITERATIONS), int(Status.INACCURATE))
            # Later than at the start, a step that is not finite is one that the iterates have run into: a stall.
            broken = torch.where(iterations[index] > 1, int(Status.INACCURATE), int(Status.NOT_FINITE))
            outcome = torch.where(step.x.isfinite().all(-1), outcome, broken)
            far = now.x.abs().amax(-1) > problem.start[index].abs().amax(-1).clamp_min(1) / torch.finfo(dtype).eps
            outcome = torch.where(far, int(Status.UNBOUNDED), outcome)
            outcome = torch.where(ended, int(Status.SOLVED), outcome)
            status[index] = outcome.to(torch.int8)
            index = index[outcome == Status.MAX_ITERATIONS]
        x, nu, lam = iterate.x, iterate.nu, iterate.lam
        index = (status == Status.SOLVED).nonzero()[:, 0]
        if index.numel():
            here = problem.take(index)
            x[index], nu[index], lam[index], error[index] = polish(here, x[index], nu[index], lam[index])
            status[index[_is_saddle(here, x[index], nu[index], lam[index])]] = Status.SADDLE
        return Solved((x, nu, lam), status, iterations, error)


def _begin(problem: LocalProblem) -> tuple[Iterate, Tensor]:
    """The first iterate: slacks off zero, multipliers of the equalities by least squares."""
    x = problem.start.clone()
    h, g = problem.equality(x), problem.inequality(x)
    mu = torch.full_like(x[:, 0], 0.1)
    s = (-g).clamp_min(0.1)
    lam = mu[:, None] / s
    values = evaluate(problem, x, torch.zeros_like(h), lam)
    finite = values.finite
    Jh = torch.where(finite[:, None, None], values.Jh, 0)
    nu = -apply(torch.linalg.pinv(Jh.mT), torch.where(finite[:, None], values.stationarity, 0))
    nu = torch.where((nu.abs() <= 1e3).all(-1, keepdim=True), nu, 0)
    return Iterate(x, s, nu, lam, mu, torch.ones_like(mu), torch.full_like(mu, torch.inf)), finite


def _barrier_error(now: Iterate, values: Values) -> Tensor:
    """As `kkt_residual`, for the barrier problem of ``now.mu``."""
    scale = torch.maximum(largest(now.nu), largest(now.lam)).clamp_min(1)
    return torch.stack(
        [
            largest(values.stationarity) / scale,
            largest(values.h),
            largest(values.g + now.s),
            largest(now.lam * now.s - now.mu[:, None]) / scale,
        ]
    ).amax(0)


def _lower_barrier(now: Iterate, values: Values, tolerance: float) -> Iterate:
    """mu lowered as often as its barrier problem is solved to 10 mu; superlinearly in the end."""
    least = tolerance / 20
    if not now.s.shape[-1]:
        return replace(now, mu=torch.full_like(now.mu, least))
    for _ in range(4):
        easy = (_barrier_error(now, values) <= 10 * now.mu) & (now.mu > least)
        mu = torch.minimum(0.2 * now.mu, now.mu**1.5).clamp_min(least)
        now = replace(
            now,
            mu=torch.where(easy, mu, now.mu),
            penalty=torch.where(easy, 1, now.penalty),
            best=torch.where(easy, torch.inf, now.best),
        )
    return now


def _step(problem: LocalProblem, now: Iterate, values: Values) -> Step:
    """The Newton step; its matrices are put together and factored in float64, for lambda / s spans many magnitudes."""
    dtype = now.x.dtype
    hessian = problem.hessian((now.x, now.nu, now.lam)).double()
    now = Iterate(*(getattr(now, f.name).double() for f in fields(now)))
    wide = Values(*(t.double() for t in vars(values).values()))
    weight = now.lam / now.s
    matrix = hessian + wide.Jg.mT @ (weight[..., None] * wide.Jg)
    gap = wide.g + now.s
    centring = now.mu[:, None] / now.s - now.lam + weight * gap
    right = -(wide.stationarity + apply(wide.Jg.mT, centring))
    finite = matrix.isfinite().all(-1).all(-1) & wide.finite & right.isfinite().all(-1)
    matrix, right = torch.where(finite[:, None, None], matrix, 0), torch.where(finite[:, None], right, torch.nan)
    dx, dnu, convex = _constrained_step(matrix, right, torch.where(finite[:, None, None], wide.Jh, 0), wide.h)
    ds = -gap - apply(wide.Jg, dx)
    dlam = now.mu[:, None] / now.s - now.lam - weight * ds
    curvature = (dx * apply(matrix, dx)).sum(-1)
    return Step(dx.to(dtype), ds.to(dtype), dnu.to(dtype), dlam.to(dtype), convex, curvature.to(dtype))


def _constrained_step(matrix: Tensor, right: Tensor, rows: Tensor, offset: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """dx, dnu with M dx + J'dnu = right and J dx = -offset, M made positive definite on the null space of J."""
    p = rows.shape[-2]
    if p == 0:
        free = dense_direction(matrix, -right)
        return free.step, rows.new_zeros(rows.shape[0], 0), free.convex
    left, singular, axes = torch.linalg.svd(rows, full_matrices=False)
    floor = max(rows.shape) * torch.finfo(rows.dtype).eps * singular.amax(-1, keepdim=True)
    kept = singular > 10 * floor
    inverse = torch.where(kept, 1 / torch.where(kept, singular, 1), 0)
    axes = axes * kept[..., None]
    normal = -apply(axes.mT, inverse * apply(left.mT, offset))
    spanned = axes.mT @ axes
    null = torch.eye(rows.shape[-1], dtype=rows.dtype, device=rows.device) - spanned
    level = matrix.diagonal(dim1=-2, dim2=-1).abs().amax(-1).clamp_min(1e-8)[:, None, None]
    restricted = null @ matrix @ null
    restricted = (restricted + restricted.mT) / 2 + level * spanned
    tangent = dense_direction(restricted, -apply(null, right - apply(matrix, normal)))
    step = normal + apply(null, tangent.step)
    dnu = apply(left, inverse * apply(axes, right - apply(matrix, step)))
    return step, dnu, tangent.convex


def _advance(problem: LocalProblem, now: Iterate, values: Values, step: Step) -> tuple[Iterate, Tensor]:
    """The iterate after a step of acceptable length, and whether there was one."""
    to_boundary = torch.minimum(1 - now.mu, torch.full_like(now.mu, 0.995)).clamp_min(0.99)
    primal, dual = _room(now.s, step.s, to_boundary), _room(now.lam, step.lam, to_boundary)
    infeasibility = _infeasibility(values.h, values.g + now.s)
    slope = (values.slope * step.x).sum(-1) - now.mu * (step.s / now.s).sum(-1)
    needed = (slope + step.curvature.clamp_min(0) / 2) / (0.7 * infeasibility.clamp_min(_tiny(now.x)))
    penalty = torch.where((infeasibility > 0) & (needed > now.penalty), 1.5 * needed, now.penalty)
    promised = slope - penalty * infeasibility
    merit = _merit(now, values, penalty)
    best = torch.minimum(now.best, _barrier_error(now, values))
    result = replace(now, penalty=penalty, best=best)
    moved = torch.zeros_like(step.convex)
    rows = step.x.isfinite().all(-1).nonzero()[:, 0]
    alpha = 1.0
    for _ in range(HALVINGS):
        if not rows.numel():
            break
        at, change = result.take(rows), Step(*(t[rows] for t in vars(step).values()))
        length = (alpha * primal[rows])[:, None]
        lam = at.lam + dual[rows, None] * change.lam
        trial = replace(
            at, x=at.x + length * change.x, s=at.s + length * change.s, nu=at.nu + length * change.nu, lam=lam
        )
        there = evaluate(problem.take(rows), trial.x, trial.nu, trial.lam)
        rounding = 64 * torch.finfo(trial.x.dtype).eps * merit[rows].abs()
        descends = (_merit(trial, there, penalty[rows]) <= merit[rows] + ARMIJO * length[:, 0] * promised[rows]) & (
            -length[:, 0] * promised[rows] > rounding
        )
        closer = change.convex & (_barrier_error(trial, there) <= 0.9 * best[rows])
        taken = there.finite & (descends | closer)
        chosen = taken.nonzero()[:, 0]
        result = result.put(rows[chosen], trial.take(chosen))
        moved[rows[chosen]] = True
        rows = rows[~taken]
        alpha /= 2
    return result, moved


def _is_saddle(problem: LocalProblem, x: Tensor, nu: Tensor, lam: Tensor) -> Tensor:
    """Whether the curvature is negative along the active constraints; (B,)."""
    hessian = problem.hessian((x, nu, lam))
    values = evaluate(problem, x, nu, lam)
    rows = torch.cat([values.Jh, values.Jg * problem.active((x, nu, lam))[..., None]], -2)
    _, smallest = rank_and_curvature(hessian, rows)
    accuracy = torch.finfo(x.dtype).eps ** 0.5
    saddle: Tensor = smallest < -accuracy * hessian.abs().amax((-2, -1)).clamp_min(1e-8)
    return saddle


def _merit(now: Iterate, values: Values, penalty: Tensor) -> Tensor:
    barrier = now.mu * now.s.log().sum(-1)
    return values.f - barrier + penalty * _infeasibility(values.h, values.g + now.s)


def _infeasibility(h: Tensor, gap: Tensor) -> Tensor:
    return h.abs().sum(-1) + gap.abs().sum(-1)


def _room(value: Tensor, change: Tensor, fraction: Tensor) -> Tensor:
    """The longest step, at most one, that keeps value + step * change above (1 - fraction) * value; (B,)."""
    if not value.shape[-1]:
        return torch.ones_like(fraction)
    ratio = torch.where(change < 0, -fraction[:, None] * value / torch.where(change < 0, change, -1), torch.inf)
    return ratio.amin(-1).clamp_max(1)


def _tiny(like: Tensor) -> float:
    return torch.finfo(like.dtype).tiny
