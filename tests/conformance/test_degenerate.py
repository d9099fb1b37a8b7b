"""Where the conditions of the implicit function theorem fail there is one documented answer, the same by every backend.

The table is that of docs/numerics.md. A program is solved by the compiled kernels, by torch alone and as a cone program
through cvxpy, which share no code in the solve or in its derivative; the expected numbers are worked out by hand.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

import declarative as dl
from declarative.canonical.normalise import normalise
from declarative.codegen.torch_module import emit
from declarative.compiler import load
from declarative.structures.cone_program import ConeProgramMatch
from tests.conformance.matrix.subject import without_kernels

F64 = torch.float64


@pytest.fixture(params=["kernels", "torch", "cone"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    with without_kernels() if request.param == "torch" else nullcontext():
        yield request.param


def layer(backend: str, body: str, **sizes: int) -> dl.Layer:
    """The layer of a program after its header, whose sizes are those given."""
    header = f"dim {', '.join(f'{name} = {size}' for name, size in sizes.items())}\n" if sizes else ""
    program = dl.parse_program(f"layer Example\n{header}{body}\n")
    if backend != "cone":
        return dl.compile(program)().double()
    return load(emit(program, ConeProgramMatch(normalise(program)), sizes), "Example")().double()


def tensor(*values: object) -> Tensor:
    return torch.tensor(values[0] if len(values) == 1 else values, dtype=F64)


def jacobian(kind: dl.Layer, *data: Tensor, by: int = 0) -> Tensor:
    """Of the first output, row by row; a least-residual gradient warns, which is not the point here."""

    def first(*values: Tensor) -> Tensor:
        returned = kind(*values)
        return returned if isinstance(returned, Tensor) else returned[0]

    leaf = data[by].clone().requires_grad_()
    value = first(*data[:by], leaf, *data[by + 1 :])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dl.AdjointWarning)
        rows = [
            torch.autograd.grad(entry, leaf, retain_graph=True, allow_unused=True, materialize_grads=True)[0]
            for entry in value.flatten()
        ]
    return torch.stack(rows).reshape(*value.shape, *leaf.shape)


def equal(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-8)


EYE = torch.eye(3, dtype=F64)

WEAK = {
    # The unconstrained minimiser is on the bound itself: its derivative, the identity, is that without the bound.
    "bound": ("param x[n]\nvar y[n]\nminimize sum_squares(y - x)\nsubject to\n  b: y <= 1", tensor(1, 1, 1), EYE),
    "row": (
        "param x[n]\nvar y[n]\nminimize sum_squares(y - x)\nsubject to\n  b: sum(y) <= 1\n  c: y[0] >= -1",
        tensor(0.5, 0.25, 0.25),
        EYE,
    ),
    "halfspace": (
        "param x[n]\nvar y[n]\nminimize sum_squares(y - x)\nsubject to\n  b: sum(y) <= 1",
        tensor(0.5, 0.25, 0.25),
        EYE,
    ),
    "ball": (
        "param x[n]\nvar y[n]\nminimize sum_squares(y - x)\nsubject to\n  b: norm2(y) <= 1",
        tensor(0.6, 0.8, 0),
        EYE,
    ),
    # The third score is at the threshold: it counts as in the support, as off its bound.
    "simplex": (
        "param x[n]\nvar y[n] nonneg\nminimize sum_squares(y - x)\nsubject to\n  sum(y) == 1",
        tensor(0.5, 0.5, 0),
        EYE - 1 / 3,
    ),
    # The same with bounds above: the first score is at its cap.
    "capped simplex": (
        "param x[n]\nvar y[n]\nminimize sum_squares(y - x)\nsubject to\n  sum(y) == 1\n  0 <= y <= 0.5",
        tensor(0.5, 0.3, 0.2),
        EYE - 1 / 3,
    ),
}


@pytest.mark.parametrize("name", WEAK)
def test_a_weakly_active_inequality_counts_as_inactive(name: str, backend: str) -> None:
    body, x, expected = WEAK[name]
    kind = layer(backend, body, n=3)
    equal(kind(x), x if name != "simplex" else tensor(0.5, 0.5, 0))
    equal(jacobian(kind, x), expected)
    if backend != "torch":  # what is said is measured by torch anyway
        report = kind.diagnose(x)
        assert not bool(report.holds)
        assert any("weakly active" in line for line in report.meaning[0])


def test_redundant_constraints_leave_x_alone(backend: str) -> None:
    """Each row twice, one of them in another unit: dx is that of one, and the multipliers' total too."""
    once = (
        "param x[n]\nparam r\nvar y[n]\nminimize sum_squares(y - x)\nsubject to\n  a: sum(y) <= r\n  b: y[0] == y[1]\n"
    )
    twice = f"{once}  c: 2 * sum(y) <= 2 * r\n  d: 3 * y[1] == 3 * y[0]\n"
    x, r = tensor(1.0, 0.5, 0.8), tensor(1.0)
    # In the plane of y_0 = y_1, onto sum(y) = 1: P x + r/3, with P the projection along (1, -1, 0) and (1, 1, 1).
    across, down = tensor(1, -1, 0) / 2**0.5, tensor(1, 1, 1) / 3**0.5
    projection = EYE - torch.outer(across, across) - torch.outer(down, down)
    for body in (once, twice):
        kind = layer(backend, body, n=3)
        equal(kind(x, r), projection @ x + r / 3)
        equal(jacobian(kind, x, r), projection)
        equal(jacobian(kind, x, r, by=1), torch.full((3,), 1 / 3, dtype=F64))
    report = layer(backend, twice, n=3).diagnose(x, r)
    # The cone program states the sum of squares by rows of its own, which are independent.
    ranks = "rank 5 of 7" if backend == "cone" else "rank 2 of 4"
    assert f"LICQ fails: {ranks}" in report.meaning[0][0]


def test_a_solution_that_is_not_unique_moves_by_the_least_norm(backend: str) -> None:
    """Of y_0 + y_1 only the sum is determined, and dy is the shortest that changes it."""
    kind = layer(backend, "param s\nvar y[n]\nminimize (sum(y) - s)^2\nsubject to\n  b: -9 <= y <= 9", n=2)
    y = kind(tensor(1.0))
    assert float(y.sum()) == pytest.approx(1, abs=1e-7)
    equal(jacobian(kind, tensor(1.0)), tensor(0.5, 0.5))
    assert any("not unique" in line for line in kind.diagnose(tensor(1.0)).meaning[0])


def test_a_vertex_of_a_linear_program_does_not_move_with_the_cost(backend: str) -> None:
    """Zero to the last bit, and told so with its remedy; with the data of the constraints it does move."""
    body = "param c[n]\nparam r\nvar y[n] nonneg\nminimize c @ y\nsubject to\n  t: sum(y) == r\n  u: y <= 0.6"
    kind = layer(backend, body, n=3)
    c, r = tensor(1.0, 2.0, 4.0), tensor(1.0)
    equal(kind(c, r), tensor(0.6, 0.4, 0))
    assert torch.equal(jacobian(kind, c, r), torch.zeros(3, 3, dtype=F64))
    equal(jacobian(kind, c, r, by=1), tensor(0, 1, 0))
    meaning = kind.diagnose(c, r).meaning[0]
    assert any("piecewise constant in c" in line for line in meaning)


@pytest.mark.parametrize("adjoint", [None, "minres", "gmres"])
def test_a_saddle_has_the_derivative_of_its_branch(adjoint: str | None) -> None:
    """x^2 - y^2 + p (x + y), started at the saddle: (-p/2, p/2), whatever the curvature's sign, with its own status."""
    body = "param p\nparam z0[2]\nvar z[2] from z0\nminimize locally z[0]^2 - z[1]^2 + p * sum(z)"
    kind = layer("kernels", body)
    kind.adjoint = adjoint
    p, start = tensor(0.4), tensor(-0.2, 0.2)
    solution = kind.solve(p, start)
    assert dl.Status(int(solution.status)) is dl.Status.SADDLE
    equal(jacobian(kind, p, start), tensor(-0.5, 0.5))
    assert float(kind.diagnose(p, start).second_order) == pytest.approx(-2)
