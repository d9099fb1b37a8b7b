"""The implicit function theorem, once, for every problem class.

A solution satisfies F(w; theta) = 0. Where dF/dw is regular, w is a differentiable function of theta with

    dw/dtheta = -(dF/dw)^-1 dF/dtheta,

so the pullback of a cotangent w_bar solves (dF/dw)' u = w_bar once and returns theta_bar = -(dF/dtheta)' u, the
second product by one reverse pass through F. Nothing of the solver's iterations enters, and since the pullback is a
function of (w, theta) built of differentiable operations, derivatives of every order follow by differentiating it.

Reference: Krantz and Parks, The Implicit Function Theorem, 2002; Amos and Kolter, OptNet, 2017, for its KKT form.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from declarative.runtime.errors import SolveError
from declarative.runtime.problem import Adjoint, Point, Problem, Solved, Solver
from declarative.runtime.status import Status

OnFailure = Literal["raise", "nan", "keep"]


def solve(problem: Problem, solver: Solver, adjoint: Adjoint, on_failure: OnFailure = "raise") -> Solved:
    """Solve a batch; the point of the answer is differentiable in ``problem.tensors``.

    ``on_failure``: ``"raise"`` raises `SolveError` naming the instances without an answer, ``"nan"`` gives them NaN
    and a zero gradient, ``"keep"`` gives whatever the solver ended with, and a zero gradient.
    """
    *point, status, iterations, residual = _Solution.apply(problem, solver, adjoint, on_failure, *problem.tensors)  # type: ignore[no-untyped-call]
    return Solved(tuple(point), status, iterations, residual)


def usable(status: Tensor) -> Tensor:
    """Mask of the instances whose point may be returned; (*batch)."""
    mask = torch.zeros_like(status, dtype=torch.bool)
    for member in Status:
        if member.usable:
            mask = mask | (status == member)
    return mask


def failure_message(solved: Solved) -> str:
    """One line per failed instance (the first eight), with status, residual and what to try."""
    failed = (~usable(solved.status)).nonzero().tolist()
    total = solved.status.numel()
    lines = []
    for index in failed[:8]:
        at = tuple(index)
        status = Status(int(solved.status[at]))
        name = f"instance {at[0] if len(at) == 1 else list(at)}" if at else "the instance"
        lines.append(f"  {name}: {status.label}, residual {float(solved.residual[at]):.1e} after {int(solved.iterations[at])} iterations")
    if len(failed) > 8:
        lines.append(f"  and {len(failed) - 8} more")
    headline = f"{len(failed)} of {total} instances were not solved" if total > 1 else "the problem was not solved"
    return "\n".join(
        [
            headline,
            *lines,
            'set `layer.on_failure = "nan"` to get NaN for these and exact results for the rest, or call `layer.solve(...)`, which never raises',
        ]
    )


class _Solution(torch.autograd.Function):
    """theta -> w, with the pullback and pushforward of the implicit function theorem."""

    @staticmethod
    def forward(problem: Problem, solver: Solver, adjoint: Adjoint, on_failure: OnFailure, *tensors: Tensor) -> tuple[Tensor, ...]:
        solved = solver.solve(problem.with_tensors(tensors))
        ok = usable(solved.status)
        if on_failure == "raise" and not bool(ok.all()):
            raise SolveError(failure_message(solved))
        point = solved.point
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
        *rest, status = ctx.saved_tensors
        tensors, point = tuple(rest[: ctx.count]), tuple(rest[ctx.count :])
        wanted = [i for i in range(ctx.count) if ctx.needs_input_grad[4 + i]]
        gradients: list[Tensor | None] = [None] * ctx.count
        if wanted and any(c is not None for c in cotangents[: len(point)]):
            bar = tuple(torch.zeros_like(p) if c is None else c for p, c in zip(point, cotangents, strict=False))
            for i, gradient in zip(wanted, _pull_back(ctx.problem, ctx.adjoint, tensors, point, status, bar, wanted), strict=True):
                gradients[i] = gradient
        return (None, None, None, None, *gradients)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], problem: Problem, solver: Solver, adjoint: Adjoint, on_failure: OnFailure, *tensors: Tensor) -> Any:
        """The mapped dimension becomes one more leading batch dimension."""
        ranks = problem.core_ranks
        batch = max(
            t.dim() - rank - (dim is not None) for t, rank, dim in zip(tensors, ranks, in_dims[4:], strict=True)
        )
        moved = []
        for tensor, rank, dim in zip(tensors, ranks, in_dims[4:], strict=True):
            if dim is not None:
                tensor = tensor.movedim(dim, 0)
                missing = batch - (tensor.dim() - rank - 1)
                tensor = tensor.reshape(tensor.shape[0], *[1] * missing, *tensor.shape[1:])
            moved.append(tensor)
        output = _Solution.apply(problem.with_tensors(moved), solver, adjoint, on_failure, *moved)  # type: ignore[no-untyped-call]
        return output, (0,) * len(output)


def _pull_back(
    problem: Problem, adjoint: Adjoint, tensors: tuple[Tensor, ...], point: Point, status: Tensor, bar: Point, wanted: list[int]
) -> tuple[Tensor, ...]:
    """theta_bar = -(dF/dtheta)' u for the wanted tensors, with (dF/dw)' u = w_bar. Failed instances contribute zero."""
    ok = usable(status)
    if not _under_transform(ok) and not bool(ok.all()):
        failed = ~ok
        tensors = tuple(_without(failed, t, rank) for t, rank in zip(tensors, problem.core_ranks, strict=True))
        point = tuple(torch.where(failed[..., None], 0, p) for p in point)
        bar = tuple(torch.where(failed[..., None], 0, b) for b in bar)
    problem = problem.with_tensors(tensors)
    if torch.is_grad_enabled() and not adjoint.differentiable:
        raise NotImplementedError(
            f"{type(problem).__name__}: second derivatives are not available; differentiate once, or take "
            "`create_graph=True` away. A problem that lowers to a quadratic program has derivatives of every order"
        )
    u = adjoint.solve(problem, point, bar)
    if not _under_transform(ok) and not bool(ok.all()):
        u = tuple(torch.where(ok[..., None], x, 0) for x in u)

    def residual(*chosen: Tensor) -> Point:
        data = list(tensors)
        for i, tensor in zip(wanted, chosen, strict=True):
            data[i] = tensor
        return problem.with_tensors(data).residual(point)

    _, pull = torch.func.vjp(residual, *(tensors[i] for i in wanted))
    return tuple(-g for g in pull(u))


def _under_transform(tensor: Tensor) -> bool:
    """Whether a value of this tensor cannot be looked at, because torch.func maps over it."""
    return bool(torch._C._functorch.is_batchedtensor(tensor))


def _without(failed: Tensor, tensor: Tensor, core_rank: int) -> Tensor:
    """The tensor with the data of failed instances put to zero, so that zero times NaN cannot reach shared parameters."""
    if tensor.dim() == core_rank:
        return torch.nan_to_num(tensor) if bool(failed.all()) else tensor
    lead = tensor.shape[: tensor.dim() - core_rank]
    mask = failed
    while mask.dim() > len(lead):
        mask = mask.all(0)
    for axis, size in enumerate(lead):
        if size == 1 and mask.shape[axis] != 1:
            mask = mask.all(axis, keepdim=True)
    return torch.where(mask.reshape(*mask.shape, *[1] * core_rank), torch.zeros((), dtype=tensor.dtype, device=tensor.device), tensor)
