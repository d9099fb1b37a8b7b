"""Newton's method for batches of smooth local problems, one trajectory per instance.

Each step minimises the local quadratic model (`directions`), and is halved until f decreases by a fraction of what its
slope promises (Armijo). Close to the solution f cannot tell progress from rounding any more: there a step of positive
curvature is taken if it lowers the gradient. A trial point outside the domain (the log of a negative number) has a
value that is not finite, and is halved like any other.

An instance ends when its gradient is small beside |H x|, and the Newton step beside x. It is then taken out of the
batch, so it costs nothing and stays as it is. Nothing is averaged over the batch: an instance's path is its own.
Problems with constraints go to `interior_newton`; where it stalls, f gives way to the violation of the constraints.

Reference: Nocedal and Wright, Numerical Optimization, 2006, chapters 3 and 7; Hager and Zhang, A new conjugate gradient
method with guaranteed descent and an efficient line search, 2005, for acceptance near rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from declarative.runtime import derivatives
from declarative.runtime.implicit import usable
from declarative.runtime.problem import Problem, Solved, Solver
from declarative.runtime.smooth import LocalProblem, largest
from declarative.runtime.solvers.directions import (
    Direction,
    conjugate_gradient_direction,
    dense_direction,
    smallest_curvature,
)
from declarative.runtime.solvers.interior_newton import InteriorNewton
from declarative.runtime.status import Status

ARMIJO = 1e-4
HALVINGS = 60
FAR = 1e6, 1e9
"""In float32 and float64: beyond this many times the start, an instance with a steep gradient is unbounded."""


@dataclass(frozen=True)
class Newton(Solver):
    """Stationary points of `LocalProblem`, from its start.

    ``tolerance``: on the largest entry of the gradient, relative to max(1, largest entry of |H x|); by default 1e-10
    in float64 and 1e-5 in float32. ``dense_limit``: the number of variables up to which Hessians are formed; beyond
    it, conjugate gradients with Hessian-vector products (problems with constraints always form theirs).
    """

    tolerance: float | None = None
    max_iterations: int = 100
    dense_limit: int = 128

    def solve(self, problem: Problem) -> Solved:
        if not isinstance(problem, LocalProblem):
            raise TypeError(f"Newton solves a LocalProblem, found a {type(problem).__name__}")
        batch = problem.batch_shape
        with torch.no_grad():
            if problem.constrained:
                flat = self._constrained(problem.flattened())
            else:
                flat = self._minimise(problem.flattened())
        point = tuple(part.reshape(*batch, part.shape[-1]) for part in flat.point)
        status, iterations, residual = (t.reshape(batch) for t in (flat.status, flat.iterations, flat.residual))
        return Solved(point, status, iterations, residual)

    def _constrained(self, problem: LocalProblem) -> Solved:
        """The interior point method, and for instances that it leaves, once more from a point of least violation."""
        interior = InteriorNewton(self.tolerance)
        solved = interior.solve(problem)
        left = (solved.status == Status.INACCURATE) | (solved.status == Status.MAX_ITERATIONS)
        index = left.nonzero()[:, 0]
        if not index.numel():
            return solved
        nearest = self._minimise(problem.take(index).feasibility().with_start(solved.point[0][index]))
        start = nearest.point[0]
        h, g = problem.take(index).equality(start), problem.take(index).inequality(start)
        contradictory = largest(torch.cat([h, g.clamp_min(0)], -1)) > torch.finfo(start.dtype).eps ** 0.25
        verdict = contradictory & usable(nearest.status)
        again = interior.solve(problem.take(index).with_start(start))
        status = torch.where(usable(again.status), again.status, solved.status[index])
        status = torch.where(verdict, int(Status.INFEASIBLE), status).to(torch.int8)
        return Solved(
            tuple(old.index_copy(0, index, new) for old, new in zip(solved.point, again.point, strict=True)),
            solved.status.index_copy(0, index, status),
            solved.iterations.index_add(0, index, nearest.iterations + again.iterations),
            solved.residual.index_copy(0, index, again.residual),
        )

    def _minimise(self, problem: LocalProblem) -> Solved:
        x = problem.start.clone()
        value, slope = (t.clone() for t in derivatives.value_and_gradient(problem.objective, x))
        error = torch.full_like(value, torch.nan)
        iterations = torch.zeros_like(value, dtype=torch.int32)
        finite = value.isfinite() & slope.isfinite().all(-1)
        status = torch.where(finite, int(Status.MAX_ITERATIONS), int(Status.NOT_FINITE)).to(torch.int8)
        index = finite.nonzero()[:, 0]
        for _ in range(self.max_iterations):
            if not index.numel():
                break
            here, before = problem.take(index), (x[index], value[index], slope[index])
            model = self._model(here, *before)
            after, moved = line_search(here, before, model.direction)
            x[index], value[index], slope[index] = after
            iterations[index] += 1
            error[index] = model.error * largest(after[2]) / largest(before[2]).clamp_min(_tiny(x))
            steep = largest(after[2]) > 0.1 * largest(before[2])
            far = largest(after[0]) > FAR[x.dtype == torch.float64] * largest(problem.start[index]).clamp_min(1)
            now = torch.where(moved, int(Status.MAX_ITERATIONS), int(Status.INACCURATE))
            now = torch.where(steep & far, int(Status.UNBOUNDED), now)
            now = torch.where(model.done | (model.small & ~moved), int(Status.SOLVED), now)
            now = torch.where(model.direction.step.isfinite().all(-1), now, int(Status.NOT_FINITE))
            status[index] = now.to(torch.int8)
            index = index[now == Status.MAX_ITERATIONS]
        status = self._second_order(problem, x, status)
        return Solved((x, x[:, :0], x[:, :0]), status, iterations, error)

    def _model(self, problem: LocalProblem, x: Tensor, value: Tensor, slope: Tensor) -> _Model:
        """The direction to try, and how far the point is from a solution; |H x| measures the terms of the gradient."""
        if x.shape[-1] <= self.dense_limit:
            hessian = derivatives.hessian(problem.objective, x)
            direction = dense_direction(hessian, slope)
            image = (hessian @ x[..., None])[..., 0]
        else:
            product = derivatives.hessian_product(problem.objective, x)
            direction = conjugate_gradient_direction(product, slope)
            image = product(x)
        tolerance = default_tolerance(x.dtype) if self.tolerance is None else self.tolerance
        error = largest(slope) / largest(image).clamp_min(1)
        size, length = largest(x).clamp_min(1), largest(direction.step)
        small = error <= tolerance
        done = small & (length <= torch.finfo(x.dtype).eps ** 0.5 * size)
        # The last step is known already, so it is taken: it squares the error. At a saddle it would lead away.
        step = torch.where((done & ~direction.convex)[:, None], 0, direction.step)
        cap = torch.where(direction.convex, torch.inf, 10 * size)
        step = step * (cap / length).clamp_max(1)[:, None]
        return _Model(Direction(step, direction.convex), error, small, done)

    def _second_order(self, problem: LocalProblem, x: Tensor, status: Tensor) -> Tensor:
        """SADDLE for solved instances whose Hessian has a clearly negative eigenvalue."""
        index = (status == Status.SOLVED).nonzero()[:, 0]
        if not index.numel():
            return status
        here = problem.take(index)
        if x.shape[-1] <= self.dense_limit:
            values = torch.linalg.eigvalsh(derivatives.hessian(here.objective, x[index]))
            smallest, extent = values[..., 0], largest(values)
        else:
            smallest, extent = smallest_curvature(derivatives.hessian_product(here.objective, x[index]), x[index])
        saddle = smallest < -(torch.finfo(x.dtype).eps ** 0.5) * extent
        status = status.clone()
        status[index[saddle]] = Status.SADDLE
        return status


@dataclass(frozen=True)
class _Model:
    """``error``: relative gradient. ``small``: it is within tolerance. ``done``: so is the Newton step. All (B,)."""

    direction: Direction
    error: Tensor
    small: Tensor
    done: Tensor


State = tuple[Tensor, Tensor, Tensor]


def line_search(problem: LocalProblem, state: State, direction: Direction) -> tuple[State, Tensor]:
    """The state (x, f(x), gradient) after a step of acceptable length, and per instance whether there was one."""
    x, value, slope = state
    promised = (slope * direction.step).sum(-1)
    eps = torch.finfo(x.dtype).eps
    norm = largest(slope)

    def acceptable(rows: Tensor, alpha: float, trial_value: Tensor, trial_slope: Tensor) -> Tensor:
        start, change = value[rows], alpha * promised[rows]
        finite = trial_value.isfinite() & trial_slope.isfinite().all(-1)
        armijo = (trial_value <= start + ARMIJO * change) & (change <= -8 * eps * start.abs())
        level = trial_value <= start + 64 * eps * start.abs().clamp_min(_tiny(start))
        lower = direction.convex[rows] & level & (largest(trial_slope) <= (1 - 0.1 * alpha) * norm[rows])
        return finite & (armijo | lower)

    return backtrack(problem, state, direction.step, acceptable)


def backtrack(
    problem: LocalProblem, state: State, step: Tensor, acceptable: Callable[[Tensor, float, Tensor, Tensor], Tensor]
) -> tuple[State, Tensor]:
    """Halve the step of each instance until ``acceptable``; the instances still searching are evaluated alone."""
    x, value, slope = (t.clone() for t in state)
    moved = torch.zeros_like(value, dtype=torch.bool)
    rows = (step.isfinite().all(-1) & (step != 0).any(-1)).nonzero()[:, 0]
    alpha = 1.0
    for _ in range(HALVINGS):
        if not rows.numel():
            break
        trial = state[0][rows] + alpha * step[rows]
        trial_value, trial_slope = derivatives.value_and_gradient(problem.take(rows).objective, trial)
        taken = acceptable(rows, alpha, trial_value, trial_slope)
        chosen = rows[taken]
        x[chosen], value[chosen], slope[chosen] = trial[taken], trial_value[taken], trial_slope[taken]
        moved[chosen] = True
        changed = (trial != state[0][rows]).any(-1)
        rows = rows[~taken & changed]
        alpha /= 2
    return (x, value, slope), moved


def default_tolerance(dtype: torch.dtype) -> float:
    """Relative tolerance on residuals: 1e-10 in float64, 1e-5 in float32."""
    return 1e-10 if dtype == torch.float64 else 1e-5


def _tiny(like: Tensor) -> float:
    return torch.finfo(like.dtype).tiny
