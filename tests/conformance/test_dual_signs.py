"""Signs and shapes of duals and values: minimise or maximise, either inequality, equalities, chains, families.

Every program is solved as it is written, and its duals are compared with those that cvxpy gives to the same problem
stated as a minimisation with one-sided constraints. The rate at which the optimal value changes is a second witness.
"""

from __future__ import annotations

from typing import NamedTuple

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

import declarative as dl
from tests.conformance.cases import text
from tests.conformance.references import minimise

N = 4
C = np.array([1.0, -4.0, 0.5, -9.0])
CURVATURE = np.eye(N) + 0.2 + 0.3 * np.diag([1.0, 1.0, 1.0], 1) + 0.3 * np.diag([1.0, 1.0, 1.0], -1)
LEVELS = {"e": 0.3, "h": 0.1, "k": 0.05, "lo": -2.0, "hi": 0.25}

BODY = """dim n
param P[n, n] psd
param c[n]
param e
param h
param k
param lo
param hi
var x[n]
{objective}
subject to
  eq:  x[0] + x[1] == e
  le:  x[1] - x[2] <= h
  ge:  x[0] - x[2] >= k
  box: lo <= x <= hi
{rest}output x, dual(eq) as nu, dual(le) as below, dual(ge) as above, dual(box) as band, value as cost
"""

SENSES = {
    "minimize": ("minimize quad_form(x, P) + c @ x", 1),
    "maximize": ("maximize -quad_form(x, P) - c @ x", -1),
}
# A quadratic program, and the same as a cone program by a second-order cone that never binds.
KINDS = {"quadratic": "", "cone": "  norm2(x) <= 50\n"}


class Expected(NamedTuple):
    x: np.ndarray
    nu: float
    below: float
    above: float
    band: np.ndarray
    cost: float


def by_hand(sign: float) -> Expected:
    x = cp.Variable(N)
    eq, le = x[0] + x[1] == LEVELS["e"], x[1] - x[2] <= LEVELS["h"]
    ge = LEVELS["k"] <= x[0] - x[2]
    low, high = LEVELS["lo"] <= x, x <= LEVELS["hi"]
    value = minimise(cp.quad_form(x, CURVATURE) + C @ x, [eq, le, ge, low, high])
    band = high.dual_value - low.dual_value
    return Expected(x.value, eq.dual_value, le.dual_value, ge.dual_value, band, sign * value)


def arguments() -> dict[str, Tensor]:
    values = {"P": CURVATURE, "c": C} | LEVELS
    return {name: torch.as_tensor(value, dtype=torch.float64) for name, value in values.items()}


@pytest.mark.parametrize("sense", SENSES)
@pytest.mark.parametrize("kind", KINDS)
def test_duals_and_value_equal_cvxpys(sense: str, kind: str) -> None:
    objective, sign = SENSES[sense]
    layer = text("layer signs\n" + BODY.format(objective=objective, rest=KINDS[kind]))()
    found = layer(**arguments())
    expected = by_hand(sign)
    assert found._fields == ("x", "nu", "below", "above", "band", "cost")
    for name, value in expected._asdict().items():
        np.testing.assert_allclose(getattr(found, name).numpy(), value, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(found.x.numpy(), expected.x, atol=1e-6)
    assert float(found.below) >= 0 <= float(found.above)
    assert all(abs(float(np.abs(v).max())) > 0.05 for v in expected), "every constraint is to be active"


@pytest.mark.parametrize("sense", SENSES)
@pytest.mark.parametrize("kind", KINDS)
def test_duals_are_the_derivatives_of_the_value(sense: str, kind: str) -> None:
    """The gradient of the output ``value`` by a right-hand side is the dual, with the convention's sign."""
    objective, sign = SENSES[sense]
    layer = text("layer signs\n" + BODY.format(objective=objective, rest=KINDS[kind]))()
    leaves = {name: value.requires_grad_() for name, value in arguments().items()}
    found = layer(**leaves)
    slopes = dict(zip(leaves, torch.autograd.grad(sign * found.cost, list(leaves.values())), strict=True))
    band = found.band.detach()
    expected = {"e": -found.nu, "h": -found.below, "k": found.above}
    expected |= {"hi": -band.clamp_min(0).sum(), "lo": -band.clamp_max(0).sum(), "c": found.x}
    for name, value in expected.items():
        torch.testing.assert_close(
            slopes[name], value.detach(), rtol=1e-6, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}"
        )
    form = torch.outer(found.x, found.x).detach()
    torch.testing.assert_close(slopes["P"], form, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chain", ["lo <= x <= hi", "hi >= x >= lo"])
def test_two_sided_dual_is_the_upper_minus_the_lower(chain: str, kind: str) -> None:
    source = "layer band\nparam a[3]\nparam lo\nparam hi\nvar x[3]\nminimize sum_squares(x - a)\nsubject to\n"
    source += f"  box: {chain}\n"
    layer = text(source + KINDS[kind] + "output x, dual(box) as z\n")()
    a = torch.tensor([3.0, 0.0, -3.0], dtype=torch.float64)
    found = layer(a, torch.tensor(-1.0, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64))
    np.testing.assert_allclose(found.z.numpy(), [2.0, 0.0, -4.0], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_two_sided_dual_of_rows(kind: str) -> None:
    """A chain about an affine map, which is no bound on variables."""
    source = (
        "layer rows\nparam A[3, 3]\nparam a[3]\nvar x[3]\nminimize sum_squares(x - a)\nsubject to\n"
        "  band: -1 <= A @ x <= 1\n" + KINDS[kind] + "output x, dual(band) as z\n"
    )
    A = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, -0.2], [0.3, 0.0, 1.0]])
    a = np.array([3.0, 0.4, -3.0])
    x = cp.Variable(3)
    upper, lower = A @ x <= 1, A @ x >= -1
    minimise(cp.sum_squares(x - a), [upper, lower])
    found = text(source)()(torch.tensor(A), torch.tensor(a))
    np.testing.assert_allclose(found.x.numpy(), x.value, atol=1e-6)
    np.testing.assert_allclose(found.z.numpy(), upper.dual_value - lower.dual_value, atol=1e-5)
    assert float(found.z.max()) > 0.1
    assert float(found.z.min()) < -0.1


FAMILY = """layer family
dim T, n
param A[n, n]
param a[T, n]
param lo
param level
var x[T+1, n]
{objective}
subject to
  start:  x[0] == 0
  linked: x[t+1] - A @ x[t] <= level  for t in 0..T-1
  above:  x[t] >= lo  for t in 1..T
  tied:   sum(x[t]) == 0  for t in 2..T
  pairs:  x[t][i] - x[t-1][i] <= 2*level  for t in 1..T, i in 0..n-1
{rest}output x, dual(linked) as linked, dual(above) as above, dual(tied) as tied, dual(pairs) as pairs
"""


@pytest.mark.parametrize("sense", ["minimize", "maximize"])
@pytest.mark.parametrize("kind", ["quadratic", "cone"])
def test_families_have_the_index_first(sense: str, kind: str) -> None:
    T, n, lo, level = 3, 2, -0.3, 0.4
    generator = np.random.default_rng(5)
    A, a = generator.normal(size=(n, n)) * 0.6, generator.normal(size=(T, n)) * 2
    body = "sum(sum_squares(x[t] - a[t-1]) for t in 1..T)"
    source = FAMILY.format(
        objective=f"minimize {body}" if sense == "minimize" else f"maximize -{body}",
        rest="" if kind == "quadratic" else "  norm2(x[T]) <= 50\n",
    )
    x = cp.Variable((T + 1, n))
    linked = [x[t + 1] - A @ x[t] <= level for t in range(T)]
    above = [x[t] >= lo for t in range(1, T + 1)]
    tied = [cp.sum(x[t]) == 0 for t in range(2, T + 1)]
    pairs = [[x[t, i] - x[t - 1, i] <= 2 * level for i in range(n)] for t in range(1, T + 1)]
    start = x[0] == 0
    minimise(
        cp.sum([cp.sum_squares(x[t + 1] - a[t]) for t in range(T)]),
        [start, *linked, *above, *tied, *(p for row in pairs for p in row)],
    )
    layer = text(source)()
    found = layer(*(torch.as_tensor(v, dtype=torch.float64) for v in (A, a, lo, level)))
    np.testing.assert_allclose(found.x.numpy(), x.value, atol=1e-6)
    expected = {
        "linked": [c.dual_value for c in linked],
        "above": [c.dual_value for c in above],
        "tied": [c.dual_value for c in tied],
        "pairs": [[c.dual_value for c in row] for row in pairs],
    }
    for name, value in expected.items():
        assert getattr(found, name).shape == np.shape(value), name
        np.testing.assert_allclose(getattr(found, name).numpy(), value, atol=1e-5, err_msg=name)


def test_matrix_constraints_have_matrices_for_duals() -> None:
    source = (
        "layer matrices\ndim m, n\nparam M[m, n]\nparam U[m, n]\nvar X[m, n]\nminimize sum_squares(X - M)\nsubject to\n"
        "  cap: X <= U\n  rows: sum(X) == 1\noutput X, dual(cap) as z, dual(rows) as nu\n"
    )
    generator = np.random.default_rng(6)
    M, U = generator.normal(size=(2, 3)), generator.normal(size=(2, 3)) * 0.5 + 0.6
    X = cp.Variable((2, 3))
    cap, rows = X <= U, cp.sum(X) == 1
    minimise(cp.sum_squares(X - M), [cap, rows])
    found = text(source)()(torch.tensor(M), torch.tensor(U))
    np.testing.assert_allclose(found.X.numpy(), X.value, atol=1e-6)
    np.testing.assert_allclose(found.z.numpy(), cap.dual_value, atol=1e-5)
    np.testing.assert_allclose(found.nu.numpy(), rows.dual_value, atol=1e-5)


CLOSED = {
    "softmax": "var y[n]\nmaximize x @ y + sum(entr(y))",
    "simplex": "var y[n] nonneg\nminimize sum_squares(y - x)",
}


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("row", ["sum(y) == 1", "1 == sum(y)", "2*sum(y) == 2", "-sum(y) == -1", "sum(y) - 1 == 0"])
def test_dual_of_a_closed_form_follows_how_its_row_is_written(name: str, row: str) -> None:
    values = np.array([0.3, -0.2, 0.9, 0.1])
    y = cp.Variable(4)
    rows = {
        "sum(y) == 1": cp.sum(y) == 1,
        "1 == sum(y)": cp.sum(y) == 1,
        "2*sum(y) == 2": 2 * cp.sum(y) == 2,
        "-sum(y) == -1": -cp.sum(y) == -1,
        "sum(y) - 1 == 0": cp.sum(y) - 1 == 0,
    }
    objective = -values @ y - cp.sum(cp.entr(y)) if name == "softmax" else cp.sum_squares(y - values)
    minimise(objective, [rows[row], y >= 0])
    # nu of L = f + nu (lhs - rhs), as the row is written: with the sides exchanged, the sign changes.
    dual = rows[row].dual_value * (-1 if row.startswith("1 ==") else 1)
    layer = text(
        f"layer closed\ndim n\nparam x[n]\n{CLOSED[name]}\nsubject to\n  simplex: {row}\n"
        "output y, dual(simplex) as nu, value as best\n"
    )()
    found = layer(torch.tensor(values))
    np.testing.assert_allclose(found.y.numpy(), y.value, atol=1e-6)
    np.testing.assert_allclose(found.nu.numpy(), dual, atol=1e-5)
    best = objective.value * (-1 if name == "softmax" else 1)
    np.testing.assert_allclose(found.best.numpy(), best, atol=1e-6)


def test_value_includes_constants_and_parameters_alone() -> None:
    """The value is that of the objective as it is written, terms without a variable included."""
    source = (
        "layer offset\ndim n\nparam a[n]\nparam w nonneg\nvar x[n]\n"
        "maximize 7 - w*sum_squares(x - a) - sum_squares(a) + 3*sum(x)\nsubject to\n  cap: x <= 1\n"
        "output x, value as best\n"
    )
    a, w = np.array([0.5, 2.0, -1.0]), 1.5
    x = cp.Variable(3)
    best = -minimise(-(7 - w * cp.sum_squares(x - a) - a @ a + 3 * cp.sum(x)), [x <= 1])
    found = text(source)()(torch.tensor(a), torch.tensor(w, dtype=torch.float64))
    assert isinstance(found.best, Tensor)
    np.testing.assert_allclose(found.best.numpy(), best, atol=1e-7)
    assert dl.Status.SOLVED == 0
