"""Choosing penalties: derivatives by three independent ways, folds that are honest, a search that finds the least."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.linear_model import Lasso, LogisticRegression
from torch import Tensor
from torch.nn.functional import softplus, softshrink

import declarative as dl
from examples.penalties import __main__ as example
from examples.penalties.data import cancer, diabetes, kinds
from examples.penalties.search import best, descend, grid, log_loss, squared_error, trial


@pytest.fixture(scope="module")
def lasso() -> dl.Layer:
    return dl.compile(example.HERE / "lasso.opt")()


@pytest.fixture(scope="module")
def logistic() -> dl.Layer:
    return dl.compile(example.HERE / "logistic.opt")()


def rows(m: int, n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(m, n, generator=generator, dtype=torch.float64)
    return X, X[:, 0] - X[:, 1] / 2 + torch.randn(m, generator=generator, dtype=torch.float64)


def unrolled_lasso(X: Tensor, y: Tensor, alpha: Tensor, steps: int) -> Tensor:
    """Iterative soft thresholding."""
    m, w = len(y), torch.zeros_like(alpha)
    a = m / torch.linalg.matrix_norm(X, 2) ** 2
    for _ in range(steps):
        w = w - a * (X.mT @ (X @ w - y)) / m
        w = w.sign() * (w.abs() - a * alpha).clamp_min(0)
    return w


def unrolled_logistic(X: Tensor, y: Tensor, alpha: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Proximal gradient descent; the bias has no penalty."""
    X1 = torch.cat([X, torch.ones_like(X[:, :1])], 1)
    a = 4 * len(y) / torch.linalg.matrix_norm(X1, 2) ** 2
    penalty = a * alpha * torch.tensor([1.0] * X.shape[1] + [0.0], dtype=X.dtype)
    w = X1.new_zeros(X1.shape[1])
    for _ in range(steps):
        w = w + a * (X1.mT @ (y * torch.sigmoid(-y * (X1 @ w)))) / len(y)
        w = w.sign() * (w.abs() - penalty).clamp_min(0)
    return w[:-1], w[-1]


def gradient(f: Tensor, at: Tensor) -> Tensor:
    return torch.autograd.grad(f, at)[0]


def test_weighted_lasso_derivative(lasso: dl.Layer) -> None:
    X, y = rows(20, 6)
    v = torch.arange(1.0, 7.0, dtype=torch.float64)
    alpha = torch.tensor([0.05, 0.1, 0.3, 0.2, 0.1, 0.4], dtype=torch.float64, requires_grad=True)
    w = lasso(X, y, alpha)
    assert 0 < (w.abs() > 1e-8).sum() < 6
    exact = gradient(v @ w, alpha)
    step = 1e-5 * torch.eye(6, dtype=torch.float64)
    central = (lasso(X, y, alpha.detach() + step) - lasso(X, y, alpha.detach() - step)) @ v / 2e-5
    torch.testing.assert_close(exact, central, atol=1e-5, rtol=0)
    torch.testing.assert_close(exact, gradient(v @ unrolled_lasso(X, y, alpha, 800), alpha), atol=1e-6, rtol=0)


def test_logistic_derivative(logistic: dl.Layer) -> None:
    X, y = rows(30, 5)
    y = torch.where(y > 0, 1.0, -1.0).double()
    v = torch.arange(1.0, 6.0, dtype=torch.float64)
    alpha = torch.tensor(0.05, dtype=torch.float64, requires_grad=True)

    def of(solution: tuple[Tensor, Tensor]) -> Tensor:
        return v @ solution[0] + 3 * solution[1]

    exact = gradient(of(logistic(X, y, alpha)), alpha)
    low, high = (of(logistic(X, y, alpha.detach() + side * 1e-5)) for side in (-1, 1))
    torch.testing.assert_close(exact, (high - low) / 2e-5, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(exact, gradient(of(unrolled_logistic(X, y, alpha, 2000)), alpha), atol=1e-6, rtol=1e-6)


def test_solutions_are_those_of_scikit_learn(lasso: dl.Layer, logistic: dl.Layer) -> None:
    X, y = diabetes().all
    w = lasso(X, y, torch.full((64,), 0.05, dtype=torch.float64))
    peer = Lasso(0.05, fit_intercept=False, tol=1e-10, max_iter=100_000).fit(X.numpy(), y.numpy())
    torch.testing.assert_close(w, torch.as_tensor(peer.coef_), atol=1e-6, rtol=0)

    X, y = cancer()[0]
    w, bias = logistic(X, y, torch.tensor(0.05, dtype=torch.float64))
    peer = LogisticRegression(l1_ratio=1, C=1 / (200 * 0.05), solver="saga", tol=1e-10, max_iter=100_000)
    peer.fit(X.numpy(), y.numpy())
    torch.testing.assert_close(w, torch.as_tensor(peer.coef_[0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(bias, torch.as_tensor(peer.intercept_[0]), atol=1e-5, rtol=0)


def test_criteria(lasso: dl.Layer, logistic: dl.Layer) -> None:
    """They are what they are called, in numpy's plain terms, and their slopes are those of differences."""
    folds, at = diabetes(), torch.tensor([math.log(0.04)], dtype=torch.float64)
    criterion = squared_error(lasso, folds)
    errors = []
    for X, y, X_held, y_held in zip(*folds.fit, *folds.judge, strict=True):
        w = lasso(X, y, torch.full((64,), 0.04, dtype=torch.float64))
        errors.append(((X_held @ w - y_held) ** 2).mean())
    found = trial(criterion, at)
    assert found.error == pytest.approx(torch.stack(errors).mean().item(), rel=1e-9)
    low, high = (criterion(at + side * 1e-5).item() for side in (-1, 1))
    assert found.slope.item() == pytest.approx((high - low) / 2e-5, abs=1e-5)

    fit, judge, _ = cancer()
    w, bias = logistic(*fit, at.exp()[0])
    loss = softplus(-judge[1] * (judge[0] @ w + bias)).mean().item()
    assert trial(log_loss(logistic, fit, judge), at).error == pytest.approx(loss)


def test_folds_are_disjoint_and_complete() -> None:
    folds = diabetes()
    assert folds.fit[0].shape == (5, 264, 64)
    assert folds.judge[0].shape == (5, 66, 64)
    assert folds.test[0].shape == (112, 64)
    for k in range(5):
        fold = torch.cat([folds.fit[0][k], folds.judge[0][k]])
        assert {tuple(r) for r in fold.tolist()} == {tuple(r) for r in folds.all[0].tolist()}
    assert len({tuple(r) for part in (folds.all, folds.test) for r in part[0].tolist()}) == 442
    assert kinds().bincount().tolist() == [10, 9, 45]
    assert [len(y) for _, y in cancer()] == [200, 200, 169]


def test_descent_finds_what_the_grid_finds() -> None:
    def criterion(u: Tensor) -> Tensor:
        return (softshrink(u, 0.1) - 0.7).square().sum() + u.sum() / 10

    start = torch.tensor([2.0], dtype=torch.float64)
    found = best(descend(criterion, start, -3, 3, 30))
    assert found.at.item() == pytest.approx(0.75, abs=1e-4)
    assert found.error <= best(grid(criterion, -3, 3, 50)).error
