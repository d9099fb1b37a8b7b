"""The table that closed forms are tested on: programs, the structure each has, and data that brings out its cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Generator, Tensor

import declarative as dl
from declarative.canonical.normalise import normalise
from declarative.codegen.torch_module import emit
from declarative.compiler import load
from declarative.ir.program import Program
from declarative.structures.cone_program import ConeProgramMatch

Draw = Callable[[Generator, tuple[int, ...]], Tensor]


@dataclass(frozen=True)
class Case:
    """``text`` after the header, the structure's name, a draw per parameter; ``infeasible``: data with no solution.

    ``exact``: the KKT residual of the closed form is at rounding, which not every way of stating the problem allows.
    """

    structure: str
    text: str
    draws: Mapping[str, Draw]
    infeasible: Mapping[str, float | list[float]] = field(default_factory=dict)
    twice: bool = True

    def program(self) -> Program:
        return dl.parse_program(f"layer example\ndim n = 5, m = 3\n{self.text}\n")

    def layer(self) -> dl.Layer:
        return _class(self.text)()

    def data(self, seed: int, batch: tuple[int, ...] = ()) -> dict[str, Tensor]:
        """Parameters of a call in float64."""
        generator = torch.Generator().manual_seed(seed)
        return {name: draw(generator, batch) for name, draw in self.draws.items()}

    def cone_layer(self) -> dl.Layer:
        """The same program by way of cvxpy and a cone solver, which know nothing of structures."""
        return _cone_class(self.text)()


@cache
def _class(text: str) -> type[dl.Layer]:
    return dl.compile(Case("", text, {}).program())


@cache
def _cone_class(text: str) -> type[dl.Layer]:
    program = Case("", text, {}).program()
    return load(emit(program, ConeProgramMatch(normalise(program)), {"n": 5, "m": 3}), "Example")


def normal(*shape: int, scale: float = 1.0) -> Draw:
    return lambda generator, lead: scale * torch.randn((*lead, *shape), generator=generator, dtype=torch.float64)


def uniform(low: float, high: float, *shape: int) -> Draw:
    spread = high - low
    return lambda generator, lead: low + spread * torch.rand((*lead, *shape), generator=generator, dtype=torch.float64)


def costs(generator: Generator, lead: tuple[int, ...]) -> Tensor:
    """Of which the first is within a budget of a half."""
    return torch.cat([uniform(0.0, 0.3, 1)(generator, lead), uniform(0.2, 2.0, 4)(generator, lead)], -1)


def signs(generator: Generator, lead: tuple[int, ...]) -> Tensor:
    """Of which the first is positive, the second negative."""
    fixed = [uniform(0.5, 1.5, 1)(generator, lead), uniform(-1.5, -0.5, 1)(generator, lead)]
    return torch.cat([*fixed, normal(3)(generator, lead)], -1)


def symmetric(A: Tensor) -> Tensor:
    return A + A.mT


X = {"x": normal(5, scale=2.0)}
W = {"w": uniform(0.3, 2.0, 5)}
HEAD = "param x[n]\n"
WEIGHTS = "param x[n]\nparam w[n] nonneg\n"

BOX = {
    "projection": Case("box", HEAD + "var y[n]\nminimize sum_squares(y - x)\nsubject to\n  b: -1 <= y <= 0.5", X),
    "tensors": Case(
        "box",
        HEAD + "param lo[n]\nparam hi[n]\nparam rho nonneg\nvar y[n]\n"
        "minimize rho * sum_squares(y - x) + sum_squares(y)\nsubject to\n  l: y >= lo\n  u: y <= hi",
        X | {"lo": uniform(-1, 0, 5), "hi": uniform(0, 1, 5), "rho": uniform(0.5, 2)},
        {"lo": [2.0] * 5, "hi": [1.0] * 5},
    ),
    "weighted": Case(
        "box",
        WEIGHTS
        + "param cap nonneg\nvar y[n] nonneg\nminimize sum(w * (y - x)^2) + x @ y\nsubject to\n  u: 3 * y <= cap",
        X | W | {"cap": uniform(0.5, 2)},
    ),
    "matrix": Case(
        "box",
        "param X[m, n]\nparam C[m, n]\nvar Y[m, n]\nminimize norm_fro(Y - X)^2 + sum(C * Y)\n"
        "subject to\n  b: abs(Y) <= 0.7",
        {"X": normal(3, 5), "C": normal(3, 5)},
    ),
    "scalar": Case(
        "box",
        "param s\nparam cap nonneg\nvar y\nminimize (y - s)^2 / 2\nsubject to\n  b: 0 <= y <= cap",
        {"s": normal(scale=2.0), "cap": uniform(0.2, 1)},
    ),
    "quadratic form": Case(
        "box",
        WEIGHTS + "var y[n]\nminimize quad_form(y, diag(w)) - x @ y\nsubject to\n  b: abs(y) <= 0.3",
        X | W,
    ),
}

SUMS = {
    "top k": Case(
        "capped_simplex",
        HEAD
        + "param k nonneg\nvar y[n]\nmaximize x @ y - sum_squares(y)\nsubject to\n  c: sum(y) == k\n  b: 0 <= y <= 1",
        X | {"k": uniform(1, 3)},
        {"k": 5.5},
    ),
    "uneven caps": Case(
        "capped_simplex",
        HEAD + "param cap[n]\nparam rho nonneg\nvar y[n]\nminimize rho * sum_squares(y - x)\n"
        "subject to\n  c: 2 == 3 * sum(y)\n  u: y <= cap\n  l: y >= -0.2",
        X | {"cap": uniform(0.2, 0.5, 5), "rho": uniform(0.5, 2)},
        {"cap": [0.1] * 5},
    ),
    "upper alone": Case(
        "capped_simplex", HEAD + "var y[n] nonpos\nminimize sum_squares(y - x)\nsubject to\n  c: -sum(y) == 1.5", X
    ),
    "weighted simplex": Case(
        "coupling_row",
        WEIGHTS + "var y[n] nonneg\nminimize sum_squares(y - x)\nsubject to\n  c: w @ y == 1",
        X | W,
    ),
    "scaled entries": Case(
        "coupling_row",
        WEIGHTS + "var y[n] nonneg\nminimize sum(w * square(y - x))\nsubject to\n  c: sum(y) == 1",
        X | W,
    ),
    "sum at most": Case(
        "coupling_row",
        HEAD + "param s nonneg\nvar y[n]\nminimize sum_squares(y - x) / 2\nsubject to\n  l: y >= 0\n  c: sum(y) <= s",
        X | {"s": uniform(0.5, 4)},
        {"s": -1.0},
    ),
    "budget of both signs": Case(
        "coupling_row",
        "param a[n]\nparam b\n" + WEIGHTS + "var y[n]\nminimize quad_form(y, diag(w)) - x @ y\n"
        "subject to\n  c: a @ y >= b\n  b: -1 <= y <= 2",
        {"a": normal(5), "b": uniform(0.0, 1.0)} | X | W,
        {"b": 100.0},
    ),
    "halfspace": Case(
        "halfspace",
        "param a[n]\nparam b\n" + HEAD + "var y[n]\nminimize norm2(y - x)^2\nsubject to\n  c: a @ y <= b",
        {"a": normal(5), "b": normal(scale=0.5)} | X,
        {"a": [0.0] * 5, "b": -1.0},
    ),
    "halfspace of a sum": Case(
        "halfspace",
        WEIGHTS + "var y[n]\nminimize sum(w * y^2) - x @ y\nsubject to\n  c: 2 * sum(y) >= 1",
        X | W,
    ),
}

BUDGETS = {
    "budget": Case(
        "budget_softmax",
        HEAD + "param cost[n] nonneg\nparam limit nonneg\nvar y[n]\nmaximize x @ y + sum(entr(y))\n"
        "subject to\n  simplex: sum(y) == 1\n  budget: cost @ y <= limit",
        X | {"cost": costs, "limit": uniform(0.5, 0.9)},
        {"limit": -1.0},
    ),
    "temperature, total and prior": Case(
        "budget_softmax",
        WEIGHTS + "param a[n]\nparam tau nonneg\nparam s nonneg\nvar y[n] nonneg\n"
        "minimize tau * sum(kl_div(y, w)) - x @ y\nsubject to\n  budget: a @ y >= s / 4\n  total: 2 * s == 2 * sum(y)",
        X | W | {"a": uniform(0.0, 1.0, 5), "tau": uniform(0.6, 2), "s": uniform(1.0, 2.0)},
        {"a": [0.1] * 5},
    ),
}

SHRINKAGES = {
    "proximal map": Case(
        "soft_threshold",
        HEAD + "param lam nonneg\nvar y[n]\nminimize 1/2 * sum_squares(y - x) + lam * norm1(y)",
        X | {"lam": uniform(0.5, 1.5)},
    ),
    "weighted, nonnegative": Case(
        "soft_threshold",
        WEIGHTS + "param cap nonneg\nvar y[n]\nmaximize x @ y - 2 * sum(w * abs(y)) - sum_squares(y)\n"
        "subject to\n  u: -0.2 <= y <= cap",
        X | {"w": uniform(0.1, 0.8, 5), "cap": uniform(0.1, 0.6)},
    ),
    "towards a point": Case(
        "soft_threshold",
        WEIGHTS + "param c[n]\nvar y[n]\nminimize w @ square(y - x) + mean(abs(3 * c - 3 * y))\n"
        "subject to\n  b: -1 <= y <= 1.5",
        X | W | {"c": normal(5)},
    ),
}

BALLS = {
    "l1": Case(
        "l1_ball",
        HEAD + "param r\nvar y[n]\nminimize sum_squares(y - x)\nsubject to\n  c: norm1(y) <= r",
        X | {"r": uniform(0.5, 6)},
        {"r": -1.0},
    ),
    "weighted l1": Case(
        "l1_ball",
        WEIGHTS + "param c[n]\nparam a[n] nonneg\nvar y[n]\nminimize w @ square(y - x)\n"
        "subject to\n  c: sum(a * abs(2 * c - 2 * y)) - 1 <= 0.5",
        X | W | {"c": normal(5), "a": uniform(0.2, 1, 5)},
    ),
    "mean of sizes": Case(
        "l1_ball",
        HEAD + "var y[n]\nmaximize x @ y - sum_squares(y) / 2\nsubject to\n  c: 0.3 >= mean(abs(y))",
        X,
    ),
    "l2": Case(
        "l2_ball",
        HEAD + "param r\nparam c[n]\nvar y[n]\nminimize sum_squares(y - x)\nsubject to\n  c: norm2(2 * y - c) <= r",
        X | {"r": uniform(1, 6), "c": normal(5)},
        {"r": -1.0},
    ),
    "l2 squared": Case(
        "l2_ball",
        HEAD + "param e\nparam rho nonneg\nvar y[n]\nminimize rho * sum_squares(y) - x @ y\n"
        "subject to\n  c: 3 * sum_squares(y) <= 2 * e",
        X | {"e": uniform(0.3, 4), "rho": uniform(0.5, 1)},
        {"e": -1.0},
    ),
    "frobenius": Case(
        "l2_ball",
        "param X[m, n]\nvar Y[m, n]\nminimize sum_squares(Y - X) / 2\nsubject to\n  c: norm_fro(Y) <= 1.5",
        {"X": normal(3, 5)},
    ),
}

SPECTRA = {
    "nuclear norm": Case(
        "singular_value_shrinkage",
        "param M[m, n]\nparam tau nonneg\nvar X[m, n]\nminimize 1/2 * sum_squares(X - M) + tau * norm_nuc(X)",
        {"M": normal(3, 5), "tau": uniform(0.6, 1.5)},
    ),
    "nuclear norm towards a matrix": Case(
        "singular_value_shrinkage",
        "param M[n, m]\nparam C[n, m]\nparam rho nonneg\nvar X[n, m]\n"
        "maximize sum(M * X) - rho * norm_fro(X)^2 - norm_nuc(C - 2 * X)",
        {"M": normal(5, 3, scale=4.0), "C": normal(5, 3), "rho": uniform(0.6, 1.5)},
    ),
    "semidefinite": Case(
        "semidefinite_projection",
        "param C[m, m]\nparam rho nonneg\nvar X[m, m] symmetric\nminimize rho * sum_squares(X - C)\n"
        "subject to\n  cone: 2 * X in psd\noutput X, dual(cone) as Z",
        {"C": normal(3, 3), "rho": uniform(0.5, 2)},
    ),
    "semidefinite by attribute": Case(
        "semidefinite_projection",
        "param C[m, m] symmetric\nvar X[m, m] psd\nmaximize sum(C * X) - sum_squares(X) / 2",
        {"C": lambda generator, lead: symmetric(normal(3, 3)(generator, lead))},
    ),
}

WATER = {
    "water filling": Case(
        "water_filling",
        "param floor[n] nonneg\nparam total nonneg\nvar y[n]\nmaximize sum(log(y + floor))\n"
        "subject to\n  dry: y >= 0\n  power: sum(y) == total",
        {"floor": uniform(0.2, 2.0, 5), "total": uniform(0.5, 2)},
        {"total": -1.0},
    ),
    "weighted channels": Case(
        "water_filling",
        "param g[n] nonneg\nparam w[n] nonneg\nvar y[n] nonneg\nminimize -sum(w * log(1 + g * y))\n"
        "subject to\n  power: 2 * sum(y) <= 3",
        {"g": uniform(0.3, 3.0, 5), "w": uniform(0.3, 2.0, 5)},
    ),
}

MASKS = {
    "masked and capped": Case(
        "curved_row",
        HEAD + "param u[n] nonneg\nvar y[n]\nmaximize x @ y + sum(entr(y))\nsubject to\n  c: sum(y) == 1\n  u: y <= u",
        X | {"u": uniform(0.22, 0.5, 5)},
        {"u": [0.1] * 5},
    ),
    "floors, caps and a temperature": Case(
        "curved_row",
        WEIGHTS + "param tau nonneg\nparam s nonneg\nvar p[n]\nminimize tau * sum(kl_div(2 * p, w)) - x @ p\n"
        "subject to\n  b: 0.05 <= p <= 0.4\n  c: 3 * sum(p) == s",
        X | W | {"tau": uniform(0.5, 2), "s": uniform(2.4, 4)},
        {"s": 7.0},
    ),
    "weights of the entropy and of the row": Case(
        "curved_row",
        "param a[n] nonneg\n" + WEIGHTS + "var y[n] nonneg\nminimize -w @ entr(y) - x @ y\nsubject to\n  c: a @ y == 2",
        {"a": uniform(0.3, 2, 5)} | X | W,
    ),
    "a row of both signs": Case(
        "curved_row",
        "param a[n]\n" + HEAD + "var y[n]\nmaximize x @ y + sum(entr(y))\nsubject to\n  c: a @ y == 0.5\n  u: y <= 2",
        {"a": signs, "x": normal(5)},
        {"a": [0.01] * 5},
    ),
    "entropy and at most": Case(
        "curved_row",
        HEAD + "param s nonneg\nvar y[n] nonneg\nmaximize x @ y + sum(entr(y))\nsubject to\n  c: 2 * sum(y) <= s",
        X | {"s": uniform(1, 30)},
    ),
    "entropy between": Case(
        "curved_row",
        HEAD + "param s nonneg\nvar y[n]\nmaximize x @ y + sum(entr(y))\n"
        "subject to\n  h: sum(y) <= 6\n  l: -2 * sum(y) <= -s\n  u: max(y) <= 3",
        {"x": normal(5), "s": uniform(2, 11)},
        {"s": 14.0},
    ),
    "entmax": Case(
        "curved_row",
        HEAD + "var y[n]\nmaximize x @ y - 4/3 * sum(power(y, 1.5))\nsubject to\n  c: sum(y) == 1",
        {"x": uniform(0.0, 0.6, 5)},
    ),
    "powers with caps": Case(
        "curved_row",
        WEIGHTS + "param s nonneg\nvar y[n]\nminimize sum(w * (2 * y)^1.25) - x @ y\n"
        "subject to\n  c: 0.5 <= sum(y) <= s\n  u: 0 <= y <= 0.6",
        {"w": uniform(0.8, 1.2, 5), "x": uniform(3.0, 5.0, 5), "s": uniform(0.8, 1.5)},
        {"s": 0.2},
    ),
}

SIDES = {
    "two sides": Case(
        "coupling_row",
        HEAD + "param s nonneg\nvar y[n] nonneg\nminimize sum_squares(y - x)\nsubject to\n  c: 1 <= sum(y) <= s",
        X | {"s": uniform(1.5, 4)},
        {"s": 0.5},
    ),
    "two sides apart": Case(
        "coupling_row",
        "param a[n]\n" + WEIGHTS + "var y[n]\nminimize sum(w * square(y - x))\n"
        "subject to\n  l: 2 * a @ y >= 0.5\n  b: -1 <= y <= 1.5\n  h: a @ y <= 1",
        {"a": normal(5)} | X | W,
    ),
    "slab": Case(
        "coupling_row",
        HEAD + "param s nonneg\nvar y[n]\nminimize sum_squares(y - x)\nsubject to\n  c: -s <= mean(y) <= s",
        X | {"s": uniform(0.1, 0.4)},
        {"s": -1.0},
    ),
    "largest entry": Case(
        "box",
        HEAD + "param r nonneg\nvar y[n]\nminimize sum_squares(y - x)\nsubject to\n  c: 2 * norm_inf(y) <= r",
        X | {"r": uniform(1, 3)},
        {"r": -1.0},
    ),
    "smallest and largest": Case(
        "capped_simplex",
        HEAD + "var y[n]\nminimize sum_squares(y - x)\n"
        "subject to\n  l: min(y) >= -0.1\n  u: max(3 * y) <= 1.5\n  c: mean(y) == 1 / n",
        X,
    ),
}

CASES = {
    **MASKS,
    **SIDES,
    **{f"box, {k}": c for k, c in BOX.items()},
    **SUMS,
    **BUDGETS,
    **{f"shrinkage, {k}": c for k, c in SHRINKAGES.items()},
    **{f"ball, {k}": c for k, c in BALLS.items()},
    **SPECTRA,
    **WATER,
}
