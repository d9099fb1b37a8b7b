"""Cases that differentiable solvers are reported to get wrong, each against a number found by other means."""

from __future__ import annotations

import copy

import cvxpy as cp
import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor

import declarative as dl
from declarative.canonical.normalise import normalise
from declarative.codegen.torch_module import emit
from declarative.compiler import load
from declarative.structures.cone_program import ConeProgramMatch
from tests.conformance.references import minimise

F64 = torch.float64

TWO_WAY_SOFTMAX = """layer Choice
param v
param b
param alpha nonneg
var x[2]
maximize v * x[0] + b * x[1] + alpha * sum(entr(x))
subject to
  total: sum(x) == 1
"""

LOGISTIC = """layer Logistic
dim m, n
param X[m, n]
param y[m]
param lam nonneg
var beta[n]
minimize mean(logistic(-(y * (X @ beta)))) + lam * norm1(beta)
"""

QP = """layer QP
dim n, m, p
param Q[n, n] psd
param c[n]
param A[p, n]
param b[p]
param G[m, n]
param h[m]
var x[n]
minimize 1/2 * quad_form(x, Q) + c @ x
subject to
  eq: A @ x == b
  rows: G @ x <= h
"""

BOUNDED = """layer Bounded
dim n, m
param Q[n, n] psd
param c[n]
param G[m, n]
param h[m]
param lo[n]
param hi[n]
var x[n]
minimize 1/2 * quad_form(x, Q) + c @ x
subject to
  rows: G @ x <= h
  box: lo <= x <= hi
output x, dual(rows) as price, dual(box) as force
"""

BALL = """layer Ball
dim n = 3
param c[n]
param r nonneg
var x[n]
minimize norm2(x - c) + sum_squares(x) / 4
subject to
  ball: norm2(x) <= r
"""

PRICED = """layer Priced
dim m = 20, n = 30
param L[m, n]
param p[m]
param bound nonneg
var v[m]
minimize 1/2 * sum_squares(L' @ v) + 1/2 * sum_squares(v) - p @ v
subject to
  box: -1 <= v <= 1
  size: norm2(v) <= bound
"""


def compiled(text: str, by_cone: bool = False) -> type[dl.Layer]:
    if not by_cone:
        return dl.compile(text)
    program = dl.parse_program(text)
    sizes = {d.name: d.default for d in program.dimensions}
    return load(emit(program, ConeProgramMatch(normalise(program)), sizes), program.name)


def tensor(*values: object) -> Tensor:
    return torch.tensor(values[0] if len(values) == 1 else values, dtype=F64)


@pytest.mark.parametrize("by_cone", [False, True], ids=["closed form", "cone program"])
def test_softmax_as_an_optimisation(by_cone: bool) -> None:
    """At temperature 0.01 the derivative of one share by the other's score is -10.4994; 0.014 has been returned."""
    layer = compiled(TWO_WAY_SOFTMAX, by_cone)().double()
    v, b, alpha = tensor(0.6), tensor(0.58).requires_grad_(), tensor(0.01)
    x = layer(v, b, alpha)
    torch.testing.assert_close(x.detach(), torch.softmax(tensor(60.0, 58.0), 0), rtol=1e-8, atol=1e-9)
    (slope,) = torch.autograd.grad(x[0], b)
    assert float(slope) == pytest.approx(-10.4994, abs=5e-5)


def test_hypergradient_of_l1_logistic_regression() -> None:
    """By the penalty, of the loss on held-out data: with S the entries that are not zero and H the Hessian there,
    dbeta_S/dlam = -H^-1 sign(beta_S), at the solution that cvxpy finds."""
    random = np.random.default_rng(3)
    truth = np.array([1.5, -1.0, 0, 0, 0.8, 0, 0, 0])
    X = random.normal(size=(60, 8))
    y = np.sign(X @ truth + 0.5 * random.normal(size=60))
    train, held_out, lam = slice(0, 40), slice(40, 60), 0.05

    beta = cp.Variable(8)
    margins = cp.multiply(y[train], X[train] @ beta)
    minimise(cp.sum(cp.logistic(-margins)) / 40 + lam * cp.norm1(beta))
    solution = beta.value
    support = np.abs(solution) > 1e-6
    assert 2 <= support.sum() < 8
    chance = 1 / (1 + np.exp(-X[train] @ solution))
    hessian = (X[train][:, support].T * (chance * (1 - chance))) @ X[train][:, support] / 40
    motion = -np.linalg.solve(hessian, np.sign(solution[support]))
    held = y[held_out] * (X[held_out] @ solution)
    slope = -(X[held_out] * (y[held_out] / (1 + np.exp(held)))[:, None]).mean(0)

    penalty = tensor(lam).requires_grad_()
    layer = compiled(LOGISTIC)().double()
    found = layer(tensor(X[train]), tensor(y[train]), penalty)
    np.testing.assert_allclose(found.detach().numpy(), solution, atol=1e-7)
    loss = torch.nn.functional.softplus(-tensor(y[held_out]) * (tensor(X[held_out]) @ found)).mean()
    (gradient,) = torch.autograd.grad(loss, penalty)
    assert float(gradient) == pytest.approx(slope[support] @ motion, rel=1e-6)


def test_a_parameter_shared_by_the_batch_gets_the_sum_of_gradients() -> None:
    """Not their mean: eight equal instances give eight times the gradient of one."""
    layer = compiled(QP)().double()
    Q, c = tensor([[2.0, 0.5], [0.5, 1.0]]).requires_grad_(), tensor(-1.0, 0.5)
    A, b, G, h = tensor([[1.0, 1.0]]), tensor([0.5]), tensor([[1.0, 0.0]]), tensor([0.3])
    (one,) = torch.autograd.grad(layer(Q, c, A, b, G, h * 9)[0], Q)
    (eight,) = torch.autograd.grad(layer(Q, c.expand(8, 2), A, b, G, h * 9)[:, 0].sum(), Q)
    assert float(one.abs().max()) > 0.1
    torch.testing.assert_close(eight, 8 * one, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_projection_of_a_point_that_is_feasible(dtype: torch.dtype) -> None:
    """No row is active, every multiplier is zero: the point itself and the identity for a derivative, not NaN."""
    layer = compiled(BOUNDED)().to(dtype)
    point = torch.tensor([0.2, 0.3], dtype=dtype)
    eye, ones = torch.eye(2, dtype=dtype), torch.ones(2, dtype=dtype)
    G = -torch.eye(2, dtype=dtype)

    def project(target: Tensor) -> Tensor:
        return layer(eye, -target, G, 0 * ones, -ones, ones).x  # type: ignore[no-any-return]

    torch.testing.assert_close(project(point), point)
    torch.testing.assert_close(torch.func.jacrev(project)(point), eye)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_problem_without_a_cost(dtype: torch.dtype) -> None:
    """Q = 0 and c = 0 leave every feasible point optimal: one of them is returned, and finite gradients."""
    layer = compiled(BOUNDED)().to(dtype)
    zero, ones = torch.zeros(2, 2, dtype=dtype), torch.ones(2, dtype=dtype)
    data = [zero, 0 * ones, torch.eye(2, dtype=dtype), ones / 2, -ones, ones]
    leaves = [d.clone().requires_grad_() for d in data]
    x = layer(*leaves).x
    assert bool((x <= 0.5 + 1e-6).all())
    assert bool((x >= -1 - 1e-6).all())
    assert all(bool(g.isfinite().all()) for g in torch.autograd.grad(x.sum(), leaves))


@pytest.mark.parametrize("text", [BALL, BOUNDED, TWO_WAY_SOFTMAX], ids=["cone", "qp", "closed form"])
def test_float32_in_is_float32_out(text: str) -> None:
    data = {
        BALL: [torch.tensor([1.0, 2.0, -1.0]), torch.tensor(0.8)],
        BOUNDED: [torch.eye(2), -torch.ones(2), torch.ones(1, 2), torch.ones(1), -torch.ones(2), torch.ones(2)],
        TWO_WAY_SOFTMAX: [torch.tensor(0.6), torch.tensor(0.58), torch.tensor(0.1)],
    }[text]
    leaves = [d.requires_grad_() for d in data]
    returned = compiled(text)()(*leaves)
    values = (returned,) if isinstance(returned, Tensor) else tuple(returned)
    gradients = torch.autograd.grad(sum(v.sum() for v in values), leaves)  # type: ignore[arg-type]
    assert {t.dtype for t in (*values, *gradients)} == {torch.float32}


@pytest.mark.parametrize("text", [BALL, BOUNDED], ids=["cone", "qp"])
def test_a_copy_is_a_layer_of_its_own(text: str) -> None:
    layer = compiled(text)().double()
    layer.tolerance = 1e-9
    other = copy.deepcopy(layer)
    other.on_failure = "nan"
    assert (layer.on_failure, other.tolerance) == ("raise", 1e-9)
    eye, ones = torch.eye(3, dtype=F64), torch.ones(3, dtype=F64)
    data = (ones, tensor(0.8)) if text is BALL else (eye, -ones, ones[None], ones[:1], -ones, ones)
    first, second = layer(*data), other(*data)
    for left, right in zip(torch.as_tensor(first) if text is BALL else first, second, strict=True):
        assert torch.equal(left, right)


def test_one_infeasible_instance_does_not_stop_training() -> None:
    """Steps of gradient descent with it are those without it."""
    layer = compiled(BOUNDED)(on_failure="nan").double()
    random = torch.Generator().manual_seed(2)
    c = torch.randn(6, 2, generator=random, dtype=F64)
    low = -torch.ones(6, 2, dtype=F64)
    low[3] = 2.0  # above the upper bound
    wanted = tensor(0.3, -0.2)

    def train(rows: list[int]) -> Tensor:
        scale = tensor(1.0, 1.0).requires_grad_()
        optimiser = torch.optim.SGD([scale], lr=0.1)
        for _ in range(20):
            x = layer(torch.diag(scale), c[rows], tensor([[1.0, 1.0]]), tensor([1.0]), low[rows], tensor(1.0, 1.0)).x
            solved = x.isfinite().all(-1)
            loss = (torch.where(solved[:, None], x, wanted) - wanted).square().sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return scale.detach()

    with_it, without = train([0, 1, 2, 3, 4, 5]), train([0, 1, 2, 4, 5])
    assert bool(with_it.isfinite().all())
    assert float((with_it - 1).abs().max()) > 0.05
    torch.testing.assert_close(with_it, without, rtol=1e-12, atol=0)


def test_a_cost_of_zero_with_equalities_alone() -> None:
    """The nearest point of a line to the origin in the metric of Q: x = Q^-1 a b / (a'Q^-1 a)."""
    Q = tensor([[4.0, 1.0], [1.0, 2.0]])
    a, b = tensor(1.0, 1.0), tensor(1.0)
    layer = compiled(QP)().double()
    none = torch.zeros(0, 2, dtype=F64), torch.zeros(0, dtype=F64)

    def reached(a: Tensor, b: Tensor) -> Tensor:
        return layer(Q, torch.zeros(2, dtype=F64), a[None], b[None], *none)  # type: ignore[no-any-return]

    def formula(a: Tensor, b: Tensor) -> Tensor:
        along = torch.linalg.solve(Q, a)
        return along * b / (a @ along)

    torch.testing.assert_close(reached(a, b), tensor(0.25, 0.75), rtol=1e-12, atol=1e-12)
    for place in (0, 1):
        found = torch.func.jacrev(reached, argnums=place)(a, b)
        torch.testing.assert_close(found, torch.func.jacrev(formula, argnums=place)(a, b), rtol=1e-10, atol=1e-12)


def test_redundant_rows_change_neither_the_solution_nor_its_derivative() -> None:
    """A row said three times, and an equality twice."""
    layer = compiled(QP)().double()
    Q, c = tensor([[2.0, 0.3], [0.3, 1.0]]), tensor(-1.0, -2.0)
    A, b, G, h = tensor([[1.0, -1.0]]), tensor([0.1]), tensor([[1.0, 1.0]]), tensor([0.5])

    def once(c: Tensor) -> Tensor:
        return layer(Q, c, A, b, G, h)  # type: ignore[no-any-return]

    def repeatedly(c: Tensor) -> Tensor:
        rows, sides = torch.cat([G, 2 * G, G]), torch.cat([h, 2 * h, h])
        return layer(Q, c, torch.cat([A, A]), torch.cat([b, b]), rows, sides)  # type: ignore[no-any-return]

    torch.testing.assert_close(repeatedly(c), once(c), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(torch.func.jacrev(repeatedly)(c), torch.func.jacrev(once)(c), rtol=1e-9, atol=1e-10)


def test_infinite_bounds_are_no_bounds() -> None:
    """On the solution, on the multipliers (zero) and on the gradients (zero for the bounds, not NaN)."""
    layer = compiled(BOUNDED)().double()
    Q, c = tensor([[2.0, 0.3], [0.3, 1.0]]), tensor(-1.0, -2.0)
    lower, upper = torch.full((2,), -torch.inf, dtype=F64), tensor(torch.inf, 1.0)
    leaves = [t.requires_grad_() for t in (Q, c, tensor([[1.0, 1.0]]), tensor([torch.inf]), lower, upper)]
    found = layer(*leaves)
    x = cp.Variable(2)
    minimise(cp.quad_form(x, Q.detach().numpy()) / 2 + c.detach().numpy() @ x, [x[1] <= 1])
    np.testing.assert_allclose(found.x.detach().numpy(), x.value, atol=1e-8)
    assert found.price.tolist() == [0]
    assert float(found.force[0].detach()) == 0
    gradients = torch.autograd.grad(sum(v.square().sum() for v in found), leaves)  # type: ignore[arg-type]
    assert all(bool(g.isfinite().all()) for g in gradients)
    assert gradients[3].tolist() == [0]
    assert gradients[4].tolist() == [0, 0]
    assert float(gradients[5][1]) != 0


def test_a_repeated_backward_is_identical_and_losses_add_up() -> None:
    """Of a cone program of twenty variables: to the last bit, and l1 + l2 has the sum of their gradients; the gradient
    is that of differences of the solution by one scalar root."""
    layer = compiled(PRICED)().double()
    random = torch.Generator().manual_seed(4)
    L, p = (torch.randn(*shape, generator=random, dtype=F64) for shape in ((20, 30), (20,)))
    L, p = L / 10, p.requires_grad_()
    v = layer(L, p, tensor(1.5))
    first, second = v.square().sum(), (v * torch.linspace(-1, 1, 20, dtype=F64)).sum()
    (whole,) = torch.autograd.grad(first + second, p, retain_graph=True)
    (again,) = torch.autograd.grad(first + second, p, retain_graph=True)
    assert torch.equal(whole, again)
    parts = [torch.autograd.grad(part, p, retain_graph=True)[0] for part in (first, second)]
    torch.testing.assert_close(parts[0] + parts[1], whole, rtol=1e-10, atol=1e-12)

    # No bound is active: v = (L L' + (1 + mu) I)^-1 p with the mu that gives it its length.
    values, basis = np.linalg.eigh(L.numpy() @ L.numpy().T + np.eye(20))

    def solved(price: np.ndarray) -> np.ndarray:
        rotated = basis.T @ price
        mu = brentq(lambda mu: np.linalg.norm(rotated / (values + mu)) - 1.5, 0, 100, xtol=1e-14)
        return np.asarray(basis @ (rotated / (values + mu)))

    price = p.detach().numpy()
    np.testing.assert_allclose(v.detach().numpy(), solved(price), atol=1e-9)
    assert float(v.detach().abs().max()) < 0.99
    along, weights = np.random.default_rng(5).normal(size=20), np.linspace(-1, 1, 20)
    ends = [solved(price + step * along) for step in (1e-5, -1e-5)]
    losses = [(x**2).sum() + x @ weights for x in ends]
    assert float(whole @ tensor(along)) == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-7)
