"""Control, scheduling and design."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import nn

from tests.conformance.cases import normal, uniform
from tests.conformance.convex.posed import dual, family, maximise, posed, two_sided
from tests.conformance.references import Reference, minimise


@posed(
    seed=4,
    x0=normal(2, scale=2),
    A=normal(2, 2, scale=0.7),
    B=normal(2, 2),
    lo=uniform(-0.8, -0.4, 2),
    hi=uniform(0.3, 0.7, 2),
    weight=uniform(0.5, 1.5, 2),
)
def mpc_boxes(
    x0: np.ndarray, A: np.ndarray, B: np.ndarray, lo: np.ndarray, hi: np.ndarray, weight: np.ndarray
) -> Reference:
    x, u = cp.Variable((5, 2)), cp.Variable((4, 2))
    start = x[0] == x0
    dynamics = [x[t + 1] == A @ x[t] + B @ u[t] for t in range(4)]
    upper, lower = [u[t] <= hi for t in range(4)], [u[t] >= lo for t in range(4)]
    rising, falling = [u[t + 1] - u[t] <= 0.6 for t in range(3)], [u[t + 1] - u[t] >= -0.6 for t in range(3)]
    objective = cp.sum([weight @ cp.square(x[t]) for t in range(1, 5)]) + cp.sum_squares(u) / 2
    cost = minimise(objective, [start, *dynamics, *upper, *lower, *rising, *falling])
    duals = {
        "start": dual(start),
        "dynamics": family(dynamics),
        "limits": two_sided(upper, lower),
        "slew": two_sided(rising, falling),
    }
    return {"action": u.value[0], "x": x.value, "costate": duals["start"], "cost": cost}, duals


@posed(A=normal(2, 2, scale=0.7), b=normal(2), x0=normal(2), target=normal(2))
def minimum_fuel(A: np.ndarray, b: np.ndarray, x0: np.ndarray, target: np.ndarray) -> Reference:
    x, u = cp.Variable((6, 2)), cp.Variable(5)
    dynamics, arrive = [x[t + 1] == A @ x[t] + b * u[t] for t in range(5)], x[5] == target
    fuel = minimise(cp.norm1(u) + cp.sum_squares(u) / 4, [x[0] == x0, *dynamics, arrive])
    duals = {"dynamics": family(dynamics), "arrive": dual(arrive)}
    return {"u": u.value, "costate": duals["arrive"], "fuel": fuel}, duals


@posed(drag=uniform(0.2, 0.5), goal=uniform(1, 2), jerk=normal(5))
def minimum_peak(drag: np.ndarray, goal: np.ndarray, jerk: np.ndarray) -> Reference:
    force = cp.Variable(5)
    speed = np.tril(np.ones((5, 5))) @ (force - drag * jerk)
    arrive, rest = cp.sum(speed) == goal, speed[4] == 0
    peak = minimise(cp.max(cp.abs(force)) + cp.sum_squares(force) / 10, [arrive, rest])
    duals = {"arrive": dual(arrive), "rest": dual(rest)}
    return {"force": force.value, "speed": speed.value, "price": duals["arrive"], "peak": peak}, duals


@posed(
    seed=4,
    demand=uniform(1.2, 1.8, 3),
    least=uniform(0.8, 1, 2),
    most=uniform(1.2, 1.6, 2),
    cost=uniform(0.3, 3, 2),
    standing=uniform(0.2, 0.6, 2),
    ramp=uniform(0.3, 0.4),
)
def unit_commitment(
    demand: np.ndarray, least: np.ndarray, most: np.ndarray, cost: np.ndarray, standing: np.ndarray, ramp: np.ndarray
) -> Reference:
    p, on = cp.Variable((3, 2)), cp.Variable((3, 2))
    balance = cp.sum(p, axis=1) == demand
    lower, upper = on @ np.diag(least) <= p, p <= on @ np.diag(most)
    whole, spinning = on <= 1, on >= 0.5
    ramps = cp.abs(p[1:] - p[:-1]) <= ramp
    objective = cp.sum(cp.square(p) @ cost) + cp.sum(on @ standing) + cp.sum_squares(on) / 10
    value = minimise(objective, [balance, lower, upper, whole, spinning, ramps])
    duals = {
        "balance": dual(balance),
        "lower": dual(lower),
        "upper": dual(upper),
        "share": dual(whole) - dual(spinning),
        "ramps": dual(ramps),
    }
    return {"p": p.value, "on": on.value, "price": duals["balance"], "cost_of_day": value}, duals


@posed(price=uniform(0.5, 3, 5), capacity=uniform(1, 1.5), power=uniform(0.4, 0.5), wear=uniform(0.2, 0.4))
def battery(price: np.ndarray, capacity: np.ndarray, power: np.ndarray, wear: np.ndarray) -> Reference:
    charge, draw = cp.Variable(5, nonneg=True), cp.Variable(5, nonneg=True)
    stored = capacity / 2 + np.tril(np.ones((5, 5))) @ (0.9 * charge - draw)
    full, empty = stored <= capacity, stored >= 0
    rated = [charge <= power, draw <= power]
    cycle = stored[4] >= capacity / 2
    objective = price @ (charge - draw) + wear * (cp.sum_squares(charge) + cp.sum_squares(draw))
    bill = minimise(objective, [full, empty, *rated, cycle])
    # The multiplier of a maximum is the sum of those of its arguments.
    duals = {"level": dual(full) - dual(empty), "rated": dual(rated[0]) + dual(rated[1]), "cycle": dual(cycle)}
    return {"stored": stored.value, "scarcity": duals["level"], "bill": bill}, duals


@posed(length=uniform(0.5, 1.5, 4), haste=uniform(0.2, 0.5), latest=uniform(3, 4))
def voyage(length: np.ndarray, haste: np.ndarray, latest: np.ndarray) -> Reference:
    time = cp.Variable(4)
    arrival = cp.sum(time) <= latest
    objective = length**2 @ cp.inv_pos(time) + haste * cp.sum(cp.inv_pos(time)) + cp.sum(cp.power(time, -2)) / 10
    fuel = minimise(objective, [arrival])
    return {"time": time.value, "price": dual(arrival), "fuel": fuel}, {"arrival": dual(arrival)}


@posed(B=normal(4, 2), load=normal(4, scale=2), price=uniform(0.3, 0.6))
def elastic_supports(B: np.ndarray, load: np.ndarray, price: np.ndarray) -> Reference:
    x, stiffness = cp.Variable(2), cp.Variable()
    quartic = cp.sum(cp.power(x, 4)) / 4
    carried = cp.quad_over_lin(B @ x - load, stiffness)
    cost = minimise(carried + price * cp.power(stiffness, 3) + quartic + cp.sum_squares(x) / 10)
    return {"x": x.value, "stiffness": stiffness.value, "cost": cost}, {}


@posed(
    amplitude=uniform(1, 2),
    phase=uniform(0.3, 0.8),
    raw_low=uniform(-0.5, 0.5),
    raw_high=uniform(-0.5, 0.5),
    scale=uniform(-0.5, 0.5),
)
def seasonal_reference(
    amplitude: np.ndarray, phase: np.ndarray, raw_low: np.ndarray, raw_high: np.ndarray, scale: np.ndarray
) -> Reference:
    u, t = cp.Variable(6), np.arange(6)
    wave = amplitude * np.sin(0.9 * t + phase) + np.cos(t * phase)
    squashed = float(torch.special.erf(torch.tensor(float(scale), dtype=torch.float64)))
    low = -np.log1p(np.exp(raw_low)) / (1 + np.exp(-scale))
    high = np.log1p(np.exp(raw_high)) * (1 + squashed) + np.tanh(scale) ** 2
    upper, lower = u <= high, u >= low
    misfit = minimise(cp.sum_squares(u - wave) + cp.sum_squares(u[1:] - u[:-1]) / 3, [upper, lower])
    push = dual(upper) - dual(lower)
    return {"u": u.value, "push": push, "misfit": misfit}, {"band": push}


def owned() -> dict[str, Any]:
    """A network for the costs, learned preferences and a constant."""
    torch.manual_seed(3)
    predict = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3))
    taste, drop = torch.tensor([0.4, 1.0, 0.7]), torch.tensor([-0.1, 0.0, -0.3])
    return {"predict": predict.double(), "taste": taste.double(), "drop": drop.double()}


def diagonal(generator: torch.Generator, lead: tuple[int, ...]) -> torch.Tensor:
    return torch.diag_embed(uniform(0.3, 1, 3)(generator, lead))


@posed(z=normal(2), D=diagonal, keywords=owned)
def predict_then_optimise(
    z: np.ndarray, D: np.ndarray, predict: nn.Module, taste: np.ndarray, drop: np.ndarray
) -> Reference:
    x = cp.Variable(3)
    with torch.no_grad():
        cost = predict(torch.as_tensor(z)).numpy()
    N = np.array([[-1, 0.2, 0], [0.2, -1, 0], [0, 0, -0.5]])
    budget = cp.sum(x) == 1
    maximise((taste - cost + drop) @ x + cp.quad_form(x, N) - cp.sum_squares(D @ x), [budget, x >= 0])
    return {"x": x.value, "price": dual(budget)}, {"budget": dual(budget)}


@posed(load=uniform(0, 3, 5), reach=uniform(0.4, 0.6), taper=uniform(0.1, 0.2))
def peak_shaving(load: np.ndarray, reach: np.ndarray, taper: np.ndarray) -> Reference:
    shift = cp.Variable(5)
    kept, upper, lower = cp.sum(shift) == 0, shift <= reach, shift >= -reach
    fading = cp.sum_squares(cp.diff(shift)) + cp.square(shift[0]) + cp.square(shift[4])
    peak = minimise(cp.max(load + shift) + taper * fading, [kept, upper, lower])
    duals = {"kept": dual(kept), "range": dual(upper) - dual(lower)}
    return {"served": load + shift.value, "regret": duals["range"], "peak": peak}, duals
