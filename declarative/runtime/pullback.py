"""The pullback of a solution in general: the adjoint solves for u, and one reverse pass through F gives the gradients.

With (dF/dw)' u = w_bar, theta_bar = -(dF/dtheta)' u. An adjoint that knows its problem's F by heart may do both at once
(`Adjoint.pull_back`); this way serves every problem and is differentiable to any order.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from declarative.runtime.problem import Adjoint, Point, Problem
from declarative.runtime.status import Status
from declarative.runtime.transforms import values_are_hidden


def usable(status: Tensor) -> Tensor:
    """Mask of the instances whose point may be returned; (*batch)."""
    first, *others = (status == member for member in Status if member.usable)
    return functools.reduce(torch.logical_or, others, first)


def pull_back(
    problem: Problem,
    adjoint: Adjoint,
    tensors: tuple[Tensor, ...],
    point: Point,
    status: Tensor,
    bar: Point,
    wanted: list[int],
) -> tuple[Tensor, ...]:
    """theta_bar = -(dF/dtheta)' u for the wanted tensors, with (dF/dw)' u = w_bar. Failed instances contribute zero."""
    ok = usable(status)
    some_failed = not values_are_hidden(ok) and not bool(ok.all())
    if some_failed and not bool(ok.any()):
        return tuple(torch.zeros_like(tensors[i]) for i in wanted)

    def settled(data: Sequence[Tensor]) -> Problem:
        if some_failed:
            data = [_replaced(~ok, t, rank) for t, rank in zip(data, problem.core_ranks, strict=True)]
        return problem.with_tensors(data)

    if some_failed:
        point = tuple(_replaced(~ok, p, 1) for p in point)
        bar = tuple(torch.where(ok[..., None], b, 0) for b in bar)
    u = adjoint.solve(settled(tensors), point, bar)
    if some_failed:
        u = tuple(torch.where(ok[..., None], x, 0) for x in u)

    def residual(*chosen: Tensor) -> Point:
        data = list(tensors)
        for i, tensor in zip(wanted, chosen, strict=True):
            data[i] = tensor
        return settled(data).residual(point)

    pull = torch.func.vjp(residual, *(tensors[i] for i in wanted))[1]
    return tuple(-g for g in pull(u))


def _replaced(failed: Tensor, tensor: Tensor, core_rank: int) -> Tensor:
    """The tensor with the data of failed instances replaced by those of the first good one; (*batch, *core).

    Zero times infinity must not reach the parameters that the batch shares, so the residual has to be finite, with
    finite derivatives, at every instance. Only a point and data that belong together make sure of that.
    """
    if tensor.dim() == core_rank:
        return tensor
    core = tensor.shape[tensor.dim() - core_rank :]
    full = tensor.expand((*failed.shape, *core))
    good = full[tuple((~failed).nonzero()[0])]
    return torch.where(failed.reshape((*failed.shape, *[1] * core_rank)), good, full)
