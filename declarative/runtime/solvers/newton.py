"""Newton's method for batches of smooth local problems, one trajectory per instance.

Each step minimises the local quadratic model (`directions`), and is halved until f decreases by a fraction of what its
slope promises (Armijo). Close to the solution f cannot tell progress from rounding any more: there a step of positive
curvature is taken if it lowers the gradient. A trial point outside the domain (the log of a negative number) has a
value that is not finite, and is halved like any other.

An instance ends when its gradient is small beside |H x|, and the Newton step beside x; a looser tolerance asks less of
both. Problems with constraints go to `interior_newton`; where it stalls, f gives way to the violation of the
constraints.

Reference: Nocedal and Wright, Numerical Optimization, 2006, chapters 3 and 7; Hager and Zhang, A new conjugate gradient
method with guaranteed descent and an efficient line search, 2005, for acceptance near rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from declarative.runtime import derivatives
from declarative.runtime.implicit import usable
from declarative.runtime.problem import Problem, Solved
from declarative.runtime.smooth import LocalProblem, SmoothProblem, largest
from declarative.runtime.solvers.directions import Direction, conjugate_gradient_direction, dense_direction
from declarative.runtime.solvers.interior_newton import InteriorNewton
from declarative.runtime.solvers.iteration import (
    Iterate,
    Iteration,
    default_tolerance,
    first_iterate,
    second_order,
    solved_of,
    unbounded,
)
from declarative.runtime.status import Status

ARMIJO = 1e-4
HALVINGS = 60


@dataclass(frozen=True)
class Newton(Iteration):
    """Stationary points of `LocalProblem`, from its start.

    ``tolerance``: on the largest entry of the gradient, relative to max(1, largest entry of |H x|); by default 1e-10
    in float64 and 1e-5 in float32. ``dense_limit``: the number of variables up to which Hessians are formed; beyond
    it, conjugate gradients with Hessian-vector products (problems with constraints always form theirs).
    """

    tolerance: float | None = None
    max_iterations: int = 200
    dense_limit: int = 128

    def refuse(self, problem: Problem) -> None:
        if not isinstance(problem, LocalProblem):
            raise TypeError(f"Newton solves a LocalProblem, found a {type(problem).__name__}")

    def solve(self, problem: Problem) -> Solved:
        self.refuse(problem)
        assert isinstance(problem, LocalProblem)
        if not problem.constrained:
            return super().solve(problem)
        batch = problem.batch_shape
        with torch.no_grad():
            flat = self._constrained(problem.flattened())
        point = tuple(part.reshape(*batch, part.shape[-1]) for part in flat.point)
        status, iterations, residual = (t.reshape(batch) for t in (flat.status, flat.iterations, flat.residual))
        return Solved(point, status, iterations, residual)

    def begin(self, problem: SmoothProblem) -> Iterate:
        assert isinstance(problem, LocalProblem)
        x = problem.start.clone()
        value, slope = derivatives.value_and_gradient(problem.objective, x)
        return first_iterate(x, value.isfinite() & slope.isfinite().all(-1), (value, slope))

    def step(self, problem: SmoothProblem, now: Iterate) -> Iterate:
        assert isinstance(problem, LocalProblem)
        value, slope = now.memory
        before = (now.x, value, slope)
        model = self._model(problem, now.x, slope)
        after, moved = line_search(problem, before, model.direction)
        error = model.error * largest(after[2]) / largest(slope).clamp_min(_tiny(slope))
        status = torch.where(moved, int(Status.MAX_ITERATIONS), int(Status.INACCURATE))
        status = torch.where(unbounded(problem, after[0], slope, after[2]), int(Status.UNBOUNDED), status)
        status = torch.where(model.done | (model.small & ~moved), int(Status.SOLVED), status)
        status = torch.where(model.direction.step.isfinite().all(-1), status, int(Status.NOT_FINITE))
        return replace(now, x=after[0], status=status.to(torch.int8), error=error.detach(), memory=after[1:])

    def evaluated(self, problem: SmoothProblem, now: Iterate) -> Iterate:
        assert isinstance(problem, LocalProblem)
        return replace(now, memory=derivatives.value_and_gradient(problem.objective, now.x))

    def finish(self, problem: SmoothProblem, end: Iterate) -> Iterate:
        assert isinstance(problem, LocalProblem)
        return second_order(problem, end, self.dense_limit)

    def _constrained(self, problem: LocalProblem) -> Solved:
        """The interior point method, and for instances that it leaves, once more from a point of least violation."""
        interior = InteriorNewton(self.tolerance)
        solved = interior.solve(problem)
        left = (solved.status == Status.INACCURATE) | (solved.status == Status.MAX_ITERATIONS)
        index = left.nonzero()[:, 0]
        if not index.numel():
            return solved
        violation = problem.take(index).feasibility().with_start(solved.point[0][index])
        nearest = solved_of(violation, self.run(violation))
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

    def _model(self, problem: LocalProblem, x: Tensor, slope: Tensor) -> _Model:
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
        done = small & (length <= max(self.tolerance or 0, torch.finfo(x.dtype).eps) ** 0.5 * size)
        # The last step is known already, so it is taken: it squares the error. At a saddle it would lead away.
        step = torch.where((done & ~direction.convex)[:, None], 0, direction.step)
        cap = torch.where(direction.convex, torch.inf, 10 * size)
        step = step * (cap / length).detach().clamp_max(1)[:, None]
        return _Model(Direction(step, direction.convex), error, small, done)


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


def _tiny(like: Tensor) -> float:
    return torch.finfo(like.dtype).tiny
