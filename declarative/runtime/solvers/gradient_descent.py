"""Gradient descent with momentum for batches of smooth local problems.

    v_{t+1} = m v_t - a grad f(x_t),      x_{t+1} = x_t + v_{t+1}.

It converges slowly, and is here for what is defined by its steps: with ``steps=k`` the answer is the k-th iterate, as
in semi-amortised inference by unrolling, where the gradient goes through the steps back to the start
(``layer.gradient = "unrolled"``). Without, it goes on to a stationary point like every other solver.

References: Polyak, Some methods of speeding up the convergence of iteration methods, 1964; Kim et al.,
Semi-amortized variational autoencoders, 2018, for the unrolled use.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from declarative.runtime import derivatives
from declarative.runtime.errors import InputError
from declarative.runtime.problem import Problem
from declarative.runtime.smooth import LocalProblem, SmoothProblem, largest
from declarative.runtime.solvers.iteration import (
    Iterate,
    Iteration,
    default_tolerance,
    first_iterate,
    relative_gradient,
    second_order,
)
from declarative.runtime.status import Status

DIVERGED = 1e12
"""An instance whose gradient has grown by this factor does not converge with this step size."""


@dataclass(frozen=True)
class GradientDescent(Iteration):
    """Stationary points of `LocalProblem` without constraints, or the iterate after a given number of steps.

    ``step_size``, positive, in units of x per unit of gradient. ``momentum``: in [0, 1). ``steps``: exactly as many,
    after which every finite instance is solved by definition and its gradient is reported as residual; None to go on
    until ``tolerance`` (as for `Newton`) or ``max_iterations``. An instance that the step size makes diverge, or leave
    the domain of f, is inaccurate. Raises `InputError` for settings out of range and for problems with constraints.
    """

    step_size: float = 0.1
    momentum: float = 0.0
    steps: int | None = None
    tolerance: float | None = None
    max_iterations: int = 10_000

    def __post_init__(self) -> None:
        if not self.step_size > 0:
            raise InputError(f"GradientDescent: step_size is {self.step_size!r}; expected a positive number")
        if not 0 <= self.momentum < 1:
            raise InputError(f"GradientDescent: momentum is {self.momentum!r}; expected a number in [0, 1)")
        if self.steps is not None:
            if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 0:
                raise InputError(f"GradientDescent: steps is {self.steps!r}; expected a whole number, at least 0")
            object.__setattr__(self, "max_iterations", self.steps)

    @property
    def stationary(self) -> bool:
        return self.steps is None

    def refuse(self, problem: Problem) -> None:
        refuse_constraints("GradientDescent", problem)

    def begin(self, problem: SmoothProblem) -> Iterate:
        assert isinstance(problem, LocalProblem)
        x = problem.start.clone()
        value, slope = derivatives.value_and_gradient(problem.objective, x)
        finite = value.isfinite() & slope.isfinite().all(-1)
        begun = first_iterate(x, finite, (torch.zeros_like(x), slope, largest(slope).detach()))
        return self._judged(problem, begun)

    def step(self, problem: SmoothProblem, now: Iterate) -> Iterate:
        assert isinstance(problem, LocalProblem)
        velocity, slope, steepest = now.memory
        velocity = self.momentum * velocity - self.step_size * slope
        x = now.x + velocity
        value, slope = derivatives.value_and_gradient(problem.objective, x)
        # Written so that NaN, which compares false, counts as diverged. Outside its domain f itself is NaN.
        diverged = ~(largest(slope) <= DIVERGED * steepest.clamp_min(1)) | ~value.isfinite()
        status = torch.where(diverged, int(Status.INACCURATE), now.status).to(torch.int8)
        return self._judged(problem, replace(now, x=x, status=status, memory=(velocity, slope, steepest)))

    def evaluated(self, problem: SmoothProblem, now: Iterate) -> Iterate:
        assert isinstance(problem, LocalProblem)
        velocity, _, steepest = now.memory
        return replace(now, memory=(velocity, derivatives.gradient(problem.objective, now.x), steepest))

    def finish(self, problem: SmoothProblem, end: Iterate) -> Iterate:
        assert isinstance(problem, LocalProblem)
        if self.stationary:
            return second_order(problem, end, dense_limit=128)
        error = relative_gradient(problem, end.x, end.memory[1])
        there = end.status == Status.MAX_ITERATIONS
        return replace(end, status=torch.where(there, int(Status.SOLVED), end.status).to(torch.int8), error=error)

    def _judged(self, problem: LocalProblem, now: Iterate) -> Iterate:
        if not self.stationary:
            return now
        tolerance = default_tolerance(now.x.dtype) if self.tolerance is None else self.tolerance
        error = relative_gradient(problem, now.x, now.memory[1])
        done = (now.status == Status.MAX_ITERATIONS) & (error <= tolerance)
        return replace(now, status=torch.where(done, int(Status.SOLVED), now.status).to(torch.int8), error=error)


def refuse_constraints(name: str, problem: Problem) -> None:
    """Raise for anything but a `LocalProblem` without constraints."""
    if not isinstance(problem, LocalProblem):
        raise TypeError(f"{name} solves a LocalProblem, found a {type(problem).__name__}")
    if problem.constrained:
        raise InputError(
            f"{name} is for problems without constraints (an attribute such as `nonneg` is one); expected the solver "
            '"newton", which takes them'
        )
