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
    """``fields``: the structure ``Quadratic``; ``kept``: the tensors that its pointers point into."""

    fields: tuple[int, ...]
    kept: tuple[Tensor, ...]
    batch: torch.Size
    instances: int


def operands(problem: DenseQP) -> Operands | None:
    """The problem's data in the kernels' layout, copied only where it is strided or partly shared; None: not served.

    They are kept with the problem, so that the backward pass finds them.
    """
    if "operands" not in problem.notes:
        served = problem.n > 0 and problem.n + problem.p + problem.m <= LARGEST and library.serves(problem.tensors)
        problem.notes["operands"] = _operands(problem) if served else None
    found: Operands | None = problem.notes["operands"]
    return found


def _operands(problem: DenseQP) -> Operands:
    batch, n, p, m = problem.batch_shape, problem.n, problem.p, problem.m
    count = batch.numel()
    fields = [problem.q.dtype == torch.float32, count, n, p, m]
    kept = []
    sizes = (n * n, n, p * n, p, m * n, m, n, n)
    for tensor, rank, size in zip(problem.parts, CORE_RANKS.values(), sizes, strict=True):
        if tensor is None or not size:
            fields += (0, 0)
            continue
        stride = 0 if tensor.numel() == size else size
        if stride and tensor.numel() != size * count:
            tensor = tensor.expand(*batch, *tensor.shape[tensor.dim() - rank :])
        if not tensor.is_contiguous():
            tensor = tensor.contiguous()
        kept.append(tensor)
        fields += (tensor.data_ptr(), stride)
    return Operands(tuple(fields), tuple(kept), batch, count)


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
