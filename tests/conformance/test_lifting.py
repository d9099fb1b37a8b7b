"""Products and functions of parameters, which disciplined parametrised programming refuses, solve and differentiate.

An expression of parameters alone is computed by torch before the solve; a parametric affine map inside a function
becomes an equality. Each program below breaks cvxpy's parameter rules as it is written.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

import declarative as dl
from tests.conformance.cases import definite, normal, text, uniform
from tests.conformance.references import minimise

M, N = 4, 3
DECLARATIONS = """layer lifted
dim m, n
param A[m, n]
param B[n, n]
param c[n]
param S[n, n] psd
param a nonneg
param b nonneg
param t
param rho nonneg
var x[n]
"""

Values = dict[str, np.ndarray]

PROGRAMS: dict[str, tuple[str, Callable[[Any, Values], Any]]] = {
    "scaled squares": (
        "minimize rho * sum_squares(A @ x - A @ c) + a * sum_squares(x)",
        lambda x, p: p["rho"] * cp.sum_squares(p["A"] @ x - p["A"] @ p["c"]) + p["a"] * cp.sum_squares(x),
    ),
    "product of two before a norm": (
        "minimize (a*b) * norm1(x) + sum_squares(x - 2*c)",
        lambda x, p: p["a"] * p["b"] * cp.norm1(x) + cp.sum_squares(x - 2 * p["c"]),
    ),
    "inverse in a quadratic form": (
        "minimize quad_form(x, inv(S)) - 2*c @ x + a*norm1(x)",
        lambda x, p: cp.quad_form(x, np.linalg.inv(p["S"])) - 2 * p["c"] @ x + p["a"] * cp.norm1(x),
    ),
    "square before a norm": (
        "minimize t^2 * norm2(x) + sum_squares(x - 2*c)",
        lambda x, p: p["t"] ** 2 * cp.norm2(x) + cp.sum_squares(x - 2 * p["c"]),
    ),
    "exponential before squares": (
        "minimize exp(t) * sum_squares(x) + 3*norm1(B @ x - c)",
        lambda x, p: np.exp(p["t"]) * cp.sum_squares(x) + 3 * cp.norm1(p["B"] @ x - p["c"]),
    ),
    "product inside an affine map": (
        "minimize sum_squares(x - 2*c)\nsubject to\n  near: norm2((a*B) @ x - (t*b)*c) <= rho",
        lambda x, p: (
            cp.sum_squares(x - 2 * p["c"]),
            [cp.norm2(p["a"] * p["B"] @ x - p["t"] * p["b"] * p["c"]) <= p["rho"]],
        ),
    ),
    "parametric map inside an exponential": (
        "minimize sum(exp(t*(B @ x))) + rho*sum_squares(x - c)",
        lambda x, p: cp.sum(cp.exp(p["t"] * (p["B"] @ x))) + p["rho"] * cp.sum_squares(x - p["c"]),
    ),
    "product of matrices": (
        "minimize sum_squares(x - c) + rho*norm_inf(B @ S @ x)",
        lambda x, p: cp.sum_squares(x - p["c"]) + p["rho"] * cp.norm_inf(p["B"] @ p["S"] @ x),
    ),
    "quotient of parameters": (
        "minimize rho/(1 + b) * sum_squares(x - c) + a*norm1(x)/(1 + t^2)",
        lambda x, p: p["rho"] / (1 + p["b"]) * cp.sum_squares(x - p["c"]) + p["a"] * cp.norm1(x) / (1 + p["t"] ** 2),
    ),
    "huber of a scaled residual": (
        "minimize sum(huber((b*B) @ x - c)) + rho*sum_squares(x)",
        lambda x, p: cp.sum(cp.huber(p["b"] * p["B"] @ x - p["c"])) + p["rho"] * cp.sum_squares(x),
    ),
}


def parameters() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    draws = {"A": normal(M, N), "B": normal(N, N), "c": normal(N), "S": definite(N)}
    draws |= {"a": uniform(0.3, 0.6), "b": uniform(0.5, 1), "t": uniform(0.4, 0.8), "rho": uniform(0.4, 0.7)}
    return {name: draw(generator, ()) for name, draw in draws.items()}


@cache
def compiled(name: str) -> type[dl.Layer]:
    """The layer, with those declarations that its text uses."""
    body = PROGRAMS[name][0]
    words = set("".join(ch if ch.isalnum() else " " for ch in body).split())
    lines = DECLARATIONS.splitlines()
    used = [line for line in lines if not line.startswith("param") or line.split()[1].split("[")[0] in words]
    dims = "dim m, n" if any("[m" in line for line in used) else "dim n"
    used[1] = dims
    return text("\n".join(used) + f"\n{body}\n")


def arguments(name: str) -> dict[str, Tensor]:
    wanted = {spec.name for spec in compiled(name).parameters_of_call}
    return {k: v for k, v in parameters().items() if k in wanted}


@pytest.mark.parametrize("name", PROGRAMS)
def test_solution(name: str) -> None:
    data = arguments(name)
    x = cp.Variable(N)
    problem = PROGRAMS[name][1](x, {k: v.numpy() for k, v in data.items()})
    objective, constraints = problem if isinstance(problem, tuple) else (problem, [])
    minimise(objective, constraints)
    np.testing.assert_allclose(compiled(name)()(**data).numpy(), x.value, atol=1e-6)


@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients(name: str) -> None:
    layer, data = compiled(name)(), arguments(name)
    cotangent = torch.tensor([1.0, -2.0, 0.7], dtype=torch.float64)
    leaves = {k: v.clone().requires_grad_() for k, v in data.items()}
    gradients = torch.autograd.grad((layer(**leaves) * cotangent).sum(), list(leaves.values()))
    generator = torch.Generator().manual_seed(4)
    step = 1e-5
    for (key, value), gradient in zip(data.items(), gradients, strict=True):
        for _ in range(2):
            # The language promises a symmetric matrix to an inverse inside a quadratic form.
            direction = torch.randn(value.shape, generator=generator, dtype=value.dtype)
            direction = direction + direction.mT if key == "S" else direction
            up, down = (layer(**(data | {key: value + sign * step * direction})) for sign in (1, -1))
            numeric = float(((up - down) * cotangent).sum()) / (2 * step)
            assert float((gradient * direction).sum()) == pytest.approx(numeric, rel=1e-4, abs=1e-8), key


@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_are_not_zero(name: str) -> None:
    """The programs are ones in which every parameter matters, or equal zeros would prove nothing."""
    layer = compiled(name)()
    leaves = {k: v.requires_grad_() for k, v in arguments(name).items()}
    cotangent = torch.tensor([1.0, -2.0, 0.7], dtype=torch.float64)
    for gradient in torch.autograd.grad((layer(**leaves) * cotangent).sum(), list(leaves.values())):
        assert float(gradient.abs().max()) > 1e-3


def test_an_inverse_of_a_batch() -> None:
    layer, data = compiled("inverse in a quadratic form")(), arguments("inverse in a quadratic form")
    shifts = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)[:, None, None] * torch.eye(N, dtype=torch.float64)
    batched = layer(**(data | {"S": data["S"] + shifts}))
    for k in range(3):
        single = layer(**(data | {"S": data["S"] + shifts[k]}))
        torch.testing.assert_close(batched[k], single, rtol=1e-8, atol=1e-8)
