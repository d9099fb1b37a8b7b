"""Hoisting and lifting: programs that are not DPP as written, against cvxpy with numbers for the parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from declarative.canonical.cone_program import cone_form
from declarative.frontend import parse_program
from tests.canonical.cone_oracle import Case, Data, Expected, check, psd_matrix, solve_by_hand

HEADER = """layer lifted
dim m, n
param A[m, n]
param b[m]
param D[n, m]
param p[n] nonneg
param rho nonneg
param tau nonneg
param t
param S[n, n] psd
var x[n]
"""


def lifting_data(rng: np.random.Generator) -> Data:
    return {
        "A": rng.standard_normal((5, 3)),
        "b": rng.standard_normal(5),
        "D": rng.standard_normal((3, 5)),
        "p": rng.uniform(0.2, 1.0, 3),
        "rho": np.array(0.7),
        "tau": np.array(0.3),
        "t": np.array(-0.4),
        "S": psd_matrix(rng, 3),
    }


def precision(text: str) -> float:
    """A gap of 1e-11 leaves x known to about its square root where a curved cone binds."""
    return 1e-5 if any(name in text for name in ("exp", "kl_div", "log", "S) <=", "over_lin")) else 1e-6


def fit(d: Data, x: Any) -> Any:
    return d["A"] @ x - d["b"]


# Every objective is parametrised in a way that cvxpy itself refuses as DPP, or that it may emit in a form of its own.
LIFTED: dict[str, Callable[[Data, Any], Any]] = {
    "rho * sum_squares(A @ x - b)": lambda d, x: d["rho"] * cp.sum_squares(fit(d, x)),
    "(rho*tau) * norm1(x) + sum_squares(A @ x - b)": lambda d, x: (
        d["rho"] * d["tau"] * cp.norm1(x) + cp.sum_squares(fit(d, x))
    ),
    "quad_form(x, inv(S)) - p' @ x": lambda d, x: cp.quad_form(x, np.linalg.inv(d["S"])) - d["p"] @ x,
    "quad_form(x, S) - p' @ x": lambda d, x: cp.quad_form(x, d["S"]) - d["p"] @ x,
    "rho * quad_form(A' @ b - x, S)": lambda d, x: d["rho"] * cp.quad_form(d["A"].T @ d["b"] - x, d["S"]),
    "t^2 * norm2(x - p) + sum(exp(x))": lambda d, x: d["t"] ** 2 * cp.norm2(x - d["p"]) + cp.sum(cp.exp(x)),
    "exp(t) * sum_squares(x - p)": lambda d, x: np.exp(d["t"]) * cp.sum_squares(x - d["p"]),
    "quad_form(D @ (A @ x - b), S) + sum_squares(x)": lambda d, x: (
        cp.quad_form(d["D"] @ fit(d, x), d["S"]) + cp.sum_squares(x)
    ),
    "rho * (sum_squares(A @ x - b) + tau * (norm1(x) + norm_inf(A @ x)))": lambda d, x: (
        d["rho"] * (cp.sum_squares(fit(d, x)) + d["tau"] * (cp.norm1(x) + cp.norm_inf(d["A"] @ x)))
    ),
    "sum_squares(A @ x - b) / rho + sum(p * x^2)": lambda d, x: (
        cp.sum_squares(fit(d, x)) / d["rho"] + d["p"] @ cp.square(x)
    ),
    "quad_over_lin(A @ x - b, rho + 1)": lambda d, x: cp.sum_squares(fit(d, x)) / (d["rho"] + 1),
    "rho * sum(huber(A @ x - b, tau))": lambda d, x: d["rho"] * cp.sum(cp.huber(fit(d, x), float(d["tau"]))),
    "rho * sum(kl_div(x, p)) + sum(x * exp(p))": lambda d, x: (
        d["rho"] * cp.sum(cp.kl_div(x, d["p"])) + np.exp(d["p"]) @ x
    ),
    "rho * exp(tau * norm2(A @ x - b))": lambda d, x: d["rho"] * cp.exp(d["tau"] * cp.norm2(fit(d, x))),
    "rho * square(tau * norm1(x) + 1) + sum_squares(A @ x - b)": lambda d, x: (
        d["rho"] * cp.square(d["tau"] * cp.norm1(x) + 1) + cp.sum_squares(fit(d, x))
    ),
    "rho * ((A @ x - b)' @ (A @ x - b)) + rho * (x' @ S @ x)": lambda d, x: (
        d["rho"] * cp.sum_squares(fit(d, x)) + d["rho"] * cp.quad_form(x, d["S"])
    ),
    "sum(rho * tau * x[i]^2 for i in 0..n-1) - rho * sum(log(x + p)) + b' @ b": lambda d, x: (
        d["rho"] * d["tau"] * cp.sum_squares(x) - d["rho"] * cp.sum(cp.log(x + d["p"])) + d["b"] @ d["b"]
    ),
    "trace(S) * norm2(x - p) + sum_squares(A @ x)": lambda d, x: (
        np.trace(d["S"]) * cp.norm2(x - d["p"]) + cp.sum_squares(d["A"] @ x)
    ),
    "rho * quad_over_lin(A @ x - b, x[0] + tau + 3)": lambda d, x: (
        d["rho"] * cp.quad_over_lin(fit(d, x), x[0] + d["tau"] + 3)
    ),
    "quad_over_lin(A @ x - b, x[0] + tau + 3)": lambda d, x: cp.quad_over_lin(fit(d, x), x[0] + d["tau"] + 3),
    "tanh(rho) * norm1(x - tanh(0.3)) + sum_squares(x - p)": lambda d, x: (
        np.tanh(d["rho"]) * cp.norm1(x - np.tanh(0.3)) + cp.sum_squares(x - d["p"])
    ),
    "sqrt(quad_form(p, S)) * sum_squares(x - p)": lambda d, x: (
        np.sqrt(d["p"] @ d["S"] @ d["p"]) * cp.sum_squares(x - d["p"])
    ),
}


@pytest.mark.parametrize("objective", LIFTED)
def test_objective_beyond_dpp(objective: str) -> None:
    def by_hand(d: Data) -> tuple[Expected, Expected, float]:
        x = cp.Variable(3)
        budget = cp.sum(x) == 0.5
        value = solve_by_hand(cp.Minimize(LIFTED[objective](d, x)), [budget])
        return {"x": x.value}, {"budget": budget.dual_value}, value

    text = f"{HEADER}minimize {objective}\nsubject to\n  budget: sum(x) == 1/2\n"
    check(Case(text, {"m": 5, "n": 3}, lifting_data, by_hand, precision(objective)), seed=3)


# Constraints likewise; each binds at the solution, so that one that went missing would show.
BOUNDED: dict[str, Callable[[Data, Any], Any]] = {
    "norm2(x) <= 1/4": lambda d, x: cp.norm2(x) <= 0.25,
    "tau * norm2(x) <= tau^2": lambda d, x: d["tau"] * cp.norm2(x) <= d["tau"] ** 2,
    "quad_form(x - p, S) <= rho": lambda d, x: cp.quad_form(x - d["p"], d["S"]) <= d["rho"],
    "rho * quad_form(x, S) <= tau * rho": lambda d, x: d["rho"] * cp.quad_form(x, d["S"]) <= d["tau"] * d["rho"],
    "sum_squares(x) / rho <= exp(t)": lambda d, x: cp.sum_squares(x) / d["rho"] <= np.exp(d["t"]),
    "log_sum_exp(x) <= 1": lambda d, x: cp.log_sum_exp(x) <= 1,
    "rho * min(x) >= -tau * rho": lambda d, x: d["rho"] * cp.min(x) >= -d["tau"] * d["rho"],
    "x >= -tau": lambda d, x: x >= -d["tau"],
}


@pytest.mark.parametrize("constraint", BOUNDED)
def test_constraint_beyond_dpp(constraint: str) -> None:
    def by_hand(d: Data) -> tuple[Expected, Expected, float]:
        x = cp.Variable(3)
        bound = BOUNDED[constraint](d, x)
        away = cp.sum_squares(x - 3 * d["p"]) if "log_sum_exp" in constraint or "norm" in constraint else None
        cost = away if away is not None else cp.sum_squares(x + 3 * d["p"])
        value = solve_by_hand(cp.Minimize(cost), [bound])
        assert np.max(bound.dual_value) > 1e-3
        return {"x": x.value}, {"bound": bound.dual_value}, value

    sign = "-" if "log_sum_exp" in constraint or "norm" in constraint else "+"
    text = f"{HEADER}minimize sum_squares(x {sign} 3*p)\nsubject to\n  bound: {constraint}\n"
    check(Case(text, {"m": 5, "n": 3}, lifting_data, by_hand, precision(constraint)), seed=4)


def test_theta_holds_parameters_in_order_then_hoisted_expressions() -> None:
    text = f"{HEADER}minimize (rho*tau) * norm1(x) + rho/2 * sum_squares(A @ x - 2*b) + quad_form(x, inv(S))\n"
    form = cone_form(parse_program(text, "case.opt"), {"m": 5, "n": 3})
    assert [entry.shape for entry in form.theta] == [(5, 3), (5,), (), (), (3, 3)]
    assert [entry.name for entry in form.theta[:3]] == ["A", "b", "rho"]


def test_an_expression_is_hoisted_and_lifted_once() -> None:
    once = f"{HEADER}minimize exp(t) * sum_squares(A @ x - b)\n"
    twice = f"{HEADER}minimize exp(t) * sum_squares(A @ x - b) + exp(t) * norm1(A @ x - b)\n"
    sizes = {"m": 5, "n": 3}
    one, two = (cone_form(parse_program(text, "case.opt"), sizes) for text in (once, twice))
    assert len(one.theta) == len(two.theta) == 3
    # The norm adds its 5 bounds; the residual A x - b is one variable for both terms.
    assert two.n == one.n + 5


def test_singular_matrix_in_the_objective() -> None:
    """In the objective a psd parameter is no more than psd: it is never factored."""
    text = f"{HEADER}minimize quad_form(x, S) + sum(x)\nsubject to\n  box: -1 <= x <= 1\n"

    def by_hand(d: Data) -> tuple[Expected, Expected, float]:
        x = cp.Variable(3)
        lower, upper = x >= -1, x <= 1
        factor = np.array([[1.0, 2.0, 3.0]])
        value = solve_by_hand(cp.Minimize(cp.sum_squares(factor @ x) + cp.sum(x)), [lower, upper])
        return {}, {"box": upper.dual_value - lower.dual_value}, value

    data = {"S": np.outer([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])}
    check(Case(text, {"m": 5, "n": 3}, lambda rng: data, by_hand), seed=0)
