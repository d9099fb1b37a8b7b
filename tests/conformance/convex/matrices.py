"""Matrix variables: semidefinite relaxations, eigenvalues, singular values."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import torch
from torch import Generator, Tensor

from tests.conformance.cases import Draw, definite, normal, symmetric, uniform
from tests.conformance.convex.posed import dual, maximise, posed
from tests.conformance.references import Reference, minimise


def laplacian(n: int) -> Draw:
    """Laplacians of complete graphs with random weights."""

    def draw(generator: Generator, lead: tuple[int, ...]) -> Tensor:
        weights = uniform(0.1, 2, n, n)(generator, lead).triu(1)
        weights = weights + weights.mT
        return torch.diag_embed(weights.sum(-1)) - weights

    return draw


@posed(L=laplacian(4))
def max_cut(L: np.ndarray) -> Reference:
    X = cp.Variable((4, 4), symmetric=True)
    unit, definite_ = cp.diag(X) == 1, X >> 0
    bound = maximise(cp.trace(L @ X) / 4, [unit, definite_])
    return {"X": X.value, "price": dual(unit), "bound": bound}, {"unit": dual(unit), "definite": dual(definite_)}


@posed(C=symmetric(3), width=uniform(0.05, 0.1))
def nearest_psd(C: np.ndarray, width: np.ndarray) -> Reference:
    X = cp.Variable((3, 3), PSD=True)
    upper, lower = X[0, 1] <= width, X[0, 1] >= -width
    distance = minimise(cp.norm(X - C, "fro"), [upper, lower])
    pull = dual(upper) - dual(lower)
    return {"X": X.value, "pull": pull, "distance": distance}, {"band": pull}


@posed(S=definite(3), rho=uniform(0.1, 0.2))
def covariance_selection(S: np.ndarray, rho: np.ndarray) -> Reference:
    K = cp.Variable((3, 3), symmetric=True)
    loss = minimise(cp.trace(S @ K) - cp.log_det(K) + rho * cp.sum(cp.abs(K)))
    return {"K": K.value, "loss": loss}, {}


@posed(M=normal(3, 4, scale=2), seen=uniform(0.3, 1.2, 3, 4), noise=uniform(0.3, 0.6))
def matrix_completion(M: np.ndarray, seen: np.ndarray, noise: np.ndarray) -> Reference:
    X = cp.Variable((3, 4))
    observed = cp.norm(cp.multiply(seen, X - M), "fro") <= noise
    size = minimise(cp.normNuc(X), [observed])
    return {"X": X.value, "price": dual(observed), "size": size}, {"observed": dual(observed)}


@posed(A=normal(3, 3), B=symmetric(3), C=symmetric(3), rho=uniform(0.1, 0.3))
def lambda_max_minimisation(A: np.ndarray, B: np.ndarray, C: np.ndarray, rho: np.ndarray) -> Reference:
    x, top = cp.Variable(2), cp.Variable()
    below = top * np.eye(3) - (A + A.T) / 2 - x[0] * B - x[1] * C >> 0
    value = minimise(top + rho * cp.sum_squares(x), [below])
    return {"x": x.value, "top": value}, {}


@posed(B=normal(4, 3, scale=0.7), J=symmetric(3), rho=uniform(0.2, 0.4))
def fastest_mixing(B: np.ndarray, J: np.ndarray, rho: np.ndarray) -> Reference:
    w, bound = cp.Variable(4), cp.Variable()
    P = -(B.T @ cp.diag(w) @ B)
    P = (P + P.T) / 2
    upper, lower = bound * np.eye(3) - (P - J) >> 0, (P - J - 1) - (2 * rho - bound) * np.eye(3) >> 0
    rate = minimise(bound + rho * cp.sum_squares(w), [upper, lower])
    return {"w": w.value, "rate": rate}, {}


def stable(generator: Generator, lead: tuple[int, ...]) -> Tensor:
    return normal(3, 3, scale=0.4)(generator, lead) - 1.5 * torch.eye(3, dtype=torch.float64)


@posed(A=stable, Q=definite(3))
def lyapunov(A: np.ndarray, Q: np.ndarray) -> Reference:
    P = cp.Variable((3, 3), symmetric=True)
    decay = -(A.T @ P + P @ A) - Q >> 0
    energy = minimise(cp.trace(P), [decay])
    return {"P": P.value, "gramian": dual(decay), "energy": energy}, {"decay": dual(decay)}


@posed(S=definite(3), weight=uniform(1, 2, 3))
def educational_testing(S: np.ndarray, weight: np.ndarray) -> Reference:
    noise, E = cp.Variable(3), cp.Variable((3, 3), NSD=True)
    remains = S - cp.diag(noise) >> 0
    total = maximise(weight @ noise - cp.sum_squares(noise) - cp.sum_squares(E + S), [remains])
    return {"noise": noise.value, "E": E.value, "total": total}, {"remains": dual(remains)}
