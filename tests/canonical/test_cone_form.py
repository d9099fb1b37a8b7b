"""The cone form of the sample programs against cvxpy or a closed form: variables, duals and value, at random data."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

from tests.canonical.cone_oracle import Case, Data, Expected, check, psd_matrix, solve_by_hand


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
