"""Distributions, divergences and rates."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import torch
from torch import Generator, Tensor

from tests.conformance.cases import normal, uniform
from tests.conformance.convex.posed import dual, maximise, posed
from tests.conformance.references import Reference, minimise


def channel(generator: Generator, lead: tuple[int, ...]) -> Tensor:
    """A noisy channel of four outputs and three inputs."""
    raw = uniform(0.05, 0.25, 4, 3)(generator, lead)
    raw = raw + torch.eye(4, 3, dtype=torch.float64)
    return raw / raw.sum(-2, keepdim=True)


def surrounding(generator: Generator, lead: tuple[int, ...]) -> Tensor:
    """Five points on all sides of the origin of the plane, as columns: means near the origin are attained."""
    angles = torch.arange(5) * 2 * torch.pi / 5 + uniform(-0.3, 0.3, 5)(generator, lead)
    return torch.stack([angles.cos(), angles.sin()], -2) * uniform(0.6, 1.6, 1, 5)(generator, lead)


def mixing(generator: Generator, lead: tuple[int, ...]) -> Tensor:
    """Two positive rows whose columns span every ratio between a fourth and four."""
    extremes = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    return uniform(0.1, 0.25, 2, 4)(generator, lead) + extremes


@posed(F=surrounding, mu=uniform(-0.2, 0.2, 2))
def maximum_entropy(F: np.ndarray, mu: np.ndarray) -> Reference:
    p = cp.Variable(5)
    moments, total = F @ p == mu, cp.sum(p) == 1
    entropy = maximise(cp.sum(cp.entr(p)), [moments, total])
    duals = {"moments": dual(moments), "total": dual(total)}
    return {"p": p.value, "temperature": duals["moments"], "entropy": entropy}, duals


@posed(prior=uniform(0.1, 0.4, 5), loss=normal(5), bound=uniform(-0.5, -0.3))
def prior_entropy(prior: np.ndarray, loss: np.ndarray, bound: np.ndarray) -> Reference:
    p = cp.Variable(5)
    total, risk = cp.sum(p) == 1, loss @ p <= bound
    divergence = minimise(cp.sum(cp.rel_entr(p, prior)), [total, risk])
    duals = {"total": dual(total), "risk": dual(risk)}
    return {"p": p.value, "beta": duals["risk"], "divergence": divergence}, duals


@posed(A=mixing, a=uniform(1, 2, 2), ceiling=uniform(0.3, 1, 4), tilt=uniform(0.1, 0.5, 4))
def two_distributions(A: np.ndarray, a: np.ndarray, ceiling: np.ndarray, tilt: np.ndarray) -> Reference:
    p, q = cp.Variable(4), cp.Variable(4)
    moments = A @ p == a
    objective = cp.sum(cp.kl_div(p, q)) + tilt @ q + cp.sum_squares(q - ceiling) / 2
    divergence = minimise(objective, [moments])
    return {"p": p.value, "q": q.value, "divergence": divergence}, {"moments": dual(moments)}


@posed(P=channel)
def channel_capacity(P: np.ndarray) -> Reference:
    x = cp.Variable(3, nonneg=True)
    total = cp.sum(x) == 1
    rate = maximise((P * np.log(P)).sum(0) @ x + cp.sum(cp.entr(P @ x)), [total])
    return {"x": x.value, "rate": rate}, {"total": dual(total)}


@posed(A=normal(5, 3), b=normal(5), G=normal(4, 3, scale=0.7), h=uniform(-2, -1.6, 4))
def minimax_log_sum_exp(A: np.ndarray, b: np.ndarray, G: np.ndarray, h: np.ndarray) -> Reference:
    y = cp.Variable(3)
    posynomial = cp.log_sum_exp(G @ y + h) <= 0
    cost = minimise(cp.log_sum_exp(A @ y + b), [posynomial])
    return {"x": np.exp(y.value), "price": dual(posynomial), "log_cost": cost}, {"posynomial": dual(posynomial)}


@posed(noise=uniform(0.2, 1.5, 5), budget=uniform(1, 2))
def water_filling(noise: np.ndarray, budget: np.ndarray) -> Reference:
    power = cp.Variable(5, nonneg=True)
    total = cp.sum(power) == budget
    rate = maximise(cp.sum(cp.log(noise + power)), [total])
    return {"power": power.value, "level": dual(total), "rate": rate}, {"total": dual(total)}
