"""First derivatives of quadratic programs by compiled kernels: one factorisation and every gradient, in SIMD lanes.

The equations, and what is returned where the implicit function theorem does not apply, are those of `ActiveSetAdjoint`,
which also gives everything else: higher derivatives, torch.func, other devices, and the instances whose system the
kernels could not solve to working accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from declarative.runtime.adjoints.active_set import ActiveSetAdjoint
from declarative.runtime.native import library
from declarative.runtime.native.quadratic import Operands, data_of, operands, vectors
from declarative.runtime.problem import Adjoint, Point, Problem
from declarative.runtime.pullback import pull_back
from declarative.runtime.quadratic import CORE_RANKS, DenseQP


@final
class NativeActiveSetAdjoint(Adjoint):
    """The adjoint of a `DenseQP`, with a pullback in one compiled call."""

    def __init__(self) -> None:
        self.reference = ActiveSetAdjoint()

    @property
    def differentiable(self) -> bool:
        return True

    def solve(self, problem: Problem, point: Point, cotangent: Point) -> Point:
        return self.reference.solve(problem, point, cotangent)

    def pull_back(
        self,
        problem: Problem,
        point: Point,
        cotangents: tuple[Tensor | None, ...],
        status: Tensor,
        wanted: Sequence[int],
    ) -> tuple[Tensor, ...] | None:
        if not isinstance(problem, DenseQP) or torch.is_grad_enabled():
            return None
        data = operands(problem)
        if data is None or not data.instances:
            return None
        given = [*point, *(c for c in cotangents if c is not None)]
        if not library.serves(given) or any(t.dtype != problem.q.dtype for t in given):
            return None
        at, kept_point = vectors(point)
        bar, kept_bar = vectors(cotangents)
        gradients, where = _room(data, problem, wanted)
        trusted = torch.empty(data.batch, dtype=torch.int8)
        status = status.contiguous()
        ends = [status.data_ptr(), 1, 0, 0, 0, 0, 0, *where, trusted.data_ptr(), 1]
        left = library.call("adjoint", (*data.fields, torch.get_num_threads(), *at, *bar, *ends))
        del kept_point, kept_bar  # alive until here
        if left:
            lanes = (trusted.flatten() == 0).nonzero()[:, 0]
            self._complete(problem, point, cotangents, lanes, gradients, wanted)
        return tuple(_summed(g, problem.tensors[i].shape) for g, i in zip(gradients, wanted, strict=True))

    def _complete(
        self,
        problem: DenseQP,
        point: Point,
        cotangents: tuple[Tensor | None, ...],
        lanes: Tensor,
        gradients: list[Tensor],
        wanted: Sequence[int],
    ) -> None:
        """Add to the gradients those of the instances at flat indices ``lanes``, by the reference."""

        count = problem.batch_shape.numel()

        def chosen(tensor: Tensor) -> Tensor:
            return tensor.reshape(count, tensor.shape[-1])[lanes]

        bar = tuple(chosen(torch.zeros_like(p) if c is None else c) for p, c in zip(point, cotangents, strict=True))
        solved = torch.zeros(lanes.shape, dtype=torch.int8)
        part = data_of(problem, lanes)
        more = pull_back(problem, self.reference, tuple(part), tuple(chosen(p) for p in point), solved, bar, [*wanted])
        for gradient, own in zip(gradients, more, strict=True):
            core = own.shape[1:]
            if gradient.numel() == core.numel():
                gradient += own.sum(0).reshape(gradient.shape)
            else:
                gradient.view(-1, *core)[lanes] += own


def _room(data: Operands, problem: DenseQP, wanted: Sequence[int]) -> tuple[list[Tensor], list[int]]:
    """Room for the wanted gradients, one per instance (*batch, *core) or one for all (*core), and its pointers."""
    rooms: list[Tensor] = []
    fields: list[int] = []
    number, batch = -1, data.batch
    for tensor, rank in zip(problem.parts, CORE_RANKS.values(), strict=True):
        number += tensor is not None
        if tensor is None or number not in wanted:
            fields += (0, 0)
            continue
        core = tensor.shape[tensor.dim() - rank :]
        size = core.numel()
        alone = tensor.numel() == size
        own = alone or tensor.numel() == size * data.instances
        room = tensor.new_empty(tensor.shape if own else (*batch, *core))
        rooms.append(room)
        fields += (room.data_ptr() if size else 0, 0 if alone else size)
    return rooms, fields


def _summed(gradient: Tensor, shape: torch.Size) -> Tensor:
    """The gradient in the shape of its parameter, summed over the batch dimensions that this one lacks."""
    return gradient if gradient.shape == shape else gradient.sum_to_size(shape)
