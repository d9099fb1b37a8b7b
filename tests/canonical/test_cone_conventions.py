"""What the cone form promises beside its data: attributes, senses, chains and indices of constraints, sizes."""

from __future__ import annotations

import subprocess
import sys

import cvxpy as cp
import numpy as np
import pytest
import torch

from declarative.canonical.cone_program import cone_form
from declarative.diagnostics.diagnostic import DiagnosticError
from declarative.frontend import parse_program
from declarative.runtime.cone import ConePattern, ConePoint, ConeProgram
from tests.canonical.cone_oracle import Solved, solve, solve_by_hand, theta_of

M = np.random.default_rng(7).standard_normal((3, 3))
SYMMETRIC = M + M.T


def solved(text: str, data: dict[str, np.ndarray], **sizes: int) -> Solved:
    return solve(cone_form(parse_program(text, "case.opt"), sizes), data)


@pytest.mark.parametrize(
    ("attributes", "options"),
    [
        ("", {}),
        ("nonneg", {"nonneg": True}),
        ("nonpos", {"nonpos": True}),
        ("symmetric", {"symmetric": True}),
        ("psd", {"PSD": True}),
        ("nsd", {"NSD": True}),
        ("diag", {"diag": True}),
        ("symmetric nonneg", None),
        ("diag nonneg", None),
        ("diag psd", None),
    ],
)
def test_projection_on_what_an_attribute_says(attributes: str, options: dict[str, bool] | None) -> None:
    """The attribute is the only constraint, so one that went missing would show in the projection."""
    text = f"layer l\ndim n\nparam M[n, n]\nvar X[n, n] {attributes}\nminimize sum_squares(X - M)\n"
    found = solved(text, {"M": M}, n=3)
    if options is None:
        X = np.maximum((M + M.T) / 2, 0)
        X = np.diag(np.maximum(np.diag(M), 0)) if "diag" in attributes else X
    else:
        by_hand = cp.Variable((3, 3), **options)
        solve_by_hand(cp.Minimize(cp.sum_squares(by_hand - M)), [])
        X = by_hand.value.toarray() if "diag" in attributes else by_hand.value
    np.testing.assert_allclose(found.variables["X"], X, atol=1e-6)


@pytest.mark.parametrize(
    ("constraint", "by_hand"),
    [
        ("norm2(x) <= 1", lambda x: x / max(1, np.linalg.norm(x))),
        ("norm2(x) <= r", lambda x: 0.5 * x / max(0.5, np.linalg.norm(x))),
        ("x >= 0", lambda x: np.maximum(x, 0)),
        ("-r <= x <= 1", lambda x: np.clip(x, -0.5, 1)),
        ("norm_inf(x) <= r", lambda x: np.clip(x, -0.5, 0.5)),
    ],
)
def test_constraint_alone(constraint: str, by_hand: object) -> None:
    """cvxpy may give a constraint on a bare variable to a solver in another way than as rows; here it is rows."""
    text = "layer l\ndim n\nparam a[n]\nparam r nonneg\nvar x[n]\nminimize sum_squares(x - a)\nsubject to\n"
    a = np.array([2.0, -1.5, 0.3, -0.2])
    found = solved(text + constraint + "\n", {"a": a, "r": np.array(0.5)}, n=4)
    np.testing.assert_allclose(found.variables["x"], by_hand(a), atol=1e-6)


@pytest.mark.parametrize(
    ("objective", "sign"),
    [("minimize quad_form(x, P) + c @ x", 1), ("maximize -quad_form(x, P) - c @ x", -1)],
)
def test_duals_are_derivatives_of_the_optimal_value(objective: str, sign: int) -> None:
    """L = f + nu'(lhs - rhs) + lambda'(...): the value falls by the dual per unit of slack, whatever the sense."""
    text = """layer l
dim n
param P[n, n] psd
param c[n]
param e
param h
param k
param lo
param hi
var x[n]
SENSE
subject to
  eq:  x[0] + x[1] == e
  le:  x[1] - x[2] <= h
  ge:  x[0] - x[2] >= k
  box: lo <= x <= hi
"""
    data = {"P": np.eye(4) + 0.2, "c": np.array([1.0, -4.0, 0.5, -9.0])}
    data |= {name: np.array(v) for name, v in {"e": 0.3, "h": 0.1, "k": 0.05, "lo": -2.0, "hi": 0.25}.items()}
    form = cone_form(parse_program(text.replace("SENSE", objective), "case.opt"), {"n": 4})
    duals = {name: dual.sum() for name, dual in solve(form, data).duals.items()}

    def slope(name: str) -> float:
        up, down = (solve(form, data | {name: data[name] + step}).value for step in (1e-4, -1e-4))
        return sign * (up - down) / 2e-4

    assert duals["eq"] == pytest.approx(-slope("e"), abs=1e-4)
    assert duals["le"] == pytest.approx(-slope("h"), abs=1e-4)
    assert duals["ge"] == pytest.approx(slope("k"), abs=1e-4)
    assert duals["box"] == pytest.approx(-slope("hi") - slope("lo"), abs=1e-4)
    assert duals["le"] >= 0 <= duals["ge"]
    assert all(abs(dual) > 0.1 for dual in duals.values())


def test_two_sided_dual_is_positive_above_and_negative_below() -> None:
    for chain in ("lo <= x <= hi", "hi >= x >= lo"):
        text = "layer l\nparam a[3]\nparam lo\nparam hi\nvar x[3]\nminimize sum_squares(x - a)\nsubject to\n  box: "
        bounds = {"lo": np.array(-1.0), "hi": np.array(1.0)}
        found = solved(f"{text}{chain}\n", bounds | {"a": np.array([3.0, 0.0, -3.0])})
        np.testing.assert_allclose(found.duals["box"], [4.0, 0.0, -4.0], atol=1e-5)


def test_semidefinite_dual_is_the_matrix() -> None:
    """Projection on the cone: X is the positive part of C, the dual of `X in psd` twice its negative part."""
    text = """layer l
dim n
param C[n, n] symmetric
var X[n, n] symmetric
minimize sum_squares(X - C)
subject to
  cone: X in psd
"""
    found = solved(text, {"C": SYMMETRIC}, n=3)
    values, vectors = np.linalg.eigh(SYMMETRIC)
    np.testing.assert_allclose(found.variables["X"], vectors @ np.diag(np.maximum(values, 0)) @ vectors.T, atol=1e-6)
    np.testing.assert_allclose(
        found.duals["cone"], 2 * vectors @ np.diag(np.maximum(-values, 0)) @ vectors.T, atol=1e-5
    )


def test_matrix_variables_and_duals_are_row_major() -> None:
    text = """layer l
dim m, n
param C[m, n]
param B[m, n]
var X[m, n]
minimize sum_squares(X - C)
subject to
  cap: X <= B
"""
    rng = np.random.default_rng(8)
    C, B = rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    found = solved(text, {"C": C, "B": B}, m=2, n=3)
    np.testing.assert_allclose(found.variables["X"], np.minimum(C, B), atol=1e-6)
    np.testing.assert_allclose(found.duals["cap"], 2 * np.maximum(C - B, 0), atol=1e-5)


def test_indexed_dual_has_the_indices_first() -> None:
    text = """layer l
dim T, n
param C[T, n]
param B[T, T]
var x[T, n]
minimize sum(sum_squares(x[t] - C[t]) for t in 0..T-1)
subject to
  pair: x[s, 0] + x[t, 1] == B[s, t] for s in 0..0, t in 0..T-1
  later: x[t] <= B[t, t] for t in 1..T-1
"""
    rng = np.random.default_rng(8)
    C, B = rng.standard_normal((3, 2)), rng.standard_normal((3, 3))
    found = solved(text, {"C": C, "B": B}, T=3, n=2)
    x = cp.Variable((3, 2))
    pair = [x[0, 0] + x[t, 1] == B[0, t] for t in range(3)]
    later = [x[t] <= B[t, t] for t in (1, 2)]
    solve_by_hand(cp.Minimize(cp.sum_squares(x - C)), [*pair, *later])
    np.testing.assert_allclose(found.variables["x"], x.value, atol=1e-6)
    assert found.duals["pair"].shape == (1, 3)
    np.testing.assert_allclose(found.duals["pair"][0], [c.dual_value for c in pair], atol=1e-5)
    np.testing.assert_allclose(found.duals["later"], [c.dual_value for c in later], atol=1e-5)


def test_empty_ranges() -> None:
    """One step has no pair of neighbours: the sum is zero, the constraint's dual is empty, the rest stands."""
    text = """layer l
dim T = 4
param c[T]
var x[T]
minimize sum_squares(x - c) + sum((x[t+1] - x[t])^2 for t in 0..T-2)
subject to
  rise: x[t] <= x[t+1] for t in 0..T-2
"""
    found = solved(text, {"c": np.array([0.7])}, T=1)
    assert found.variables["x"] == pytest.approx(0.7, abs=1e-6)
    assert found.duals["rise"].shape == (0,)
    assert solved(text, {"c": np.arange(4.0)}).variables["x"].shape == (4,)


def test_arrays_without_entries() -> None:
    text = """layer l
dim T = 4
param c
var x[T]
var y[T-1]
minimize sum_squares(x - c) + sum(square(y[t]) for t in 0..T-2)
subject to
  above: x[0..T-2] >= y
"""
    found = solved(text, {"c": np.array(0.7)}, T=1)
    assert found.variables["x"] == pytest.approx(0.7, abs=1e-6)
    assert found.variables["y"].shape == found.duals["above"].shape == (0,)


def test_renamed_columns_are_merged() -> None:
    """Quadratic forms of single steps need no copies of them: the variables are those declared."""
    text = """layer l
dim T = 20, n
param Q[n, n] psd
param x0[n]
var x[T, n]
minimize sum(quad_form(x[t], Q) for t in 0..T-1)
subject to
  start: x[0] == x0
  hold: x[t+1] == x[t] / 2 + 1 for t in 0..T-2
"""
    form = cone_form(parse_program(text, "case.opt"), {"T": 5, "n": 2})
    assert (form.n, form.m) == (10, 10)


def test_no_entry_is_structurally_zero() -> None:
    text = (
        "layer l\ndim n\nparam c[n]\nvar x[n] nonneg\nminimize sum_squares(x) + c @ x\nsubject to\n  s: sum(x) == 1\n"
    )
    form = cone_form(parse_program(text, "case.opt"), {"n": 3})
    theta = np.random.default_rng(9).standard_normal(3)
    assert np.count_nonzero(form.P(theta)) == len(form.P_rows) == 3
    assert np.count_nonzero(form.A(theta)) == len(form.A_rows) == 6
    assert form.P.entries == ((), (), ())


SIZED = """layer l
dim n, m = 2
param A[m, n]
var x[n - 1]
minimize sum_squares(x) + x[k]
"""


@pytest.mark.parametrize(
    ("sizes", "code", "words"),
    [
        ({}, "E601", "the size of `n` must be known"),
        ({"n": 3, "k": 2}, "E602", "no dimension `k`"),
        ({"n": 0}, "E602", "at least 1"),
        ({"n": 2_000_000}, "E603", "too large"),
        ({"n": 3}, "E604", "subscript 2 is outside 0..1"),
    ],
)
def test_sizes_that_do_not_fit(sizes: dict[str, int], code: str, words: str) -> None:
    program = parse_program(SIZED.replace("x[k]", "x[m]"), "case.opt")
    with pytest.raises(DiagnosticError) as caught:
        cone_form(program, sizes)
    (finding,) = caught.value.diagnostics
    assert finding.code == code
    assert words in finding.message


def test_only_convex_problems_have_a_conic_form() -> None:
    program = parse_program("layer l\nparam a\nvar x from a\nminimize locally sin(x) + a\n", "case.opt")
    with pytest.raises(DiagnosticError, match="E605"):
        cone_form(program, {})


def test_the_pattern_is_what_the_runtime_reads() -> None:
    """Every kind of cone in one problem: the runtime accepts the pattern, and its residual vanishes at the solution."""
    text = """layer l
dim n
param c[n]
param M[n, n] symmetric
var x[n] nonneg
var X[n, n] symmetric
minimize sum(exp(x - c)) + sum_squares(x) + quad_form(x, M @ M) + trace(X)
subject to
  pinned: x[0] + x[1] == 1
  ball:   norm2(x - c) <= 1
  cone:   X - M in psd
"""
    c = np.array([0.8, 0.3, -0.2])
    form = cone_form(parse_program(text, "case.opt"), {"n": 3})
    data = {"c": c, "M": M + M.T}
    found, theta = solve(form, data), theta_of(form, data)
    pattern = ConePattern(form.n, form.m, form.P_rows, form.P_columns, form.A_rows, form.A_columns, form.cones)
    values = {name: torch.tensor(getattr(form, name)(theta)) for name in "PqAb"}
    program = ConeProgram(pattern, **values)
    assert {kind for kind, _ in form.cones} == {"zero", "nonneg", "soc", "psd", "exp"}
    x, z, slack = (torch.tensor(part) for part in (found.x, found.z, found.s))
    for residual in program.residual(ConePoint(x, z, slack)):
        assert residual.abs().max() < 1e-6
    assert program.objective(x).item() + form.offset(theta)[0] == pytest.approx(found.value)


def test_nsd_matrix_and_quadratic_constraint() -> None:
    """Concave forms: in the objective as they are, in a constraint by the Cholesky factor of the negative."""
    text = """layer l
param N[2, 2] nsd
param c[2]
var x[2]
maximize quad_form(x - c, N) + c @ x
subject to
  cap: quad_form(x, N / 2) >= -1/2
"""
    N, c = -np.array([[2.0, 0.3], [0.3, 1.0]]), np.array([1.5, 0.4])
    found = solved(text, {"N": N, "c": c})
    x = cp.Variable(2)
    cap = cp.quad_form(x, -N / 2) <= 0.5
    value = solve_by_hand(cp.Minimize(cp.quad_form(x - c, -N) - c @ x), [cap])
    np.testing.assert_allclose(found.variables["x"], x.value, atol=1e-5)
    assert found.duals["cap"] == pytest.approx(cap.dual_value.item(), abs=1e-4)
    assert cap.dual_value > 0.1
    assert found.value == pytest.approx(-value, abs=1e-6)


def test_cvxpy_is_imported_only_when_a_program_needs_it() -> None:
    source = "import sys, declarative.canonical.cone_program; sys.exit('cvxpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", source], check=False).returncode == 0
