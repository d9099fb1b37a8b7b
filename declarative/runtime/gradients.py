"""What the gradient of a solution is: the implicit function theorem's, or that of the solver's own iterations.

    implicit      dw/dtheta at the solution, whatever led there; memory does not grow with the iterations
    unrolled      the derivative of all iterations, from the start on, which receives a gradient too
    truncated:k   the derivative of the last k iterations of each instance; where they begin is taken as a constant

At exact convergence the three agree but for what the unrolled iterations still remember of the start, which is why
a layer that is defined by a fixed number of steps, such as semi-amortised inference by unrolling, needs the second.
Step lengths and mixing weights that a line search or a least-squares fit chooses are constants to it.

References: Domke, Generic methods for optimization-based modeling, 2012; Shaban et al., Truncated back-propagation for
bilevel optimization, 2019; Bolte, Pauwels and Vaiter, One-step differentiation of iterative algorithms, 2023.
"""

from __future__ import annotations

import re
from dataclasses import replace

import torch
from torch import Tensor

from declarative.runtime import implicit
from declarative.runtime.errors import InputError, SolveError
from declarative.runtime.problem import Adjoint, Problem, Solved, Solver
from declarative.runtime.saved_tensors import unhooked
from declarative.runtime.smooth import LocalProblem, RootProblem, SmoothProblem
from declarative.runtime.solvers.fixed_point import FixedPoint
from declarative.runtime.solvers.gradient_descent import GradientDescent
from declarative.runtime.solvers.iteration import Iterate, Iteration, solved_of
from declarative.runtime.transforms import values_are_hidden

_TRUNCATED = re.compile(r"truncated:([1-9]\d*)")
EXPECTED = 'expected "implicit", "unrolled" or "truncated:k" with a whole number k, at least 1'


def solve(problem: Problem, solver: Solver, adjoint: Adjoint, on_failure: implicit.OnFailure, gradient: str) -> Solved:
    """Solve a batch; the point is differentiable in ``problem.tensors`` as ``gradient`` says.

    ``on_failure`` is that of `implicit.solve`. Raises `InputError` for an unknown gradient, for one that the problem or
    the solver does not have, and `SolveError` with ``on_failure="raise"``.
    """
    steps = unrolled_steps(gradient)
    recorded = torch.is_grad_enabled() and any(t.requires_grad for t in problem.tensors)
    if steps is None:
        if recorded and isinstance(solver, GradientDescent) and not solver.stationary:
            raise InputError(
                'gradient is "implicit", which is the derivative of a stationary point, but the solver takes exactly '
                f'{solver.steps} steps; expected `layer.gradient = "unrolled"`, or a solver without `steps`'
            )
        return implicit.solve(problem, solver, adjoint, on_failure)
    method = solver.accelerated if isinstance(solver, FixedPoint) else solver
    if not isinstance(problem, LocalProblem | RootProblem):
        raise InputError(refusal(gradient, f"a {type(problem).__name__} is solved by a method without such iterations"))
    if isinstance(problem, LocalProblem) and problem.constrained:
        raise InputError(refusal(gradient, "a problem with constraints is solved by an interior point method"))
    if not isinstance(method, Iteration):
        raise InputError(refusal(gradient, f"{type(method).__name__} states no iterations to differentiate"))
    if values_are_hidden(problem.start) or any(values_are_hidden(t) for t in problem.tensors):
        raise InputError(f"gradient is {gradient!r}, which torch.func.vmap and torch.compile do not trace; "
                         'expected "implicit", or leading batch dimensions instead of vmap')  # fmt: skip
    method.refuse(problem)
    # Without the hooks of a checkpoint, if any: torch.func works under none. The iterations are then kept as they are.
    solved: Solved = unhooked(_unrolled, problem, method, steps) if recorded else unhooked(method.solve, problem)
    if on_failure == "raise" and not bool(implicit.usable(solved.status).all()):
        raise SolveError(implicit.failure_message(solved), solved)
    if on_failure == "nan":
        ok = implicit.usable(solved.status)[..., None]
        solved = Solved(
            tuple(torch.where(ok, p, torch.nan) for p in solved.point),
            solved.status,
            solved.iterations,
            solved.residual,
        )
    return solved


def unrolled_steps(gradient: str) -> float | None:
    """None for the implicit gradient, the number of the last iterations that are differentiated, infinity for all;
    raises `InputError` for an unknown one."""
    if gradient == "implicit":
        return None
    if gradient == "unrolled":
        return torch.inf
    found = _TRUNCATED.fullmatch(gradient) if isinstance(gradient, str) else None
    if found is None:
        raise InputError(f"gradient is {gradient!r}; {EXPECTED}")
    return int(found[1])


def refusal(gradient: str, reason: str) -> str:
    """Why a layer has no other gradient than the implicit one."""
    return (
        f'gradient is {gradient!r}, but {reason}; expected "implicit". Unrolled gradients are for `minimize locally` '
        "without constraints and for `solve`"
    )


def _unrolled(problem: SmoothProblem, method: Iteration, steps: float) -> Solved:
    """The solve under autograd. An instance that fails is left out of the graph: not even its NaN times zero may reach
    data that the batch shares."""
    flat = problem.flattened()
    window = _begin_of_window(method, steps)
    whole: Iterate | None = None
    if window is not None:
        whole = method.run(flat, torch.full_like(flat.start[..., 0], window, dtype=torch.int64))
        if bool(implicit.usable(whole.status).all()):
            return solved_of(problem, whole)
    with torch.no_grad():
        end = method.run(flat) if whole is None else whole.cut(torch.ones_like(whole.status, dtype=torch.bool))
    good = implicit.usable(end.status).nonzero()[:, 0]
    if not good.numel():
        return solved_of(problem, end)
    known = torch.full_like(good, window or 0)
    first = known if window is not None else (end.moves[good] - int(steps)).clamp_min(0)
    graph = method.run(flat.take(good), first)
    x: Tensor = end.x.index_copy(0, good, graph.x)
    return solved_of(problem, replace(end, x=x, memory=()))


def _begin_of_window(method: Iteration, steps: float) -> int | None:
    """The iteration from which the last ``steps`` are differentiated, where it is known before the solve."""
    if steps == torch.inf:
        return 0
    if isinstance(method, GradientDescent) and not method.stationary:
        return max(0, method.max_iterations - int(steps))
    return None
