"""The sample programs solved by other means: by hand in cvxpy, in closed form, by plain gradient descent.

A reference takes the parameters of one instance and returns its outputs and its duals, by name. Duals are converted
here to the language's convention: every problem is stated as a minimisation, an equality's dual is the nu of
L = f + nu'(lhs - rhs), and a two-sided constraint is two of cvxpy's, of which the lower one counts negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cvxpy as cp
import numpy as np
import torch

Values = dict[str, np.ndarray]
Reference = tuple[Values, Values]

ACCURACY = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas", "tol_ktratio"), 1e-11)


def minimise(objective: cp.Expression, constraints: Sequence[Any] = ()) -> float:
    """Solve with Clarabel well beyond the accuracy that is asked of a layer; the optimal value."""
    problem = cp.Problem(cp.Minimize(objective), list(constraints))
    problem.solve(solver=cp.CLARABEL, **ACCURACY)
    assert problem.status in ("optimal", "optimal_inaccurate"), problem.status
    return float(problem.value)


def softmax(x: np.ndarray) -> Reference:
    total = np.exp(x).sum()
    return {"y": np.exp(x) / total}, {"simplex": np.log(total) - 1}


def sparsemax(x: np.ndarray) -> Reference:
    y = cp.Variable(x.shape)
    simplex = cp.sum(y) == 1
    minimise(cp.sum_squares(y - x), [simplex, y >= 0])
    return {"y": y.value}, {"simplex": simplex.dual_value}


def optnet_qp(Q: np.ndarray, q: np.ndarray, A: np.ndarray, b: np.ndarray, G: np.ndarray, h: np.ndarray) -> Reference:
    z = cp.Variable(q.shape)
    eq, ineq = A @ z == b, G @ z <= h
    minimise(cp.quad_form(z, Q) / 2 + q @ z, [eq, ineq])
    duals = {"eq": eq.dual_value, "ineq": ineq.dual_value}
    return {"z": z.value, "nu": duals["eq"], "lam": duals["ineq"]}, duals


def elastic_net(A: np.ndarray, b: np.ndarray, lasso: np.ndarray, ridge: np.ndarray) -> Reference:
    w = cp.Variable(A.shape[1])
    minimise(cp.sum_squares(A @ w - b) / 2 + lasso * cp.norm1(w) + ridge / 2 * cp.sum_squares(w))
    return {"w": w.value}, {}


def portfolio(mu: np.ndarray, F: np.ndarray, d: np.ndarray, sigma_max: np.ndarray, cap: np.ndarray) -> Reference:
    w = cp.Variable(mu.shape)
    risk = cp.norm2(cp.hstack([F @ w, cp.multiply(d, w)])) <= sigma_max
    budget, long, capped = cp.sum(w) == 1, w >= 0, w <= cap
    minimise(-mu @ w, [risk, budget, long, capped])
    duals = {"risk": risk.dual_value, "budget": budget.dual_value, "box": capped.dual_value - long.dual_value}
    return {"w": w.value, "price_of_risk": duals["risk"]}, duals


def mpc(
    x0: np.ndarray, A: np.ndarray, B: np.ndarray, Q: np.ndarray, R: np.ndarray, u_max: np.ndarray, T: int
) -> Reference:
    x, u = cp.Variable((T + 1, A.shape[0])), cp.Variable((T, B.shape[1]))
    start = x[0] == x0
    dynamics = [x[t + 1] == A @ x[t] + B @ u[t] for t in range(T)]
    upper, lower = [u[t] <= u_max for t in range(T)], [u[t] >= -u_max for t in range(T)]
    slew = [cp.norm_inf(u[t + 1] - u[t]) <= u_max / 4 for t in range(T - 1)]
    states = [cp.quad_form(x[t], Q) for t in range(1, T + 1)]
    minimise(
        cp.sum(states) + cp.sum([cp.quad_form(u[t], R) for t in range(T)]), [start, *dynamics, *upper, *lower, *slew]
    )
    duals = {
        "start": start.dual_value,
        "dynamics": np.stack([c.dual_value for c in dynamics]),
        "limits": np.stack([a.dual_value - b.dual_value for a, b in zip(upper, lower, strict=True)]),
        "slew": np.stack([c.dual_value for c in slew]).reshape(T - 1),
    }
    return {"action": u.value[0], "x": x.value}, duals


def budget_softmax(x: np.ndarray, cost: np.ndarray, limit: np.ndarray) -> Reference:
    y = cp.Variable(x.shape)
    simplex, budget = cp.sum(y) == 1, cost @ y <= limit
    minimise(-x @ y - cp.sum(cp.entr(y)), [simplex, budget])
    duals = {"simplex": simplex.dual_value, "budget": budget.dual_value}
    return {"y": y.value, "price": duals["budget"]}, duals


def low_rank(M: np.ndarray, tau: np.ndarray) -> Reference:
    left, singular, right = np.linalg.svd(M, full_matrices=False)
    return {"X": left @ np.diag(np.maximum(singular - tau, 0)) @ right}, {}


def nearest_correlation(C: np.ndarray) -> Reference:
    X = cp.Variable(C.shape, symmetric=True)
    definite, unit = X >> 0, cp.diag(X) == 1
    minimise(cp.sum_squares(X - C), [definite, unit])
    return {"X": X.value}, {"definite": definite.dual_value, "unit": unit.dual_value}


def circle(x: np.ndarray, y0: np.ndarray) -> Reference:
    return {"y": np.sign(y0) * np.sqrt(1 - x**2)}, {}


def savi(
    x: np.ndarray,
    mu0: np.ndarray,
    logvar0: np.ndarray,
    noise: np.ndarray,
    gamma: np.ndarray,
    rho: np.ndarray,
    decode: torch.nn.Module,
    steps: int = 400,
) -> Reference:
    """Gradient descent with a fixed step, long enough to stand still."""
    observed, first_mu, first_logvar, draw = (torch.as_tensor(v) for v in (x, mu0, logvar0, noise))
    mu, logvar = first_mu.clone().requires_grad_(), first_logvar.clone().requires_grad_()
    for _ in range(steps):
        error = observed - decode(mu + torch.exp(logvar / 2) * draw)
        kl = (mu**2 + torch.exp(logvar) - logvar - 1).sum() / 2
        tie = ((mu - first_mu) ** 2).sum() + ((logvar - first_logvar) ** 2).sum()
        loss = (error**2).sum() / (2 * float(gamma)) + kl + float(rho) / 2 * tie
        slope = torch.autograd.grad(loss, (mu, logvar))
        with torch.no_grad():
            mu -= 0.15 * slope[0]
            logvar -= 0.15 * slope[1]
    assert max(float(s.abs().max()) for s in slope) < 1e-9
    return {"mu": mu.detach().numpy(), "logvar": logvar.detach().numpy()}, {}
