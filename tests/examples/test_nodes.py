"""Declarative nodes: derivatives by the published closed form, differences and long unrolls; saddles are told."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import declarative as dl
from examples.nodes import __main__ as example
from examples.nodes import closed_forms

X = torch.tensor([[2.5, 1.0], [-0.4, 0.3], [0.9, -0.8], [-3.0, -0.1]], dtype=torch.float64)
SCALE = torch.tensor(1.0, dtype=torch.float64)


@pytest.fixture(scope="module")
def nodes() -> example.Nodes:
    return example.compiled()


def values() -> Tensor:
    outliers = torch.tensor([[-6.0], [0.5], [1.7], [9.0]], dtype=torch.float64)
    return torch.cat([example.POOLED.expand(4, -1), outliers], -1)


def central(layer: Callable[[Tensor], Tensor], x: Tensor, step: float = 1e-5) -> Tensor:
    moves = step * torch.eye(x.shape[-1], dtype=x.dtype)
    return torch.stack([(layer(x + e) - layer(x - e)) / (2 * step) for e in moves], -1)


def test_projection(nodes: example.Nodes) -> None:
    a = example.AXES

    def layer(x: Tensor) -> Tensor:
        return nodes.ellipse(x, a).y

    def unrolled(x: Tensor) -> Tensor:
        """Newton on the one multiplier, y = a² x / (a² + t), from the left of its root, where it is monotone."""
        t = a.min() * x[..., -1].abs() - a.min() ** 2
        for _ in range(40):
            terms = (a * x / (a**2 + t[..., None])).square()
            t = t + (terms.sum(-1) - 1) / (2 * terms / (a**2 + t[..., None])).sum(-1)
        return a**2 * x / (a**2 + t[..., None])

    y, slope = example.jacobian(layer, X)
    torch.testing.assert_close(y, unrolled(X), atol=1e-9, rtol=0)
    torch.testing.assert_close(slope, closed_forms.ellipse(X, a, y), atol=1e-8, rtol=0)
    torch.testing.assert_close(slope, central(layer, X), atol=1e-5, rtol=0)
    torch.testing.assert_close(slope, example.jacobian(unrolled, X)[1], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["pseudo_huber", "welsch"])
def test_pooling(nodes: example.Nodes, name: str) -> None:
    node: dl.Layer = getattr(nodes, name)
    start = () if name == "pseudo_huber" else (torch.tensor(0.0, dtype=torch.float64),)

    def layer(x: Tensor) -> Tensor:
        return node(x, SCALE, *start)[..., None]

    x = values()
    y, slope = example.jacobian(layer, x)
    torch.testing.assert_close(slope[:, 0], getattr(closed_forms, name)(x, y[:, 0], SCALE), atol=1e-9, rtol=0)
    torch.testing.assert_close(slope, central(layer, x), atol=1e-5, rtol=0)
    node.solver, node.gradient = dl.GradientDescent(step_size=0.2, steps=120), "unrolled"
    try:
        torch.testing.assert_close(slope, example.jacobian(layer, x)[1], atol=1e-6, rtol=0)
    finally:
        node.solver, node.gradient = None, "implicit"


def test_saddle_and_cusp_are_told(nodes: example.Nodes) -> None:
    """Inside, on the long axis, the start is the farthest point's neighbour; at 1.5 the curvature's centre."""
    x = torch.tensor([[1.0, 1.0], [0.5, 0.0], [1.5, 0.0], [0.0, 0.0]], dtype=torch.float64)
    solution, report = nodes.ellipse.solve(x, example.AXES), nodes.ellipse.diagnose(x, example.AXES)
    assert [dl.Status(code).label for code in solution.status.tolist()] == ["solved", "saddle", "solved", "not_finite"]
    assert report.holds.tolist() == [True, False, False, False]
    assert report.second_order[1] < 0
    assert "not unique" in report.meaning[2][0]


def test_table(nodes: example.Nodes) -> None:
    for name, instances, solved, _, error in example.compared(nodes):
        assert instances == solved, name
        assert float(error) < 1e-8, name
