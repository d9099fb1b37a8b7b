"""The same mathematics is the same structure however it is written, and a near miss is not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import declarative as dl
from declarative.structures import Match, canonicalise, recognise

HEAD = """layer example
dim n
param x[n]
param w[n] nonneg
param tau nonneg
param total nonneg
"""


def structure(body: str) -> str:
    """The name of the structure that a program has."""
    program = dl.parse_program(HEAD + body)
    return next(m.structure for _, m in recognise(canonicalise(program)) if isinstance(m, Match))


SOFTMAX = [
    "var y[n]\nmaximize x' @ y + sum(entr(y))\nsubject to\n  c: sum(y) == 1",
    "var y[n]\nminimize -x @ y - sum(entr(y))\nsubject to\n  c: sum(y) == 1",
    "var y[n]\nminimize -3 * (x @ y) - sum(3 * entr(y)) + 7\nsubject to\n  c: 1 == sum(y)",
    "var y[n] nonneg\nmaximize sum(x * y) + sum(entr(y))\nsubject to\n  c: 2 * sum(y) == 2",
    "var p[n]\nmaximize x' @ p + sum(entr(p))\nsubject to\n  b: p >= 0\n  c: sum(p) - 1 == 0",
    "var y[n]\nlet score = x @ y\nmaximize score + sum(entr(y))\nsubject to\n  c: sum(y) == 1",
    "var y[n]\nmaximize x' @ y - sum(rel_entr(y, 1))\nsubject to\n  c: sum(y) == 1",
    "var y[n]\nminimize sum(kl_div(y, 1)) - x @ y\nsubject to\n  c: sum(y) == 1",
]

SPARSEMAX = [
    "var y[n] nonneg\nminimize sum_squares(y - x)\nsubject to\n  c: sum(y) == 1",
    "var y[n]\nminimize sum_squares(x - y)\nsubject to\n  c: 1 == sum(y)\n  b: y >= 0",
    "var y[n] nonneg\nmaximize -0.5 * sum_squares(y - x) + 3\nsubject to\n  c: -sum(y) == -1",
    "var y[n]\nminimize norm2(y - x)^2\nsubject to\n  b: 0 <= y\n  c: sum(y) == 1",
    "var y[n] nonneg\nminimize sum(square(y - x))\nsubject to\n  c: sum(y) == 1",
    "var y[n] nonneg\nminimize y' @ y - 2 * (x' @ y)\nsubject to\n  c: sum(y) == 1",
    "var y[n] nonneg\nminimize 1/2 * sum_squares(y) - x @ y\nsubject to\n  c: sum(y) == 1",
    "var q[n] nonneg\nlet r = q - x\nminimize sum_squares(r)\nsubject to\n  c: sum(q) == 1",
]

NEAR_MISSES = [
    "var y[n]\nmaximize x' @ y + sum(w * entr(y))\nsubject to\n  c: sum(y) == 1",
    "var y[n]\nmaximize x' @ y + sum(entr(y))\nsubject to\n  c: w @ y == 1",
    "var y[n]\nmaximize x' @ y + sum(entr(y))\nsubject to\n  c: sum(y) == 1\n  d: w @ y == 2",
    "var y[n]\nmaximize x' @ y + sum(entr(y))\nsubject to\n  c: sum(y) == 1\n  d: y <= 0.5",
    "var y[n]\nmaximize x' @ y + sum(entr(y))\nsubject to\n  c: sum(y) <= 1",
    "var y[n]\nminimize sum_squares(y - x)\nsubject to\n  c: sum(y) == 1",
    "var y[n] nonneg\nminimize sum(w * square(y - x))\nsubject to\n  c: sum(y) == 1",
    "var y[n] nonneg\nminimize sum_squares(y - x)\nsubject to\n  c: w @ y == 1",
    "var y[n] nonneg\nminimize sum_squares(y - x)\nsubject to\n  c: sum(y) == 1\n  d: y <= 0.5",
    "var y[n] nonneg\nvar z[n]\nminimize sum_squares(y - x) + sum_squares(z)\nsubject to\n  c: sum(y) == 1",
    "var y[n]\nminimize sum_squares(y - x)\nsubject to\n  c: sum(y) == 1\n  b: y >= 0.1",
    "var y[n] nonpos\nminimize sum_squares(y - x)\nsubject to\n  c: sum(y) == 1",
]


@pytest.mark.parametrize("body", SOFTMAX)
def test_softmax_is_recognised_and_right(body: str) -> None:
    x = torch.tensor([[0.3, -1.0, 2.0], [5.0, 5.0, -5.0]], dtype=torch.float64)
    assert structure(body) == "softmax"
    layer = dl.compile(dl.parse_program(HEAD + body))()
    torch.testing.assert_close(layer(*arguments(x)), torch.softmax(x, -1))


@pytest.mark.parametrize("body", SPARSEMAX)
def test_sparsemax_is_recognised_and_right(body: str) -> None:
    x = torch.tensor([[0.3, -1.0, 0.9], [5.0, 4.5, -5.0]], dtype=torch.float64)
    assert structure(body) == "simplex_projection"
    layer = dl.compile(dl.parse_program(HEAD + body))()
    expected = torch.tensor([[0.2, 0.0, 0.8], [0.75, 0.25, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(layer(*arguments(x)), expected)


@pytest.mark.parametrize("body", NEAR_MISSES)
def test_near_misses_are_neither(body: str) -> None:
    assert structure(body) not in ("softmax", "simplex_projection")


def test_temperature_total_and_prior() -> None:
    body = "var y[n]\nmaximize x @ y - tau * sum(rel_entr(y, w))\nsubject to\n  c: sum(y) == total\n"
    body += "output y, dual(c) as nu"
    assert structure(body) == "softmax"
    layer = dl.compile(dl.parse_program(HEAD + body))()
    x = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    w = torch.tensor([0.5, 1.5, 1.0], dtype=torch.float64)
    y, nu = layer(x, w, 0.7, 2.5)
    assert float(y.sum()) == pytest.approx(2.5)
    # Stationarity of the minimisation form: -x + tau (log(y / w) + 1) + nu = 0.
    torch.testing.assert_close(-x + 0.7 * (torch.log(y / w) + 1) + nu, torch.zeros_like(x))


def test_simplex_of_a_parametric_total_and_scale() -> None:
    body = (
        "var y[n] nonneg\nminimize tau * sum_squares(y - x)\nsubject to\n  c: sum(y) == total\noutput y, dual(c) as nu"
    )
    assert structure(body) == "simplex_projection"
    layer = dl.compile(dl.parse_program(HEAD + body))()
    x = torch.tensor([0.3, -1.0, 0.9], dtype=torch.float64)
    y, nu = layer(x, torch.ones(3, dtype=torch.float64), 2.0, 1.0)
    torch.testing.assert_close(y, torch.tensor([0.2, 0.0, 0.8], dtype=torch.float64))
    # On the support 2 tau (y - x) + nu = 0.
    assert float(nu) == pytest.approx(2 * 2.0 * 0.1)


def test_a_negative_total_is_infeasible() -> None:
    body = "var y[n] nonneg\nminimize sum_squares(y - x)\nsubject to\n  c: sum(y) == tau - 1"
    layer = dl.compile(dl.parse_program(HEAD + body))()
    solution = layer.solve(torch.zeros(2, 3), torch.ones(3), torch.tensor([3.0, 0.5]), 1.0)
    assert [dl.Status(int(s)).label for s in solution.status] == ["solved", "infeasible"]


def test_every_decline_has_a_reason() -> None:
    program = dl.parse_program(HEAD + NEAR_MISSES[0])
    *declined, (_, match) = recognise(canonicalise(program))
    assert isinstance(match, Match)
    reasons = [m.reason for _, m in declined if not isinstance(m, Match)]
    assert len(reasons) == len(declined)
    assert all(len(reason) > 10 for reason in reasons)


def arguments(x: Tensor) -> tuple[Tensor | float, ...]:
    return (x, torch.ones(3, dtype=x.dtype), 1.0, 1.0)
