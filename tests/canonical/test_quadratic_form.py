"""Programs whose quadratic form is symbolic, against cvxpy: value of the objective, solution and duals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch

import declarative as dl
from declarative.canonical.mismatch import Mismatch
from declarative.canonical.quadratic import QuadraticForm
from declarative.structures import canonicalise

Problem = tuple[Any, list[Any], list[Any]]
"""cvxpy objective, constraints in order of the program's, and outputs."""


@dataclass(frozen=True)
class Case:
    text: str
    reference: Callable[[Mapping[str, Any]], Problem]
    duals: tuple[tuple[str, Callable[[list[Any]], Any]], ...] = ()


def _robust(p: Mapping[str, Any]) -> Problem:
    x = cp.Variable(3)
    return cp.sum(cp.huber(p["A"] @ x - p["b"], 0.5)) + 0.1 * cp.norm_inf(x) + 0.1 * cp.sum_squares(x), [], [x]


def _epigraph_in_constraint(p: Mapping[str, Any]) -> Problem:
    x = cp.Variable(3)
    constraints = [cp.norm1(x) <= p["s"], x[1:2] >= -0.1]
    return cp.sum_squares(p["A"] @ x - p["b"]) + cp.max(x), constraints, [x]


def _concave(p: Mapping[str, Any]) -> Problem:
    x = cp.Variable(3)
    objective = cp.sum(cp.pos(p["A"] @ x - p["b"])) + cp.sum_squares(x) / 3 - cp.min(x)
    return objective, [cp.norm1(x) + x[0] <= 1], [x]


def _discounted(p: Mapping[str, Any]) -> Problem:
    x, u = cp.Variable((5, 2)), cp.Variable(4)
    cost = sum((t + 1) * p["r"] * cp.sum_squares(x[t] - p["g"][t]) for t in range(5)) + cp.sum_squares(u)
    M, v = p["M"], p["v"]
    constraints = [x[0] == p["g"][0] + 1, *(x[t + 1] == M @ x[t] + v * u[t] for t in range(4))]
    constraints += [cp.abs(u[t]) <= 0.3 for t in range(4)]
    return cost, constraints, [x, u]


def _matrix(p: Mapping[str, Any]) -> Problem:
    X = cp.Variable((2, 3))
    objective = cp.sum_squares(p["W"] @ X - p["C"]) + 0.2 * cp.sum(cp.abs(X)) + cp.sum_squares(X @ p["k"])
    return objective, [cp.sum(X) == 1, X >= -0.5], [X]


def _scalars(p: Mapping[str, Any]) -> Problem:
    a, y, z = cp.Variable(), cp.Variable(), cp.Variable(3)
    objective = cp.square(a - p["s"]) + cp.sum_squares(p["b3"] * y - z + 1) + 0.5 * cp.square(y) + a * p["s"]
    return objective, [a + y >= cp.sum(z) - 3, a <= 0.2, y >= -1, y <= 0.4], [a, y, z]


def _metric(p: Mapping[str, Any]) -> Problem:
    x = cp.Variable(3)
    S = p["S"]
    objective = cp.quad_form(p["K"] @ x - p["b3"], cp.psd_wrap(S + S.T)) / 2 + p["b3"] @ x
    objective += cp.quad_form(x, cp.psd_wrap(np.linalg.inv((S + S.T) / 2)))
    return objective, [p["K"] @ x <= 1], [x]


def _linear(p: Mapping[str, Any]) -> Problem:
    x = cp.Variable(3)
    return p["b3"] @ x, [cp.sum(x) == 1, x >= 0, x <= 0.6], [x]


CASES = {
    "huber": Case(
        "param A[m, n]\nparam b[m]\nvar x[n]\n"
        "minimize sum(huber(A @ x - b, 0.5)) + 0.1 * norm_inf(x) + 0.1 * sum_squares(x)",
        _robust,
    ),
    "epigraph": Case(
        "param A[m, n]\nparam b[m]\nparam s nonneg\nvar x[n]\n"
        "minimize sum_squares(A @ x - b) + max(x)\n"
        "subject to\n  c: norm1(x) <= s\n  d: x[1..1] >= -0.1",
        _epigraph_in_constraint,
        (("c", lambda c: c[0].dual_value), ("d", lambda c: c[1].dual_value)),
    ),
    "concave": Case(
        "param A[m, n]\nparam b[m]\nvar x[n]\n"
        "maximize min(x) - sum(pos(A @ x - b)) - mean(square(x))\nsubject to\n  c: sum(abs(x)) + x[0] <= 1",
        _concave,
        (("c", lambda c: c[0].dual_value),),
    ),
    "discounted": Case(
        "dim T = 4\nparam g[T+1, k]\nparam M[k, k]\nparam v[k]\nparam r nonneg\nvar x[T+1, k]\nvar u[T]\n"
        "minimize sum((t + 1) * r * sum_squares(x[t] - g[t]) for t in 0..T) + sum_squares(u)\n"
        "subject to\n  start: x[0] == g[0] + 1\n  step: x[t+1] == M @ x[t] + v * u[t] for t in 0..T-1\n"
        "  box: abs(u[t]) <= 0.3 for t in 0..T-1",
        _discounted,
        (
            ("start", lambda c: c[0].dual_value),
            ("step", lambda c: np.stack([k.dual_value for k in c[1:5]])),
            ("box", lambda c: np.stack([k.dual_value for k in c[5:9]])),
        ),
    ),
    "matrix": Case(
        "param W[l, j]\nparam C[l, n]\nparam k[n]\nvar X[j, n]\n"
        "minimize sum_squares(W @ X - C) + 0.2 * sum(abs(X)) + sum_squares(X @ k)\n"
        "subject to\n  total: sum(X) == 1\n  low: X >= -0.5",
        _matrix,
        (("total", lambda c: c[0].dual_value), ("low", lambda c: c[1].dual_value)),
    ),
    "scalars": Case(
        "param s\nparam b3[n]\nvar a\nvar y\nvar z[n]\n"
        "minimize (a - s)^2 + sum_squares(b3 * y - z + 1) + 0.5 * y^2 + a * s\n"
        "subject to\n  one: a + y >= sum(z) - 3\n  two: a <= 0.2\n  both: -1 <= y <= 0.4",
        _scalars,
        (
            ("one", lambda c: c[0].dual_value),
            ("two", lambda c: c[1].dual_value),
            ("both", lambda c: c[3].dual_value - c[2].dual_value),
        ),
    ),
    "metric": Case(
        "param S[n, n] psd\nparam K[n, n]\nparam b3[n]\nvar x[n]\n"
        "minimize quad_form(K @ x - b3, S) + b3' @ x + quad_form(x, inv(S))\nsubject to\n  c: K @ x <= 1",
        _metric,
        (("c", lambda c: c[0].dual_value),),
    ),
    "linear": Case(
        "param b3[n]\nvar x[n]\nminimize b3' @ x\nsubject to\n  c: sum(x) == 1\n  d: 0 <= x <= 0.6",
        _linear,
        (("c", lambda c: c[0].dual_value), ("d", lambda c: c[2].dual_value - c[1].dual_value)),
    ),
}


def _data(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    L = rng.normal(size=(3, 3))
    return {
        "A": rng.normal(size=(8, 3)),
        "b": 3 * rng.normal(size=8),
        "s": 0.7,
        "r": 0.6,
        "g": rng.normal(size=(5, 2)),
        "M": rng.normal(size=(2, 2)),
        "v": rng.normal(size=2),
        "W": rng.normal(size=(4, 2)),
        "C": rng.normal(size=(4, 3)),
        "k": rng.normal(size=3),
        "b3": rng.normal(size=3),
        "S": L @ L.T + np.eye(3),
        "K": rng.normal(size=(3, 3)),
    }


def _program(name: str) -> dl.builder.LayerDefinition:
    case = CASES[name]
    dims = sorted({d for d in ("m", "n", "k", "l", "j") if f"{d}]" in case.text or f"[{d}," in case.text})
    return dl.parse_program(f"layer {name}\ndim {', '.join(dims)}\n{case.text}\n")


@pytest.mark.parametrize("name", CASES)
def test_it_has_a_symbolic_quadratic_form(name: str) -> None:
    form = canonicalise(_program(name)).quadratic
    assert isinstance(form, QuadraticForm), form


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", CASES)
def test_solution_and_duals_are_cvxpys(name: str, seed: int) -> None:
    case, data = CASES[name], _data(seed)
    layer = dl.compile(_program(name))()
    arguments = [torch.as_tensor(data[s.name], dtype=torch.float64) for s in layer.parameters_of_call]
    solution = layer.solve(*arguments)
    assert bool(solution.solved.all())
    objective, constraints, outputs = case.reference(data)
    cp.Problem(cp.Minimize(objective), constraints).solve(
        solver=cp.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12
    )
    found = solution.outputs if isinstance(solution.outputs, tuple) else (solution.outputs,)
    for ours, theirs in zip(found, outputs, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.value, atol=2e-6)
    for constraint, of in case.duals:
        np.testing.assert_allclose(solution.duals[constraint].numpy(), of(constraints), atol=2e-5)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_differences(name: str) -> None:
    data = _data(2)
    layer = dl.compile(_program(name))()
    arguments = [torch.as_tensor(data[s.name], dtype=torch.float64).requires_grad_() for s in layer.parameters_of_call]

    def outputs(*values: torch.Tensor) -> torch.Tensor:
        found = layer(*values)
        parts = found if isinstance(found, tuple) else (found,)
        return torch.cat([p.reshape(-1) for p in parts])

    assert torch.autograd.gradcheck(outputs, tuple(arguments), eps=1e-6, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("var y[n]\nminimize sum(exp(y)) + sum_squares(y - x)", "`exp` is neither quadratic nor piecewise linear"),
        ("var y[n]\nminimize sum_squares(y - x)\nsubject to\n  c: norm2(y) <= 1", "`norm2` is neither quadratic"),
        ("var Y[n, n] symmetric\nminimize sum_squares(Y) - x @ Y @ x", "`Y` is symmetric"),
        ("var y[n]\nminimize sum_squares(y - x)\nsubject to\n  c: sum_squares(y) <= 1", "neither quadratic nor"),
    ],
)
def test_a_mismatch_names_what_stands_in_the_way(body: str, reason: str) -> None:
    form = canonicalise(dl.parse_program(f"layer example\ndim n\nparam x[n]\n{body}\n")).quadratic
    assert isinstance(form, Mismatch)
    assert reason in form.reason
