"""Cone programs of problems that have a derivative have it too: squares of norms at zero, forms of any matrix."""

from __future__ import annotations

import pytest
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
