"""Instances without finite data or without a solution, under ``on_failure = "nan"``: neighbours do not notice."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import declarative as dl

INVERSE = """layer weighted
dim n
param S[n, n] psd
param c[n]
param shared[n]
var y[n]
minimize 1/2 * quad_form(y, inv(S)) - (c + shared) @ y
subject to
  box: y <= 1
"""

BOUNDED = """layer bounded
dim n
param x[n]
param cap[n]
var y[n]
minimize sum_squares(y - x)
subject to
  box: y <= cap
  total: y[0] + y[1] >= -5
"""

SHARE = """layer share
dim n
param x[n]
param total nonneg
var y[n] nonneg
minimize sum_squares(y - x)
subject to
  sum: sum(y) == total - 1
"""


def layer_of(text: str, on_failure: str = "nan") -> dl.Layer:
    return dl.compile(dl.parse_program(text))(on_failure=on_failure)


def labels(status: Tensor) -> list[str]:
    return [dl.Status(int(s)).label for s in status]


def test_data_that_are_not_finite_though_the_arguments_are() -> None:
    """inv(0) is infinite: the gradient of the parameter that all share is that of the sound instances."""
    S = torch.eye(3, dtype=torch.float64).repeat(3, 1, 1)
    S[1] = 0
    c = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shared = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    layer = layer_of(INVERSE)
    y = layer(S, c, shared)
    assert bool(y[1].isnan().all())
    y.nansum().backward()
    alone = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    kept = torch.tensor([0, 2])
    expected = layer_of(INVERSE, "raise")(S[kept], c[kept], alone)
    expected.sum().backward()
    torch.testing.assert_close(y[kept], expected)
    torch.testing.assert_close(shared.grad, alone.grad)
    assert labels(layer.solve(S, c, shared).status) == ["solved", "not_finite", "solved"]


def test_an_infinite_bound_is_no_failure() -> None:
    layer = layer_of(BOUNDED)
    x = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    cap = torch.tensor([math.inf, 1.0], dtype=torch.float64)
    y = layer(x, cap)
    torch.testing.assert_close(y, torch.tensor([0.5, 1.0], dtype=torch.float64))
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert labels(layer.solve(x, cap).status[None]) == ["solved"]


def test_masked_scores_of_a_softmax() -> None:
    text = "layer choice\ndim n\nparam x[n]\nvar y[n]\nmaximize x @ y + sum(entr(y))\nsubject to\n  sum: sum(y) == 1\n"
    x = torch.tensor([[1.0, -math.inf, 2.0], [math.nan, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    layer = layer_of(text)
    y = layer(x)
    torch.testing.assert_close(y[0], torch.softmax(x[0], -1))
    assert bool(y[1].isnan().all())
    y[0, 0].backward()
    assert bool(x.grad.isfinite().all())
    assert x.grad[1].tolist() == [0.0, 0.0, 0.0]


def test_a_closed_form_without_a_solution() -> None:
    shared = torch.tensor([0.3, 0.1], dtype=torch.float64, requires_grad=True)
    total = torch.tensor([2.0, 0.5, 3.0], dtype=torch.float64)
    layer = layer_of(SHARE)
    y = layer(shared, total)
    assert bool(y[1].isnan().all())
    torch.testing.assert_close(y[[0, 2]].sum(-1), total[[0, 2]] - 1)
    y.nansum().backward()
    assert bool(shared.grad.isfinite().all())
    assert labels(layer.solve(shared, total).status) == ["solved", "infeasible", "solved"]
    with pytest.raises(dl.SolveError, match="instance 1: infeasible"):
        layer_of(SHARE, "raise")(shared, total)
