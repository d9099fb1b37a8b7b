"""The exact answers of the benchmark, and its error measures, against cvxpy, scipy and differences."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch

from benchmarks.cases import DOUBLE, Case, Program, quadratic_program, scores
from benchmarks.kkt import Arrays, pull_back, violation
from benchmarks.reference import (
    NotExactError,
    gradient_error,
    of_program,
    of_projection,
    of_softmax,
    x_error,
)

SIZES = [(6, 4, 2), (5, 7, 0), (6, 0, 3)]


def solved_by_cvxpy(parameters: list[np.ndarray]) -> np.ndarray:
    P, q, A, b, G, h = parameters
    x = cp.Variable(len(q))
    rows = ([A @ x == b] if len(b) else []) + ([G @ x <= h] if len(h) else [])
    cp.Problem(cp.Minimize(cp.quad_form(x, cp.psd_wrap(P)) / 2 + q @ x), rows).solve(
        cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11
    )
    return x.value


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_reference_solutions_are_those_of_cvxpy(sizes: tuple[int, int, int]) -> None:
    case = quadratic_program(3, *sizes)
    x = of_program(case).answer.x
    for i in range(3):
        assert np.abs(x[i].numpy() - solved_by_cvxpy([t[i].numpy() for t in case.parameters])).max() < 1e-7


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("shared", [False, True], ids=["each", "shared"])
def test_reference_gradients_are_central_differences(sizes: tuple[int, int, int], shared: bool) -> None:
    case = quadratic_program(2, *sizes, shared=shared)
    exact = of_program(case).answer
    for place, gradient in enumerate(exact.gradients):
        if not gradient.numel():
            continue
        direction = torch.randn(gradient.shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(place))
        if Program._fields[place] == "P":
            direction = direction + direction.mT
        values = []
        for step in (1e-6, -1e-6):
            moved = [t + step * direction if i == place else t for i, t in enumerate(case.parameters)]
            values.append(float((of_program(Case(tuple(moved), case.cotangent)).answer.x * case.cotangent).sum()))
        assert (values[0] - values[1]) / 2e-6 == pytest.approx(float((gradient * direction).sum()), rel=1e-5, abs=1e-6)


def test_some_inequalities_are_active_and_some_are_not() -> None:
    assert 1 < of_program(quadratic_program(32, 10, 5, 2)).active < 4
    assert 5 < of_program(quadratic_program(8, 50, 50, 0)).active < 45


def test_shared_data_are_the_same_problem_as_data_written_out() -> None:
    case = quadratic_program(4, 6, 4, 2, shared=True)
    one, other = of_program(case).answer, of_program(case.repeated()).answer
    assert x_error(other.x, one.x) < 1e-13
    assert gradient_error(other.gradients, one.gradients) < 1e-13  # per instance: summed before they are compared


def test_the_kkt_violation_sees_each_condition() -> None:
    case = quadratic_program(1, 6, 4, 2)
    program = Arrays(*(t.numpy() for t in case.parameters))
    x = of_program(case).answer.x.numpy()
    slack = program.h - (program.G @ x[..., None])[..., 0]
    rows = np.concatenate([program.A[0], program.G[0][slack[0] < 1e-9]])
    price = np.linalg.lstsq(rows.T, -(program.P[0] @ x[0] + program.q[0]), rcond=None)[0]
    nu, multiplier = price[None, :2], np.zeros((1, 4))
    multiplier[:, slack[0] < 1e-9] = price[2:]
    assert violation(program, x, nu, multiplier) < 1e-12
    assert violation(program, x + 1e-3, nu, multiplier) > 1e-5
    assert violation(program, x, nu + 1e-3, multiplier) > 1e-5
    assert violation(program, x, nu, multiplier + 1e-3) > 1e-5
    assert violation(program._replace(b=program.b + 1e-3), x, nu, multiplier) > 1e-5
    assert violation(program._replace(h=program.h - 1e-3), x, nu, multiplier) > 1e-5


def test_a_reference_that_is_not_exact_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_another_sign(*given: object) -> tuple[np.ndarray, ...]:
        return tuple(-g for g in pull_back(*given))

    monkeypatch.setattr("benchmarks.reference.pull_back", with_another_sign)
    with pytest.raises(NotExactError, match="disagreement"):
        of_program(quadratic_program(1, 6, 4, 2))


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("upper", [np.inf, 1.0], ids=["simplex", "capped"])
def test_projections_are_those_of_cvxpy(weighted: bool, upper: float) -> None:
    case = scores(3, 8, DOUBLE)
    weights = np.linspace(0.5, 1.5, 8) if weighted else np.ones(8)
    exact = of_projection(case, weights, 0.0, upper, 1.5).answer
    for v, y in zip(case.parameters[0].numpy(), exact.x.numpy(), strict=True):
        z = cp.Variable(8)
        bounds = [z >= 0, weights @ z == 1.5] + ([z <= upper] if np.isfinite(upper) else [])
        cp.Problem(cp.Minimize(cp.sum_squares(z - v)), bounds).solve(
            cp.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12
        )
        assert np.abs(z.value - y).max() < 1e-6


def test_gradients_of_projections_are_central_differences() -> None:
    case, weights = scores(3, 8, DOUBLE), np.linspace(0.5, 1.5, 8)
    direction = torch.randn(3, 8, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    values = []
    for step in (1e-6, -1e-6):
        moved = Case((case.parameters[0] + step * direction,), case.cotangent)
        values.append(float((of_projection(moved, weights, 0.0, 1.0, 1.5).answer.x * case.cotangent).sum()))
    (gradient,) = of_projection(case, weights, 0.0, 1.0, 1.5).answer.gradients
    assert (values[0] - values[1]) / 2e-6 == pytest.approx(float((gradient * direction).sum()), rel=1e-6)


def test_softmax_is_that_of_torch() -> None:
    case = scores(3, 8, DOUBLE)
    leaf = case.parameters[0].clone().requires_grad_()
    y = torch.softmax(leaf, -1)
    exact = of_softmax(case).answer
    assert x_error(y.detach(), exact.x) < 1e-14
    assert gradient_error(torch.autograd.grad(y, leaf, case.cotangent), exact.gradients) < 1e-14


def test_errors_are_relative_and_see_what_is_no_number() -> None:
    exact = torch.tensor([[4.0, 1.0]], dtype=DOUBLE)
    assert x_error(exact + 0.4, exact) == pytest.approx(0.1)
    assert x_error(exact / 100 + 0.01, exact / 100) == pytest.approx(0.01)
    assert x_error(exact * torch.nan, exact) == float("inf")
    assert gradient_error((exact + 0.4, exact), (exact, exact)) == pytest.approx(0.1)
    assert gradient_error((exact, exact * torch.inf), (exact, exact)) == float("inf")


def test_a_gradient_that_is_zero_is_held_against_the_others() -> None:
    one, none = torch.ones(1, 2, dtype=DOUBLE), torch.zeros(1, 2, dtype=DOUBLE)
    assert gradient_error((one, none + 1e-8), (one, none)) == pytest.approx(1e-6)


def test_only_the_symmetric_part_of_the_gradient_of_the_hessian_counts() -> None:
    exact = of_program(quadratic_program(2, 6, 4, 2)).answer
    skew = torch.zeros(6, 6, dtype=DOUBLE)
    skew[0, 1], skew[1, 0] = 5.0, -5.0
    first, *rest = exact.gradients
    assert gradient_error((first + skew, *rest), exact.gradients) < 1e-12
    assert gradient_error((first + skew.abs(), *rest), exact.gradients) > 0.1
    assert gradient_error((first, rest[0], rest[1] + skew[:2], *rest[2:]), exact.gradients) > 0.1
