"""Signals, images and paths."""

from __future__ import annotations

from itertools import pairwise

import cvxpy as cp
import numpy as np
import torch

from tests.conformance.cases import Draw, normal, uniform
from tests.conformance.convex.posed import dual, posed
from tests.conformance.references import Reference, minimise


@posed(A=normal(4, 6), b=normal(4, scale=2), noise=uniform(0.3, 0.6))
def lasso_in_a_ball(A: np.ndarray, b: np.ndarray, noise: np.ndarray) -> Reference:
    x = cp.Variable(6)
    fit = cp.norm(A @ x - b) <= noise
    size = minimise(cp.norm1(x), [fit])
    return {"x": x.value, "price": dual(fit), "size": size}, {"fit": dual(fit)}


@posed(y=normal(8), rho=uniform(0.3, 0.5))
def tv_denoising(y: np.ndarray, rho: np.ndarray) -> Reference:
    x = cp.Variable(8)
    minimise(cp.sum_squares(x - y) / 2 + rho * cp.sum(cp.abs(x[1:] - x[:-1])))
    return {"x": x.value}, {}


@posed(y=normal(7), rho=uniform(0.2, 0.4))
def trend_filter(y: np.ndarray, rho: np.ndarray) -> Reference:
    x = cp.Variable(7)
    minimise(cp.sum_squares(x - y) + rho * cp.norm1(x[2:] - 2 * x[1:-1] + x[:-2]))
    return {"x": x.value, "slope": x.value[6] - x.value[5]}, {}


@posed(y=normal(12), rho=uniform(0.4, 0.7))
def colour_denoising(y: np.ndarray, rho: np.ndarray) -> Reference:
    colours = cp.Variable((4, 3))
    jumps = cp.sum(cp.norm(colours[1:] - colours[:-1], 2, axis=1))
    energy = minimise(cp.sum_squares(colours - y.reshape(3, 4).T) / 2 + rho * jumps)
    return {"colours": colours.value, "energy": energy}, {}


BOXES = torch.tensor([[2.0, 0.0], [0.5, 2.0], [3.0, 1.5]], dtype=torch.float64)


def near_boxes(low: float, high: float) -> Draw:
    """Corners at random offsets from three places on the way."""
    return lambda generator, lead: uniform(low, high, 3, 2)(generator, lead) + BOXES


@posed(start=normal(2), goal=uniform(4, 5, 2), lo=near_boxes(-0.5, 0.5), hi=near_boxes(0.7, 1.2))
def corridor_path(start: np.ndarray, goal: np.ndarray, lo: np.ndarray, hi: np.ndarray) -> Reference:
    path = cp.Variable((3, 2))
    upper, lower = path <= hi, path >= lo
    stops = [start, *(path[t] for t in range(3)), goal]
    length = minimise(cp.sum([cp.norm(b - a) for a, b in pairwise(stops)]), [upper, lower])
    wall = dual(upper) - dual(lower)
    return {"P": path.value, "wall": wall, "length": length}, {"inside": wall}
