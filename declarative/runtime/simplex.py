"""Euclidean projection onto the simplex {y >= 0, sum(y) = s} along the last dimension, differentiable to any order.

    y = max(v - t, 0),   t such that sum(y) = s.

On the support S = {v >= t} (an entry exactly at the threshold, weakly active, counts as support)

    t = (sum of v over S - s) / |S|,    dy = dv - dt on S,    dt = (sum of dv over S - ds) / |S|.

On the CPU a compiled kernel finds t without a sort and fuses the pullback; elsewhere, under torch.func and under a
compiler one sort finds it, and so are derivatives of higher order taken.

Reference: Held, Wolfe and Crowder, Validation of subgradient optimization, 1974; Michelot, A finite algorithm for
finding the projection of a point onto the canonical simplex of R^n, 1986.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from declarative.runtime.native import library


class SimplexProjection(NamedTuple):
    """The projection, its threshold, and what the threshold cut off."""

    y: Tensor
    """(*batch, n), max(v - t, 0)."""
    threshold: Tensor
    """(*batch, 1)."""
    rest: Tensor
    """(*batch, n), min(v - t, 0)."""


def project_on_simplex(v: Tensor, total: Tensor | float = 1.0) -> SimplexProjection:
    """Projection of ``v`` (*batch, n), n >= 1; ``total`` s is a number or (*batch, 1). NaN where s is negative.

    The batch dimensions of the two broadcast.
    """
    level = total if isinstance(total, Tensor) else v.new_full((1,), total)
    if level.dim() > 1 and level.shape[:-1] != v.shape[:-1]:
        batch = torch.broadcast_shapes(v.shape[:-1], level.shape[:-1])  # type: ignore[no-untyped-call]
        v, level = v.expand(*batch, v.shape[-1]), level.expand(*batch, 1)
    if v.numel() and v.dtype == level.dtype and library.serves((v, level)) and not _has_tangent(v, level):
        return SimplexProjection(*_Compiled.apply(v, level))  # type: ignore[no-untyped-call]
    return _by_sort(v, level)


def _has_tangent(*tensors: Tensor) -> bool:
    """Whether forward-mode differentiation goes through one of them."""
    return any(forward_ad.unpack_dual(t).tangent is not None for t in tensors)  # type: ignore[no-untyped-call]


def _by_sort(v: Tensor, total: Tensor) -> SimplexProjection:
    """With v sorted downwards, k the largest index where k v_k > (v_1 + ... + v_k - s), t is that sum over k."""
    total = torch.where(total >= 0, total, torch.nan)
    descending = v.detach().sort(-1, descending=True).values
    count = torch.arange(1, v.shape[-1] + 1, device=v.device, dtype=v.dtype)
    excess = descending.cumsum(-1) - total
    size = (count * descending > excess).sum(-1, keepdim=True).clamp_min(1)
    return _on_support(v, total, v >= excess.gather(-1, size - 1) / size)


def _on_support(v: Tensor, total: Tensor, support: Tensor) -> SimplexProjection:
    """The projection as a differentiable function on the piece where the support is the given one."""
    t = (torch.where(support, v, 0).sum(-1, keepdim=True) - total) / support.sum(-1, keepdim=True)
    return SimplexProjection(torch.where(support, v - t, 0), t, torch.where(support, 0, v - t))


class _Compiled(torch.autograd.Function):
    """(v, total) -> (y, t, rest) by the compiled kernels; a derivative that is itself differentiated is torch's."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, total: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows = v.contiguous()
        *batch, n = rows.shape
        count = rows.numel() // n
        level = total if total.numel() == 1 else total.expand(*batch, 1).contiguous()
        y, rest, t = torch.empty_like(rows), torch.empty_like(rows), rows.new_empty(*batch, 1)
        pointers = [x.data_ptr() for x in (rows, y, rest, t, level)]
        fields = [rows.dtype == torch.float32, torch.get_num_threads(), count, n]
        library.call("simplex", [*fields, *pointers, int(level.numel() > 1)])
        ctx.save_for_backward(v, total, t)
        ctx.set_materialize_grads(False)
        return y, t, rest

    @staticmethod
    def backward(ctx: Any, *bars: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        v, total, t = ctx.saved_tensors
        y_bar, t_bar, rest_bar = bars
        simple = rest_bar is None and y_bar is not None and not torch.is_grad_enabled()
        given = [bar for bar in bars if bar is not None]
        if not given:
            return None, None
        if simple and library.serves(given):
            return _pulled_back(v, total, t, given[0], t_bar)
        return _pulled_back_by_torch(v, total, t, y_bar, t_bar, rest_bar)


def _pulled_back(v: Tensor, total: Tensor, t: Tensor, y_bar: Tensor, t_bar: Tensor | None) -> tuple[Tensor, Tensor]:
    """The pullback of y and t, in one compiled pass."""
    rows, bar = v.contiguous(), y_bar.contiguous()
    shift = None if t_bar is None else t_bar.contiguous()
    v_bar, total_bar = torch.empty_like(rows), torch.empty_like(t)
    pointers = [x.data_ptr() for x in (rows, t, bar)]
    ends = [0 if shift is None else shift.data_ptr(), v_bar.data_ptr(), total_bar.data_ptr()]
    n = rows.shape[-1]
    fields = [rows.dtype == torch.float32, torch.get_num_threads(), rows.numel() // n, n]
    library.call("simplex_pullback", [*fields, *pointers, *ends])
    return v_bar, total_bar.sum_to_size(total.shape)


def _pulled_back_by_torch(
    v: Tensor, total: Tensor, t: Tensor, y_bar: Tensor | None, t_bar: Tensor | None, rest_bar: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The same, of all three outputs, as a differentiable function of the cotangents."""
    support = v >= t
    on = torch.zeros_like(v) if y_bar is None else torch.where(support, y_bar, 0)
    off = torch.zeros_like(v) if rest_bar is None else torch.where(support, 0, rest_bar)
    pull = (on + off).sum(-1, keepdim=True)
    mean = (pull if t_bar is None else pull - t_bar) / support.sum(-1, keepdim=True)
    return on + off - torch.where(support, mean, 0), mean.sum_to_size(total.shape)
