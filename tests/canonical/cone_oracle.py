"""Solving a cone form without the compiler: what its tests hold against the same problem written by hand in cvxpy.

The affine maps are evaluated in numpy and the cone program solved by Clarabel directly, so that nothing of cvxpy's own
way back to variables and duals takes part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import clarabel
import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from declarative.canonical.cone_program import ConeForm, cone_form
from declarative.frontend import parse_program
from declarative.ir.atom import Operand
from declarative.ir.expression import At, Call, Constant, Expression, Index, Let, Parameter, SizeValue
from declarative.runtime import functions

Data = dict[str, np.ndarray]
Expected = dict[str, Any]


def value_of(expression: Expression, data: Data) -> Any:
    """The value of an expression of parameters, by the torch source of its functions."""
    match expression:
        case Constant(value=value):
            return torch.tensor(value, dtype=torch.float64)
        case SizeValue(size=size):
            return size.evaluate({})
        case Parameter(name=name):
            return torch.as_tensor(data[name], dtype=torch.float64)
        case Let(body=body):
            return value_of(body, data)
        case Index(base=base, subscripts=subscripts):
            keys = [
                s.index.evaluate({}) if isinstance(s, At) else slice(s.first.evaluate({}), s.last.evaluate({}) + 1)
                for s in subscripts
            ]
            return value_of(base, data)[tuple(keys)]
        case Call(atom=atom, args=args):
            names = {f"a{i}": value_of(arg, data) for i, arg in enumerate(args)}
            source = atom.torch(*(Operand(name, arg.shape) for name, arg in zip(names, args, strict=True)))
            return eval(source, {"torch": torch, "functions": functions, **names})
    raise TypeError(expression)


@dataclass(frozen=True)
class Solved:
    variables: dict[str, np.ndarray]
    duals: dict[str, np.ndarray]
    value: float
    x: np.ndarray
    z: np.ndarray
    s: np.ndarray


def theta_of(form: ConeForm, data: Data) -> np.ndarray:
    pieces = [np.asarray(value_of(entry.expression, data)).reshape(entry.shape).ravel() for entry in form.theta]
    return np.concatenate([*pieces, np.empty(0)])


def solve(form: ConeForm, data: Data) -> Solved:
    theta = theta_of(form, data)
    P = sp.csc_array((form.P(theta), (form.P_rows, form.P_columns)), shape=(form.n, form.n))
    A = sp.csc_array((form.A(theta), (form.A_rows, form.A_columns)), shape=(form.m, form.n))
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-11
    cones = [cone for spec in form.cones for cone in clarabel_cones(*spec)]
    q, b = form.q(theta), form.b(theta)
    solution = clarabel.DefaultSolver(P, q, A, b, cones, settings).solve()
    assert str(solution.status) in ("Solved", "AlmostSolved")
    x, z = np.array(solution.x), np.array(solution.z)
    full = P + sp.triu(P, 1).T
    return Solved(
        {v.name: v.map(x).reshape(v.shape) for v in form.variables},
        {d.name: d.map(z).reshape(d.shape) for d in form.duals},
        form.sign * (x @ (full @ x) / 2 + q @ x + form.offset(theta)[0]),
        x,
        z,
        np.array(solution.s),
    )


def clarabel_cones(kind: str, size: float) -> list[Any]:
    match kind:
        case "zero":
            return [clarabel.ZeroConeT(size)]
        case "nonneg":
            return [clarabel.NonnegativeConeT(size)]
        case "soc":
            return [clarabel.SecondOrderConeT(size)]
        case "psd":
            return [clarabel.PSDTriangleConeT(size)]
        case "exp":
            return [clarabel.ExponentialConeT()] * int(size)
    return [clarabel.PowerConeT(size)]


def solve_by_hand(objective: Any, constraints: list[Any]) -> float:
    problem = cp.Problem(objective, constraints)
    problem.solve(cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    return float(problem.value)


def psd_matrix(rng: np.random.Generator, n: int, rank: int | None = None) -> np.ndarray:
    factor = rng.standard_normal((n, rank or n))
    return factor @ factor.T + (0 if rank else 0.5) * np.eye(n)


@dataclass(frozen=True)
class Case:
    """A program, data, and the problem by hand: from data to expected variables, duals and value."""

    text: str
    sizes: dict[str, int]
    data: Callable[[np.random.Generator], Data]
    by_hand: Callable[[Data], tuple[Expected, Expected, float]]
    tolerance: float = 1e-6


def check(case: Case, seed: int) -> None:
    form = cone_form(parse_program(case.text, "case.opt"), case.sizes)
    data = case.data(np.random.default_rng(seed))
    found = solve(form, data)
    variables, duals, value = case.by_hand(data)
    for name, expected in variables.items():
        np.testing.assert_allclose(found.variables[name], expected, atol=case.tolerance, err_msg=name)
    for name, expected in duals.items():
        np.testing.assert_allclose(found.duals[name], expected, atol=10 * case.tolerance, err_msg=name)
    assert found.value == pytest.approx(value, abs=1e-6)
