"""The implicit function theorem, once, for every problem class.

A solution satisfies F(w; theta) = 0. Where dF/dw is regular, w is a differentiable function of theta with

    dw/dtheta = -(dF/dw)^-1 dF/dtheta,

so the pullback of a cotangent w_bar solves (dF/dw)' u = w_bar once and returns theta_bar = -(dF/dtheta)' u, the
second product by one reverse pass through F. Nothing of the solver's iterations enters, and since the pullback is a
function of (w, theta) built of differentiable operations, derivatives of every order follow by differentiating it.

Reference: Krantz and Parks, The Implicit Function Theorem, 2002; Amos and Kolter, OptNet, 2017, for its KKT form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from declarative.runtime.autocast import autocast_is_on, without_autocast
from declarative.runtime.errors import SolveError
from declarative.runtime.problem import Adjoint, Problem, Solved, Solver
from declarative.runtime.pullback import pull_back, usable
from declarative.runtime.saved_tensors import are_hooked, unhooked
from declarative.runtime.status import Status
from declarative.runtime.transforms import plain_apply, pushes_forward, without_tangent

__all__ = ["OnFailure", "failure_message", "solve", "usable"]

OnFailure = Literal["raise", "nan", "keep"]


def solve(problem: Problem, solver: Solver, adjoint: Adjoint, on_failure: OnFailure = "raise") -> Solved:
    """Solve a batch; the point of the answer is differentiable in ``problem.tensors``.

    ``on_failure``: ``"raise"`` raises `SolveError` naming the instances without an answer, ``"nan"`` gives them NaN
    and a zero gradient, ``"keep"`` gives whatever the solver ended with, and a zero gradient.
    """
    if torch.compiler.is_compiling():  # a layer's solve is a node, see `graph`; called by itself it breaks the graph
        return torch.compiler.disable(_solve)(problem, solver, adjoint, on_failure)  # type: ignore[no-any-return, no-untyped-call]
    return _solve(problem, solver, adjoint, on_failure)


def _solve(problem: Problem, solver: Solver, adjoint: Adjoint, on_failure: OnFailure) -> Solved:
    tensors = problem.tensors
    apply: Any = _Solution.apply if any(map(_wrapped, tensors)) else _apply
    *point, status, iterations, residual = apply(problem, solver, adjoint, on_failure, *tensors)
    return Solved(tuple(point), status, iterations, residual)


def failure_message(solved: Solved, problem: Problem | None = None) -> str:
    """One line per failed instance (the first eight), with status, residual, what ``problem`` remarks on it, and what
    to try."""
    failed = (~usable(solved.status)).nonzero().tolist()
    total = solved.status.numel()
    lines = []
    for index in failed[:8]:
        at = tuple(index)
        status = Status(int(solved.status[at]))
        name = f"instance {at[0] if len(at) == 1 else list(at)}" if at else "the instance"
        residual, iterations = float(solved.residual[at]), int(solved.iterations[at])
        remark = problem.remark(at, status) if problem is not None else ""
        taken = f" after {iterations} iterations" if iterations else ""
        lines.append(f"  {name}: {status.label}, residual {residual:.1e}{taken}{remark and '; ' + remark}")
    if len(failed) > 8:
        lines.append(f"  and {len(failed) - 8} more")
    headline = f"{len(failed)} of {total} instances were not solved" if total > 1 else "the problem was not solved"
    return "\n".join(
        [
            headline,
            *lines,
            'set `layer.on_failure = "nan"` to get NaN for these and exact results for the rest, or call '
            "`layer.solve(...)`, which never raises",
        ]
    )


class _Solution(torch.autograd.Function):
    """theta -> w, with the pullback and pushforward of the implicit function theorem."""

    @staticmethod
    def forward(
        problem: Problem, solver: Solver, adjoint: Adjoint, on_failure: OnFailure, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        posed = problem.with_tensors(tensors)
        solved = unhooked(solver.solve, posed) if are_hooked() else solver.solve(posed)
        # A tangent is laid out as its point is, which a part of a larger tensor is not free to be.
        point = tuple(p.clone() if p._is_view() else p for p in solved.point)
        if on_failure != "keep" and not solved.complete and bool(solved.status.any()):
            ok = usable(solved.status)
            if on_failure == "raise" and not bool(ok.all()):
                raise SolveError(failure_message(solved, posed), solved)
            if on_failure == "nan":
                point = tuple(torch.where(ok[..., None], p, torch.nan) for p in point)
        return (*point, solved.status, solved.iterations, solved.residual)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        problem, _, adjoint, _, *tensors = inputs
        *point, status, iterations, residual = output
        ctx.mark_non_differentiable(status, iterations, residual)
        ctx.save_for_backward(*tensors, *point, status)
        ctx.save_for_forward(*tensors, *point, status)
        ctx.problem, ctx.adjoint, ctx.count = problem, adjoint, len(tensors)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        if autocast_is_on() or are_hooked():
            return undisturbed(_Solution.backward, ctx, *cotangents)  # type: ignore[no-any-return]
        *rest, status = ctx.saved_tensors
        tensors, point = tuple(rest[: ctx.count]), tuple(rest[ctx.count :])
        wanted = [i for i in range(ctx.count) if ctx.needs_input_grad[4 + i]]
        gradients: list[Tensor | None] = [None] * ctx.count
        if wanted and any(c is not None for c in cotangents[: len(point)]):
            given = cotangents[: len(point)]
            found = ctx.adjoint.pull_back(ctx.problem.with_tensors(tensors), point, given, status, wanted)
            if found is None:
                bar = tuple(torch.zeros_like(p) if c is None else c for p, c in zip(point, given, strict=True))
                found = pull_back(ctx.problem, ctx.adjoint, tensors, point, status, bar, wanted)
            for i, gradient in zip(wanted, found, strict=True):
                gradients[i] = gradient
        return (None, None, None, None, *gradients)

    @staticmethod
    @pushes_forward
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        """dw = -(dF/dw)^-1 dF/dtheta dtheta, as the transpose of the pullback, which is linear in its cotangent."""
        *rest, status = ctx.saved_tensors
        tensors, point = tuple(rest[: ctx.count]), tuple(rest[ctx.count :])
        tensors, point = tuple(map(without_tangent, tensors)), tuple(map(without_tangent, point))
        given = {i: t for i, t in enumerate(tangents[4:]) if t is not None}

        def of_cotangents(*bar: Tensor) -> tuple[Tensor, ...]:
            return pull_back(ctx.problem, ctx.adjoint, tensors, point, status, bar, list(given))

        push_forward = torch.func.vjp(of_cotangents, *(torch.zeros_like(p) for p in point))[1]
        return (*push_forward(tuple(given.values())), None, None, None)

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[Any, ...],
        problem: Problem,
        solver: Solver,
        adjoint: Adjoint,
        on_failure: OnFailure,
        *tensors: Tensor,
    ) -> Any:
        """The mapped dimension becomes one more leading batch dimension."""
        moved = mapped_first(tensors, problem.core_ranks, in_dims[4:])
        output = _Solution.apply(problem.with_tensors(moved), solver, adjoint, on_failure, *moved)  # type: ignore[no-untyped-call]
        return output, (0,) * len(output)


def undisturbed(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)`` as it is outside of autocast and of hooks for saved tensors."""
    return unhooked(without_autocast, function, *args)


def mapped_first(tensors: Sequence[Tensor], ranks: Sequence[int], dims: Sequence[int | None]) -> list[Tensor]:
    """Tensors with the dimension that is mapped over as the first of their batch; ``ranks`` count the others' last."""
    batch = max(t.dim() - rank - (dim is not None) for t, rank, dim in zip(tensors, ranks, dims, strict=True))
    moved = []
    for tensor, rank, dim in zip(tensors, ranks, dims, strict=True):
        if dim is not None:
            tensor = tensor.movedim(dim, 0)
            missing = batch - (tensor.dim() - rank - 1)
            tensor = tensor.reshape(tensor.shape[0], *[1] * missing, *tensor.shape[1:])
        moved.append(tensor)
    return moved


_wrapped = torch._C._functorch.is_functorch_wrapped_tensor
_apply = plain_apply(_Solution)
