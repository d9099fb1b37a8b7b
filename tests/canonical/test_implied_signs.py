"""Signs that a cone implies leave the cone program: counted, and against cvxpy where they are kept."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch

import declarative as dl
from declarative.canonical.cone_program import ConeForm, cone_form
from declarative.frontend import parse_program
from tests.canonical.cone_oracle import Case, check


def form_of(declaration: str, objective: str, *constraints: str) -> ConeForm:
    lines = ["layer case", "dim n", "param c[n]", f"var y[n]{declaration}", objective, "subject to"]
    text = "\n".join([*lines, *(f"  {line}" for line in constraints)]) + "\n"
    return cone_form(parse_program(text, "case.opt"), {"n": 3})


def nonneg_rows(form: ConeForm) -> int:
    return int(dict(form.cones).get("nonneg", 0))


OBJECTIVES = [
    "minimize c @ y - sum(entr(y))",
    "minimize c @ y + sum(rel_entr(y, exp(c)))",
    "minimize c @ y + sum(kl_div(y, exp(c)))",
    "maximize c @ y + sum(log(y))",
    "maximize c @ y + sum(sqrt(y))",
    "minimize c @ y + sum(inv_pos(y))",
    "maximize c @ y + geo_mean(y)",
]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_domain_of_the_objective_holds_the_sign(objective: str) -> None:
    bare = form_of("", objective, "total: sum(y) == 1")
    for declaration, sign in [(" nonneg", ()), ("", ("sign: y >= 0",)), (" nonneg", ("sign: 0 <= y <= 10",))]:
        form = form_of(declaration, objective, "total: sum(y) == 1", *sign)
        upper = 3 if sign and "10" in sign[0] else 0
        assert nonneg_rows(form) == nonneg_rows(bare) + upper
        assert [d.name for d in form.duals] == ["total", *(["sign"] if sign else [])]
        if sign and not upper:
            assert form.duals[1].shape == (3,)
            assert not form.duals[1].map(np.ones(form.m)).any()


@pytest.mark.parametrize(
    ("objective", "constraint", "left"),
    [
        ("minimize c @ y - entr(y[0])", "sign: y >= 0", 2),  # only what is in the domain
        ("minimize c @ y - sum(entr(y + 1))", "sign: y >= 0", 3),  # another domain
        ("minimize c @ y - sum(entr(y))", "sign: y >= 0.1", 3),  # more than the domain
        ("minimize c @ y - sum(entr(y))", "sign: y >= c", 3),
        ("minimize c @ y - sum(entr(-y))", "sign: y >= 0", 3),  # the other sign
        ("minimize c @ y - sum(entr(-y))", "sign: y <= 0", 0),
        ("minimize c @ y - sum(entr(2 * y))", "sign: y >= 0", 0),
        ("minimize c @ y + sum(exp(y))", "sign: y >= 0", 3),
        ("minimize c @ y + norm2(y)", "sign: y >= 0", 3),
    ],
)
def test_only_the_sign_of_the_argument_itself_goes(objective: str, constraint: str, left: int) -> None:
    assert nonneg_rows(form_of("", objective, "total: sum(y) <= 1", constraint)) == left + 1


def test_a_diagonal_that_a_semidefinite_matrix_holds() -> None:
    text = (
        "layer case\ndim n\nparam C[n, n]\nvar X[n, n] psd\nminimize sum_squares(X - C)\nsubject to\n  sign: X >= 0\n"
    )
    form = cone_form(parse_program(text, "case.opt"), {"n": 3})
    assert nonneg_rows(form) == 6
    sign = form.duals[0].map(np.ones(form.m)).reshape(3, 3)
    np.testing.assert_array_equal(sign == 0, np.eye(3, dtype=bool))


TRANSPORT = """layer transport
dim n, m
param C[n, m]
param a[n]
param b[m]
param eps nonneg
var P[n, m] nonneg
minimize sum(C * P) - eps * sum(entr(P))
subject to
  rows: sum(P[i]) == a[i] for i in 0..n-1
  cols: sum(P[i, j] for i in 0..n-1) == b[j] for j in 0..m-1
  sign: P >= 0
"""


def softmax(x: np.ndarray) -> np.ndarray:
    weights = np.exp(x)
    return np.asarray(weights / weights.sum())


@pytest.mark.parametrize("eps", [0.02, 0.05])
def test_entropic_transport_against_sinkhorn(eps: float) -> None:
    """Kept beside the entropy, the signs left a quarter of these instances inaccurate."""
    generators = [np.random.default_rng(seed) for seed in range(12)]
    C = np.stack([rng.uniform(size=(4, 3)) for rng in generators])
    a, b = (np.stack([softmax(rng.standard_normal(k)) for rng in generators]) for k in (4, 3))
    layer = dl.compile(dl.parse_program(TRANSPORT))(n=4, m=3)
    solved = layer.solve(*map(torch.from_numpy, (C, a, b)), torch.tensor(eps, dtype=torch.float64))
    K, v = np.exp(-C / eps), np.ones((12, 3, 1))
    for _ in range(20000):
        u = a[..., None] / (K @ v)
        v = b[..., None] / (K.swapaxes(1, 2) @ u)
    np.testing.assert_allclose(solved.outputs, u * K * v.swapaxes(1, 2), rtol=1e-9, atol=1e-14)
    assert solved.status.eq(dl.Status.SOLVED).all()
    assert not solved.duals["sign"].any()


def by_hand(d):
    y = cp.Variable(3)
    total, box = cp.sum(y) == 1, y <= 0.4
    objective = cp.Maximize(d["c"] @ y + cp.sum(cp.sqrt(y)))
    problem = cp.Problem(objective, [total, box, y >= 0])
    problem.solve(cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    return {"y": y.value}, {"total": total.dual_value, "box": box.dual_value}, problem.value


def test_the_other_duals_are_as_with_the_sign() -> None:
    text = """layer case
dim n
param c[n]
var y[n]
maximize c @ y + sum(sqrt(y))
subject to
  total: sum(y) == 1
  box: 0 <= y <= 0.4
"""
    check(Case(text, {"n": 3}, lambda rng: {"c": rng.standard_normal(3)}, by_hand), 0)
