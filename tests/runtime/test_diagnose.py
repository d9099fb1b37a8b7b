"""`Layer.diagnose` on programs whose conditions, margins and weak entries are known by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import declarative as dl
from declarative.compiler import parse_program
from declarative.runtime.adjoints.active_set import ActiveSetAdjoint
from declarative.runtime.layer import Layer
from declarative.runtime.problem import Point, Problem
from declarative.runtime.report import Report

D = torch.float64

QP = """layer qp
dim n, m, p
param Q[n, n] psd
param q[n]
param A[p, n]
param b[p]
param G[m, n]
param h[m]
var z[n]

minimize 1/2 * quad_form(z, Q) + q' @ z
subject to
  eq:   A @ z == b
  rows: G @ z <= h
output z, dual(eq) as nu, dual(rows) as lam
"""

SPARSEMAX = """layer sparsemax
dim n
param x[n]
var y[n] nonneg

minimize sum_squares(y - x)
subject to
  simplex: sum(y) == 1
output y
"""

BOX_LP = """layer box_lp
dim n
param c[n]
var z[n]

minimize c' @ z
subject to
  box: -1 <= z <= 1
output z
"""

CIRCLE = """layer circle
param x
param y0
var y from y0

solve
  circle: x^2 + y^2 == 1
output y
"""

FORK = """layer fork
param a
param x0
param y0
var x from x0
var y from y0

minimize locally x^2 - a * y^2 + 1/4 * y^4
output x, y
"""

MPC = """layer mpc
dim T = 5, nx, nu
param x0[nx]
param A[nx, nx]
param B[nx, nu]
param u_max nonneg
var x[T+1, nx]
var u[T, nu]

minimize sum_squares(x) + sum_squares(u)
subject to
  start:    x[0] == x0
  dynamics: x[t+1] == A @ x[t] + B @ u[t]  for t in 0..T-1
  limits:   -u_max <= u[t] <= u_max        for t in 0..T-1
  slew:     norm_inf(u[t+1] - u[t]) <= u_max/4  for t in 0..T-2
output x, u
"""


@pytest.fixture(autouse=True)
def modest_threads() -> None:
    torch.set_num_threads(1)


def compiled(text: str, **keywords: Any) -> Layer:
    return dl.compile(parse_program(text, "test.opt"))(**keywords)


def t(values: Any) -> Tensor:
    return torch.tensor(values, dtype=D)


def random_qp(batch: int, n: int, m: int, p: int, seed: int = 0) -> dict[str, Tensor]:
    at = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=at, dtype=D)

    root, inside, A, G = normal(batch, n, n), normal(n), normal(p, n), normal(batch, m, n)
    slack = torch.rand(batch, m, generator=at, dtype=D) + 0.1
    return {
        "Q": root @ root.mT + torch.eye(n, dtype=D),
        "q": 3 * normal(batch, n),
        "A": A,
        "b": A @ inside,
        "G": G,
        "h": G @ inside + slack,
    }


def told(report: Report, instance: int = 0) -> str:
    return "\n".join(report.meaning[instance])


def test_a_healthy_quadratic_program_agrees_with_finite_differences() -> None:
    report = compiled(QP).diagnose(**random_qp(4, 6, 5, 2), finite_differences=True)
    assert bool(report.holds.all())
    assert set(report.disagreement) == {"Q", "q", "A", "b", "G", "h"}
    for name, worst in report.disagreement.items():
        assert worst.shape == (4,)
        assert float(worst.max()) < 1e-6, name
    assert float(report.adjoint_residual.max()) < 1e-10
    assert float(report.kkt_residual.max()) < 1e-10
    assert bool((report.adjoint_condition < 1e6).all())


def test_a_wrong_backward_disagrees_with_finite_differences() -> None:
    class Doubled(ActiveSetAdjoint):  # type: ignore[misc]
        def solve(self, problem: Problem, point: Point, cotangent: Point) -> Point:
            return tuple(2 * u for u in super().solve(problem, point, cotangent))

    layer = compiled(QP)
    layer.adjoint = Doubled()
    report = layer.diagnose(**random_qp(2, 4, 3, 1), finite_differences=True)
    assert float(report.disagreement["q"].min()) > 1e-2
    assert float(report.adjoint_residual.min()) > 0.5


def test_a_tie_of_sparsemax_is_weakly_active() -> None:
    layer = compiled(SPARSEMAX)
    x = t([[1.0, 0.0], [0.3, 0.2], [0.0, 1.0]])
    report = layer.diagnose(x, finite_differences=True)
    assert report.holds.tolist() == [False, True, False]
    assert told(report, 0).startswith("weakly active: y[1];")
    assert told(report, 2).startswith("weakly active: y[0];")
    # The bound counts as inactive: both entries are in the support.
    jacobian = torch.func.jacrev(layer)(x[0])
    torch.testing.assert_close(jacobian, t([[0.5, -0.5], [-0.5, 0.5]]))
    # Differences straddle the kink and see half of it.
    assert float(report.disagreement["x"][1]) < 1e-8
    assert float(report.disagreement["x"][0]) > 0.1


def test_a_vertex_of_the_simplex_is_told_and_holds() -> None:
    layer = compiled(SPARSEMAX)
    report = layer.diagnose(t([3.0, 0.0]))
    assert bool(report.holds)
    assert report.second_order.item() == math.inf
    assert told(report).startswith("piecewise constant in the objective")
    assert torch.equal(torch.func.jacrev(layer)(t([3.0, 0.0])), torch.zeros(2, 2, dtype=D))


def test_a_row_with_neither_multiplier_nor_slack_is_weakly_active() -> None:
    eye = torch.eye(2, dtype=D)
    program = {"Q": eye, "A": torch.zeros(0, 2, dtype=D), "b": torch.zeros(0, dtype=D), "G": eye}
    report = compiled(QP).diagnose(q=t([-1.0, -1.0]), h=t([[2.0, 1.0], [2.0, 0.9], [1.0, 2.0]]), **program)
    assert report.holds.tolist() == [False, True, False]
    assert told(report, 0).startswith("weakly active: rows[1];")
    assert told(report, 2).startswith("weakly active: rows[0];")
    assert report.complementarity[1].item() == pytest.approx(0.1)
    assert report.weakest[1] == "rows[1]"


@pytest.mark.parametrize(("part", "ranks"), [("G", (1, 2)), ("A", (1, 2))])
def test_rows_given_twice_fail_licq(part: str, ranks: tuple[int, int]) -> None:
    eye, empty = torch.eye(2, dtype=D), (torch.zeros(0, 2, dtype=D), torch.zeros(0, dtype=D))
    twice, side = t([[1.0, 1.0], [1.0, 1.0]]), t([-1.0, -1.0])
    A, b = (twice, side) if part == "A" else empty
    G, h = (twice, side) if part == "G" else empty
    layer = compiled(QP)
    report = layer.diagnose(Q=eye, q=t([0.0, 0.5]), A=A, b=b, G=G, h=h)
    assert not bool(report.holds)
    assert (int(report.licq_rank), int(report.licq_rows)) == ranks
    assert told(report).startswith("LICQ fails: rank 1 of 2;")
    assert report.adjoint_condition.item() == math.inf
    # The derivative of the variables is that of the program with the row given once.
    ask = torch.func.jacrev(lambda q: layer(Q=eye, q=q, A=A, b=b, G=G, h=h).z)
    torch.testing.assert_close(ask(t([0.0, 0.5])), -t([[0.5, -0.5], [-0.5, 0.5]]))


def test_a_face_and_a_vertex_of_a_linear_program() -> None:
    layer = compiled(BOX_LP)
    c = t([[1.0, 0.0], [1.0, -2.0]]).requires_grad_()
    report = layer.diagnose(c)
    assert report.holds.tolist() == [False, True]
    assert told(report, 0).startswith("solution not unique:")
    assert report.second_order[0].item() == pytest.approx(0, abs=1e-12)
    assert told(report, 1).startswith("piecewise constant in c:")
    assert "sum_squares" in told(report, 1)
    assert report.second_order[1].item() == math.inf
    (gradient,) = torch.autograd.grad(layer(c)[1].sum(), c)
    assert torch.equal(gradient[1], torch.zeros(2, dtype=D))


def test_a_saddle_is_told_with_its_margin() -> None:
    report = compiled(FORK).diagnose(t([1.0, 1.0]), t([0.1, 0.1]), t([0.0, 1.3]))
    labels = [row["status"] for row in report.rows()]
    assert labels == ["saddle", "solved"]
    assert report.holds.tolist() == [False, True]
    # The Hessian is diag(2, 3y^2 - 2a): at y = 0 and at y^2 = 2a.
    torch.testing.assert_close(report.second_order, t([-2.0, 2.0]))
    assert told(report, 0).startswith("saddle: second-order margin -2;")
    assert report.meaning[1] == ()


def test_the_ends_of_the_circle_have_no_branch() -> None:
    report = compiled(CIRCLE).diagnose(t([1.0, 0.5, -1.0, 2.0]), t([0.1, 0.5, 0.2, 1.0]))
    assert report.holds.tolist() == [False, True, False, False]
    for instance in (0, 2):
        assert "LICQ fails: rank 0 of 1" in told(report, instance)
        assert report.adjoint_condition[instance].item() == math.inf
    assert report.rows()[3]["status"] == "infeasible"


def test_failed_instances_are_reported_and_nothing_raises() -> None:
    empty = {"A": torch.zeros(0, 1, dtype=D), "b": torch.zeros(0, dtype=D)}
    G, h = t([[1.0], [-1.0]]), t([[1.0, 1.0], [-1.0, -1.0], [1.0, 1.0]])
    q = t([[0.3], [0.3], [math.nan]])
    report = compiled(QP).diagnose(Q=t([[1.0]]), q=q, G=G, h=h, **empty, finite_differences=True)
    rows = report.rows()
    assert [row["status"] for row in rows] == ["solved", "infeasible", "not_finite"]
    assert report.holds.tolist() == [True, False, False]
    assert told(report, 1).startswith("infeasible:")
    assert told(report, 2).startswith("not_finite:")
    assert math.isnan(rows[1]["complementarity"])
    assert math.isnan(rows[2]["second_order"])
    # The sound instance is compared, and its neighbours leave no NaN in it.
    assert float(report.disagreement["h"][0]) < 1e-8
    assert report.disagreement["h"].isnan().tolist() == [False, True, True]
    assert "1 infeasible" in str(report)
    assert "nan:" not in str(report)


def test_a_parameter_that_no_difference_can_move_is_told() -> None:
    """The two sides meet: where h moves, one neighbour's set is empty; where q moves, both have solutions."""
    empty = {"A": torch.zeros(0, 1, dtype=D), "b": torch.zeros(0, dtype=D)}
    given = {"Q": t([[1.0]]), "q": t([0.3]), "G": t([[1.0], [-1.0]]), "h": t([0.5, -0.5])}
    report = compiled(QP).diagnose(**given, **empty, finite_differences=True)
    assert report.disagreement["h"].isnan()
    assert not report.disagreement["q"].isnan()
    assert "nan: no instance could be compared; it or a neighbour has no solution" in str(report)


def test_a_batch_without_a_sound_instance_is_reported() -> None:
    report = compiled(SPARSEMAX).diagnose(t([[math.nan, 0.0]]), finite_differences=True)
    assert report.holds.tolist() == [False]
    assert report.disagreement == {}
    assert "not_finite" in str(report)


def test_rows_of_several_constraints_have_their_names_and_indices() -> None:
    at = torch.Generator().manual_seed(3)
    T, nx, nu, batch = 5, 2, 2, 24
    x0 = 4 * torch.randn(batch, nx, generator=at, dtype=D)
    A = torch.eye(nx, dtype=D) + 0.3 * torch.randn(batch, nx, nx, generator=at, dtype=D)
    B = torch.eye(nx, dtype=D) + 0.3 * torch.randn(batch, nx, nu, generator=at, dtype=D)
    u_max = t(1.0)
    layer = compiled(MPC)
    report = layer.diagnose(x0, A, B, u_max)
    solution = layer.solve(x0, A, B, u_max)
    u, steps = solution.outputs.u, solution.outputs.u.diff(dim=-2)
    upper, lower = solution.point[2].reshape(batch, 2, T - 1, nu).unbind(1)
    held = solution.point[3][:, -T * nu :].reshape(batch, T, nu)
    margins = {
        "slew": torch.minimum(torch.maximum(upper, 0.25 - steps), torch.maximum(lower, 0.25 + steps)),
        "limits": torch.minimum(torch.maximum(held, 1 - u), torch.maximum(-held, 1 + u)),
    }
    seen = set()
    for i in range(batch):
        name, margin = min(((k, m[i]) for k, m in margins.items()), key=lambda pair: float(pair[1].min()))
        index = torch.unravel_index(margin.argmin(), margin.shape)
        assert report.weakest[i] == f"{name}[{int(index[0])}, {int(index[1])}]"
        assert report.complementarity[i].item() == pytest.approx(float(margin.min()))
        seen.add(name)
    assert seen == {"slew", "limits"}


def test_a_weak_bound_of_a_matrix_is_named_by_row_and_column() -> None:
    text = """layer track
dim T, n
param target[T, n]
param cap nonneg
var u[T, n]

minimize sum_squares(u - target)
subject to
  slew:   u[t+1] - u[t] <= 5 * cap  for t in 0..T-2
  limits: -cap <= u[t] <= cap       for t in 0..T-1
output u
"""
    target = torch.zeros(2, 5, 2, dtype=D)
    target[0, 3, 1] = -1.0
    target[1, 2, 0], target[1, 1, 0] = 0.5, -0.5
    report = compiled(text).diagnose(target, t([1.0, 1.0]))
    assert told(report, 0).startswith("weakly active: limits[3, 1];")
    assert report.meaning[1] == ()
    tight = compiled(text.replace("5 * cap", "cap")).diagnose(target[1], t(1.0))
    assert told(tight).startswith("weakly active: slew[1, 0];")


def test_a_weak_row_of_a_cone_program_is_named() -> None:
    text = """layer exponential
dim n
param cap[n]
var w[n]

minimize sum(exp(w) - w)
subject to
  floor: w >= -3
  cap:   w <= cap
output w
"""
    report = compiled(text).diagnose(t([[1.0, 0.0, 2.0], [1.0, -0.5, 2.0]]), finite_differences=True)
    assert told(report, 0).startswith("weakly active: cap[1];")
    assert report.holds.tolist() == [False, True]
    assert report.weakest[1] == "cap[1]"
    # The multiplier is the slope of w - e^w at w = -1/2.
    assert report.complementarity[1].item() == pytest.approx(1 - math.exp(-0.5), abs=1e-8)
    assert float(report.disagreement["cap"][1]) < 1e-6


def test_a_weak_inequality_of_a_local_problem_is_named() -> None:
    text = """layer near
param a[2]
var x[2] from a

minimize locally sum((x - a)^2)
subject to
  disc:  sum(x^2) <= 4
  plane: x <= 1
output x
"""
    report = compiled(text).diagnose(t([[0.5, 1.0], [0.5, 1.5], [0.5, 0.25]]))
    assert told(report, 0).startswith("weakly active: plane[1];")
    assert report.holds.tolist() == [False, True, True]
    assert report.weakest[1] == "plane[0]"
    assert report.complementarity[1].item() == pytest.approx(0.5, abs=1e-6)


def test_what_the_layer_owns_is_compared_and_left_as_it_was() -> None:
    text = """layer inner
dim d, k
param x[d]
param mu0[k]
param rho nonneg learned
extern decode(z[k]) -> xhat[d] smooth
var mu[k] from mu0

minimize locally sum_squares(x - decode(mu)) + rho * sum_squares(mu - mu0)
output mu
"""
    torch.manual_seed(0)
    decode = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3))
    layer = compiled(text, decode=decode, rho=0.7)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    report = layer.diagnose(torch.randn(3, 3), torch.randn(3, 2), finite_differences=True)
    assert set(report.disagreement) == {"x", "mu0", "rho", "decode"}
    for name, worst in report.disagreement.items():
        assert worst.shape == (() if name in ("rho", "decode") else (3,))
        assert float(worst.max()) < 1e-6, name
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    assert layer.on_failure == "raise"
    assert layer.rho.dtype == torch.float32


def test_attributes_are_kept_when_parameters_move() -> None:
    program = random_qp(1, 3, 2, 0)
    program["Q"] = torch.diag(t([1.0, 0.0, 2.0]))[None]  # on the boundary of the cone
    program["q"], program["G"] = t([[1.0, 1.0, 1.0]]), -torch.eye(3, dtype=D)[1:]
    program["h"] = t([2.0, 3.0])
    report = compiled(QP).diagnose(**program, finite_differences=True)
    assert bool(report.holds.all())
    assert float(report.disagreement["Q"].max()) < 1e-6


def test_the_step_can_be_chosen() -> None:
    program = random_qp(1, 4, 3, 1)
    fine, coarse = (compiled(QP).diagnose(**program, finite_differences=h) for h in (1e-5, 1e-2))
    assert float(coarse.disagreement["A"].max()) > 100 * float(fine.disagreement["A"].max())


def test_batches_of_several_dimensions_and_single_precision() -> None:
    x = torch.tensor([[[1.0, 0.0], [0.3, 0.2], [0.1, 0.4]], [[0.5, 0.1], [0.9, 0.2], [1.0, 0.0]]])
    report = compiled(SPARSEMAX).diagnose(x, finite_differences=True)
    assert report.holds.tolist() == [[False, True, True], [True, True, False]]
    assert report.status.shape == report.disagreement["x"].shape == (2, 3)
    assert [row["instance"] for row in report.rows()][4] == (1, 1)


def test_a_long_batch_is_shortened_to_what_there_is_to_tell() -> None:
    x = torch.full((100, 2), 0.25, dtype=D)
    x[:, 1] += torch.linspace(0.1, 0.4, 100, dtype=D)
    x[73] = t([1.0, 0.0])
    report = compiled(SPARSEMAX).diagnose(x)
    lines = str(report).splitlines()
    assert sum(line.split()[1:2] == ["solved"] for line in lines) == 20
    assert any(line.startswith("73 ") and line.endswith("no") for line in lines)
    assert "and 80 more" in lines
    assert "instance 73: weakly active: y[1]" in str(report)
    assert "the conditions hold in 99 of 100 instances (100 solved, 1 weakly active)" in lines[-1]
    page = report._repr_html_()
    assert page.count("<tr>") == 21
    assert "weakly active: y[1]" in page


def test_finite_differences_of_one_instance_with_a_scalar_parameter() -> None:
    text = (
        "layer sc\ndim n\nparam x[n]\nparam w nonneg\nvar y[n]\nminimize sum_squares(y - x) + w * norm1(y)\noutput y\n"
    )
    report = compiled(text).diagnose(t([1.0, -2.0, 0.1]), t(0.7), finite_differences=True)
    assert set(report.disagreement) == {"x", "w"}
    assert all(float(error) < 1e-8 for error in report.disagreement.values())
