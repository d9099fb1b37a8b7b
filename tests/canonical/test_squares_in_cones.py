"""Cone programs of problems that have a derivative have it too: squares of norms at zero, forms of any matrix."""

from __future__ import annotations

from collections.abc import Callable

import cvxpy as cp
import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor

import declarative as dl

INACTIVE = "  norm2(x) <= 50\n"


def _layer(objective: str, constraints: str = INACTIVE) -> dl.Layer:
    source = f"layer squares\ndim n\nparam a[n]\nvar x[n]\nminimize {objective}\nsubject to\n{constraints}output x\n"
    return dl.compile(dl.parse_program(source, "squares.opt"))()


@pytest.mark.parametrize(
    "square", ["norm2(x)^2", "square(norm2(x))", "3 * norm2(x)^2 / 3", "sum(square(abs(x)))", "sum(abs(x)^2)"]
)
@pytest.mark.parametrize("at", [[0.0, 0.0, 0.0], [0.0, 2.0, -1.0]], ids=["zero", "partly zero"])
def test_square_of_a_norm_has_a_derivative_at_zero(square: str, at: list[float]) -> None:
    """min |x - a|^2 + |x|^2 has x = a/2, also where a is zero."""
    layer = _layer(f"sum_squares(x - a) + {square}")
    a = torch.tensor(at, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(layer, a)
    torch.testing.assert_close(layer(a), a / 2, rtol=0, atol=1e-8)
    torch.testing.assert_close(jacobian, torch.eye(3, dtype=torch.float64) / 2, rtol=0, atol=1e-7)


def test_a_form_in_a_constraint_reads_the_symmetric_part() -> None:
    """Moved in one entry alone, the matrix counts as its symmetric part, as it does in an objective."""
    source = "layer form\ndim n\nparam S[n, n] psd\nparam c[n]\nvar x[n]\nminimize c @ x\nsubject to\n"
    layer = dl.compile(dl.parse_program(source + "  ball: quad_form(x, S) <= 1\n", "form.opt"))()
    generator = torch.Generator().manual_seed(4)
    root = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    c = torch.randn(3, generator=generator, dtype=torch.float64)
    S = root.mT @ root
    skew = torch.tensor([[0.0, 1.0, -2.0], [-1.0, 0.0, 0.5], [2.0, -0.5, 0.0]], dtype=torch.float64)

    def by_hand(S: Tensor) -> Tensor:
        symmetric = (S + S.mT) / 2
        direction = torch.linalg.solve(symmetric, c)
        return -direction / (c @ direction).sqrt()

    torch.testing.assert_close(layer(S + skew, c), by_hand(S), rtol=0, atol=1e-7)
    found = torch.autograd.functional.jacobian(lambda S: layer(S, c), S)
    torch.testing.assert_close(found, torch.autograd.functional.jacobian(by_hand, S), rtol=1e-6, atol=1e-7)


FORMS = {
    "Gram": ("F' @ F", lambda F, d, S: F.T @ F),
    "Gram of few rows and a diagonal with a zero": ("F' @ F + diag(d)", lambda F, d, S: F.T @ F + np.diag(d)),
    "congruence": ("F' @ S @ F", lambda F, d, S: F.T @ S @ F),
    "multiple": ("d[0] * (F' @ F)", lambda F, d, S: d[0] * F.T @ F),
    "diagonal": ("diag(d) + F' @ (S @ F)", lambda F, d, S: np.diag(d) + F.T @ S @ F),
}


@pytest.mark.parametrize("name", FORMS)
def test_singular_forms_by_their_factors(name: str) -> None:
    """A matrix of fewer factors than variables enters by them, exactly."""
    text, matrix = FORMS[name]
    source = (
        "layer form\ndim m, n\nparam F[m, n]\nparam d[n] nonneg\nparam S[m, m] psd\nparam c[n]\nvar x[n]\n"
        f"minimize sum_squares(x - c)\nsubject to\n  risk: quad_form(x, {text}) <= 0.3\noutput x, dual(risk) as z\n"
    )
    layer = dl.compile(dl.parse_program(source, "form.opt"))()
    generator = np.random.default_rng(8)
    root = generator.normal(size=(2, 2))
    values = {
        "F": generator.normal(size=(2, 4)),
        "d": np.array([0.7, 0.0, 0.4, 1.1]),
        "S": root @ root.T + np.eye(2),
        "c": 2 * generator.normal(size=4),
    }
    P = matrix(values["F"], values["d"], values["S"])

    def point(z: float) -> np.ndarray:
        """Where the Lagrangian is stationary."""
        return np.linalg.solve(np.eye(4) + z * P, values["c"])

    z = scipy.optimize.brentq(lambda z: point(z) @ P @ point(z) - 0.3, 0, 1e3, xtol=1e-13)
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}
    found = layer(**leaves)
    np.testing.assert_allclose(found.x.detach().numpy(), point(z), rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.z.item(), z, rtol=1e-8)
    assert torch.autograd.gradcheck(
        lambda F, d, c: layer(F, d, leaves["S"].detach(), c).x,
        (leaves["F"], leaves["d"].detach() + 0.1, leaves["c"]),
        atol=1e-5,
    )


BALL = (
    "layer form\ndim n\nparam P[n, n] psd\nparam c[n]\nvar x[n]\n"
    "minimize sum_squares(x - c)\nsubject to\n  risk: quad_form(x, P) <= 0.3\n"
)
TARGET = torch.tensor([3.0, -2.0, 1.0, 2.5], dtype=torch.float64)


def _of_rank(rank: int) -> Tensor:
    root = torch.randn(4, rank, generator=torch.Generator().manual_seed(rank), dtype=torch.float64)
    return root @ root.mT


def _nearest_by_hand(P: Tensor) -> Tensor:
    """x = (I + z P)^-1 c with z such that x'Px = 0.3; Newton steps at the root carry derivatives of two orders."""
    identity = torch.eye(4, dtype=torch.float64)

    def gap(z: Tensor) -> Tensor:
        x = torch.linalg.solve(identity + z * P, TARGET)
        return x @ P @ x - 0.3

    fixed = P.detach()
    root = scipy.optimize.brentq(lambda z: (_at(fixed, z) @ fixed @ _at(fixed, z)).item() - 0.3, 0, 1e4, xtol=1e-15)
    z = torch.tensor(root, dtype=torch.float64)
    for _ in range(2):
        z = z - gap(z) / torch.func.grad(gap)(z)
    return torch.linalg.solve(identity + z * P, TARGET)


def _at(P: Tensor, z: float) -> Tensor:
    return torch.linalg.solve(torch.eye(4, dtype=torch.float64) + z * P, TARGET)


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_a_singular_matrix_parameter_in_a_constraint(rank: int) -> None:
    """Its derivative is that of x'Px, also along directions that raise the rank."""
    layer = dl.compile(BALL)()
    P = _of_rank(rank)
    torch.testing.assert_close(layer(P, TARGET), _nearest_by_hand(P), rtol=0, atol=2e-8)

    def jacobian(function: Callable[[Tensor], Tensor]) -> Tensor:
        found = torch.autograd.functional.jacobian(function, P)
        return (found + found.mT) / 2

    found = jacobian(lambda P: layer(P, TARGET))
    torch.testing.assert_close(found, jacobian(_nearest_by_hand), rtol=1e-6, atol=1e-6)


def test_second_derivatives_in_a_singular_matrix() -> None:
    layer = dl.compile(BALL)()
    P = _of_rank(2)
    direction = torch.randn(4, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    direction = direction + direction.mT

    def curvature(function: Callable[[Tensor], Tensor]) -> Tensor:
        def along(t: Tensor) -> Tensor:
            return function(P + t * direction).square().sum()

        return torch.autograd.functional.hessian(along, torch.zeros((), dtype=torch.float64))

    expected = curvature(_nearest_by_hand)
    torch.testing.assert_close(curvature(lambda P: layer(P, TARGET)), expected, rtol=1e-5, atol=0)


def test_a_batch_of_every_rank_and_of_what_is_not_semidefinite() -> None:
    layer = dl.compile(BALL)()
    P = torch.stack([_of_rank(2), -_of_rank(2), torch.zeros(4, 4, dtype=torch.float64), _of_rank(4) * torch.nan])
    solution = layer.solve(P, TARGET)
    assert solution.solved.tolist() == [True, False, True, False]
    torch.testing.assert_close(solution.outputs[0], _nearest_by_hand(P[0]), rtol=0, atol=2e-8)
    torch.testing.assert_close(solution.outputs[2], TARGET, rtol=0, atol=1e-8)
    single = layer(P[0].float(), TARGET.float())
    torch.testing.assert_close(single.double(), _nearest_by_hand(P[0]), rtol=0, atol=2e-5)


def test_a_matrix_that_breaks_its_promise_is_told() -> None:
    layer = dl.compile(BALL)()
    with pytest.raises(dl.SolveError, match="note: `P` of instance 1 is promised psd and is not: off by 2"):
        layer(torch.stack([_of_rank(2), -2 * torch.eye(4, dtype=torch.float64)]).requires_grad_(), TARGET)


def test_a_singular_form_beside_a_norm() -> None:
    """Against cvxpy, and its gradient in a factor against central differences."""
    source = (
        "layer form\ndim n\nparam P[n, n] psd\nparam c[n]\nparam r nonneg\nvar x[n]\n"
        "minimize maximum(quad_form(x - c, P), norm2(x)) + r * norm1(x)\n"
    )
    layer = dl.compile(source)()
    root = torch.randn(4, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    r = torch.tensor(0.1, dtype=torch.float64)
    x = cp.Variable(4)
    form = cp.sum_squares(root.mT.numpy() @ (x - TARGET.numpy()))
    problem = cp.Problem(cp.Minimize(cp.maximum(form, cp.norm(x)) + 0.1 * cp.norm1(x)))
    problem.solve(solver=cp.CLARABEL)
    np.testing.assert_allclose(layer(root @ root.mT, TARGET, r).numpy(), x.value, rtol=0, atol=1e-4)
    leaf = root.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda root: layer(root @ root.mT, TARGET, r), leaf, eps=1e-4, atol=1e-5)
