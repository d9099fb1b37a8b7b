"""Programs at the edges of the language: empty rows, scalars, short horizons, no parameters, outputs of expressions.

Each is solved by hand in cvxpy, for its outputs and duals, differentiated against differences, and batched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

import declarative as dl
from tests.conformance.cases import Draw, definite, normal, symmetric, text, uniform
from tests.conformance.references import Values, minimise


@dataclass(frozen=True)
class Variation:
    """A text, how its parameters are drawn, its solution by hand as outputs by name, and the constructor's keywords."""

    source: str
    draws: dict[str, Draw]
    by_hand: Callable[..., Values]
    keywords: tuple[tuple[str, object], ...] = ()
    symmetric: tuple[str, ...] = ()

    def layer(self) -> dl.Layer:
        return compiled(self.source)(**dict(self.keywords)).double()

    def data(self, batch: tuple[int, ...] = (), seed: int = 1) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return {name: draw(generator, batch) for name, draw in self.draws.items()}


@cache
def compiled(source: str) -> type[dl.Layer]:
    return text(source)


def temperature(x: np.ndarray, tau: np.ndarray) -> Values:
    y = cp.Variable(x.shape)
    row = cp.sum(y) == 1
    value = minimise(-x @ y - cp.sum(cp.multiply(tau, cp.entr(y))), [row])
    return {"y": y.value, "nu": row.dual_value, "best": -value}


def linear_program(c: np.ndarray, A: np.ndarray, b: np.ndarray) -> Values:
    x = cp.Variable(c.shape)
    rows, sign = A @ x <= b, x >= 0
    minimise(-c @ x, [rows, sign])
    return {"x": x.value, "lam": rows.dual_value, "slack": b - A @ x.value}


def no_rows(Q: np.ndarray, q: np.ndarray, G: np.ndarray, h: np.ndarray) -> Values:
    return {"x": np.linalg.solve(Q, -q), "lam": np.zeros(0)}


def scalar(a: np.ndarray, b: np.ndarray) -> Values:
    x = cp.Variable()
    cap = x <= b
    minimise(cp.square(x - a) + 0.5 * cp.abs(x), [cap])
    return {"x": x.value, "lam": cap.dual_value, "double": 2 * x.value + b}


def box_and_budget(v: np.ndarray, lo: np.ndarray, hi: np.ndarray, w: np.ndarray, level: np.ndarray) -> Values:
    y = cp.Variable(v.shape)
    low, high, budget = y >= lo, y <= hi, w @ y == level
    minimise(cp.sum_squares(y - v), [low, high, budget])
    return {"y": y.value, "z": high.dual_value - low.dual_value, "nu": budget.dual_value}


def horizon(T: int) -> Callable[..., Values]:
    def by_hand(x0: np.ndarray, A: np.ndarray, B: np.ndarray, Q: np.ndarray, limit: np.ndarray) -> Values:
        x, u = cp.Variable((T + 1, 2)), cp.Variable((T, 1))
        constraints = [x[0] == x0, *(x[t + 1] == A @ x[t] + B @ u[t] for t in range(T))]
        slew = [u[t + 1] - u[t] <= limit for t in range(T - 1)]
        minimise(cp.sum([cp.quad_form(x[t], Q) for t in range(1, T + 1)]) + cp.sum_squares(u), [*constraints, *slew])
        return {"u": u.value, "lam": np.array([s.dual_value for s in slew]).reshape(T - 1, 1)}

    return by_hand


def learned_cone(x: np.ndarray) -> Values:
    y = cp.Variable(3)
    ball = cp.norm2(cp.multiply([1.0, 2.0, 0.5], y)) <= 0.7
    minimise(cp.sum_squares(y - x), [ball])
    return {"y": y.value, "price": ball.dual_value}


def total_variation(v: np.ndarray, w: np.ndarray) -> Values:
    y = cp.Variable(v.shape)
    minimise(cp.sum_squares(y - v) / 2 + w * cp.tv(y) + cp.max(y))
    return {"y": y.value, "top": np.max(y.value)}


def matrix_fit(M: np.ndarray, L: np.ndarray, R: np.ndarray) -> Values:
    X = cp.Variable((3, 2))
    ties = cp.sum(X, axis=1) == 1
    minimise(cp.sum_squares(L @ X @ R - M) + cp.sum_squares(X), [ties])
    return {"X": X.value, "trace": np.sum((L @ X.value @ R)[0]), "nu": ties.dual_value}


def nonlinear_cone(a: np.ndarray, C: np.ndarray) -> Values:
    X = cp.Variable((3, 3), symmetric=True)
    bound = cp.lambda_max(X) <= 1
    minimise(cp.sum_squares(X - C) - a * cp.trace(X), [bound])
    return {"X": X.value, "price": bound.dual_value}


def logistic(A: np.ndarray, s: np.ndarray, w: np.ndarray) -> Values:
    x = cp.Variable(A.shape[1])
    cap = cp.norm1(x) <= w
    minimise(cp.sum(cp.logistic(-cp.multiply(s, A @ x))), [cap])
    return {"x": x.value, "price": cap.dual_value, "margin": s * (A @ x.value)}


SOFT = (
    "dim n\nparam x[n]\nparam tau{size} nonneg\nvar y[n]\nmaximize x @ y + {entropy}\nsubject to\n  row: sum(y) == 1\n"
)
SOFT += "output y, dual(row) as nu, value as best\n"

HORIZON = (
    "layer horizon\ndim T = 2, nx, nu\nparam x0[nx]\nparam A[nx, nx]\nparam B[nx, nu]\nparam Q[nx, nx] psd\n"
    "param limit nonneg\n"
    "var x[T+1, nx]\nvar u[T, nu]\n"
    "minimize sum(quad_form(x[t], Q) for t in 1..T) + sum(sum_squares(u[t]) for t in 0..T-1)\nsubject to\n"
    "  start: x[0] == x0\n  move: x[t+1] == A @ x[t] + B @ u[t] for t in 0..T-1\n"
    "  slew: u[t+1] - u[t] <= limit for t in 0..T-2\noutput u, dual(slew) as lam\n"
)
HORIZON_DRAWS = {"x0": normal(2, scale=2), "A": normal(2, 2, scale=0.8), "B": normal(2, 1)}
HORIZON_DRAWS |= {"Q": definite(2), "limit": uniform(0.05, 0.1)}

VARIATIONS = {
    "softmax with a temperature": Variation(
        "layer soft\n" + SOFT.format(size="", entropy="tau*sum(entr(y))"),
        {"x": normal(4), "tau": uniform(0.3, 2)},
        temperature,
    ),
    "softmax with a temperature per coordinate": Variation(
        "layer soft\n" + SOFT.format(size="[n]", entropy="sum(tau*entr(y))"),
        {"x": normal(4), "tau": uniform(0.3, 2, 4)},
        temperature,
    ),
    "linear program": Variation(
        "layer lp\ndim m, n\nparam c[n]\nparam A[m, n]\nparam b[m]\nvar x[n] nonneg\nmaximize c @ x\nsubject to\n"
        "  rows: A @ x <= b\noutput x, dual(rows) as lam, b - A @ x as slack\n",
        {"c": uniform(0.5, 1, 3), "A": uniform(0.2, 1, 4, 3), "b": uniform(1, 2, 4)},
        linear_program,
    ),
    "no rows": Variation(
        "layer free\ndim m, n\nparam Q[n, n] psd\nparam q[n]\nparam G[m, n]\nparam h[m]\nvar x[n]\n"
        "minimize 1/2*quad_form(x, Q) + q @ x\nsubject to\n  rows: G @ x <= h\noutput x, dual(rows) as lam\n",
        {"Q": definite(3), "q": normal(3), "G": normal(0, 3), "h": normal(0)},
        no_rows,
    ),
    "scalar variable": Variation(
        "layer scalar\nparam a\nparam b\nvar x\nminimize (x - a)^2 + 0.5*abs(x)\nsubject to\n  cap: x <= b\n"
        "output x, dual(cap) as lam, 2*x + b as double\n",
        {"a": uniform(1, 2), "b": uniform(0.2, 0.5)},
        scalar,
    ),
    "box with a budget": Variation(
        "layer boxed\ndim n\nparam v[n]\nparam lo[n]\nparam hi[n]\nparam w[n]\nparam level\nvar y[n]\n"
        "minimize sum_squares(y - v)\nsubject to\n  box: lo <= y <= hi\n  budget: w @ y == level\n"
        "output y, dual(box) as z, dual(budget) as nu\n",
        {"v": normal(5), "lo": uniform(-1, -0.5, 5), "hi": uniform(0.3, 0.6, 5)}
        | {"w": uniform(0.5, 1.5, 5), "level": uniform(0.1, 0.3)},
        box_and_budget,
    ),
    "horizon of one step": Variation(HORIZON, HORIZON_DRAWS, horizon(1), (("T", 1),), ("Q",)),
    "horizon of two steps": Variation(HORIZON, HORIZON_DRAWS, horizon(2), (("T", 2),), ("Q",)),
    "learned and constant parameters of a cone program": Variation(
        "layer ball\ndim n\nparam x[n]\nparam w[n] constant\nparam r nonneg learned\nvar y[n]\n"
        "minimize sum_squares(y - x)\nsubject to\n  ball: norm2(w * y) <= r\noutput y, dual(ball) as price\n",
        {"x": normal(3, scale=2)},
        learned_cone,
        (("w", (1.0, 2.0, 0.5)), ("r", 0.7)),
    ),
    "total variation and a maximum": Variation(
        "layer denoise\ndim n\nparam v[n]\nparam w nonneg\nvar y[n]\n"
        "minimize 1/2*sum_squares(y - v) + w*tv(y) + max(y)\noutput y, max(y) as top\n",
        {"v": normal(5, scale=2), "w": uniform(0.2, 0.4)},
        total_variation,
    ),
    "products on both sides of a matrix": Variation(
        "layer both\ndim k, m, n\nparam M[k, n]\nparam L[k, m]\nparam R[2, n]\nvar X[m, 2]\n"
        "minimize sum_squares(L @ X @ R - M) + sum_squares(X)\nsubject to\n"
        "  ties: X[i, 0] + X[i, 1] == 1 for i in 0..m-1\n"
        "output X, sum((L @ X @ R)[0]) as trace, dual(ties) as nu\n",
        {"M": normal(4, 3), "L": normal(4, 3), "R": normal(2, 3)},
        matrix_fit,
    ),
    "largest eigenvalue": Variation(
        "layer eigen\ndim n\nparam a\nparam C[n, n] symmetric\nvar X[n, n] symmetric\n"
        "minimize sum_squares(X - C) - a*trace(X)\nsubject to\n  bound: lambda_max(X) <= 1\n"
        "output X, dual(bound) as price\n",
        {"a": uniform(0.5, 1), "C": symmetric(3)},
        nonlinear_cone,
        symmetric=("C",),
    ),
    "logistic regression in a ball": Variation(
        "layer logit\ndim m, n\nparam A[m, n]\nparam s[m]\nparam w nonneg\nvar x[n]\n"
        "minimize sum(logistic(-(s * (A @ x))))\nsubject to\n  cap: norm1(x) <= w\n"
        "output x, dual(cap) as price, s * (A @ x) as margin\n",
        {"A": normal(6, 3), "s": normal(6), "w": uniform(0.4, 0.8)},
        logistic,
    ),
}


def named(returned: object) -> dict[str, Tensor]:
    return returned._asdict()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("name", VARIATIONS)
@pytest.mark.parametrize("seed", [1, 2])
def test_outputs_equal_those_by_hand(name: str, seed: int) -> None:
    variation = VARIATIONS[name]
    data = variation.data(seed=seed)
    expected = variation.by_hand(**{n: v.numpy() for n, v in data.items()})
    found = named(variation.layer()(**data))
    assert set(found) == set(expected)
    for output, value in found.items():
        accuracy = 1e-6 if output in ("x", "y", "X", "u") else 1e-5
        assert value.shape == np.shape(expected[output]), output
        np.testing.assert_allclose(value.detach().numpy(), expected[output], atol=accuracy, err_msg=output)


@pytest.mark.parametrize("name", VARIATIONS)
@pytest.mark.parametrize("seed", [1, 2])
def test_gradients_equal_differences(name: str, seed: int) -> None:
    variation = VARIATIONS[name]
    layer, data = variation.layer(), variation.data(seed=seed)

    def scalar_of(values: dict[str, Tensor]) -> Tensor:
        generator = torch.Generator().manual_seed(5)
        outputs = named(layer(**values)).values()
        terms = [(v * torch.randn(v.shape, generator=generator, dtype=v.dtype)).sum() for v in outputs]
        return torch.stack(terms).sum()

    leaves = {n: v.clone().requires_grad_() for n, v in data.items()}
    owned = dict(layer.named_parameters())
    targets = leaves | owned
    gradients = torch.autograd.grad(
        scalar_of(leaves), list(targets.values()), allow_unused=True, materialize_grads=True
    )
    generator = torch.Generator().manual_seed(6)
    for (parameter, target), gradient in zip(targets.items(), gradients, strict=True):
        for _ in range(2):
            direction = torch.randn(target.shape, generator=generator, dtype=target.dtype)
            direction = direction + direction.mT if parameter in variation.symmetric else direction
            start, ends = target.detach().clone(), []
            with torch.no_grad():
                for sign in (1, -1):
                    target.copy_(start + sign * 1e-5 * direction)
                    ends.append(scalar_of(leaves).item())
                target.copy_(start)
            numeric = (ends[0] - ends[1]) / 2e-5
            assert (gradient * direction).sum().item() == pytest.approx(numeric, rel=1e-4, abs=1e-7), parameter


@pytest.mark.parametrize("name", VARIATIONS)
def test_batch_equals_a_loop(name: str) -> None:
    variation = VARIATIONS[name]
    layer, data = variation.layer(), variation.data((4,))
    batch = named(layer(**data))
    for k in range(4):
        for output, value in named(layer(**{n: v[k] for n, v in data.items()})).items():
            torch.testing.assert_close(batch[output][k], value, rtol=1e-8, atol=1e-8)


def test_a_program_without_parameters() -> None:
    source = (
        "layer alone\nvar x[3]\nminimize sum_squares(x) + norm_inf(x - 1)\nsubject to\n  row: sum(x) == 2\noutput x\n"
    )
    x = cp.Variable(3)
    minimise(cp.sum_squares(x) + cp.norm_inf(x - 1), [cp.sum(x) == 2])
    np.testing.assert_allclose(text(source)()().numpy(), x.value, atol=1e-5)
    np.testing.assert_allclose(text(source)().double()().numpy(), x.value, atol=1e-6)
    cone = source.replace("norm_inf(x - 1)", "norm2(x - 1)").replace("sum(x) == 2", "sum(x) == 1")
    np.testing.assert_allclose(text(cone)().double()().numpy(), np.full(3, 1 / 3), atol=1e-6)
