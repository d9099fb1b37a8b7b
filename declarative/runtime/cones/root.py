"""The root of an increasing scalar function, for a batch of them: Newton's method inside a bracket that halves.

Each round takes a Newton step and a bisection, so it converges quadratically near the root and halves the bracket
whatever the function does far from it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def increasing_root(
    h: Callable[[Tensor], tuple[Tensor, Tensor]], lower: Tensor, upper: Tensor, rounds: int = 120
) -> Tensor:
    """x in [lower, upper] with h(x)[0] = 0, to the last digits of the dtype; ``h`` returns the value and the slope."""
    eps = torch.finfo(lower.dtype).eps
    x = lower + (upper - lower) / 2
    done = torch.zeros_like(x, dtype=torch.bool)
    for _ in range(rounds):
        value, slope = h(x)
        lower, upper = torch.where(value <= 0, x, lower), torch.where(value >= 0, x, upper)
        newton = x - value / slope
        inside = (newton >= lower) & (newton <= upper)
        step = (newton - x).abs()
        x = torch.where(done, x, torch.where(inside, newton, lower + (upper - lower) / 2))
        done = done | (value == 0) | (upper - lower <= 2 * eps * x.abs())
        if bool(done.all()):
            break
        middle = lower + (upper - lower) / 2
        value, _ = h(middle)
        lower, upper = torch.where(value <= 0, middle, lower), torch.where(value >= 0, middle, upper)
        # Far from the root a step may be small beside x; near it the halved bracket still holds x.
        done = done | (inside & (step <= 2 * eps * x.abs()) & (lower <= x) & (x <= upper))
        x = torch.where(done, x, torch.minimum(torch.maximum(x, lower), upper))
    return x
