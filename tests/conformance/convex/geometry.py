"""Balls, ellipsoids, centres and distances."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import torch
from torch import Generator, Tensor

from tests.conformance.cases import Draw, normal, uniform
from tests.conformance.convex.posed import dual, family, maximise, posed
from tests.conformance.references import Reference, minimise


def around(m: int) -> Draw:
    """Normals that point in all directions of the plane: the polyhedron is bounded."""

    def draw(generator: Generator, lead: tuple[int, ...]) -> Tensor:
        angles = torch.arange(m) * 2 * torch.pi / m + uniform(-0.25, 0.25, m)(generator, lead)
        return torch.stack([angles.cos(), angles.sin()], -1) * uniform(0.7, 1.4, m, 1)(generator, lead)

    return draw


@posed(A=around(6), b=uniform(0.8, 1.6, 6))
def chebyshev_centre(A: np.ndarray, b: np.ndarray) -> Reference:
    x, r = cp.Variable(2), cp.Variable()
    inside = A @ x + np.linalg.norm(A, axis=1) * r <= b
    maximise(r, [inside])
    return {"x": x.value, "r": r.value, "touching": dual(inside)}, {"inside": dual(inside)}


@posed(P=normal(6, 2))
def enclosing_ball(P: np.ndarray) -> Reference:
    centre, radius = cp.Variable(2), cp.Variable()
    inside = [cp.norm(centre - p) <= radius for p in P]
    minimise(radius, inside)
    return {"centre": centre.value, "radius": radius.value, "support": family(inside)}, {"around": family(inside)}


@posed(A=around(5), b=uniform(0.8, 1.6, 5))
def inscribed_ellipsoid(A: np.ndarray, b: np.ndarray) -> Reference:
    B, d = cp.Variable((2, 2), PSD=True), cp.Variable(2)
    inside = [cp.norm(B @ A[i]) + A[i] @ d <= b[i] for i in range(5)]
    volume = maximise(cp.log_det(B), inside)
    return {"B": B.value, "d": d.value, "log_volume": volume}, {"inside": family(inside)}


@posed(V=normal(5, 2))
def d_optimal_design(V: np.ndarray) -> Reference:
    effort = cp.Variable(5, nonneg=True)
    budget = cp.sum(effort) == 1
    information = maximise(cp.log_det(V.T @ cp.diag(effort) @ V), [budget])
    return {"effort": effort.value, "price": dual(budget), "information": information}, {"budget": dual(budget)}


@posed(A=around(6), b=uniform(0.8, 1.6, 6))
def analytic_centre(A: np.ndarray, b: np.ndarray) -> Reference:
    x = cp.Variable(2)
    maximise(cp.sum(cp.log(b - A @ x)))
    return {"x": x.value, "slack": b - A @ x.value}, {}


@posed(seed=2, P=normal(5, 3), weight=uniform(0.5, 1.5, 5), a=normal(3), c=uniform(-1, -0.6))
def geometric_median(P: np.ndarray, weight: np.ndarray, a: np.ndarray, c: np.ndarray) -> Reference:
    x = cp.Variable(3)
    side = a @ x <= c
    distance = minimise(cp.sum([w * cp.norm(x - p) for w, p in zip(weight, P, strict=True)]), [side])
    return {"x": x.value, "price": dual(side), "distance": distance}, {"side": dual(side)}


@posed(
    A=around(5),
    b=uniform(0.8, 1.2, 5),
    C=around(4),
    d=uniform(-1, -0.7, 4),
    offset=uniform(4, 4.5, 2),
)
def distance_of_polyhedra(A: np.ndarray, b: np.ndarray, C: np.ndarray, d: np.ndarray, offset: np.ndarray) -> Reference:
    x, y = cp.Variable(2), cp.Variable(2)
    first, second = A @ x <= b, C @ (y - offset) >= d
    distance = minimise(cp.norm(x - y), [first, second])
    duals = {"first": dual(first), "second": dual(second)}
    return {"x": x.value, "y": y.value, "pressure": duals["first"], "distance": distance}, duals
