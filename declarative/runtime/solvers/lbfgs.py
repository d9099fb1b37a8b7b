"""L-BFGS for batches of smooth local problems with many variables, one trajectory per instance.

The inverse Hessian is that of the last m pairs s = x+ - x, y = g+ - g, applied by the two-loop recursion. Every
instance has its own memory and its own step length, found by bisection until the weak Wolfe conditions hold,

    f(x + a d) <= f(x) + c1 a g'd,       grad f(x + a d)'d >= c2 g'd,

which make s'y positive. A pair with s'y not clearly positive, as rounding can leave it, is not stored. Near the
solution, where f cannot tell progress from rounding, a step that keeps f level and flattens its slope is taken. If no
step is found, the instance forgets its memory and tries the gradient before it gives up.

References: Liu and Nocedal, On the limited memory BFGS method for large scale optimization, 1989; Lewis and Overton,
Nonsmooth optimization via quasi-Newton methods, 2013, for the bisection; Hager and Zhang, A new conjugate gradient
method with guaranteed descent and an efficient line search, 2005, for acceptance near rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from declarative.runtime import derivatives
from declarative.runtime.problem import Problem
from declarative.runtime.smooth import LocalProblem, SmoothProblem
from declarative.runtime.solvers.gradient_descent import refuse_constraints
from declarative.runtime.solvers.iteration import (
    Iterate,
    Iteration,
    default_tolerance,
    first_iterate,
    relative_gradient,
    second_order,
    unbounded,
)
from declarative.runtime.status import Status

DECREASE, CURVATURE = 1e-4, 0.9
BISECTIONS = 60


@dataclass(frozen=True)
class LBFGS(Iteration):
    """Stationary points of `LocalProblem` without constraints, by gradients alone.

    ``tolerance``: as for `Newton`. ``memory``: the number of pairs that an instance keeps. Raises `InputError` for
    problems with constraints.
    """

    tolerance: float | None = None
    max_iterations: int = 2000
    memory: int = 10

    def refuse(self, problem: Problem) -> None:
        refuse_constraints("LBFGS", problem)

    def begin(self, problem: SmoothProblem) -> Iterate:
        assert isinstance(problem, LocalProblem)
        x = problem.start.clone()
        value, slope = derivatives.value_and_gradient(problem.objective, x)
        pairs = x.new_zeros(x.shape[0], self.memory, x.shape[1])
        finite = value.isfinite() & slope.isfinite().all(-1)
        begun = first_iterate(x, finite, (value, slope, pairs, pairs, pairs[..., 0]))
        error = relative_gradient(problem, x, slope)
        done = finite & (error <= self._tolerance(x))
        return replace(begun, status=torch.where(done, int(Status.SOLVED), begun.status).to(torch.int8), error=error)

    def step(self, problem: SmoothProblem, now: Iterate) -> Iterate:
        assert isinstance(problem, LocalProblem)
        value, slope, S, Y, inverse = now.memory
        direction = _two_loops(slope, S, Y, inverse)
        x, value, after, moved = wolfe_search(problem, now.x, value, slope, direction)
        s, y = x - now.x, after - slope
        S, Y, inverse = _stored(S, Y, inverse, s, y)
        forgotten = ~moved & (inverse != 0).any(-1)
        S, Y, inverse = (torch.where(forgotten.reshape(-1, *[1] * (t.dim() - 1)), 0, t) for t in (S, Y, inverse))
        error = relative_gradient(problem, x, after)
        status = torch.where(moved | forgotten, int(Status.MAX_ITERATIONS), int(Status.INACCURATE))
        status = torch.where(unbounded(problem, x, slope, after), int(Status.UNBOUNDED), status)
        status = torch.where(error <= self._tolerance(x), int(Status.SOLVED), status).to(torch.int8)
        return replace(now, x=x, status=status, error=error, memory=(value, after, S, Y, inverse))

    def evaluated(self, problem: SmoothProblem, now: Iterate) -> Iterate:
        assert isinstance(problem, LocalProblem)
        return replace(now, memory=(*derivatives.value_and_gradient(problem.objective, now.x), *now.memory[2:]))

    def finish(self, problem: SmoothProblem, end: Iterate) -> Iterate:
        assert isinstance(problem, LocalProblem)
        return second_order(problem, end, dense_limit=128)

    def _tolerance(self, x: Tensor) -> float:
        return default_tolerance(x.dtype) if self.tolerance is None else self.tolerance


def _two_loops(slope: Tensor, S: Tensor, Y: Tensor, inverse: Tensor) -> Tensor:
    """-H g, (B, n), for pairs (B, m, n), newest last; ``inverse`` (B, m) is 1 / s'y, zero for an empty place."""
    q, weights = slope, []
    for i in reversed(range(S.shape[1])):
        weights.append(inverse[:, i] * (S[:, i] * q).sum(-1))
        q = q - weights[-1][:, None] * Y[:, i]
    kept = inverse[:, -1] > 0
    square = (Y[:, -1] * Y[:, -1]).sum(-1)
    curved = 1 / torch.where(kept, inverse[:, -1] * square, 1)
    # Without a pair the first step is of length one at most, whatever the scale of f.
    flat = torch.linalg.vector_norm(slope, dim=-1).clamp_min(1).reciprocal()
    r = torch.where(kept, curved, flat)[:, None] * q
    for i in range(S.shape[1]):
        r = r + (weights[-1 - i] - inverse[:, i] * (Y[:, i] * r).sum(-1))[:, None] * S[:, i]
    return -r


def _stored(S: Tensor, Y: Tensor, inverse: Tensor, s: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The memory with the newest pair last, and the oldest gone; unchanged where the curvature s'y is not positive."""
    product = (s * y).sum(-1)
    size = torch.linalg.vector_norm(s, dim=-1) * torch.linalg.vector_norm(y, dim=-1)
    curved = product > torch.finfo(s.dtype).eps * size
    newest = 1 / torch.where(curved, product, 1)
    pairs = torch.where(curved[:, None, None], torch.cat([S[:, 1:], s[:, None]], 1), S)
    changes = torch.where(curved[:, None, None], torch.cat([Y[:, 1:], y[:, None]], 1), Y)
    return pairs, changes, torch.where(curved[:, None], torch.cat([inverse[:, 1:], newest[:, None]], 1), inverse)


def wolfe_search(
    problem: LocalProblem, x: Tensor, value: Tensor, slope: Tensor, direction: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, f, gradient after a step of acceptable length along ``direction`` (B, n), and per instance whether there was
    one. The length is found from values alone, so it is a constant to autograd."""
    promised = (slope * direction).sum(-1).detach()
    rounding = 64 * torch.finfo(x.dtype).eps * value.detach().abs()
    low, high, length = torch.zeros_like(promised), torch.full_like(promised, torch.inf), torch.ones_like(promised)
    moved = torch.zeros_like(promised, dtype=torch.bool)
    state = x, value, slope
    rows = (direction.isfinite().all(-1) & (promised < 0)).nonzero()[:, 0]
    for _ in range(BISECTIONS):
        if not rows.numel():
            break
        trial = x[rows] + length[rows, None] * direction[rows]
        trial_value, trial_slope = derivatives.value_and_gradient(problem.take(rows).objective, trial)
        along = (trial_slope * direction[rows]).sum(-1)
        change, begun = promised[rows], value[rows]
        finite = trial_value.isfinite() & trial_slope.isfinite().all(-1)
        falls = finite & (trial_value <= begun + DECREASE * length[rows] * change)
        flattens = along >= CURVATURE * change
        level = finite & (trial_value <= begun + rounding[rows]) & (along <= (2 * DECREASE - 1) * change) & flattens
        enough = (falls & flattens) | level
        chosen = rows[enough]
        state = tuple(  # type: ignore[assignment]
            t.index_copy(0, chosen, new[enough])
            for t, new in zip(state, (trial, trial_value, trial_slope), strict=True)
        )
        moved = moved.index_fill(0, chosen, True)
        with torch.no_grad():
            high[rows] = torch.where(falls, high[rows], length[rows])
            low[rows] = torch.where(falls, length[rows], low[rows])
            bounded = high[rows].isfinite()
            length[rows] = torch.where(bounded, (low[rows] + high[rows]) / 2, 2 * low[rows])
        rows = rows[~enough & (trial != x[rows]).any(-1)]
    return *state, moved
