"""Regression and classification."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import torch

from tests.conformance.cases import definite, normal, uniform
from tests.conformance.convex.posed import dual, posed, signs
from tests.conformance.references import Reference, minimise


@posed(A=normal(12, 3), y=signs(12), rho=uniform(0.2, 0.5))
def logistic_regression(A: np.ndarray, y: np.ndarray, rho: np.ndarray) -> Reference:
    w, c = cp.Variable(3), cp.Variable()
    loss = minimise(cp.sum(cp.logistic(cp.multiply(-y, A @ w + c))) / 12 + rho / 2 * cp.sum_squares(w))
    return {"w": w.value, "c": c.value, "loss": loss}, {}


@posed(A=normal(8, 3), y=signs(8), C=uniform(0.4, 0.8))
def svm(A: np.ndarray, y: np.ndarray, C: np.ndarray) -> Reference:
    w, c = cp.Variable(3), cp.Variable()
    loss = minimise(cp.sum_squares(w) / 2 + C * cp.sum(cp.pos(1 - cp.multiply(y, A @ w + c))))
    return {"w": w.value, "c": c.value, "loss": loss}, {}


@posed(A=normal(8, 2), b=normal(8), tau=uniform(0.6, 0.8))
def quantile_regression(A: np.ndarray, b: np.ndarray, tau: np.ndarray) -> Reference:
    w = cp.Variable(2)
    over, under = cp.pos(b - A @ w), cp.pos(A @ w - b)
    loss = minimise(cp.sum(tau * over + (1 - tau) * under))
    return {"w": w.value, "loss": loss}, {}


@posed(A=normal(7, 3), b=normal(7, scale=2))
def huber_regression(A: np.ndarray, b: np.ndarray) -> Reference:
    w = cp.Variable(3)
    loss = minimise(cp.sum(cp.huber(A @ w - b, 0.5)) + cp.sum(cp.huber(w, 1)) / 10)
    return {"w": w.value, "loss": loss}, {}


@posed(A=normal(6, 2), B=normal(6, 3), b=normal(6, scale=2), rho=uniform(0.8, 1.2))
def group_lasso(A: np.ndarray, B: np.ndarray, b: np.ndarray, rho: np.ndarray) -> Reference:
    W = cp.Variable((3, 2))
    fit = cp.sum(cp.multiply(B, A @ W.T), axis=1)
    loss = minimise(cp.sum_squares(fit - b) / 2 + rho * cp.sum(cp.norm(W, 2, axis=1)))
    return {"W": W.value, "loss": loss}, {}


@posed(A=normal(8, 3, scale=0.5), y=uniform(0, 3, 8), rho=uniform(0.2, 0.4))
def poisson_regression(A: np.ndarray, y: np.ndarray, rho: np.ndarray) -> Reference:
    w = cp.Variable(3)
    loss = minimise(cp.sum(cp.exp(A @ w)) - y @ (A @ w) + rho * cp.sum_squares(w))
    return {"w": w.value, "loss": loss}, {}


@posed(A=normal(6, 2), b=normal(6))
def chebyshev_fit(A: np.ndarray, b: np.ndarray) -> Reference:
    x, error = cp.Variable(2), cp.Variable()
    minimise(error, [A @ x - b <= error, b - A @ x <= error])
    return {"x": x.value, "error": error.value}, {}


@posed(A=normal(6, 3), b=normal(6), rho=uniform(0.3, 0.6))
def robust_least_squares(A: np.ndarray, b: np.ndarray, rho: np.ndarray) -> Reference:
    x = cp.Variable(3)
    error = minimise(cp.norm(A @ x - b) + rho * cp.norm(x))
    return {"x": x.value, "error": error}, {}


@posed(y=normal(6), weight=uniform(0.5, 1.5, 6))
def isotonic_regression(y: np.ndarray, weight: np.ndarray) -> Reference:
    x = cp.Variable(6)
    increasing = x[1:] - x[:-1] >= 0
    minimise(cp.sum(cp.multiply(weight, (x - y) ** 2)), [increasing])
    return {"x": x.value, "pull": dual(increasing)}, {"increasing": dual(increasing)}


@posed(A=normal(4, 3), B=normal(4, 3))
def symmetric_procrustes(A: np.ndarray, B: np.ndarray) -> Reference:
    X = cp.Variable((3, 3), symmetric=True)
    mass = cp.trace(X) <= 1
    minimise(cp.sum_squares(A @ X - B), [mass])
    return {"X": X.value, "price": dual(mass)}, {"mass": dual(mass)}


@posed(M=normal(4, 3), u=normal(4), v=normal(3))
def two_way_table(M: np.ndarray, u: np.ndarray, v: np.ndarray) -> Reference:
    r, c = cp.Variable(4), cp.Variable(3, nonpos=True)
    fitted = r[:, None] @ v[None, :] + u[:, None] @ c[None, :]
    minimise(cp.sum_squares(M - fitted) + (cp.sum_squares(r) + cp.sum_squares(c)) / 10)
    return {"r": r.value, "c": c.value, "fitted": fitted.value}, {}


@posed(A=normal(5, 3), b=normal(5), Sigma=definite(5), Prior=definite(3))
def whitened_regression(A: np.ndarray, b: np.ndarray, Sigma: np.ndarray, Prior: np.ndarray) -> Reference:
    x = cp.Variable(3)
    total = cp.sum(x) == 1
    white = np.linalg.inv(np.linalg.cholesky(Sigma))
    prior = np.linalg.det(Prior) * cp.norm(np.linalg.cholesky(Prior).T @ x)
    loss = minimise(cp.sum_squares(white @ A @ x - white @ b) + prior, [total])
    return {"x": x.value, "nu": dual(total), "loss": loss}, {"total": dual(total)}


@posed(A=normal(8, 3), y=signs(8), rho=uniform(0.4, 0.8))
def squared_hinge(A: np.ndarray, y: np.ndarray, rho: np.ndarray) -> Reference:
    w, violation = cp.Variable(3), cp.Variable(8, nonneg=True)
    loss = minimise(cp.sum_squares(violation) + rho * cp.norm1(w), [violation >= 1 - cp.multiply(y, A @ w)])
    return {"w": w.value, "loss": loss}, {}


@posed(seed=2, A=normal(10, 4), y=signs(10), keywords=lambda: {"lasso": torch.tensor(0.9, dtype=torch.float64)})
def sparse_logistic(A: np.ndarray, y: np.ndarray, lasso: np.ndarray) -> Reference:
    w = cp.Variable(4)
    minimise(cp.sum(cp.logistic(cp.multiply(-y, A @ w))) + lasso * cp.norm1(w))
    return {"w": w.value}, {}


@posed(J=normal(5, 3), r=normal(5, scale=2), M=definite(3), radius=uniform(0.4, 0.6))
def trust_region(J: np.ndarray, r: np.ndarray, M: np.ndarray, radius: np.ndarray) -> Reference:
    step = cp.Variable(3)
    region, first = cp.quad_form(step, M) / 2 <= radius**2, cp.norm_inf(step) <= 2 * radius
    left = minimise(cp.sum_squares(J @ step + r) / 2, [region, first])
    return {"step": step.value, "damping": dual(region), "left": left}, {"region": dual(region), "first": dual(first)}
