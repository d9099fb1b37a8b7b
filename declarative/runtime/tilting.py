"""The multiplier of one linear inequality on a softmax: how far the scores must be tilted to keep within a budget.

    y(t) = s softmax(logits - t d),    a'y <= b,  t >= 0,  t (a'y - b) = 0,    d = a / tau

These are the optimality conditions of maximise c'y + tau sum_i entr(y_i) subject to 1'y = s, a'y <= b. The cost a'y
falls in t, with slope -s tau Var(d) under the softmax: a safeguarded Newton iteration inside a bracket finds the root.
Derivatives come from two more Newton steps that are differentiated: each doubles the order up to which the derivatives
of the root are right, so that those of orders one to three are. A row met exactly at t = 0 counts as inactive.

Logits are taken relative to the largest. Of a large t the rounding alone may move the cost: where it does, t = c + t'
with a pivot c just below the root, and t' is the root for the logits less c d, relative to the largest again.

Reference: Boyd and Vandenberghe, Convex Optimization, 2004, section 5.5.3; Gilbert, Automatic differentiation and
iterative processes, 1992 (derivatives through Newton steps).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from declarative.runtime.search import search
from declarative.runtime.transforms import values_are_hidden

DOUBLINGS, STEPS = 64, 100

MUCH = 64
"""How many times its own rounding the cost at a root may be off, or the root needs a pivot."""


class Tilted(NamedTuple):
    """The shares and the multiplier of the budget."""

    y: Tensor
    """(*batch, n)."""
    t: Tensor
    """(*batch, 1), nonnegative."""


def tilted_softmax(logits: Tensor, cost: Tensor, slopes: Tensor, limit: Tensor, total: Tensor | float = 1.0) -> Tilted:
    """y = total * softmax(logits - t * slopes) with sum(cost * y) <= limit and the least t >= 0 that gives it.

    ``logits``, ``cost`` and ``slopes`` (a positive multiple of the cost) are (*batch, n), ``limit`` and ``total``
    (*batch, 1). NaN in an instance where no positive y keeps within the limit, a logit is infinite, or n = 0.
    Differentiable three times.
    """
    whole = total if isinstance(total, Tensor) else logits.new_full((1,), total)
    if not logits.shape[-1]:
        return Tilted(logits, logits.new_full((*logits.shape[:-1], 1), torch.nan))
    with torch.no_grad():
        pivot, root, feasible, active = _root(*(g.detach() for g in (logits, cost, slopes, limit, whole)))
    given = (_from_top(logits, pivot, slopes), cost, slopes, limit, whole)
    t = root
    for _ in range(2):
        over, slope = _excess(t, *given)
        determined = active & (slope < 0)
        t = torch.where(determined, t - over / torch.where(determined, slope, 1), root)
    finite = logits.detach().isfinite().all(-1, keepdim=True)
    t = torch.where(feasible & finite, t, torch.nan)
    return Tilted(whole * torch.softmax(given[0] - t * slopes, -1), pivot + t)


def _from_top(logits: Tensor, pivot: Tensor, slopes: Tensor) -> Tensor:
    """logits - pivot * slopes relative to the largest."""
    relative = logits - logits.detach().amax(-1, keepdim=True)
    moved = relative - pivot * slopes
    return moved - moved.detach().amax(-1, keepdim=True)


def _excess(
    t: Tensor, logits: Tensor, cost: Tensor, slopes: Tensor, limit: Tensor, total: Tensor
) -> tuple[Tensor, Tensor]:
    """Cost over the limit at t, and its slope."""
    share = torch.softmax(logits - t * slopes, -1)
    mean = (share * slopes).sum(-1, keepdim=True)
    over = total * (share * cost).sum(-1, keepdim=True) - limit
    return over, -total * (share * cost * (slopes - mean)).sum(-1, keepdim=True)


def _root_like(logits: Tensor, *others: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    t = _excess(torch.zeros_like(others[2]), logits, *others)[0]
    return t, t + 1, t > 0, t < 0


@search(_root_like)
def _root(
    logits: Tensor, cost: Tensor, slopes: Tensor, limit: Tensor, total: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The pivot and the offset whose sum is the root (*batch, 1), where there is one, and where it is positive."""
    others = (cost, slopes, limit, total)
    given = _from_top(logits, torch.zeros_like(limit), slopes), *others
    t, feasible, active = _newton(*given)
    share = torch.softmax(given[0] - t * slopes, -1)
    size = limit.abs() + total * (share * cost.abs()).sum(-1, keepdim=True)
    eps = torch.finfo(t.dtype).eps
    rough = active & ~(_excess(t, *given)[0].abs() <= MUCH * eps * size)
    if not values_are_hidden(rough) and not bool(rough.any()):
        return torch.zeros_like(t), t, feasible, active
    pivot = torch.where(rough, (1 - 16 * eps) * t, 0)
    offset = _newton(_from_top(given[0], pivot, slopes), *others)[0]
    return pivot, torch.where(rough, offset, t), feasible, active


def _newton(
    logits: Tensor, cost: Tensor, slopes: Tensor, limit: Tensor, total: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The root from zero upwards (*batch, 1), where there is one, and where it is positive."""
    given = (logits, cost, slopes, limit, total)
    at_zero = _excess(torch.zeros_like(limit), *given)[0]
    low = torch.zeros_like(at_zero)
    cheapest = total * cost.amin(-1, keepdim=True)
    active = at_zero > 0
    feasible = (total > 0) & (~active | (cheapest < limit))
    sought = active & feasible
    spread = slopes.amax(-1, keepdim=True) - slopes.amin(-1, keepdim=True)
    depth = torch.where(logits.isfinite(), logits, 0).amin(-1, keepdim=True).abs()
    high = (1 + depth / 2**20) / torch.where(sought, spread, 1) + low
    for _ in range(DOUBLINGS):
        over = sought & (_excess(high, *given)[0] > 0)
        if not values_are_hidden(over) and not bool(over.any()):
            break
        high = torch.where(over, 2 * high, high)
    t = (low + high) / 2
    for _ in range(STEPS):
        value, slope = _excess(t, *given)
        low, high = torch.where(value > 0, t, low), torch.where(value > 0, high, t)
        step = t - value / torch.where(slope < 0, slope, -1)
        moved = torch.where((step > low) & (step < high) & (slope < 0), step, (low + high) / 2)
        settled = ~sought | ((moved - t).abs() <= 2 * torch.finfo(t.dtype).eps * high)
        t = moved
        if not values_are_hidden(settled) and bool(settled.all()):
            break
    return torch.where(sought, t, 0), feasible, sought
