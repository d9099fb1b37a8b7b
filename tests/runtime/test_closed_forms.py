"""The problems that closed forms state for `solve` and `diagnose`: residuals, conditions; forward pays nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import declarative as dl
from declarative.compiler import parse_program
from declarative.runtime import CurvedRow, DenseQP
from declarative.runtime.layer import Layer
from declarative.runtime.solvers.interior_point import InteriorPoint

D = torch.float64

SOFTMAX = """layer choice
dim n
param x[n]
param tau nonneg
param s nonneg
var y[n]

maximize x' @ y + tau * sum(entr(y))
subject to
  share: 3 * sum(y) == 3 * s
output y, dual(share) as nu
"""

SIMPLEX = """layer shares
dim n
param x[n]
param rho nonneg
param s nonneg
var y[n]

minimize rho/2 * sum_squares(y - x)
subject to
  share: -2 * sum(y) == -2 * s
  floor: y >= 0
output y, dual(share) as nu, dual(floor) as lam
"""


@pytest.fixture(autouse=True)
def modest_threads() -> None:
    torch.set_num_threads(1)


def compiled(text: str) -> Layer:
    return dl.compile(parse_program(text, "test.opt"))()


def t(values: Any) -> Tensor:
    return torch.tensor(values, dtype=D)


def arguments(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    at = torch.Generator().manual_seed(seed)
    return torch.randn(4, 6, generator=at, dtype=D), t([0.3, 1.0, 2.5, 0.7]), t([1.0, 2.0, 0.5, 4.0])


@pytest.mark.parametrize("text", [SOFTMAX, SIMPLEX])
def test_the_residual_of_a_closed_form_is_measured(text: str) -> None:
    layer, args = compiled(text), arguments()
    solution = layer.solve(*args)
    assert float(solution.residuals.max()) < 1e-14
    problem = layer.data(*args)
    point = layer.point_type(*solution.point)
    for part in range(len(point)):
        moved = list(point)
        moved[part] = moved[part] + 1e-3
        assert float(problem.relative_residual(layer.point_type(*moved).kkt).min()) > 1e-5


def test_the_solution_of_the_stated_program_is_the_closed_form() -> None:
    layer, args = compiled(SIMPLEX), arguments()
    outputs, problem = layer(*args), layer.data(*args)
    assert isinstance(problem, DenseQP)
    solved = InteriorPoint().solve(problem)
    torch.testing.assert_close(solved.point[0], outputs.y)
    torch.testing.assert_close(solved.point[1][..., 0], outputs.nu)
    torch.testing.assert_close(-solved.point[3], outputs.lam)


def test_the_second_order_margin_of_softmax_is_the_least_curvature_along_the_row() -> None:
    layer, (x, tau, s) = compiled(SOFTMAX), arguments()
    report = layer.diagnose(x, tau, s, finite_differences=True)
    y = layer(x, tau, s).y
    tangent = torch.linalg.svd(torch.ones(1, 6, dtype=D))[2][1:]
    curvature = torch.linalg.eigvalsh(tangent @ torch.diag_embed(tau[:, None] / y) @ tangent.mT)[:, 0]
    torch.testing.assert_close(report.second_order, curvature)
    assert bool(report.holds.all())
    assert report.complementarity.tolist() == [math.inf] * 4
    assert all(float(worst.max()) < 1e-7 for worst in report.disagreement.values())


def test_the_entropic_residual_has_the_stated_jacobian() -> None:
    layer, args = compiled(SOFTMAX), arguments()
    problem, point = layer.data(*args), layer.solve(*args).point
    assert isinstance(problem, CurvedRow)
    one = problem.with_tensors([tensor[0] for tensor in problem.tensors])
    blocks = torch.func.jacrev(lambda *w: torch.cat(one.residual(w)), argnums=(0, 1))(*(p[0] for p in point))
    expected = torch.linalg.cond(torch.cat(blocks, -1))
    torch.testing.assert_close(problem.conditions(point).adjoint_condition[0], expected)


def test_an_entry_that_underflows_is_no_obstacle() -> None:
    layer = compiled(SOFTMAX)
    x, one = torch.tensor([0.0, -5.0, -500.0]), torch.tensor(1.0)
    assert layer(x, one, one).y[2] == 0
    assert float(layer.solve(x, one, one).residuals) < 1e-6
    assert bool(layer.diagnose(x, one, one).holds)


def test_a_negative_total_is_infeasible_and_its_neighbour_is_judged() -> None:
    for text in (SOFTMAX, SIMPLEX):
        x, tau, _ = arguments()
        solution = compiled(text).solve(x[:2], tau[:2], t([1.0, -1.0]))
        assert [int(code) for code in solution.status] == [0, 2]
        assert float(solution.residuals[0]) < 1e-14
        report = compiled(text).diagnose(x[:2], tau[:2], t([1.0, -1.0]))
        assert report.holds.tolist() == [True, False]
        assert report.meaning[1][0].startswith("infeasible:")


@pytest.mark.parametrize("text", [SOFTMAX, SIMPLEX])
def test_forward_does_without_the_problem(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, args = compiled(text), arguments()

    def refuse(*_: Any) -> None:
        raise AssertionError("forward stated the problem")

    monkeypatch.setattr(type(layer), "data", refuse)
    layer(*args)
    with pytest.raises(AssertionError, match="stated the problem"):
        layer.solve(*args)


def test_the_multiplier_of_the_floor_is_named_after_it() -> None:
    report = compiled(SIMPLEX).diagnose(t([1.0, 0.0]), t(2.0), t(1.0))
    assert report.meaning[0][0].startswith("weakly active: floor[1];")


@pytest.mark.parametrize("name", ["t", "v", "p", "size", "support", "count", "logits", "share", "nu", "total"])
def test_a_parameter_may_be_called_like_a_name_of_the_closed_form(name: str) -> None:
    x, weight, s = arguments()
    for text, plain in ((SOFTMAX, "tau"), (SIMPLEX, "rho")):
        renamed = text.replace(f"param {plain} ", f"param {name} ")
        renamed = renamed.replace(f"{plain}/2 *", f"{name}/2 *").replace(f"{plain} *", f"{name} *")
        renamed = renamed.replace("share:", "all:").replace("dual(share) as nu", "dual(all) as price")
        torch.testing.assert_close(compiled(renamed)(x, weight, s).y, compiled(text)(x, weight, s).y)
        assert float(compiled(renamed).solve(x, weight, s).residuals.max()) < 1e-14


@pytest.mark.parametrize("name", ["t", "v", "total", "logits"])
def test_a_variable_may_be_called_like_a_name_of_the_closed_form(name: str) -> None:
    for text in (SOFTMAX, SIMPLEX):
        renamed = text.replace("var y", f"var {name}").replace("(y)", f"({name})").replace("(y - x)", f"({name} - x)")
        renamed = renamed.replace("@ y", f"@ {name}").replace("floor: y", f"floor: {name}")
        renamed = renamed.replace("output y", f"output {name} as y")
        torch.testing.assert_close(compiled(renamed)(*arguments()), compiled(text)(*arguments()), check_dtype=True)
