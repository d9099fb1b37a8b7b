"""A solve where what autograd saves goes through hooks, as under gradient checkpointing or when it is offloaded.

Such hooks are for what a backward pass will need. A solver's own derivatives are used up at once, and torch.func, which
takes them, refuses to work under hooks; so they are set aside for the solve, and for the adjoint's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_autograd: Any = torch._C._autograd


def are_hooked() -> bool:
    """Whether tensors that autograd saves now go through hooks."""
    return _autograd._top_saved_tensors_default_hooks(False) is not None


def unhooked(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)`` without the hooks, which are there again afterwards."""
    taken = []
    while (hooks := _autograd._top_saved_tensors_default_hooks(False)) is not None:
        _autograd._pop_saved_tensors_default_hooks()
        taken.append(hooks)
    try:
        return function(*args)
    finally:
        for pack, unpack in reversed(taken):
            _autograd._push_saved_tensors_default_hooks(pack, unpack)
