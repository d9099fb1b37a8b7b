"""What a layer raises, and warns of."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from declarative.runtime.problem import Solved


class LayerError(Exception):
    """Base of everything a layer raises on purpose."""


class InputError(LayerError, ValueError):
    """An argument of a layer is missing, unknown, or has the wrong shape, dtype or values."""


class SolveError(LayerError, RuntimeError):
    """Some instance of the batch could not be solved, and ``on_failure`` is ``"raise"``.

    ``solved``: what the solver returned for the whole batch, with the ``status`` and ``residual`` of each instance.
    """

    def __init__(self, message: str, solved: Solved | None = None) -> None:
        super().__init__(message)
        self.solved = solved


class AdjointWarning(UserWarning):
    """The adjoint system of some instance is not solved to its tolerance: the gradient is what its text says."""
