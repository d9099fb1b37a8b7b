"""Neural-network layers that are defined by what they solve.

import declarative as dl

Sparsemax = dl.compile("sparsemax.opt")
y = Sparsemax()(x)
"""

from typing import Any

from declarative import builder
from declarative.builder import *  # noqa: F403
from declarative.compiler import compile
from declarative.diagnostics.diagnostic import Diagnostic, DiagnosticError
from declarative.frontend import parse_program
from declarative.runtime import InputError, Layer, LayerError, Solution, SolveError, Status

__version__ = "0.1.0"

__all__ = [
    "Diagnostic",
    "DiagnosticError",
    "InputError",
    "Layer",
    "LayerError",
    "Solution",
    "SolveError",
    "Status",
    "compile",
    "parse_program",
]
__all__ += builder.__all__


def __getattr__(name: str) -> Any:
    return getattr(builder, name)
