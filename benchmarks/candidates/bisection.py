"""Projection onto a box under one weighted equality as one writes it in torch: bisection on the threshold, and the
closed form over the entries off their bounds for torch to differentiate. No layer, but what a user would write."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.candidates.candidate import Call, Candidate, Kind, differentiated
from benchmarks.candidates.ours import costs
from benchmarks.cases import DOUBLE, Case

HALVINGS = {torch.float32: 30, DOUBLE: 60}


def projection(v: Tensor, weights: Tensor, total: float) -> Tensor:
    """Of rows of v onto {0 <= y <= 1, weights'y = total}, for positive weights."""
    with torch.no_grad():
        low = ((v - 1) / weights).amin(-1, keepdim=True)
        high = (v / weights).amax(-1, keepdim=True)
        for _ in range(HALVINGS[v.dtype]):
            middle = (low + high) / 2
            above = (weights * (v - middle * weights).clamp(0, 1)).sum(-1, keepdim=True) > total
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
        still = v - low * weights
        full, free = still >= 1, (still > 0) & (still < 1)
    freely = torch.where(free, weights, 0)
    t = ((freely * v).sum(-1, keepdim=True) + (weights * full).sum(-1, keepdim=True) - total) / (freely**2).sum(
        -1, keepdim=True
    )
    return torch.where(free, v - t * weights, full.to(v.dtype))


def capped_simplex(case: Case) -> Call:
    n = case.cotangent.shape[-1]
    ones = torch.ones(n, dtype=case.dtype)
    return differentiated(lambda v: projection(v, ones, n / 10), case)


def box_with_budget(case: Case) -> Call:
    n = case.cotangent.shape[-1]
    weights = costs(n, case.dtype)
    return differentiated(lambda v: projection(v, weights, n / 10), case)


CAPPED_SIMPLEX = Candidate("torch bisection", Kind.LOOP, capped_simplex)
BOX_WITH_BUDGET = Candidate("torch bisection", Kind.LOOP, box_with_budget)
