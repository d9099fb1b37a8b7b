"""The cone form against the same problem written by hand in cvxpy: variables, duals and value, at random data.

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
from declarative.diagnostics.diagnostic import DiagnosticError
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


def portfolio_by_hand(d: Data) -> tuple[Expected, Expected, float]:
    w = cp.Variable(4)
    risk = cp.norm2(cp.hstack([d["F"] @ w, cp.multiply(d["d"], w)])) <= d["sigma_max"]
    budget, lower, upper = cp.sum(w) == 1, w >= 0, w <= d["cap"]
    value = solve_by_hand(cp.Minimize(-d["mu"] @ w), [risk, budget, lower, upper])
    box = upper.dual_value - lower.dual_value
    return {"w": w.value}, {"risk": risk.dual_value, "budget": budget.dual_value, "box": box}, -value


def low_rank_by_hand(d: Data) -> tuple[Expected, Expected, float]:
    """Singular-value shrinkage in closed form."""
    U, sigma, Vt = np.linalg.svd(d["M"], full_matrices=False)
    X = U @ np.diag(np.maximum(sigma - d["tau"], 0)) @ Vt
    return {"X": X}, {}, 0.5 * np.sum((X - d["M"]) ** 2) + d["tau"] * np.linalg.svd(X, compute_uv=False).sum()


def nearest_correlation_by_hand(d: Data) -> tuple[Expected, Expected, float]:
    X = cp.Variable((3, 3), symmetric=True)
    definite, unit = X >> 0, cp.diag(X) == 1
    value = solve_by_hand(cp.Minimize(cp.sum_squares(X - d["C"])), [definite, unit])
    return {"X": X.value}, {"definite": definite.dual_value, "unit": unit.dual_value}, value


def budget_softmax_by_hand(d: Data) -> tuple[Expected, Expected, float]:
    y = cp.Variable(4)
    simplex, budget = cp.sum(y) == 1, d["cost"] @ y <= d["limit"]
    value = solve_by_hand(cp.Minimize(-d["x"] @ y - cp.sum(cp.entr(y))), [simplex, budget])
    return {"y": y.value}, {"simplex": simplex.dual_value, "budget": budget.dual_value}, -value


def softmax_by_hand(d: Data) -> tuple[Expected, Expected, float]:
    """Closed form: with L = -x'y - sum(entr(y)) + nu (sum(y) - 1), nu = logsumexp(x) - 1."""
    total = np.log(np.exp(d["x"]).sum())
    return {"y": np.exp(d["x"] - total)}, {"simplex": total - 1}, total


def sparsemax_by_hand(d: Data) -> tuple[Expected, Expected, float]:
    """Closed form by the sorted threshold: y = max(x - tau, 0), nu = 2 tau with L = |y - x|^2 + nu (sum(y) - 1)."""
    x = d["x"]
    ordered = np.sort(x)[::-1]
    means = (np.cumsum(ordered) - 1) / np.arange(1, x.size + 1)
    tau = means[np.nonzero(ordered > means)[0][-1]]
    y = np.maximum(x - tau, 0)
    return {"y": y}, {"simplex": 2 * tau}, np.sum((y - x) ** 2)


def elastic_net_by_hand(d: Data) -> tuple[Expected, Expected, float]:
    w = cp.Variable(3)
    fit = cp.sum_squares(d["A"] @ w - d["b"]) / 2
    value = solve_by_hand(cp.Minimize(fit + d["lasso"] * cp.norm1(w) + d["ridge"] / 2 * cp.sum_squares(w)), [])
    return {"w": w.value}, {}, value


def mpc_by_hand(d: Data) -> tuple[Expected, Expected, float]:
    T, nx, nu = 4, 2, 2
    x, u = cp.Variable((T + 1, nx)), cp.Variable((T, nu))
    cost = sum(cp.quad_form(x[t], d["Q"]) for t in range(1, T + 1)) + sum(cp.quad_form(u[t], d["R"]) for t in range(T))
    start = x[0] == d["x0"]
    dynamics = [x[t + 1] == d["A"] @ x[t] + d["B"] @ u[t] for t in range(T)]
    lower, upper = [-d["u_max"] <= u[t] for t in range(T)], [u[t] <= d["u_max"] for t in range(T)]
    slew = [cp.norm_inf(u[t + 1] - u[t]) <= d["u_max"] / 4 for t in range(T - 1)]
    value = solve_by_hand(cp.Minimize(cost), [start, *dynamics, *lower, *upper, *slew])
    duals = {
        "start": start.dual_value,
        "dynamics": np.array([c.dual_value for c in dynamics]),
        "limits": np.array([up.dual_value - low.dual_value for low, up in zip(lower, upper, strict=True)]),
        "slew": np.array([c.dual_value for c in slew]),
    }
    return {"x": x.value, "u": u.value}, duals, value


def optnet_by_hand(d: Data) -> tuple[Expected, Expected, float]:
    z = cp.Variable(3)
    eq, ineq = d["A"] @ z == d["b"], d["G"] @ z <= d["h"]
    value = solve_by_hand(cp.Minimize(cp.quad_form(z, d["Q"]) / 2 + d["q"] @ z), [eq, ineq])
    return {"z": z.value}, {"eq": eq.dual_value, "ineq": ineq.dual_value}, value


PROGRAMS = {
    "portfolio": Case(
        """layer portfolio
dim n, f
param mu[n]
param F[f, n]
param d[n] nonneg
param sigma_max nonneg
param cap nonneg
var w[n]
maximize mu' @ w
subject to
  risk:   norm2(concat(F @ w, d * w)) <= sigma_max
  budget: sum(w) == 1
  box:    0 <= w <= cap
""",
        {"n": 4, "f": 2},
        lambda rng: {
            "mu": rng.standard_normal(4),
            "F": 0.2 * rng.standard_normal((2, 4)),
            "d": rng.uniform(0.3, 0.6, 4),
            "sigma_max": np.array(0.4),
            "cap": np.array(0.6),
        },
        portfolio_by_hand,
    ),
    "low_rank": Case(
        """layer low_rank
dim m, n
param M[m, n]
param tau nonneg
var X[m, n]
minimize 1/2 * sum_squares(X - M) + tau * norm_nuc(X)
""",
        {"m": 3, "n": 2},
        lambda rng: {"M": rng.standard_normal((3, 2)), "tau": np.array(0.5)},
        low_rank_by_hand,
    ),
    "nearest_correlation": Case(
        """layer nearest_correlation
dim n
param C[n, n] symmetric
var X[n, n] symmetric
minimize sum_squares(X - C)
subject to
  definite: X in psd
  unit: diag(X) == 1
""",
        {"n": 3},
        lambda rng: {"C": (lambda M: M + M.T)(rng.standard_normal((3, 3)))},
        nearest_correlation_by_hand,
    ),
    "budget_softmax": Case(
        """layer budget_softmax
dim n
param x[n]
param cost[n] nonneg
param limit nonneg
var y[n]
maximize x' @ y + sum(entr(y))
subject to
  simplex: sum(y) == 1
  budget: cost' @ y <= limit
""",
        {"n": 4},
        lambda rng: {
            "x": rng.standard_normal(4),
            "cost": (cost := rng.uniform(0.5, 1.5, 4)),
            "limit": np.array(cost.min() + 0.1),
        },
        budget_softmax_by_hand,
    ),
    "softmax": Case(
        """layer softmax
dim n
param x[n]
var y[n]
maximize x' @ y + sum(entr(y))
subject to
  simplex: sum(y) == 1
""",
        {"n": 4},
        lambda rng: {"x": rng.standard_normal(4)},
        softmax_by_hand,
    ),
    "sparsemax": Case(
        """layer sparsemax
dim n
param x[n]
var y[n] nonneg
minimize sum_squares(y - x)
subject to
  simplex: sum(y) == 1
""",
        {"n": 5},
        lambda rng: {"x": rng.standard_normal(5)},
        sparsemax_by_hand,
    ),
    "elastic_net": Case(
        """layer elastic_net
dim m, n
param A[m, n]
param b[m]
param lasso nonneg learned
param ridge nonneg learned
var w[n]
minimize 1/2 * sum_squares(A @ w - b) + lasso * norm1(w) + ridge/2 * sum_squares(w)
""",
        {"m": 5, "n": 3},
        lambda rng: {
            "A": rng.standard_normal((5, 3)),
            "b": rng.standard_normal(5),
            "lasso": np.array(0.4),
            "ridge": np.array(0.3),
        },
        elastic_net_by_hand,
    ),
    "mpc": Case(
        """layer mpc
dim T = 20, nx, nu
param x0[nx]
param A[nx, nx]
param B[nx, nu]
param Q[nx, nx] psd
param R[nu, nu] psd
param u_max nonneg
var x[T+1, nx]
var u[T, nu]
minimize sum(quad_form(x[t], Q) for t in 1..T) +
         sum(quad_form(u[t], R) for t in 0..T-1)
subject to
  start:    x[0] == x0
  dynamics: x[t+1] == A @ x[t] + B @ u[t]  for t in 0..T-1
  limits:   -u_max <= u[t] <= u_max        for t in 0..T-1
  slew:     norm_inf(u[t+1] - u[t]) <= u_max/4  for t in 0..T-2
""",
        {"T": 4, "nx": 2, "nu": 2},
        lambda rng: {
            "x0": 3 * rng.standard_normal(2),
            "A": np.eye(2) + 0.2 * rng.standard_normal((2, 2)),
            "B": rng.standard_normal((2, 2)),
            "Q": psd_matrix(rng, 2),
            "R": psd_matrix(rng, 2),
            "u_max": np.array(0.5),
        },
        mpc_by_hand,
    ),
    "optnet_qp": Case(
        """layer optnet_qp
dim n, m, p
param Q[n, n] psd
param q[n]
param A[p, n]
param b[p]
param G[m, n]
param h[m]
var z[n]
minimize 1/2 * quad_form(z, Q) + q' @ z
subject to
  eq:   A @ z == b
  ineq: G @ z <= h
""",
        {"n": 3, "m": 4, "p": 1},
        lambda rng: {
            "Q": psd_matrix(rng, 3),
            "q": rng.standard_normal(3),
            "A": rng.standard_normal((1, 3)),
            "b": np.zeros(1),
            "G": rng.standard_normal((4, 3)),
            "h": rng.uniform(0.05, 0.2, 4),
        },
        optnet_by_hand,
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("seed", [0, 1])
def test_sample_program(name: str, seed: int) -> None:
    check(PROGRAMS[name], seed)


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
    return 1e-5 if any(name in text for name in ("exp", "kl_div", "log", "S) <=")) else 1e-6


def fit(d: Data, x: Any) -> Any:
    return d["A"] @ x - d["b"]


# Every objective is parametrised in a way that cvxpy itself refuses as DPP, or that it may emit in a form of its own.
LIFTED: dict[str, Callable[[Data, Any], Any]] = {
    "rho * sum_squares(A @ x - b)": lambda d, x: d["rho"] * cp.sum_squares(fit(d, x)),
    "(rho*tau) * norm1(x) + sum_squares(A @ x - b)": lambda d, x: d["rho"] * d["tau"] * cp.norm1(x)
    + cp.sum_squares(fit(d, x)),
    "quad_form(x, inv(S)) - p' @ x": lambda d, x: cp.quad_form(x, np.linalg.inv(d["S"])) - d["p"] @ x,
    "quad_form(x, S) - p' @ x": lambda d, x: cp.quad_form(x, d["S"]) - d["p"] @ x,
    "rho * quad_form(A' @ b - x, S)": lambda d, x: d["rho"] * cp.quad_form(d["A"].T @ d["b"] - x, d["S"]),
    "t^2 * norm2(x - p) + sum(exp(x))": lambda d, x: d["t"] ** 2 * cp.norm2(x - d["p"]) + cp.sum(cp.exp(x)),
    "exp(t) * sum_squares(x - p)": lambda d, x: np.exp(d["t"]) * cp.sum_squares(x - d["p"]),
    "quad_form(D @ (A @ x - b), S) + sum_squares(x)": lambda d, x: cp.quad_form(d["D"] @ fit(d, x), d["S"])
    + cp.sum_squares(x),
    "rho * (sum_squares(A @ x - b) + tau * (norm1(x) + norm_inf(A @ x)))": lambda d, x: d["rho"]
    * (cp.sum_squares(fit(d, x)) + d["tau"] * (cp.norm1(x) + cp.norm_inf(d["A"] @ x))),
    "sum_squares(A @ x - b) / rho + sum(p * x^2)": lambda d, x: cp.sum_squares(fit(d, x)) / d["rho"]
    + d["p"] @ cp.square(x),
    "quad_over_lin(A @ x - b, rho + 1)": lambda d, x: cp.sum_squares(fit(d, x)) / (d["rho"] + 1),
    "rho * sum(huber(A @ x - b, tau))": lambda d, x: d["rho"] * cp.sum(cp.huber(fit(d, x), float(d["tau"]))),
    "rho * sum(kl_div(x, p)) + sum(x * exp(p))": lambda d, x: d["rho"] * cp.sum(cp.kl_div(x, d["p"]))
    + np.exp(d["p"]) @ x,
    "rho * exp(tau * norm2(A @ x - b))": lambda d, x: d["rho"] * cp.exp(d["tau"] * cp.norm2(fit(d, x))),
    "rho * square(tau * norm1(x) + 1) + sum_squares(A @ x - b)": lambda d, x: d["rho"]
    * cp.square(d["tau"] * cp.norm1(x) + 1)
    + cp.sum_squares(fit(d, x)),
    "rho * ((A @ x - b)' @ (A @ x - b)) + rho * (x' @ S @ x)": lambda d, x: d["rho"] * cp.sum_squares(fit(d, x))
    + d["rho"] * cp.quad_form(x, d["S"]),
    "sum(rho * tau * x[i]^2 for i in 0..n-1) - rho * sum(log(x + p)) + b' @ b": lambda d, x: d["rho"]
    * d["tau"]
    * cp.sum_squares(x)
    - d["rho"] * cp.sum(cp.log(x + d["p"]))
    + d["b"] @ d["b"],
    "trace(S) * norm2(x - p) + sum_squares(A @ x)": lambda d, x: np.trace(d["S"]) * cp.norm2(x - d["p"])
    + cp.sum_squares(d["A"] @ x),
    "sqrt(quad_form(p, S)) * sum_squares(x - p)": lambda d, x: np.sqrt(d["p"] @ d["S"] @ d["p"])
    * cp.sum_squares(x - d["p"]),
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
