"""Sign and curvature of composed expressions are those that cvxpy finds: each is written once and built in both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cvxpy as cp
import pytest

import declarative.builder as dl
from declarative.ir.curvature import Curvature, Sign

COMPOSED: tuple[Callable[..., Any], ...] = (
    lambda f, x, y, p, c: f.square(x - y) + f.abs(c[0] * x),
    lambda f, x, y, p, c: f.sqrt(p) * f.norm1(x),
    lambda f, x, y, p, c: c[0] * f.norm1(x),
    lambda f, x, y, p, c: -p[0] * f.square(x),
    lambda f, x, y, p, c: f.square(f.square(x)),
    lambda f, x, y, p, c: f.square(f.square(x) - 1),
    lambda f, x, y, p, c: f.square(f.entr(x)),
    lambda f, x, y, p, c: f.exp(f.abs(x)),
    lambda f, x, y, p, c: f.exp(-f.sqrt(x)),
    lambda f, x, y, p, c: f.exp(f.sqrt(x)),
    lambda f, x, y, p, c: f.sqrt(f.square(x)),
    lambda f, x, y, p, c: f.log(f.sqrt(x) + f.entr(y)),
    lambda f, x, y, p, c: f.log(1 + f.exp(x)),
    lambda f, x, y, p, c: f.log_sum_exp(f.square(x) + y),
    lambda f, x, y, p, c: f.logistic(-f.log(x)),
    lambda f, x, y, p, c: f.maximum(f.square(x), y, p),
    lambda f, x, y, p, c: f.minimum(f.sqrt(x), y),
    lambda f, x, y, p, c: f.minimum(f.square(x), y),
    lambda f, x, y, p, c: f.max(x) - f.min(y),
    lambda f, x, y, p, c: f.power(x, 1.5),
    lambda f, x, y, p, c: f.power(f.square(x), 1.5),
    lambda f, x, y, p, c: f.power(x, 0.5) + f.power(y, -0.5) * -1,
    lambda f, x, y, p, c: f.inv_pos(f.sqrt(x)),
    lambda f, x, y, p, c: f.inv_pos(f.square(x)),
    lambda f, x, y, p, c: f.quad_over_lin(x, f.sum(f.sqrt(y))),
    lambda f, x, y, p, c: f.quad_over_lin(x, f.sum(f.square(y))),
    lambda f, x, y, p, c: f.quad_over_lin(f.pos(x), 2.0),
    lambda f, x, y, p, c: f.norm1(f.pos(x)) + f.norm_inf(f.square(y)),
    lambda f, x, y, p, c: f.norm1(f.square(x) - y),
    lambda f, x, y, p, c: f.norm2(f.maximum(x, 0)),
    lambda f, x, y, p, c: f.sum(f.huber(f.pos(x), 2)),
    lambda f, x, y, p, c: f.sum(f.rel_entr(x, f.sqrt(y))),
    lambda f, x, y, p, c: f.sum(f.rel_entr(f.square(x), y)),
    lambda f, x, y, p, c: f.sum(f.kl_div(x, p)),
    lambda f, x, y, p, c: f.geo_mean(f.sqrt(x)),
    lambda f, x, y, p, c: f.square(x) / 2 - f.sqrt(y) / p,
    lambda f, x, y, p, c: f.square(x) / -2,
    lambda f, x, y, p, c: c @ f.square(x),
    lambda f, x, y, p, c: p @ f.square(x),
    lambda f, x, y, p, c: p @ x + c @ y,
    lambda f, x, y, p, c: f.tv(x) + f.sum(f.cumsum(f.square(y))),
    lambda f, x, y, p, c: f.sum(f.diff(f.square(x))),
    lambda f, x, y, p, c: f.lambda_max(f.diag(x)) - f.lambda_min(f.diag(y)),
    lambda f, x, y, p, c: f.trace(f.outer(p, f.square(x))),
    lambda f, x, y, p, c: f.log_det(f.diag(x)),
    lambda f, x, y, p, c: f.norm2(f.exp(x)[0:2]),
)


@pytest.mark.parametrize("position", range(len(COMPOSED)))
def test_composition(position: int) -> None:
    build = COMPOSED[position]
    theirs = build(cp, cp.Variable(4), cp.Variable(4), cp.Parameter(4, nonneg=True), cp.Parameter(4))
    ours = build(dl, dl.var("x", 4), dl.var("y", 4), dl.param("p", 4, nonneg=True), dl.param("c", 4)).expression
    signs = {"NONNEGATIVE": Sign.NONNEG, "NONPOSITIVE": Sign.NONPOS, "ZERO": Sign.ZERO, "UNKNOWN": Sign.UNKNOWN}
    assert ours.curvature is Curvature(theirs.curvature.lower()), ours
    assert ours.sign is signs[theirs.sign], ours


def test_a_broken_power_keeps_its_domain() -> None:
    """(x^2 - 1)^1.5 lives on |x| >= 1, which is not convex; cvxpy takes it for max(x^2 - 1, 0)^1.5, which is."""
    x = dl.var("x", 4)
    assert dl.power(dl.square(x) - 1, 1.5).expression.curvature is Curvature.UNKNOWN
    assert dl.power(dl.pos(dl.square(x) - 1), 1.5).expression.curvature is Curvature.CONVEX
