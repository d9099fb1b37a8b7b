"""The equilibrium layer: gradients by the closed form, differences and a long unroll; what the series leaves out."""

from __future__ import annotations

import torch
from torch import Tensor

from examples.equilibrium import __main__ as example


def long_unroll(W: Tensor, U: Tensor, x: Tensor, steps: int = 400) -> Tensor:
    z, V = x.new_zeros(len(x), len(W)), 0.9 * W / torch.linalg.matrix_norm(W, 2)
    for _ in range(steps):
        z = torch.tanh(z @ V.mT + x @ U.mT)
    return z


def test_gradients_agree() -> None:
    layer, x = example.random_layer(0.9, n=8)
    x = x[:4].requires_grad_()
    layer.W.data.normal_(generator=torch.Generator().manual_seed(1))
    v = torch.arange(1.0, 9.0, dtype=torch.float64)
    weights = (layer.W, layer.U)
    z = layer(x)
    in_x, in_W, in_U = torch.autograd.grad((z @ v).sum(), (x, *weights))

    # dz/dx = (I - D V)⁻¹ D U with D = diag(1 - z²), one instance at a time.
    W, U = (weight.detach() for weight in weights)
    V = 0.9 * W / torch.linalg.matrix_norm(W, 2)
    for i in range(4):
        D = torch.diag(1 - z[i].detach() ** 2)
        exact = torch.linalg.solve(torch.eye(8, dtype=v.dtype) - D @ V, D @ U)
        torch.testing.assert_close(in_x[i], v @ exact, atol=1e-9, rtol=0)

    data = x.detach()
    for moved, found in ((W, in_W), (U, in_U)):
        step = 1e-5 * torch.eye(moved.numel(), dtype=v.dtype)[3].view_as(moved)
        layers = [(W + s * step, U) if moved is W else (W, U + s * step) for s in (-1, 1)]
        low, high = ((long_unroll(*ws, data) @ v).sum() for ws in layers)
        assert abs((high - low) / 2e-5 - found.flatten()[3]) < 1e-5
    W, U = W.requires_grad_(), U.requires_grad_()
    unrolled = torch.autograd.grad((long_unroll(W, U, x) @ v).sum(), (x, W, U))
    for ours, theirs in zip((in_x, in_W, in_U), unrolled, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_series_leaves_out_what_theory_says() -> None:
    layer, x = example.random_layer(0.5, n=16)
    errors = example.neumann_errors(layer, x[:4])
    for k, error in zip(example.TERMS, errors, strict=True):
        assert error <= 2 * 0.5 ** (k + 1) + 1e-14
    assert errors[3] > 1e-3


def test_every_solver_reaches_the_root() -> None:
    layer, x = example.random_layer(0.5, n=16)
    for solver in example.SOLVERS:
        found = example.residuals(layer, x[:4], solver)
        assert found[0] > 1e-2
        assert found[max(found)] <= 1e-10
    fast, slow = (max(example.residuals(layer, x[:4], name)) for name in ("newton", "picard"))
    assert fast < slow / 3


def test_reading_is_learnt() -> None:
    wrong = example.trained("jacobian_free", epochs=2)
    assert wrong[-1] < 60
