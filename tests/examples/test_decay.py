"""A penalty for every weight: the gradient by differences and a long unroll, and what a short series leaves out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import declarative as dl
from examples.decay import __main__ as example


@pytest.fixture(scope="module")
def layer() -> dl.Layer:
    return dl.compile(example.HERE / "decay.opt")()


@pytest.fixture(scope="module")
def parts() -> tuple[example.Rows, example.Rows]:
    generator = torch.Generator().manual_seed(0)

    def rows(m: int) -> example.Rows:
        X = torch.randn(m, 6, generator=generator, dtype=torch.float64)
        noise = torch.randn(m, generator=generator, dtype=torch.float64)
        return example.Rows(X, torch.where(X[:, 0] - X[:, 1] + noise > 0, 1.0, -1.0).double())

    return rows(30), rows(20)


U = torch.linspace(-3, 0, 6, dtype=torch.float64)


def test_gradient(layer: dl.Layer, parts: tuple[example.Rows, example.Rows]) -> None:
    fit, held = parts

    def outer(u: Tensor) -> Tensor:
        return held.loss(layer(fit.X, fit.y, u))

    exact, _ = example.timed(layer, "dense", fit, held, U)
    steps = 1e-5 * torch.eye(6, dtype=torch.float64)
    central = torch.stack([(outer(U + e) - outer(U - e)) / 2e-5 for e in steps])
    torch.testing.assert_close(exact, central, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(exact, example.timed(layer, "cg", fit, held, U)[0], atol=1e-9, rtol=0)

    u, w = U.clone().requires_grad_(), torch.zeros_like(U)
    for _ in range(800):
        slope = -fit.X.mT @ (fit.y * torch.sigmoid(-fit.y * (fit.X @ w))) / len(fit.y) + u.exp() * w
        w = w - 0.5 * slope
    torch.testing.assert_close(exact, torch.autograd.grad(held.loss(w), u)[0], atol=1e-6, rtol=0)


def test_series(layer: dl.Layer, parts: tuple[example.Rows, example.Rows]) -> None:
    """It is a sum of k + 1 powers of I - a H, with H and its largest eigenvalue known."""
    fit, held = parts
    w = layer(fit.X, fit.y, U).requires_grad_()
    p = torch.sigmoid(fit.X @ w.detach())
    H = fit.X.mT @ ((p * (1 - p))[:, None] * fit.X) / len(fit.y) + torch.diag(U.exp())
    a = 1 / (1.05 * torch.linalg.eigvalsh(H)[-1])
    (term,) = torch.autograd.grad(held.loss(w), w)
    exact, _ = example.timed(layer, "dense", fit, held, U)
    total, errors = torch.zeros_like(term), []
    for k in range(41):
        total, term = total + a * term, term - a * (H @ term)
        if k in (0, 10, 40):
            found, _ = example.timed(layer, dl.NeumannAdjoint(terms=k), fit, held, U)
            torch.testing.assert_close(found, -U.exp() * w.detach() * total, atol=1e-8, rtol=0)
            errors.append(example.cost(layer, dl.NeumannAdjoint(terms=k), fit, held, U, exact).error)
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1e-2


def test_any_of_them_learns(layer: dl.Layer, parts: tuple[example.Rows, example.Rows]) -> None:
    for adjoint in ("jacobian_free", "dense"):
        losses, _ = example.trained(layer, adjoint, *parts, U, steps=10)
        assert losses[-1] < losses[0]


def test_features() -> None:
    fit, held, test = example.features(products=True)
    assert [tuple(r.X.shape) for r in (fit, held, test)] == [(200, 85), (200, 85), (169, 85)]
    torch.testing.assert_close(fit.X.mean(0), torch.zeros(85).double(), atol=1e-12, rtol=0)
