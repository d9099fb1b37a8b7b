"""Euclidean projection onto the simplex {y >= 0, sum(y) = s} along the last dimension, differentiable to any order.

    y = max(v - t, 0),   t such that sum(y) = s.

On the support S = {v >= t} (an entry exactly at the threshold, weakly active, counts as support)

    t = (sum of v over S - s) / |S|,    dy = dv - dt on S,    dt = (sum of dv over S - ds) / |S|.

Adding one number to all of v changes t and nothing else. In floating point that holds because the threshold is sought
as an offset from the row's largest entry, where the entries of the support are small and lose no digits. An entry of
minus infinity is masked: y = 0 there, with zero gradient.

On the CPU a compiled kernel finds t without a sort and fuses the pullback; elsewhere, under torch.func and under a
compiler one sort finds it, and so are derivatives of higher order taken.

Reference: Held, Wolfe and Crowder, Validation of subgradient optimization, 1974; Michelot, A finite algorithm for
finding the projection of a point onto the canonical simplex of R^n, 1986.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from declarative.runtime.native import library
from declarative.runtime.native.coupling_row import is_transformed
from declarative.runtime.native.rows import operand
from declarative.runtime.transforms import plain_apply


class SimplexProjection(NamedTuple):
    """The projection, its threshold, and what the threshold cut off."""

    y: Tensor
    """(*batch, n), max(v - t, 0)."""
    threshold: Tensor
    """(*batch, 1), t rounded."""
    rest: Tensor
    """(*batch, n), min(v - t, 0); (*batch, 0) where it was not asked for."""


def project_on_simplex(v: Tensor, total: Tensor | float = 1.0, *, rest: bool = True) -> SimplexProjection:
    """Projection of ``v`` (*batch, n); ``total`` s is a number or (*batch, 1).

    NaN where s is negative, where v holds NaN or plus infinity, and where all of v is minus infinity; of no entries, n
    = 0, the threshold is NaN unless s is zero. The batch dimensions of the two broadcast. Without ``rest`` a third of
    the memory traffic is saved.
    """
    if isinstance(total, Tensor) and total.dim() > 1 and total.shape[:-1] != v.shape[:-1]:
        batch = torch.broadcast_shapes(v.shape[:-1], total.shape[:-1])  # type: ignore[no-untyped-call]
        v, total = v.expand(*batch, v.shape[-1]), total.expand(*batch, 1)
    given = [v, total] if isinstance(total, Tensor) else [v]
    if v.numel() and given[-1].dtype == v.dtype and library.serves(given) and not is_transformed(given):
        y, t, *cut_off = _apply(v, total, rest)
        return SimplexProjection(y, t, cut_off[0] if rest else y[..., :0])
    projection = _by_sort(v, total if isinstance(total, Tensor) else v.new_full((1,), total))
    return projection if rest else projection._replace(rest=projection.rest[..., :0])


def _by_sort(v: Tensor, total: Tensor) -> SimplexProjection:
    """With v sorted downwards, k the largest index where k v_k > (v_1 + ... + v_k - s), t is that sum over k; all of it
    relative to the largest entry."""
    if not v.shape[-1]:
        t = torch.where(total == 0, total, torch.nan).expand(*v.shape[:-1], 1)
        return SimplexProjection(v, t, v)
    top = v.detach().amax(-1, keepdim=True)
    total = torch.where((total >= 0) & top.isfinite(), total, torch.nan)
    down = v - top
    descending = down.detach().sort(-1, descending=True).values
    count = torch.arange(1, v.shape[-1] + 1, device=v.device, dtype=v.dtype)
    excess = descending.cumsum(-1) - total
    size = (count * descending > excess).sum(-1, keepdim=True).clamp_min(1)
    projection = _on_support(down, total, down >= excess.gather(-1, size - 1) / size)
    return projection._replace(threshold=top + projection.threshold)


def _on_support(v: Tensor, total: Tensor, support: Tensor) -> SimplexProjection:
    """The projection as a differentiable function on the piece where the support is the given one."""
    t = (torch.where(support, v, 0).sum(-1, keepdim=True) - total) / support.sum(-1, keepdim=True)
    nothing = torch.where(t.isnan(), t, 0)  # or NaN, where there is no projection
    return SimplexProjection(torch.where(support, v - t, nothing), t, torch.where(support, nothing, v - t))


class _Compiled(torch.autograd.Function):
    """(v, total) -> (y, t[, rest]) by the compiled kernels; a derivative that is differentiated again is torch's."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, total: Tensor | float, rest: bool) -> tuple[Tensor, ...]:
        batch = v.shape[:-1]
        n = v.shape[-1]
        count = v.numel() // n
        rows, level = operand(v, count, batch), operand(total, count, batch)
        y, pair = torch.empty_like(v, memory_format=torch.contiguous_format), v.new_empty((2, *batch, 1))
        cut_off = torch.empty_like(y) if rest else None
        fields = [v.dtype == torch.float32, torch.get_num_threads(), count, n, *rows.fields, *level.fields]
        library.call("simplex", [*fields, y.data_ptr(), 0 if cut_off is None else cut_off.data_ptr(), pair.data_ptr()])
        ctx.total_shape = total.shape if isinstance(total, Tensor) else None
        ctx.save_for_backward(v, pair)
        ctx.set_materialize_grads(False)
        t = pair[0]
        return (y, t) if cut_off is None else (y, t, cut_off)

    @staticmethod
    def backward(ctx: Any, *bars: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
        v, pair = ctx.saved_tensors
        y_bar, t_bar, rest_bar = bars if len(bars) == 3 else (*bars, None)
        given = [bar for bar in bars if bar is not None]
        if not given:
            return None, None, None
        simple = rest_bar is None and not torch.is_grad_enabled() and library.serves(given)
        if simple:
            v_bar, level_bar = _pulled_back(v, pair, y_bar, t_bar)
        else:
            v_bar, level_bar = _pulled_back_by_torch(v, pair, y_bar, t_bar, rest_bar)
        return v_bar, level_bar.sum_to_size(ctx.total_shape) if ctx.needs_input_grad[1] else None, None


_apply = plain_apply(_Compiled)


def _pulled_back(v: Tensor, pair: Tensor, y_bar: Tensor | None, t_bar: Tensor | None) -> tuple[Tensor, Tensor]:
    """The pullback of y and t, in one compiled pass; ``pair`` (2, *batch, 1) is t and what it lacks by its rounding."""
    batch = v.shape[:-1]
    count, n = pair.numel() // 2, v.shape[-1]
    rows, bar = operand(v, count, batch), operand(y_bar, count, batch)
    shift = None if t_bar is None else t_bar.contiguous()
    v_bar, total_bar = torch.empty_like(v, memory_format=torch.contiguous_format), pair.new_empty((*batch, 1))
    ends = [0 if shift is None else shift.data_ptr(), v_bar.data_ptr(), total_bar.data_ptr()]
    fields = [v.dtype == torch.float32, torch.get_num_threads(), count, n, *rows.fields, *bar.fields]
    library.call("simplex_pullback", [*fields, pair.data_ptr(), *ends])
    return v_bar, total_bar


def _pulled_back_by_torch(
    v: Tensor, pair: Tensor, y_bar: Tensor | None, t_bar: Tensor | None, rest_bar: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The same, of all three outputs, as a differentiable function of the cotangents."""
    support = v - pair[0] >= pair[1]
    on = torch.zeros_like(v) if y_bar is None else torch.where(support, y_bar, 0)
    off = torch.zeros_like(v) if rest_bar is None else torch.where(support, 0, rest_bar)
    pull = (on + off).sum(-1, keepdim=True)
    mean = (pull if t_bar is None else pull - t_bar) / support.sum(-1, keepdim=True)
    return on + off - torch.where(support, mean, 0), mean
