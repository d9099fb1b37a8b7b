"""The columns of the matrix: one program or two of every structure, with the backends that each may be solved by."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor

from tests.conformance.cases import costs, decoder, definite, normal, symmetric, uniform
from tests.conformance.matrix.subject import NATIVE, TORCH, Backend, Subject

KERNELS = (NATIVE, TORCH)

X = {"x": normal(4, scale=1.5)}
W = {"w": uniform(0.5, 1.5, 4)}


def spread(generator: Generator, lead: tuple[int, ...]) -> Tensor:
    """Matrices whose singular values are apart from each other and from the threshold."""
    left = torch.linalg.qr(normal(3, 3)(generator, lead)).Q
    right = torch.linalg.qr(normal(4, 3)(generator, lead)).Q
    values = torch.tensor([3.0, 1.8, 0.3], dtype=torch.float64) + uniform(-0.1, 0.1, 3)(generator, lead)
    return left * values[..., None, :] @ right.mT


def corner(generator: Generator, lead: tuple[int, ...]) -> Tensor:
    """Costs that make one vertex of the simplex the cheapest by a margin."""
    return uniform(0.6, 1.5, 4)(generator, lead) - torch.eye(4, dtype=torch.float64)[2]


def near_one(n: int) -> Any:
    return lambda generator, lead: torch.ones(n, dtype=torch.float64) + 0.3 * normal(n)(generator, lead)


CLOSED_FORMS = (
    Subject(
        "softmax",
        "softmax",
        "param x[n]\nparam tau nonneg\nvar y[n]\nmaximize x @ y + tau * sum(entr(y))\n"
        "subject to\n  total: sum(y) == 1\noutput y, dual(total) as nu",
        X | {"tau": uniform(0.5, 1.5)},
    ),
    Subject(
        "budget softmax",
        "budget_softmax",
        "param x[n]\nparam cost[n] nonneg\nparam limit nonneg\nvar y[n]\nmaximize x @ y + sum(entr(y))\n"
        "subject to\n  total: sum(y) == 1\n  budget: cost @ y <= limit\n"
        "output y, dual(total) as nu, dual(budget) as price",
        X | {"cost": costs(4), "limit": uniform(0.3, 0.4)},
        seed=20,
        failing={"infeasible": {"limit": -1.0}},
    ),
    Subject(
        "capped softmax",
        "curved_row",
        "param x[n]\nparam u[n] nonneg\nvar y[n]\nmaximize x @ y + sum(entr(y))\n"
        "subject to\n  total: sum(y) == 1\n  cap: y <= u\noutput y, dual(total) as nu, dual(cap) as price",
        X | {"u": uniform(0.3, 0.5, 4)},
        seed=37,
        failing={"infeasible": {"u": [0.1] * 4}},
    ),
    Subject(
        "simplex",
        "simplex_projection",
        "param x[n]\nparam s nonneg\nvar y[n] nonneg\nminimize sum_squares(y - x)\n"
        "subject to\n  total: sum(y) == s\noutput y, dual(total) as nu",
        X | {"s": uniform(0.8, 1.5)},
        seed=13,
        backends=KERNELS,
        failing={"infeasible": {"s": -1.0}},
    ),
    Subject(
        "capped simplex",
        "capped_simplex",
        "param x[n]\nparam cap[n]\nparam rho nonneg\nvar y[n]\nminimize rho * sum_squares(y - x)\n"
        "subject to\n  total: sum(y) == 1\n  caps: -0.2 <= y <= cap\noutput y, dual(total) as nu, dual(caps) as price",
        X | {"cap": uniform(0.35, 0.6, 4), "rho": uniform(0.5, 2)},
        seed=43,
        backends=KERNELS,
        failing={"infeasible": {"cap": [0.1] * 4}},
    ),
    Subject(
        "halfspace",
        "halfspace",
        "param x[n]\nparam a[n]\nparam b\nvar y[n]\nminimize sum_squares(y - x)\n"
        "subject to\n  side: a @ y <= b\noutput y, dual(side) as price",
        X | {"a": normal(4), "b": uniform(-3, -2)},
        seed=8,
        failing={"infeasible": {"a": [0.0] * 4}},
    ),
    Subject(
        "knapsack",
        "coupling_row",
        "param x[n]\nparam w[n] nonneg\nparam a[n]\nparam b\nvar y[n]\nminimize quad_form(y, diag(w)) - x @ y\n"
        "subject to\n  row: a @ y >= b\n  box: -1 <= y <= 0.6\noutput y, dual(row) as price, dual(box) as force",
        X | W | {"a": normal(4), "b": uniform(0.8, 1.0)},
        seed=13,
        backends=KERNELS,
        failing={"infeasible": {"b": 100.0}},
    ),
    Subject(
        "box",
        "box",
        "param x[n]\nparam w[n] nonneg\nparam lo[n]\nparam hi[n]\nvar y[n]\nminimize sum(w * (y - x)^2)\n"
        "subject to\n  box: lo <= y <= hi\noutput y, dual(box) as force",
        X | W | {"lo": uniform(-1, -0.2, 4), "hi": uniform(0.2, 1, 4)},
        seed=13,
        failing={"infeasible": {"lo": [2.0] * 4}},
    ),
    Subject(
        "soft threshold",
        "soft_threshold",
        "param x[n]\nparam w[n] nonneg\nparam cap nonneg\nvar y[n]\n"
        "minimize sum_squares(y - x) + 2 * sum(w * abs(y))\nsubject to\n  cap: y <= cap\noutput y, dual(cap) as price",
        X | {"w": uniform(0.1, 0.8, 4), "cap": uniform(0.3, 0.6)},
        seed=20,
    ),
    Subject(
        "water filling",
        "water_filling",
        "param floor[n] nonneg\nparam total nonneg\nvar y[n]\nmaximize sum(log(y + floor))\n"
        "subject to\n  dry: y >= 0\n  power: sum(y) == total\noutput y, dual(power) as level, dual(dry) as price",
        {"floor": uniform(0.2, 2.0, 4), "total": uniform(0.5, 2)},
        seed=3,
        failing={"infeasible": {"total": -1.0}},
    ),
    Subject(
        "nuclear norm",
        "singular_value_shrinkage",
        "param M[m, n]\nparam tau nonneg\nvar X[m, n]\nminimize 1/2 * sum_squares(X - M) + tau * norm_nuc(X)\noutput X",
        {"M": spread, "tau": uniform(0.6, 1.2)},
    ),
    Subject(
        "nearest semidefinite",
        "semidefinite_projection",
        "param C[m, m]\nparam rho nonneg\nvar X[m, m] symmetric\nminimize rho * sum_squares(X - C)\n"
        "subject to\n  cone: X in psd\noutput X, dual(cone) as Z",
        {"C": normal(3, 3), "rho": uniform(0.5, 2)},
        seed=28,
    ),
    Subject(
        "l1 ball",
        "l1_ball",
        "param x[n]\nparam a[n] nonneg\nparam r\nvar y[n]\nminimize sum_squares(y - x)\n"
        "subject to\n  ball: sum(a * abs(y)) <= r\noutput y, dual(ball) as price",
        X | {"a": uniform(0.5, 1, 4), "r": uniform(0.6, 1)},
        seed=10,
        failing={"infeasible": {"r": -1.0}},
    ),
    Subject(
        "l2 ball",
        "l2_ball",
        "param x[n]\nparam c[n]\nparam r\nvar y[n]\nminimize sum_squares(y - x)\n"
        "subject to\n  ball: norm2(2 * y - c) <= r\noutput y, dual(ball) as price",
        X | {"c": normal(4), "r": uniform(0.8, 1.2)},
        seed=4,
        failing={"infeasible": {"r": -1.0}},
    ),
)

QP_TEXT = (
    "param Q[n, n] psd\nparam q[n]\nparam A[1, n]\nparam b[1]\nparam G[m, n]\nparam h[m]\nvar z[n]\n"
    "minimize 1/2 * quad_form(z, Q) + q @ z\nsubject to\n  eq: A @ z == b\n  rows: G @ z <= h\n  low: z >= -1\n"
    "output z, dual(eq) as nu, dual(rows) as lam, dual(low) as mu"
)

QUADRATIC_PROGRAMS = (
    Subject(
        "equality qp",
        "equality_qp",
        "param Q[n, n] psd\nparam q[n]\nparam A[2, n]\nparam b[2]\nvar z[n]\n"
        "minimize 1/2 * quad_form(z, Q) + q @ z\nsubject to\n  eq: A @ z == b\noutput z, dual(eq) as nu",
        {"Q": definite(4), "q": normal(4), "A": normal(2, 4), "b": normal(2)},
        backends=KERNELS,
        failing={"infeasible": {"A": [[1.0, 1, 0, 0], [1, 1, 0, 0]], "b": [0.0, 1.0]}},
    ),
    Subject(
        "dense qp",
        "dense_qp",
        QP_TEXT,
        {"Q": definite(4), "q": normal(4, scale=2), "A": normal(1, 4), "b": uniform(-0.2, 0.2, 1)}
        | {"G": normal(3, 4), "h": uniform(0.1, 0.6, 3)},
        seed=36,
        backends=KERNELS,
        failing={
            "infeasible": {"G": [[1.0, 0, 0, 0], [-1, 0, 0, 0], [0, 1, 0, 0]], "h": [-1.0, -1.0, 0.0]},
            "unbounded": {"Q": [[0.0] * 4] * 4, "q": [-1.0, 0, 0, 0], "A": [[0.0, 1, 0, 0]], "G": [[0.0, 0, 0, 1]] * 3},
        },
        empty={"G": (0, 4), "h": (0,)},
        iterated=True,
    ),
    Subject(
        "linear program",
        "dense_qp",
        "param c[n]\nparam h[m]\nparam G[m, n]\nvar z[n] nonneg\nminimize c @ z\n"
        "subject to\n  rows: G @ z <= h\n  total: sum(z) == 1\noutput z, dual(rows) as lam, dual(total) as nu",
        {"c": corner, "h": uniform(0.5, 1, 3), "G": uniform(0.2, 0.7, 3, 4)},
        seed=26,
        backends=KERNELS,
        failing={"infeasible": {"h": [-1.0] * 3}},
        empty={"G": (0, 4), "h": (0,)},
        iterated=True,
    ),
    Subject(
        "learned qp",
        "dense_qp",
        "param x[n]\nparam Q[n, n] psd learned\nparam upper nonneg learned\nparam scale[n] constant\nvar y[n]\n"
        "minimize sum_squares(scale * (y - x)) + quad_form(y, Q)\n"
        "subject to\n  total: sum(y) == 1\n  cap: y <= upper\noutput y, dual(total) as nu, dual(cap) as price",
        {"x": normal(4, scale=2)},
        seed=13,
        owned=lambda: {
            "Q": definite(4)(torch.Generator().manual_seed(7), ()),
            "upper": torch.tensor(0.45),
            "scale": torch.tensor([1.0, 0.5, 2.0, 1.5]),
        },
        backends=KERNELS,
        iterated=True,
    ),
)

SMOOTH = (
    Subject(
        "local with an extern",
        "smooth_local",
        "param x[3]\nparam z0[2]\nparam rho nonneg\nextern decode(z[2]) -> xhat[3] smooth\nvar z[2] from z0\n"
        "minimize locally sum_squares(x - decode(z)) + rho * sum_squares(z - z0)\noutput z",
        {"x": normal(3), "z0": normal(2, scale=0.5), "rho": uniform(0.8, 1.2)},
        owned=lambda: {"decode": decoder()},
        backends=(
            Backend("newton"),
            Backend("newton_cg, minres", "newton_cg", "minres", tolerance=1e-12),
            Backend("lbfgs, cg", "lbfgs", "cg", tolerance=1e-11),
        ),
        convex=False,
        iterated=True,
    ),
    Subject(
        "local with constraints",
        "smooth_local",
        "param c[n]\nparam a[n] nonneg\nparam b\nvar x[n] from c\n"
        "minimize locally sum_squares(x - c) + sum(cos(x)) / 4\n"
        "subject to\n  shell: sum(a * x^2) == 1\n  side: x[0] + sin(x[1]) <= b\n"
        "output x, dual(shell) as nu, dual(side) as price",
        {"c": near_one(4), "a": uniform(0.5, 1.5, 4), "b": uniform(0.3, 0.4)},
        seed=11,
        backends=(Backend("newton"), Backend("newton, gmres", adjoint="gmres")),
        convex=False,
        iterated=True,
    ),
    Subject(
        "root",
        "root",
        "param x\nparam a\nparam u0\nvar u from u0\nvar v from u0\nsolve\n"
        "  circle: u^2 + v^2 == 1 + x^2\n  curve: v == a * tanh(u) + x\noutput u, v",
        {"x": uniform(0.1, 0.3), "a": uniform(0.5, 1), "u0": uniform(0.6, 0.9)},
        backends=(Backend("newton"), Backend("newton, gmres", adjoint="gmres")),
        convex=False,
        iterated=True,
    ),
    Subject(
        "fixed point",
        "root",
        "param x[m]\nparam U[n, m]\nparam W[n, n] learned\nvar z[n] from 0\nsolve\n"
        "  z == tanh(W @ z + U @ x)\noutput z",
        {"x": normal(3), "U": normal(4, 3, scale=0.7)},
        owned=lambda: {"W": 0.3 * torch.randn(4, 4, generator=torch.Generator().manual_seed(3))},
        backends=(Backend("newton"), Backend("anderson, gmres", "anderson", "gmres", tolerance=1e-12)),
        convex=False,
        iterated=True,
    ),
)

CONES = (
    Subject(
        "second-order cone",
        "cone_program",
        "param c[n]\nparam r nonneg\nparam a[n]\nvar x[n]\nminimize norm2(x - c) + norm1(x) / 4\n"
        "subject to\n  ball: norm2(x) <= r\n  side: a @ x <= 0.2\noutput x, dual(ball) as price, dual(side) as force",
        {"c": normal(4, scale=1.5), "r": uniform(0.5, 1), "a": uniform(0.5, 1.5, 4)},
        seed=33,
        failing={"infeasible": {"r": -1.0}},
        iterated=True,
    ),
    Subject(
        "semidefinite cone",
        "cone_program",
        "param C[m, m] symmetric\nvar X[m, m] symmetric\nminimize sum_squares(X - C)\n"
        "subject to\n  definite: X in psd\n  unit: diag(X) == 1\noutput X, dual(unit) as nu",
        {"C": lambda generator, lead: 1.5 * symmetric(3)(generator, lead)},
        seed=47,
        iterated=True,
    ),
    Subject(
        "exponential cone",
        "cone_program",
        "param A[m, n]\nparam b[m]\nparam rho nonneg\nvar x[n]\n"
        "minimize log_sum_exp(A @ x + b) + rho * sum_squares(x)\nsubject to\n  side: sum(exp(x)) <= 3.5\n"
        "output x, dual(side) as price",
        {"A": normal(3, 4), "b": normal(3), "rho": uniform(0.1, 0.3)},
        seed=50,
        iterated=True,
    ),
    Subject(
        "learned cone",
        "cone_program",
        "param x[n]\nparam w[n] constant\nparam r nonneg learned\nvar y[n]\nminimize norm2(y - x)\n"
        "subject to\n  ball: norm2(w * y) <= r\noutput y, dual(ball) as price",
        {"x": normal(4, scale=3)},
        seed=59,
        owned=lambda: {"w": torch.tensor([1.0, 2.0, 0.5, 1.5]), "r": torch.tensor(0.7)},
        iterated=True,
    ),
)

SUBJECTS = (*CLOSED_FORMS, *QUADRATIC_PROGRAMS, *SMOOTH, *CONES)

BY_NAME = {subject.name: subject for subject in SUBJECTS}
