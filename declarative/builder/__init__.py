"""Programs built in Python: the same that a text gives, with errors at the user's own line.

    x = param("x", "n")
    y = var("y", "n", nonneg=True)
    sparsemax = layer("sparsemax").minimize(sum_squares(y - x)).subject_to(simplex=sum(y) == 1).output(y)

Every function of the language is a function here by its name.
"""

from __future__ import annotations

from collections.abc import Callable

from declarative.builder.declare import constant, extern, let, param, var
from declarative.builder.definition import LayerDefinition, dual, layer, value
from declarative.builder.functions import FUNCTIONS
from declarative.builder.indexed import between, forall, in_psd, total
from declarative.builder.sizes import Dim, dim, dims
from declarative.builder.term import Condition, Term

__all__ = [
    "Condition",
    "Dim",
    "LayerDefinition",
    "Term",
    "between",
    "constant",
    "dim",
    "dims",
    "dual",
    "extern",
    "forall",
    "in_psd",
    "layer",
    "let",
    "param",
    "total",
    "value",
    "var",
]
__all__ += list(FUNCTIONS)


def __getattr__(name: str) -> Callable[..., Term]:
    """The functions of the language; Python's own names (sum, abs, max, ...) are left alone within this module."""
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
