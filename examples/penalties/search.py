"""Penalties by the derivative of the error on held-out rows, and by a grid.

The outer problem is min over u of C(w(exp u)), where w(alpha) solves the inner problem. Its gradient passes through w
by the implicit function theorem: the support of w is constant near almost every alpha, and w smooth on it.

References: Bertrand et al., Implicit differentiation of Lasso-type models for hyperparameter optimization, 2020;
Bertrand et al., Implicit differentiation for fast hyperparameter selection in non-smooth convex learning, 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

import declarative as dl
from examples.penalties.data import Folds

Criterion = Callable[[Tensor], Tensor]
"""The error on held-out rows, of the logarithms of the penalties."""


@dataclass(frozen=True)
class Trial:
    """One evaluation: logarithms of the penalties (k,), the criterion, and its gradient (k,)."""

    at: Tensor
    error: float
    slope: Tensor


def trial(criterion: Criterion, at: Tensor) -> Trial:
    """The criterion and its gradient at one point."""
    at = at.detach().requires_grad_()
    error = criterion(at)
    (slope,) = torch.autograd.grad(error, at)
    return Trial(at.detach(), error.item(), slope)


def grid(criterion: Criterion, low: float, high: float, points: int) -> list[Trial]:
    """Trials of one penalty at even steps of its logarithm, from the largest down."""
    return [trial(criterion, at[None]) for at in torch.linspace(high, low, points)]


def descend(criterion: Criterion, start: Tensor, low: float, high: float, evaluations: int) -> list[Trial]:
    """The trials of L-BFGS-B from ``start`` (k,) within bounds."""
    trials: list[Trial] = []

    def evaluate(at: np.ndarray) -> tuple[float, np.ndarray]:
        trials.append(trial(criterion, torch.as_tensor(at)))
        return trials[-1].error, trials[-1].slope.numpy()

    options = {"maxfun": evaluations, "ftol": 1e-6}
    minimize(evaluate, start.numpy(), jac=True, method="L-BFGS-B", bounds=[(low, high)] * len(start), options=options)
    return trials


def best(trials: list[Trial]) -> Trial:
    """The trial of least error."""
    return min(trials, key=lambda t: t.error)


def squared_error(lasso: dl.Layer, folds: Folds) -> Criterion:
    """Cross-validated mean squared error; the folds are a batch. One penalty, or one for each weight."""

    def criterion(log_alpha: Tensor) -> Tensor:
        w = lasso(*folds.fit, log_alpha.exp().expand(folds.fit[0].shape[-1]))
        X, y = folds.judge
        return (torch.einsum("fmn,fn->fm", X, w) - y).square().mean()

    return criterion


def log_loss(logistic: dl.Layer, fit: tuple[Tensor, Tensor], judge: tuple[Tensor, Tensor]) -> Criterion:
    """Mean logistic loss on the rows that judge."""

    def criterion(log_alpha: Tensor) -> Tensor:
        w, bias = logistic(*fit, log_alpha[0].exp())
        X, y = judge
        return torch.nn.functional.softplus(-y * (X @ w + bias)).mean()

    return criterion
