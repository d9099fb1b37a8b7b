"""Which solver and which adjoint serve a class of problems, unless the layer names others."""

from __future__ import annotations

from typing import Any

from declarative.runtime.adjoints.cone import ConeAdjoint
from declarative.runtime.adjoints.native_active_set import NativeActiveSetAdjoint
from declarative.runtime.adjoints.smooth import SmoothAdjoint
from declarative.runtime.cone import ConeProgram
from declarative.runtime.problem import Adjoint, Problem, Solver
from declarative.runtime.quadratic import DenseQP
from declarative.runtime.smooth import LocalProblem, RootProblem
from declarative.runtime.solvers.clarabel import Clarabel
from declarative.runtime.solvers.direct import Direct
from declarative.runtime.solvers.native_interior_point import NativeInteriorPoint
from declarative.runtime.solvers.newton import Newton
from declarative.runtime.solvers.root import DampedNewton

DEFAULTS: dict[type[Problem], tuple[type[Any], type[Adjoint]]] = {
    DenseQP: (NativeInteriorPoint, NativeActiveSetAdjoint),
    ConeProgram: (Clarabel, ConeAdjoint),
    LocalProblem: (Newton, SmoothAdjoint),
    RootProblem: (DampedNewton, SmoothAdjoint),
}
"""Problem class to solver, which takes ``tolerance`` and ``max_iterations``, and adjoint."""


def default_solver(problem: Problem, tolerance: float | None, max_iterations: int | None) -> Solver:
    """The solver for a problem, with the settings that are not None."""
    given = {"tolerance": tolerance, "max_iterations": max_iterations}
    kind: type[Any] = Direct if Direct.serves(problem) else DEFAULTS[type(problem)][0]
    solver: Solver = kind(**{k: v for k, v in given.items() if v is not None})
    return solver


def default_adjoint(problem: Problem) -> Adjoint:
    """The adjoint for a problem."""
    return DEFAULTS[type(problem)][1]()
