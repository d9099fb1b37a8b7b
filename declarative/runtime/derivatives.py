"""First and second derivatives of functions that act on the instances of a batch independently.

For f: (*batch, n) -> (*batch), where entry b of the result depends on row b alone, the gradient of the sum of f over
the batch holds every instance's own gradient. So one reverse pass serves the whole batch, parameters that the batch
shares are never copied, and a Hessian is n such passes, mapped over the unit vectors by ``torch.func.vmap``.
An instance that is not finite spoils its own row and no other.

Reference: Griewank and Walther, Evaluating Derivatives, 2008, chapters 3 and 8 (seeding rows that do not interact).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Function = Callable[[Tensor], Tensor]

#: Entries that the largest intermediate value of one mapped pass may have; more rows go in several passes. On the CPU
#: such a value stays in the cache, which makes a Hessian faster, and its memory does not grow with the rows.
_ENTRIES_PER_PASS = {"cpu": 2**18}
_ENTRIES_ELSEWHERE = 2**24
_SMALL = 2**10
"""Entries of a Hessian up to which its rows go in one pass, without a look at the values between."""


def value_and_gradient(function: Function, x: Tensor) -> tuple[Tensor, Tensor]:
    """f(x) of shape (*batch) and its gradient (*batch, n)."""

    def total(x: Tensor) -> tuple[Tensor, Tensor]:
        value = function(x)
        return value.sum(), value

    slope, value = torch.func.grad(total, has_aux=True)(x)
    return value, slope


def gradient(function: Function, x: Tensor) -> Tensor:
    """Gradient of f: (*batch, n) -> (*batch) at x; (*batch, n)."""
    return value_and_gradient(function, x)[1]


def value_and_jacobian(function: Function, x: Tensor) -> tuple[Tensor, Tensor]:
    """F(x) of shape (*batch, m) and its Jacobian (*batch, m, n), for F: (*batch, n) -> (*batch, m)."""
    widest = _Widest()
    with widest if x.numel() * x.shape[-1] > _SMALL else nullcontext():
        value, pull_back = torch.func.vjp(function, x)[:2]
    rows = value.shape[-1]
    if rows == 0 or x.numel() == 0:
        return value, x.new_zeros(*value.shape, x.shape[-1])
    basis = torch.eye(rows, dtype=value.dtype, device=value.device)
    chunk = max(1, min(rows, _ENTRIES_PER_PASS.get(x.device.type, _ENTRIES_ELSEWHERE) // widest.entries))
    # The mapped dimension comes first: where F is linear the rows do not depend on it, and torch crashes on others.
    mapped = torch.func.vmap(lambda e: pull_back(e.expand(value.shape))[0], chunk_size=chunk)(basis)
    return value, mapped.movedim(0, -2)


def jacobian(function: Function, x: Tensor) -> Tensor:
    """dF_i/dx_j for F: (*batch, n) -> (*batch, m) at x; (*batch, m, n)."""
    return value_and_jacobian(function, x)[1]


def hessian(function: Function, x: Tensor) -> Tensor:
    """Second derivatives of f: (*batch, n) -> (*batch) at x, symmetric to the last bit; (*batch, n, n)."""
    second = jacobian(lambda y: gradient(function, y), x)
    return (second + second.mT) / 2


def hessian_product(function: Function, x: Tensor) -> Callable[[Tensor], Tensor]:
    """v -> H v with the Hessian of f at x, both (*batch, n), by one reverse pass through the gradient each."""
    pull_back = torch.func.vjp(lambda y: gradient(function, y), x)[1]
    return lambda v: pull_back(v)[0]


class _Widest(TorchFunctionMode):
    """Notes the number of entries of the largest tensor that is computed while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.entries = 1

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.entries = max(self.entries, result.numel())
        return result
