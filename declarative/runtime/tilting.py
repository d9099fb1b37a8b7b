"""The multiplier of one linear inequality on a softmax: how far the scores must be tilted to keep within a budget.

    y(t) = s softmax(logits - t d),    a'y <= b,  t >= 0,  t (a'y - b) = 0,    d = a / tau

These are the optimality conditions of maximise c'y + tau sum_i entr(y_i) subject to 1'y = s, a'y <= b. The cost a'y
falls in t, with slope -s tau Var(d) under the softmax: a safeguarded Newton iteration inside a bracket finds the root.
Derivatives come from two more Newton steps that are differentiated: each doubles the order up to which the derivatives
of the root are right, so that those of orders one to three are. A row met exactly at t = 0 counts as inactive.

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


class Tilted(NamedTuple):
    """The shares and the multiplier of the budget."""

    y: Tensor
    """(*batch, n)."""
    t: Tensor
    """(*batch, 1), nonnegative."""


def tilted_softmax(logits: Tensor, cost: Tensor, slopes: Tensor, limit: Tensor, total: Tensor | float = 1.0) -> Tilted:
    """y = total * softmax(logits - t * slopes) with sum(cost * y) <= limit and the least t >= 0 that gives it.

    ``logits``, ``cost`` and ``slopes`` (a positive multiple of the cost) are (*batch, n), ``limit`` and ``total``
    (*batch, 1). Where no positive y keeps within the limit, NaN in the instance. Differentiable three times.
    """

    whole = total if isinstance(total, Tensor) else logits.new_full((1,), total)
    given = (logits, cost, slopes, limit, whole)
    with torch.no_grad():
        root, feasible, active = _root(*(g.detach() for g in given))
    t = root
    for _ in range(2):
        over, slope = _excess(t, *given)
        t = torch.where(active, t - over / torch.where(active, slope, 1), 0)
    t = torch.where(feasible, t, torch.nan)
    return Tilted(whole * torch.softmax(logits - t * slopes, -1), t)


def _excess(
    t: Tensor, logits: Tensor, cost: Tensor, slopes: Tensor, limit: Tensor, total: Tensor
) -> tuple[Tensor, Tensor]:
    """Cost over the limit at t, and its slope."""
    share = torch.softmax(logits - t * slopes, -1)
    mean = (share * slopes).sum(-1, keepdim=True)
    over = total * (share * cost).sum(-1, keepdim=True) - limit
    return over, -total * (share * cost * (slopes - mean)).sum(-1, keepdim=True)


def _root_like(logits: Tensor, *others: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    t = _excess(torch.zeros_like(others[2]), logits, *others)[0]
    return t, t > 0, t < 0


@search(_root_like)
def _root(logits: Tensor, cost: Tensor, slopes: Tensor, limit: Tensor, total: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The root (*batch, 1), where there is one, and where it is positive."""
    given = (logits, cost, slopes, limit, total)
    at_zero = _excess(torch.zeros_like(limit), *given)[0]
    low = torch.zeros_like(at_zero)
    cheapest = total * cost.amin(-1, keepdim=True)
    active = at_zero > 0
    feasible = (total > 0) & (~active | (cheapest < limit))
    sought = active & feasible
    spread = slopes.amax(-1, keepdim=True) - slopes.amin(-1, keepdim=True)
    high = 1 / torch.where(sought, spread, 1) + low
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
