"""Warm starts: a solve of a smooth problem begins where the last one of the same shapes ended.

A start chooses the branch and costs iterations; it is no part of the equations that a solution satisfies. So where the
solution is unique, as the fixed point of a contraction is, a warm start changes it within the solver's tolerance alone.
Where there are several, it follows the branch of the last solution, which a cold start may leave for another.

An instance begins warm where its last solve was `Status.SOLVED`; one that then ends otherwise is solved again from the
program's own start, so that no instance fails for its warm start. Solutions are remembered by everything that a start
must agree with (batch, sizes, dtype, device) and by the layer's mode, so that a validation between two training steps
does not overwrite theirs.

Interior point methods gain nothing: they begin in the middle of the constraints, and a point on their boundary is a
worse start than none. Reference: Yildirim and Wright, Warm-start strategies in interior-point methods for linear
programming, 2002; Bai, Koltun and Kolter, Neural deep equilibrium solvers, 2022, for starts of equilibrium layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from declarative.runtime.binding import Bound
from declarative.runtime.errors import InputError
from declarative.runtime.problem import Problem, Solved, Solver
from declarative.runtime.smooth import LocalProblem, SmoothProblem
from declarative.runtime.solvers.gradient_descent import GradientDescent
from declarative.runtime.status import Status
from declarative.runtime.transforms import unwrapped, values_are_hidden

if TYPE_CHECKING:
    from declarative.runtime.layer import Layer

KEPT = 8
"""Shapes that a layer remembers the last solution of, the latest ones."""

FOR = "expected False, or `minimize locally` without constraints, or `solve`"


@final
@dataclass(frozen=True)
class WarmStarted(Solver):
    """Another solver of a `SmoothProblem`, from ``last`` (*batch, N) where ``known`` (*batch), else from its start."""

    solver: Solver
    last: Tensor
    known: Tensor

    def solve(self, problem: Problem) -> Solved:
        assert isinstance(problem, SmoothProblem)
        start = torch.where(self.known[..., None], self.last, problem.start)
        solved = self.solver.solve(problem.with_start(start))
        left = ((solved.status != int(Status.SOLVED)) & self.known).flatten().nonzero()[:, 0]
        if not left.numel():
            return solved
        again = self.solver.solve(problem.flattened().take(left))
        point = tuple(_put(whole, left, part, 1) for whole, part in zip(solved.point, again.point, strict=True))
        iterations = solved.iterations.flatten().index_add(0, left, again.iterations).reshape(solved.iterations.shape)
        status, residual = (
            _put(whole, left, part, 0)
            for whole, part in ((solved.status, again.status), (solved.residual, again.residual))
        )
        return Solved(point, status, iterations, residual)


def _put(whole: Tensor, index: Tensor, part: Tensor, rank: int) -> Tensor:
    """With the instances ``index`` of the batch, numbered row by row, replaced."""
    core = whole.shape[whole.dim() - rank :]
    return (
        whole.reshape(whole.shape[: whole.dim() - rank].numel(), *core).index_copy(0, index, part).reshape(whole.shape)
    )


@final
class Starts:
    """The last solutions of one layer; see the module's docstring."""

    def __init__(self) -> None:
        self._last: dict[tuple[object, ...], tuple[Tensor, Tensor]] = {}

    def warmed(self, solver: Solver, problem: Problem, bound: Bound, training: bool) -> Solver:
        """The solver from the last solution, where there is one that fits."""
        assert isinstance(problem, SmoothProblem)
        if any(values_are_hidden(t) for t in problem.tensors):
            return solver
        last = self._last.get(_key(problem, bound, training))
        return solver if last is None else WarmStarted(solver, *last)

    def keep(self, problem: Problem, bound: Bound, training: bool, solved: Solved) -> None:
        """Remember a solution; its failed instances as unknown."""
        assert isinstance(problem, SmoothProblem)
        if values_are_hidden(solved.status):
            return
        x, status = unwrapped(solved.point[0]).detach(), unwrapped(solved.status)
        key = _key(problem, bound, training)
        self._last.pop(key, None)
        self._last[key] = x, (status == int(Status.SOLVED)) & x.isfinite().all(-1)
        while len(self._last) > KEPT:
            del self._last[next(iter(self._last))]


def starts_of(layer: Layer, problem: Problem, solver: Solver) -> Starts:
    """Where a layer's last solutions are kept. Raises `InputError` where a warm start would do nothing, or would change
    what is asked for."""
    _refuse(layer._name, problem, solver, layer.gradient)
    if layer._starts is None:
        layer._starts = Starts()
    return layer._starts


def refused(layer: str, kind: str) -> str:
    """What is said of a problem that an interior point method solves."""
    return (
        f"{layer}: warm_start is True, but {kind} is solved by an interior point method, which gains nothing from it; "
        f"{FOR}"
    )


def _refuse(layer: str, problem: Problem, solver: Solver, gradient: str) -> None:
    if not isinstance(problem, SmoothProblem) or (isinstance(problem, LocalProblem) and problem.constrained):
        kind = "a local problem with constraints" if isinstance(problem, LocalProblem) else type(problem).__name__
        raise InputError(refused(layer, kind))
    if gradient != "implicit":
        raise InputError(
            f"{layer}: warm_start is True, but the gradient is {gradient!r}, that of iterations from the program's "
            'start; expected `layer.gradient = "implicit"`'
        )
    if isinstance(solver, GradientDescent) and not solver.stationary:
        raise InputError(
            f"{layer}: warm_start is True, but the solver takes exactly {solver.steps} steps, whose result depends on "
            "the start; expected a solver without `steps`"
        )


def _key(problem: SmoothProblem, bound: Bound, training: bool) -> tuple[object, ...]:
    start = problem.start
    sizes = tuple(sorted(bound.sizes.items()))
    return training, problem.batch_shape, problem.size, sizes, start.dtype, start.device
