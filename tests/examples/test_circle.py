"""The circle: slopes of both branches by four independent ways, and no slope where there is none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import declarative as dl
from examples.circle import __main__ as example

X = torch.tensor([-0.9, -0.3, 0.0, 0.6, 0.95], dtype=torch.float64)


@pytest.fixture(scope="module")
def layer() -> dl.Layer:
    return dl.compile(example.HERE / "circle.opt")()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_slope_is_the_closed_form(layer: dl.Layer, sign: float) -> None:
    y, slope = example.branch(layer, X, sign)
    torch.testing.assert_close(y, sign * (1 - X**2).sqrt(), atol=1e-14, rtol=0)
    torch.testing.assert_close(slope, example.closed_form(X, sign), atol=1e-13, rtol=0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_slope_is_that_of_differences_and_of_a_long_unroll(layer: dl.Layer, sign: float) -> None:
    def unrolled(x: Tensor) -> Tensor:
        y = torch.full_like(x, sign)
        for _ in range(30):
            y = y - (x**2 + y**2 - 1) / (2 * y)
        return y

    slope = example.branch(layer, X, sign)[1]
    start = torch.full_like(X, sign)
    central = (layer(X + 1e-5, start) - layer(X - 1e-5, start)) / 2e-5
    torch.testing.assert_close(slope, central, atol=1e-5, rtol=0)
    x = X.clone().requires_grad_()
    torch.testing.assert_close(slope, torch.autograd.grad(unrolled(x).sum(), x)[0], atol=1e-6, rtol=0)


def test_no_slope_where_the_branches_meet(layer: dl.Layer) -> None:
    x, start = torch.tensor([1.0, 0.6, -1.0]).double(), torch.tensor([0.0, 1.0, 0.0]).double()
    report = layer.diagnose(x, start)
    assert report.holds.tolist() == [False, True, False]
    assert all("singular" in " ".join(report.meaning[i]) for i in (0, 2))
    with pytest.raises(dl.SolveError, match="2 of 3 instances"):
        layer(x, start)
