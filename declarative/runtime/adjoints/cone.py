"""The adjoint of a cone program: one direct, refined solve per instance with the derivative of its residual.

The matrix and its reduction are those of `declarative.runtime.cone_kkt`. Where it is singular (redundant active rows,
a variable the problem leaves free, weak activity) the answer is the least-norm solution of least residual, so a
gradient is exact whenever the cotangent asks only for what the data determine. Whether it did is measured in the
unreduced system, for every instance of every call: a relative residual above `TOLERANCE` is an `AdjointWarning`, and
`ConeAdjoint.residual` gives the numbers.

Second derivatives differentiate that solve in the data and the point. With M = dF/dw and M'u = w_bar,

    du = M'^-1 (dw_bar - dM'u),

where dM is linear in dP, dA and, by the second derivative of the projection, in d(s - z). A third is refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from declarative.runtime.cone import ConePoint, ConeProgram
from declarative.runtime.cone_kkt import LinearisedCone, on_host
from declarative.runtime.errors import AdjointWarning
from declarative.runtime.problem import Adjoint, Point, Problem
from declarative.runtime.transforms import pushes_forward, without_tangent

TOLERANCE = 1e-6
"""Relative residual of the adjoint system above which a gradient is not to be trusted."""


@dataclass(frozen=True)
class ConeAdjoint(Adjoint):
    """(dF/dw)'u = cotangent for a `ConeProgram`, computed on the CPU in float64.

    An instance whose data or point are not finite gets u = 0. u may be differentiated in the cotangent, which gives the
    pushforward, and once in the data and the point, which gives second derivatives; a third raises
    `NotImplementedError`.
    """

    @property
    def differentiable(self) -> bool:
        return True

    def solve(self, problem: Problem, point: Point, cotangent: Point) -> Point:
        if not isinstance(problem, ConeProgram):
            raise TypeError(f"ConeAdjoint differentiates a ConeProgram, not a {type(problem).__name__}")
        u: Point = _LinearisedSolve.apply(problem, True, *problem.tensors, *point, *cotangent)  # type: ignore[no-untyped-call]
        return u


class _LinearisedSolve(torch.autograd.Function):
    """(data, point, r) -> d with (dF/dw) d = r, or (dF/dw)' d = r where ``transposed``.

    Linear in r, with the other of the two as its derivative: so the solution of the cone program has both a pullback
    and a pushforward, and torch.func may map over either.
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
        *given, d1, d2, d3 = ctx.saved_tensors
        y = _again(ctx.problem, not ctx.transposed, ctx.saved_tensors, bar)
        if not any(ctx.needs_input_grad[2:9]):
            return (*[None] * 9, *y)

        P, q, A, b, _, z, s = given

        def image(P: Tensor, A: Tensor, z: Tensor, s: Tensor) -> Point:
            program = ctx.problem.with_tensors((P, q, A, b))
            times_D = program.pattern.cone.derivative_times
            return _moving(program, lambda t: times_D(s - z, t, _precision(s)), (d1, d2, d3), ctx.transposed)

        pull = torch.func.vjp(image, P, A, z, s)[1]
        P_bar, A_bar, z_bar, s_bar = (-g for g in pull(y))
        return None, None, P_bar, None, A_bar, None, None, z_bar, s_bar, *y

    @staticmethod
    @pushes_forward
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor, ...]:
        saved = tuple(map(without_tangent, ctx.saved_tensors))
        *given, d1, d2, d3 = saved
        P_dot, _, A_dot, _, _, z_dot, s_dot = tangents[2:9]
        right = [torch.zeros_like(d) if r is None else r for d, r in zip((d1, d2, d3), tangents[9:], strict=True)]
        if any(t is not None for t in (P_dot, A_dot, z_dot, s_dot)):
            P, q, A, b, _, z, s = given
            P_dot = torch.zeros_like(P) if P_dot is None else P_dot
            A_dot = torch.zeros_like(A) if A_dot is None else A_dot
            v_dot = (torch.zeros_like(s) if s_dot is None else s_dot) - (0 if z_dot is None else z_dot)
            program = ctx.problem.with_tensors((P_dot, q, A_dot, b))
            bend = program.pattern.cone.second_derivative
            moved = _moving(program, lambda t: bend(s - z, t, v_dot, _precision(s)), (d1, d2, d3), ctx.transposed)
            right = [r - m for r, m in zip(right, moved, strict=True)]
        return _again(ctx.problem, ctx.transposed, saved, right)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], problem: ConeProgram, transposed: bool, *tensors: Tensor) -> Any:
        """The mapped dimension becomes the first dimension of the batch, ahead of all others of its operand."""
        dims = in_dims[2:]
        rank = max(t.dim() - (dim is not None) for t, dim in zip(tensors, dims, strict=True))
        moved = [t if dim is None else _lead(t.movedim(dim, 0), rank) for t, dim in zip(tensors, dims, strict=True)]
        solution = _LinearisedSolve.apply(problem, transposed, *moved)  # type: ignore[no-untyped-call]
        return solution, (0,) * len(solution)


def _again(
    problem: ConeProgram, transposed: bool, saved: Sequence[Tensor], right: Sequence[Tensor | None]
) -> tuple[Tensor, ...]:
    """The solve of this or the transposed system at saved data and point; a side that is None is zero."""
    full = [torch.zeros_like(like) if r is None else r for r, like in zip(right, saved[7:], strict=True)]
    solution: tuple[Tensor, ...] = _LinearisedSolve.apply(problem, transposed, *saved[:7], *full)  # type: ignore[no-untyped-call]
    return solution


def _moving(program: ConeProgram, times_D: Callable[[Tensor], Tensor], d: Point, transposed: bool) -> Point:
    """What depends on P, A and D, and linearly so, in (dF/dw) d, or (dF/dw)'d where ``transposed``."""
    d1, d2, d3 = d
    first = program.p_times(d1) + program.a_transposed_times(d2)
    if transposed:
        Dd3 = times_D(d3)
        return first, program.a_times(d1) + Dd3, -Dd3
    return first, program.a_times(d1), times_D(d2 - d3)


def _precision(like: Tensor) -> float:
    """The relative accuracy of a point, below which a cone counts as weakly active."""
    return 1e-11 if like.dtype == torch.float64 else 1e-5


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

    linearised = LinearisedCone(program, v, _precision(point.s))
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
    d1, d2, d3 = d
    m1, m2, m3 = _moving(program, lambda t: linearised.D @ t, (d1, d2, d3), transposed)
    image = (m1, m2, m3 + d2 + d3) if transposed else (m1, m2 + d3, m3 + d3)
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
