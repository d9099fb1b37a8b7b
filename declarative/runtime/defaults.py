"""Which solver and which adjoint serve a class of problems: by the layer's choice, by name, or by default."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from declarative.runtime.adjoints.cone import ConeAdjoint
from declarative.runtime.adjoints.krylov import KrylovAdjoint
from declarative.runtime.adjoints.native_active_set import NativeActiveSetAdjoint
from declarative.runtime.adjoints.neumann import NeumannAdjoint
from declarative.runtime.adjoints.smooth import DenseAdjoint, SmoothAdjoint
from declarative.runtime.cone import ConeProgram
from declarative.runtime.errors import InputError
from declarative.runtime.problem import Adjoint, Problem, Solver
from declarative.runtime.quadratic import DenseQP
from declarative.runtime.smooth import LocalProblem, RootProblem
from declarative.runtime.solvers.anderson import Anderson
from declarative.runtime.solvers.clarabel import Clarabel
from declarative.runtime.solvers.fixed_point import FixedPoint
from declarative.runtime.solvers.gradient_descent import GradientDescent
from declarative.runtime.solvers.lbfgs import LBFGS
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

SOLVERS: dict[type[Problem], Mapping[str, Callable[..., Solver]]] = {
    LocalProblem: {
        "newton": Newton,
        "newton_cg": lambda **given: Newton(dense_limit=0, **given),
        "lbfgs": LBFGS,
        "gradient_descent": GradientDescent,
    },
    RootProblem: {"newton": DampedNewton, "anderson": Anderson, "picard": lambda **given: Anderson(memory=0, **given)},
}
"""What ``layer.solver = "name"`` may be; the layer's ``tolerance`` and ``max_iterations`` are passed on."""

OF_SMOOTH: Mapping[str, Callable[..., Adjoint]] = {
    "dense": DenseAdjoint,
    "cg": lambda: KrylovAdjoint("cg"),
    "minres": lambda: KrylovAdjoint("minres"),
    "gmres": lambda: KrylovAdjoint("gmres"),
    "jacobian_free": lambda: NeumannAdjoint(terms=0, step=1.0),
    "neumann:k": lambda terms: NeumannAdjoint(terms),
}

ADJOINTS: dict[type[Problem], Mapping[str, Callable[..., Adjoint]]] = {
    LocalProblem: OF_SMOOTH,
    RootProblem: OF_SMOOTH,
}
"""What ``layer.adjoint = "name"`` may be; the k of ``"neumann:k"`` is a whole number, which is passed on."""

WIDE = 64
"""Equations beyond which a fixed point is solved by acceleration first."""

_NEUMANN = re.compile(r"neumann:(\d+)")


def chosen_solver(choice: Solver | str | None, problem: Problem, tolerance: float | None, limit: int | None) -> Solver:
    """The solver that a layer names, or its problem's default, with the settings that are not None; a `Solver` has its
    own. Raises `InputError` for an unknown name."""
    if isinstance(choice, Solver):
        return choice
    if choice is None:
        return default_solver(problem, tolerance, limit)
    names = SOLVERS.get(type(problem), {})
    if choice not in names:
        raise InputError(f"solver is {choice!r}; expected a `Solver`{_alternatives(names)} or None, the default")
    return names[choice](**_given(tolerance, limit))


def chosen_adjoint(choice: Adjoint | str | None, problem: Problem) -> Adjoint:
    """The adjoint that a layer names, or its problem's default. Raises `InputError` for an unknown name."""
    if isinstance(choice, Adjoint):
        return choice
    if choice is None:
        return default_adjoint(problem)
    names = ADJOINTS.get(type(problem), {})
    neumann = _NEUMANN.fullmatch(choice) if isinstance(choice, str) else None
    if neumann and names:
        return names["neumann:k"](int(neumann[1]))
    if choice not in names or choice == "neumann:k":
        raise InputError(f"adjoint is {choice!r}; expected an `Adjoint`{_alternatives(names)} or None, the default")
    return names[choice]()


def default_solver(problem: Problem, tolerance: float | None, max_iterations: int | None) -> Solver:
    """The solver for a problem, with the settings that are not None."""
    kind: type[Any] = DEFAULTS[type(problem)][0]
    if isinstance(problem, RootProblem) and problem.fixed_point and problem.size > WIDE:
        kind = FixedPoint
    solver: Solver = kind(**_given(tolerance, max_iterations))
    return solver


def default_adjoint(problem: Problem) -> Adjoint:
    """The adjoint for a problem."""
    return DEFAULTS[type(problem)][1]()


def _given(tolerance: float | None, max_iterations: int | None) -> dict[str, Any]:
    given = {"tolerance": tolerance, "max_iterations": max_iterations}
    return {k: v for k, v in given.items() if v is not None}


def _alternatives(names: Mapping[str, object]) -> str:
    return f", one of {', '.join(map(repr, names))}," if names else ""
