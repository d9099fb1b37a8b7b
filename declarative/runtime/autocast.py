"""A layer computes in the precision of its data, also where ``torch.autocast`` would lower it.

Autocast computes matrix products in half precision. What rounds a network's activations a little moves the solution of
a problem as far as its conditioning carries it, and keeps a solver from converging at all. So a layer is like the
operations that autocast leaves in float32: it switches autocast off for itself and for the modules that it contains, in
both passes, and brings arguments of several precisions to float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from declarative.runtime.binding import LOW_PRECISION


def autocast_is_on() -> bool:
    """Whether the caller is in a region of ``torch.autocast``."""
    anywhere = torch._C._is_any_autocast_enabled()  # the one test that a call outside of autocast has time for
    return anywhere and (torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"))


def without_autocast(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``function(*args, **kwargs)`` outside of such a region."""
    with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        return function(*args, **kwargs)


def called_without_autocast(method: Callable[..., Any], layer: object, args: Any, kwargs: Mapping[str, Any]) -> Any:
    """A method of a layer outside of such a region, with arguments of one precision: where their dtypes differ, those
    in half precision are raised to float32."""
    dtypes = {value.dtype for value in (*args, *kwargs.values()) if isinstance(value, Tensor)}
    if len(dtypes) > 1:
        args = tuple(map(_raised, args))
        kwargs = {name: _raised(value) for name, value in kwargs.items()}
    return without_autocast(method, layer, *args, **kwargs)


def _raised(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in LOW_PRECISION else value
