"""What a layer raises, and warns of."""

from __future__ import annotations


class LayerError(Exception):
    """Base of everything a layer raises on purpose."""


class InputError(LayerError, ValueError):
    """An argument of a layer is missing, unknown, or has the wrong shape, dtype or values."""


class SolveError(LayerError, RuntimeError):
    """Some instance of the batch could not be solved, and ``on_failure`` is ``"raise"``."""


class AdjointWarning(UserWarning):
    """The adjoint system of some instance is not solved to its tolerance: the gradient is what its text says."""
