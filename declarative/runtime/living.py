"""Layers by number: how a graph, which holds text and tensors only, names a layer of its process."""

from __future__ import annotations

import itertools
from weakref import WeakValueDictionary

from torch import nn

_numbers = itertools.count()
_living: WeakValueDictionary[int, nn.Module] = WeakValueDictionary()


def number_of(layer: nn.Module) -> int:
    """A new number for the layer, its own as long as it lives."""
    number = next(_numbers)
    _living[number] = layer
    return number


def living(number: int) -> nn.Module | None:
    """The layer of that number, None where it is gone or of another process."""
    return _living.get(number)
