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
from declarative.runtime.native.quadratic import Operands, instances, operands, serves, vectors
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
        if not isinstance(problem, DenseQP) or torch.is_grad_enabled() or not serves(problem):
            return None
        given = [*point, *(c for c in cotangents if c is not None)]
        if not library.serves(given) or any(t.dtype != problem.q.dtype for t in given):
            return None
        data = operands(problem)
        if not data.count:
            return None
        at, kept_point = vectors(point)
        bar, kept_bar = vectors(cotangents)
        gradients, where = _room(data, problem, wanted)
        trusted = torch.empty(data.batch, dtype=torch.int8)
        status = status.contiguous()
        ends = [status.data_ptr(), 1, 0, 0, 0, 0, 0, *where, trusted.data_ptr(), 1]
        library.call("adjoint", [*data.fields, torch.get_num_threads(), *at, *bar, *ends])
        del kept_point, kept_bar  # alive until here
        if not bool(trusted.all()):
            lanes = (trusted.flatten() == 0).nonzero()[:, 0]
            self._complete(problem, point, cotangents, lanes, gradients, wanted)
        return tuple(_summed(gradient, problem, i) for gradient, i in zip(gradients, wanted, strict=True))

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

        def chosen(tensor: Tensor) -> Tensor:
            return tensor.reshape(-1, tensor.shape[-1])[lanes]

        bar = tuple(chosen(torch.zeros_like(p) if c is None else c) for p, c in zip(point, cotangents, strict=True))
        solved = torch.zeros(lanes.shape, dtype=torch.int8)
        part = instances(problem, lanes)
        more = pull_back(problem, self.reference, tuple(part), tuple(chosen(p) for p in point), solved, bar, [*wanted])
        for gradient, own, i in zip(gradients, more, wanted, strict=True):
            if gradient.dim() == problem.core_ranks[i]:
                gradient += own.sum(0)
            else:
                gradient[lanes] += own


def _room(data: Operands, problem: DenseQP, wanted: Sequence[int]) -> tuple[list[Tensor], list[int]]:
    """Room for the wanted gradients, one per instance (B, *core) or one for all (*core), and its pointers."""
    present = [name for name in CORE_RANKS if getattr(problem, name) is not None]
    rooms: dict[str, Tensor] = {}
    for i in wanted:
        tensor, rank = problem.tensors[i], problem.core_ranks[i]
        core = tensor.shape[tensor.dim() - rank :]
        alone = tensor.shape[: tensor.dim() - rank].numel() == 1
        rooms[present[i]] = tensor.new_empty(core if alone else (data.count, *core))
    fields: list[int] = []
    for name, rank in CORE_RANKS.items():
        room = rooms.get(name)
        if room is None or not room.numel():
            fields += (0, 0)
        else:
            fields += (room.data_ptr(), 0 if room.dim() == rank else room.stride(0))
    return list(rooms.values()), fields


def _summed(gradient: Tensor, problem: DenseQP, i: int) -> Tensor:
    """The gradient in the shape of its parameter, summed over the batch dimensions that this one lacks."""
    tensor, rank = problem.tensors[i], problem.core_ranks[i]
    if gradient.numel() == tensor.numel():
        return gradient.reshape(tensor.shape)
    core = tensor.shape[tensor.dim() - rank :]
    return gradient.reshape(*problem.batch_shape, *core).sum_to_size(tensor.shape)
