"""A `DenseQP` as the compiled kernels take it: pointers and strides, a stride of zero for what the batch shares."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from declarative.runtime.native import library
from declarative.runtime.quadratic import CORE_RANKS, DenseQP

LARGEST = 1500
"""Variables and rows together beyond which a blocked factorisation of the platform's LAPACK serves better."""


class Operands(NamedTuple):
    """``fields``: the structure ``Quadratic``; ``kept``: the tensors that its pointers point into, or None."""

    fields: list[int]
    kept: list[Tensor | None]
    batch: torch.Size
    instances: int


def serves(problem: DenseQP) -> bool:
    """Whether the kernels take this problem."""
    if not 0 < problem.n + problem.p + problem.m <= LARGEST or problem.n == 0:
        return False
    return library.serves(problem.tensors)


def operands(problem: DenseQP) -> Operands:
    """The problem's data in the kernels' layout, copied only where it is strided or partly shared."""
    batch = problem.batch_shape
    count = batch.numel()
    fields = [problem.q.dtype == torch.float32, count, problem.n, problem.p, problem.m]
    kept: list[Tensor | None] = []
    for name, rank in CORE_RANKS.items():
        tensor: Tensor | None = getattr(problem, name)
        if tensor is None or not tensor.numel():
            kept.append(None)
            fields += (0, 0)
            continue
        shape = tensor.shape
        own, stride = shape[: len(shape) - rank], shape[-rank:].numel()
        if own.numel() == 1:
            stride = 0
        elif own != batch:
            tensor = tensor.expand(*batch, *shape[len(shape) - rank :])
        tensor = tensor.contiguous()
        kept.append(tensor)
        fields += (tensor.data_ptr(), stride)
    return Operands(fields, kept, batch, count)


def vectors(parts: tuple[Tensor | None, ...]) -> tuple[list[int], list[Tensor | None]]:
    """The structure ``Point`` of tensors (*batch, size), and the contiguous tensors behind it."""
    kept = [None if t is None else t.contiguous() for t in parts]
    fields: list[int] = []
    for tensor in kept:
        fields += (0, 0) if tensor is None else (tensor.data_ptr(), tensor.shape[-1])
    return fields, kept


def data_of(problem: DenseQP, lanes: Tensor) -> list[Tensor]:
    """The data of the instances at flat indices ``lanes``; (len(lanes), *core) each."""
    batch = problem.batch_shape
    taken = []
    for tensor, rank in zip(problem.tensors, problem.core_ranks, strict=True):
        core = tensor.shape[tensor.dim() - rank :]
        whole = tensor.expand(*batch, *core)
        taken.append(whole[torch.unravel_index(lanes, batch)] if len(batch) else whole[None])
    return taken
