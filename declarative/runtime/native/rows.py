"""Operands of the kernels that work on rows: pointers and strides, so that what rows or entries share is not copied."""

from __future__ import annotations

import functools
import struct
from typing import NamedTuple

import torch
from torch import Tensor

Fields = tuple[int, int, int, int]

NOTHING: Fields = (0, 0, 0, 0)
"""The structure ``Strided`` of a result that is not wanted, or of zeros."""


class Operand(NamedTuple):
    """``fields``: the structure ``Strided``; ``kept``: the tensor that it points into, None for a number."""

    fields: Fields
    kept: Tensor | None


@functools.lru_cache(maxsize=256)
def number(value: float) -> Fields:
    """One number for all entries of all rows."""
    return 0, 0, 0, struct.unpack("q", struct.pack("d", value))[0]


def operand(value: Tensor | float | None, count: int, batch: torch.Size) -> Operand:
    """The rows of ``value``, (*batch, n) or broadcast to it; None is zero. ``count``: the number of rows.

    Copied only where its entries are neither next to each other nor the same, or its rows have no common stride.
    """
    if not isinstance(value, Tensor):
        return Operand(NOTHING if value is None else number(value), None)
    if value.dim() == 0:
        return Operand((value.data_ptr(), 0, 0, 0), value)
    n = value.shape[-1]
    rows = value.numel() // n
    if rows == count and value.is_contiguous():
        return Operand((value.data_ptr(), n, int(n > 1), 0), value)
    step: int | None
    if rows == 1:
        step, stride = 0, value.stride(-1)
    else:
        value = value.expand(*batch, n)
        step, stride = _row_stride(value), value.stride(-1)
    if step is None or (stride > 1 and n > 1):
        value = value.contiguous()
        step, stride = n if rows > 1 else 0, 1
    return Operand((value.data_ptr(), step, int(stride != 0 and n > 1), 0), value)


def _row_stride(value: Tensor) -> int | None:
    """The one stride that leads from row to row, where there is one."""
    leading = [pair for pair in zip(value.shape[:-1], value.stride()[:-1], strict=True) if pair[0] > 1]
    step = following = leading[-1][1] if leading else 0
    for size, stride in reversed(leading):
        if stride != following:
            return None
        following = stride * size
    return step


class Result(NamedTuple):
    """``fields``: where a kernel writes a gradient, as ``Strided``; ``into``: that tensor, None where not wanted."""

    fields: Fields
    into: Tensor | None

    def like(self, given: Tensor) -> Tensor | None:
        """The gradient in the shape of what it is the gradient of."""
        return None if self.into is None else self.into.sum_to_size(given.shape)


def result(given: Tensor | float, wanted: bool, shape: torch.Size) -> Result:
    """Room for the gradient of an operand of rows (*batch, n): the rows' sum where they share it, in the kernel."""
    if not wanted or not isinstance(given, Tensor):
        return Result(NOTHING, None)
    *batch, n = shape
    last = given.shape[-1] if given.dim() else 1
    if last == n and given.numel() == n and shape.numel() > n:
        into, step, stride = given.new_empty(n), 0, 1
    elif last == n:
        into, step, stride = given.new_empty(shape), n, 1
    else:
        into, step, stride = given.new_empty(*batch, 1), 1, 0
    return Result((into.data_ptr(), step, stride, 0), into)
