"""The compiled root of one coupling row, forward and backward in one call each; see `declarative.runtime.thresholds`.

Its pullback, with F the entries off their bounds, D = sum of a d over F, m = (t_bar - sum of d y_bar over F) / D and
w = y_bar + m a:

    v_bar = w on F,   d_bar = -t w on F,   l_bar, u_bar = w where y is at that bound,   a_bar = m y,   b_bar = -m.

A derivative that is itself differentiated takes the same formula in torch. A large t is kept as the sum of a pivot and
an offset, (v - pivot d) - offset d having the digits that v - t d has not.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from declarative.runtime.native import library
from declarative.runtime.native.rows import operand, result
from declarative.runtime.transforms import plain_apply, torch_func_is_active


class Row(NamedTuple):
    """The operands as they were given: tensors that broadcast, or numbers; level (*batch, 1) or a number."""

    v: Tensor
    weights: Tensor | float
    slopes: Tensor | float
    lower: Tensor | float
    upper: Tensor | float
    level: Tensor | float


def serves(row: Row) -> bool:
    """Whether the kernels take this row."""
    tensors = [part for part in row if isinstance(part, Tensor)]
    v, n = row.v, row.v.shape[-1]
    fits = all(t.dtype == v.dtype and t.numel() and (not t.dim() or t.shape[-1] in (1, n)) for t in tensors)
    return fits and library.serves(tensors) and not is_transformed(tensors)


def is_transformed(tensors: list[Tensor]) -> bool:
    """Whether torch.func is at work, or forward-mode differentiation goes through one of them."""
    if torch_func_is_active():
        return True
    if forward_ad._current_level < 0:
        return False
    return any(forward_ad.unpack_dual(t).tangent is not None for t in tensors)  # type: ignore[no-untyped-call]


def solve(row: Row, at_most: bool) -> tuple[Tensor, Tensor]:
    """y (*batch, n) and t (*batch, 1), NaN where the row has no solution; differentiable to any order."""
    found: tuple[Tensor, Tensor] = _apply(at_most, *row)
    return found


def _batch(row: Row) -> torch.Size:
    batch = row.v.shape[:-1]
    for part in row[1:]:
        if isinstance(part, Tensor) and part.dim() > 1 and part.shape[:-1] != batch:
            batch = torch.broadcast_shapes(batch, part.shape[:-1])  # type: ignore[no-untyped-call]
    return batch


class _Compiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, at_most: bool, *parts: Any) -> tuple[Tensor, Tensor]:
        row = Row(*parts)
        v, batch = row.v, _batch(row)
        shape, count = torch.Size((*batch, v.shape[-1])), batch.numel()
        operands = [operand(part, count, batch) for part in row]
        y = v.new_empty(shape) if shape != v.shape else torch.empty_like(v, memory_format=torch.contiguous_format)
        kept = v.new_empty((3, *batch, 1))  # t, its pivot and the offset from it
        fields = [v.dtype == torch.float32, torch.get_num_threads(), count, shape[-1], at_most]
        for part in operands:
            fields += part.fields
        library.call("coupling_row", [*fields, y.data_ptr(), kept.data_ptr()])
        t = kept[0]
        ctx.save_for_backward(y, t, kept, *(part for part in row if isinstance(part, Tensor)))
        ctx.numbers = [None if isinstance(part, Tensor) else part for part in row]
        ctx.at_most = at_most
        ctx.set_materialize_grads(False)
        return y, t

    @staticmethod
    def backward(ctx: Any, *bars: Tensor | None) -> tuple[Tensor | None, ...]:
        y, t, kept, *tensors = ctx.saved_tensors
        given = iter(tensors)
        row = Row(*(next(given) if number is None else number for number in ctx.numbers))
        cotangents = [bar for bar in bars if bar is not None]
        if not cotangents:
            return (None,) * 7
        if torch.is_grad_enabled() or not library.serves(cotangents):
            return None, *_pulled_back_by_torch(row, y, t, kept, bars, ctx.at_most)
        return None, *_pulled_back(row, y, kept, bars, ctx.at_most, ctx.needs_input_grad[1:])


_apply = plain_apply(_Compiled)


def _pulled_back(
    row: Row, y: Tensor, kept: Tensor, bars: tuple[Tensor | None, ...], at_most: bool, wanted: tuple[bool, ...]
) -> list[Tensor | None]:
    """The gradients in the order of `Row`, in one compiled pass."""
    t = kept[0]
    n, count = y.shape[-1], t.numel()
    operands = [operand(part, count, t.shape[:-1]) for part in row[:5]]
    y_bar = operand(bars[0], count, t.shape[:-1])
    t_bar = None if bars[1] is None else bars[1].contiguous()
    results = [result(part, want, y.shape) for part, want in zip(row[:5], wanted[:5], strict=True)]
    level_bar = torch.empty_like(t) if wanted[5] else None
    fields = [y.dtype == torch.float32, torch.get_num_threads(), count, n, at_most]
    for part in operands:
        fields += part.fields
    fields += [kept.data_ptr(), *y_bar.fields, 0 if t_bar is None else t_bar.data_ptr()]
    for into in results:
        fields += into.fields
    library.call("coupling_row_pullback", [*fields, 0 if level_bar is None else level_bar.data_ptr()])
    bars_of = [
        into.like(part) if isinstance(part, Tensor) else None for into, part in zip(results, row[:5], strict=True)
    ]
    level = row.level
    return [*bars_of, level_bar.sum_to_size(level.shape) if level_bar is not None else None]  # type: ignore[union-attr]


def _pulled_back_by_torch(
    row: Row, y: Tensor, t: Tensor, kept: Tensor, bars: tuple[Tensor | None, ...], at_most: bool
) -> list[Tensor | None]:
    """The same as a differentiable function of the operands, the outputs and the cotangents."""
    v, a, d, low, high, _ = (part if isinstance(part, Tensor) else y.new_tensor(part) for part in row)
    y_bar, t_bar = (torch.zeros_like(x) if bar is None else bar for x, bar in zip((y, t), bars, strict=True))
    _, pivot, offset = kept
    with torch.no_grad():
        moved = (v - pivot * d) - offset * d
        solved = ~t.isnan()
        # The kernel's products are exact and torch's are not, which tells beside a pivot: there y tells what is free.
        inside = (moved >= low) & (moved <= high)
        free = torch.where(pivot == 0, inside, (y > low) & (y < high)) & (low < high)
        below = ~free & (moved - low <= high - moved)
        above = solved & ~free & ~below
    slope = (a * d * free).sum(-1, keepdim=True)
    determined = (slope > 0) & (t > 0) if at_most else slope > 0
    pull = t_bar - torch.where(free, d * y_bar, 0).sum(-1, keepdim=True)
    m = torch.where(determined, pull / torch.where(determined, slope, 1), 0)
    w = y_bar + m * a
    full = [torch.where(free, w, 0), torch.where(solved, m * y, 0), torch.where(free, -t * w, 0)]
    full += [torch.where(below & solved, w, 0), torch.where(above, w, 0), -m]
    return [
        bar.expand_as(y if bar is not full[-1] else t).sum_to_size(part.shape) if isinstance(part, Tensor) else None
        for bar, part in zip(full, row, strict=True)
    ]
