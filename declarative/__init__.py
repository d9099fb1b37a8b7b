"""Neural-network layers that are defined by what they solve.

import declarative as dl

Sparsemax = dl.compile("sparsemax.opt")
y = Sparsemax()(x)

Names are imported when they are first used: an emitted module needs the runtime alone and must not load the compiler.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from declarative.operators import register as _register

if TYPE_CHECKING:
    from declarative.builder import *  # noqa: F403
    from declarative.compiler import compile as compile
    from declarative.diagnostics.diagnostic import Diagnostic as Diagnostic
    from declarative.diagnostics.diagnostic import DiagnosticError as DiagnosticError
    from declarative.frontend import parse_program as parse_program
    from declarative.runtime import InputError as InputError
    from declarative.runtime import Layer as Layer
    from declarative.runtime import LayerError as LayerError
    from declarative.runtime import Solution as Solution
    from declarative.runtime import SolveError as SolveError
    from declarative.runtime import Status as Status
    from declarative.runtime.adjoints.krylov import KrylovAdjoint as KrylovAdjoint
    from declarative.runtime.adjoints.neumann import NeumannAdjoint as NeumannAdjoint
    from declarative.runtime.adjoints.smooth import DenseAdjoint as DenseAdjoint
    from declarative.runtime.errors import AdjointWarning as AdjointWarning
    from declarative.runtime.solvers.anderson import Anderson as Anderson
    from declarative.runtime.solvers.gradient_descent import GradientDescent as GradientDescent
    from declarative.runtime.solvers.lbfgs import LBFGS as LBFGS
    from declarative.runtime.solvers.newton import Newton as Newton
    from declarative.runtime.solvers.root import DampedNewton as DampedNewton

__version__ = "0.1.0"

HOMES = {
    "AdjointWarning": "declarative.runtime.errors",
    "Anderson": "declarative.runtime.solvers.anderson",
    "DampedNewton": "declarative.runtime.solvers.root",
    "DenseAdjoint": "declarative.runtime.adjoints.smooth",
    "Diagnostic": "declarative.diagnostics.diagnostic",
    "DiagnosticError": "declarative.diagnostics.diagnostic",
    "GradientDescent": "declarative.runtime.solvers.gradient_descent",
    "InputError": "declarative.runtime",
    "KrylovAdjoint": "declarative.runtime.adjoints.krylov",
    "LBFGS": "declarative.runtime.solvers.lbfgs",
    "Layer": "declarative.runtime",
    "LayerError": "declarative.runtime",
    "NeumannAdjoint": "declarative.runtime.adjoints.neumann",
    "Newton": "declarative.runtime.solvers.newton",
    "Solution": "declarative.runtime",
    "SolveError": "declarative.runtime",
    "Status": "declarative.runtime",
    "compile": "declarative.compiler",
    "parse_program": "declarative.frontend",
}
"""Where each name is that does not come from the builder."""


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return __dir__()
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(HOMES.get(name, "declarative.builder"))
    if name not in HOMES and name not in home.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    from declarative import builder

    return sorted([*HOMES, *builder.__all__])


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext declarative``: the cell magic ``%%opt`` and views of layers; see `declarative.notebook`."""
    import_module("declarative.notebook").load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """``%unload_ext declarative``."""
    import_module("declarative.notebook").unload(shell)


_register()
