"""The adjoint of a cone program: one direct, refined solve per instance with the derivative of its residual.

The matrix and its reduction are those of `declarative.runtime.cone_kkt`. Where it is singular (redundant active rows,
a variable the problem leaves free, weak activity) the answer is the least-norm solution of least residual, so a
gradient is exact whenever the cotangent asks only for what the data determine. Whether it did is measured in the
unreduced system, for every instance of every call: a relative residual above `TOLERANCE` is an `AdjointWarning`, and
`ConeAdjoint.residual` gives the numbers.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from declarative.runtime.cone import ConePoint, ConeProgram
from declarative.runtime.cone_kkt import LinearisedCone, on_host
from declarative.runtime.errors import AdjointWarning
from declarative.runtime.problem import Adjoint, Point, Problem

TOLERANCE = 1e-6
"""Relative residual of the adjoint system above which a gradient is not to be trusted."""

NO_SECOND_DERIVATIVES = (
    "second derivatives of a cone program are not available; differentiate once, or take `create_graph=True` away. "
    "A problem that lowers to a quadratic program has derivatives of every order"
)


@dataclass(frozen=True)
class ConeAdjoint(Adjoint):
    """(dF/dw)'u = cotangent for a `ConeProgram`, computed on the CPU in float64.

    An instance whose data or point are not finite gets u = 0. u may be differentiated in the cotangent, which gives the
    pushforward; in the data and the point, which would give second derivatives, it refuses with `NotImplementedError`.
    """

    @property
    def differentiable(self) -> bool:
        return False

    def solve(self, problem: Problem, point: Point, cotangent: Point) -> Point:
        if not isinstance(problem, ConeProgram):
            raise TypeError(f"ConeAdjoint differentiates a ConeProgram, not a {type(problem).__name__}")
        u: Point = _LinearisedSolve.apply(problem, True, *problem.tensors, *point, *cotangent)  # type: ignore[no-untyped-call]
        return u


class _LinearisedSolve(torch.autograd.Function):
    """(data, point, r) -> d with (dF/dw) d = r, or (dF/dw)' d = r where ``transposed``.

    Linear in r, with the other of the two as its derivative: so the solution of the cone program has both a pullback
    and a pushforward, and torch.func may map over either. Its dependence on the data and the point is refused.
    """

    @staticmethod
    def forward(problem: ConeProgram, transposed: bool, *tensors: Tensor) -> tuple[Tensor, ...]:
        program = problem.with_tensors(tensors[:4])
        return _solve(program, ConePoint(*tensors[4:7]), tensors[7:], transposed)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.problem, ctx.transposed, *tensors = inputs
        ctx.save_for_backward(*tensors[:7], *output)
        ctx.save_for_forward(*tensors[:7], *output)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *bar: Tensor | None) -> tuple[Tensor | None, ...]:
        if any(ctx.needs_input_grad[2:9]):
            raise NotImplementedError(NO_SECOND_DERIVATIVES)
        return (*[None] * 9, *_apply_linear(ctx, not ctx.transposed, bar))

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor, ...]:
        if any(t is not None for t in tangents[2:9]):
            raise NotImplementedError(NO_SECOND_DERIVATIVES)
        return _apply_linear(ctx, ctx.transposed, tangents[9:])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], problem: ConeProgram, transposed: bool, *tensors: Tensor) -> Any:
        """The mapped dimension becomes the first dimension of the batch, ahead of all others of its operand."""
        dims = in_dims[2:]
        rank = max(t.dim() - (dim is not None) for t, dim in zip(tensors, dims, strict=True))
        moved = [t if dim is None else _lead(t.movedim(dim, 0), rank) for t, dim in zip(tensors, dims, strict=True)]
        solution = _LinearisedSolve.apply(problem, transposed, *moved)  # type: ignore[no-untyped-call]
        return solution, (0,) * len(solution)


def _apply_linear(ctx: Any, transposed: bool, right: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
    """The solve of this or the transposed system at the saved data and point."""
    saved = ctx.saved_tensors
    full = [torch.zeros_like(like) if r is None else r for r, like in zip(right, saved[7:], strict=True)]
    solution: tuple[Tensor, ...] = _LinearisedSolve.apply(ctx.problem, transposed, *saved[:7], *full)  # type: ignore[no-untyped-call]
    return solution


def _lead(tensor: Tensor, rank: int) -> Tensor:
    return tensor.reshape(tensor.shape[0], *[1] * (rank + 1 - tensor.dim()), *tensor.shape[1:])


def _solve(problem: ConeProgram, point: ConePoint, right: Point, transposed: bool) -> Point:
    """d of every instance; right-hand sides with more leading dimensions than the data are columns of one system."""
    sides = torch.broadcast_shapes(*(r.shape[:-1] for r in right))  # type: ignore[no-untyped-call]
    own = torch.broadcast_shapes(problem.batch_shape, point.z.shape[:-1], point.s.shape[:-1])  # type: ignore[no-untyped-call]
    sides = torch.broadcast_shapes(own, sides)  # type: ignore[no-untyped-call]
    batch, columns = sides[len(sides) - len(own) :], sides[: len(sides) - len(own)].numel()
    count, m = batch.numel(), problem.pattern.m
    program = on_host(problem, batch)
    v = (point.s.double() - point.z.double()).expand(*batch, m).reshape(count, m).cpu()
    r = [t.expand(*sides, t.shape[-1]).reshape(columns, count, t.shape[-1]).cpu().double() for t in right]
    usable = torch.stack([t.isfinite().all(-1).expand(count) for t in (program.P, program.A, v)]).all(0)

    linearised = LinearisedCone(program, v, precision=1e-11 if point.s.dtype == torch.float64 else 1e-5)
    solve = linearised.solve_transposed if transposed else linearised.solve
    d = [torch.zeros_like(t) for t in r]
    for i in usable.nonzero()[:, 0].tolist():
        r1, r2, r3 = (t[:, i].mT.numpy() for t in r)
        for part, value in zip(d, solve(i, (r1, r2, r3)), strict=True):
            part[:, i] = torch.from_numpy(value).mT
    _warn(_relative_residual(program, linearised, d, r, transposed)[:, usable])
    return tuple(part.reshape(*sides, part.shape[-1]).to(t.device, t.dtype) for part, t in zip(d, right, strict=True))


def _relative_residual(
    program: ConeProgram, linearised: LinearisedCone, d: list[Tensor], r: list[Tensor], transposed: bool
) -> Tensor:
    """Largest entry of (dF/dw) d - r, or of its transpose, relative to the largest of r; (columns, B)."""
    D, (d1, d2, d3) = linearised.D, d
    if transposed:
        Dd3 = D @ d3
        image = (program.p_times(d1) + program.a_transposed_times(d2), program.a_times(d1) + Dd3, d2 + d3 - Dd3)
    else:
        image = (program.p_times(d1) + program.a_transposed_times(d2), program.a_times(d1) + d3, D @ (d2 - d3) + d3)
    scale = torch.cat(r, -1).abs()
    if scale.shape[-1] == 0:
        return scale.new_zeros(scale.shape[:-1])
    largest = scale.amax(-1)
    defect = torch.cat([left - side for left, side in zip(image, r, strict=True)], -1).abs().amax(-1)
    return defect / torch.where(largest > 0, largest, 1)


def _warn(relative: Tensor) -> None:
    poor = (relative > TOLERANCE).any(0)
    if bool(poor.any()):
        warnings.warn(
            f"the adjoint system of {int(poor.sum())} of {poor.numel()} instances has a relative residual up to "
            f"{float(relative.max()):.0e}: there the solution is not differentiable in every direction asked for "
            "(weakly active or redundant constraints, or a solution that is not unique), and the gradient is that of "
            "least residual",
            AdjointWarning,
            stacklevel=2,
        )
