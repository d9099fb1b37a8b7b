"""Portfolios, bets and markets."""

from __future__ import annotations

import cvxpy as cp
import numpy as np

from tests.conformance.cases import definite, normal, uniform
from tests.conformance.convex.posed import dual, family, maximise, posed
from tests.conformance.references import Reference, minimise


@posed(R=uniform(0.3, 2, 6, 3), p=uniform(0.1, 0.3, 6))
def kelly_betting(R: np.ndarray, p: np.ndarray) -> Reference:
    x = cp.Variable(3, nonneg=True)
    wealth = cp.sum(x) == 1
    growth = maximise(p @ cp.log(R @ x), [wealth])
    return {"x": x.value, "price": dual(wealth), "growth": growth}, {"wealth": dual(wealth)}


@posed(R=uniform(0.3, 2, 5, 4), cap=uniform(0.35, 0.45))
def geometric_mean_portfolio(R: np.ndarray, cap: np.ndarray) -> Reference:
    w = cp.Variable(4)
    budget, long, capped = cp.sum(w) == 1, w >= 0, w <= cap
    # The geometric mean and the mean of logarithms have one maximiser; the duals differ by the derivative of exp.
    mean = np.exp(maximise(cp.sum(cp.log(R @ w)) / 5, [budget, long, capped]))
    duals = {"budget": mean * dual(budget), "box": mean * (dual(capped) - dual(long))}
    return {"w": w.value, "price": duals["box"], "mean_return": mean}, duals


@posed(
    F=normal(4, 2),
    Omega=definite(2),
    d=uniform(0.3, 0.6, 4),
    mu=uniform(0, 1, 4),
    target=uniform(0.5, 0.6),
    held=uniform(0, 0.5, 4),
    fee=uniform(0.05, 0.1),
)
def factor_model(
    F: np.ndarray,
    Omega: np.ndarray,
    d: np.ndarray,
    mu: np.ndarray,
    target: np.ndarray,
    held: np.ndarray,
    fee: np.ndarray,
) -> Reference:
    w = cp.Variable(4)
    exposure = F.T @ w
    budget, reward = cp.sum(w) == 1, mu @ w >= target
    upper, lower = exposure <= 0.5, exposure >= -0.5
    variance = cp.quad_form(w, F @ Omega @ F.T + np.diag(d**2))
    risk = minimise(variance + fee * cp.norm1(w - held), [budget, reward, upper, lower])
    duals = {"budget": dual(budget), "reward": dual(reward), "limit": dual(upper) - dual(lower)}
    return {"w": w.value, "price": duals["reward"], "risk": risk}, duals


@posed(mu=normal(3), Sigma=definite(3), impact=uniform(0.2, 0.5, 3), aversion=uniform(0.5, 1))
def market_impact(mu: np.ndarray, Sigma: np.ndarray, impact: np.ndarray, aversion: np.ndarray) -> Reference:
    trade = cp.Variable(3)
    costs = impact @ cp.power(cp.abs(trade), 1.5)
    utility = maximise(mu @ trade - aversion * cp.quad_form(trade, Sigma) - costs)
    return {"trade": trade.value, "utility": utility}, {}


@posed(Sigma=definite(4), share=uniform(0.1, 0.5, 4))
def risk_parity(Sigma: np.ndarray, share: np.ndarray) -> Reference:
    w = cp.Variable(4)
    potential = minimise(cp.quad_form(w, Sigma) / 2 - share @ cp.log(w))
    return {"weights": w.value / share.sum(), "potential": potential}, {}


@posed(R=normal(8, 3), tail=uniform(3.2, 3.6))
def conditional_value_at_risk(R: np.ndarray, tail: np.ndarray) -> Reference:
    w, level = cp.Variable(3), cp.Variable()
    budget, long = cp.sum(w) == 1, w >= 0
    excess = cp.sum(cp.pos(-R @ w - level)) / 8
    risk = minimise(level + tail * excess + cp.sum_squares(w) / 10, [budget, long])
    duals = {"budget": dual(budget), "long": dual(long)}
    return {"w": w.value, "level": level.value, "regret": duals["long"], "risk": risk}, duals


@posed(seed=2, R=normal(5, 3), floor=normal(3), bonus=uniform(-0.2, 0.2))
def maximin_return(R: np.ndarray, floor: np.ndarray, bonus: np.ndarray) -> Reference:
    w, least, second = cp.Variable(3), cp.Variable(), cp.Variable()
    budget = cp.sum(w) == 1
    bounds = [least <= R @ w, least <= 0.2, second <= floor @ w, second <= bonus]
    worst = maximise(least + second - cp.sum_squares(w) / 2, [budget, *bounds])
    return {"w": w.value, "worst": worst}, {"budget": dual(budget)}


@posed(utility=uniform(0.3, 2, 2, 3), budget=uniform(0.5, 1.5, 2), amount=uniform(1, 2, 3))
def fisher_market(utility: np.ndarray, budget: np.ndarray, amount: np.ndarray) -> Reference:
    X = cp.Variable((2, 3), nonneg=True)
    clear = cp.sum(X, axis=0) == amount
    welfare = maximise(budget @ cp.log(cp.sum(cp.multiply(utility, cp.sqrt(X)), axis=1)), [clear])
    return {"X": X.value, "price": dual(clear), "welfare": welfare}, {"clear": dual(clear)}


@posed(gain=uniform(0.5, 2, 3), budget=uniform(1.5, 2))
def resource_allocation(gain: np.ndarray, budget: np.ndarray) -> Reference:
    x, y = cp.Variable(3), cp.Variable(3)
    both, order = cp.sum(x) + cp.sum(y) <= budget, x[1:] >= y[:-1]
    objective = gain @ cp.sqrt(x) + 2 * cp.sum(cp.power(y, 0.3)) - cp.sum_squares(y)
    welfare = maximise(objective, [both, order])
    duals = {"budget_of_both": dual(both), "order": dual(order)}
    return {"x": x.value, "y": y.value, "price": dual(both), "rank": dual(order), "welfare": welfare}, duals


@posed(cost=uniform(1, 3, 2, 3), supply=uniform(3, 3.5, 2), demand=uniform(1.5, 1.9, 3))
def transport(cost: np.ndarray, supply: np.ndarray, demand: np.ndarray) -> Reference:
    X = cp.Variable((2, 3), nonneg=True)
    leave = [cp.sum(X[i]) <= supply[i] for i in range(2)]
    arrive = [cp.sum(X[:, j]) >= demand[j] for j in range(3)]
    freight = minimise(cp.sum(cp.multiply(cost, X)), [*leave, *arrive])
    duals = {"leave": family(leave), "arrive": family(arrive)}
    return {"X": X.value, "price": duals["arrive"], "freight": freight}, duals
