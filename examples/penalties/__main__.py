"""Penalties of Lasso and sparse logistic regression, by derivative and by grid: ``python -m examples.penalties``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import declarative as dl
from examples.command import OUT, full, show, wrote
from examples.penalties.data import Folds, cancer, diabetes, kinds
from examples.penalties.figure import Curve, draw
from examples.penalties.search import best, descend, grid, log_loss, squared_error

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Choice:
    """Penalties (64,) that were chosen, by how many solves, and the error by which."""

    label: str
    solves: int
    error: float
    log_alpha: Tensor


def main() -> None:
    """Both data sets, a table each, and the figure."""
    points = (100, 60) if full(__doc__ or "", "finer grids: 100 and 60 points instead of 40 and 12") else (40, 12)
    folds, lasso = diabetes(), dl.compile(HERE / "lasso.opt")()
    curve, choices = chosen_for_lasso(lasso, folds, points[0])
    rows, errors = [], []
    for choice in choices:
        w = lasso(*folds.all, choice.log_alpha.exp())
        X, y = folds.test
        errors.append((choice.label, choice.solves, choice.error, (X @ w - y).square().mean().item()))
        support = int((w.abs() > 1e-8).sum())
        rows.append((choice.label, f"{choice.solves}", *(f"{e:.4f}" for e in errors[-1][2:]), f"{support}"))
    show("Lasso, diabetes", ("penalties", "solves", "cross-validated error", "test error", "weights"), rows)

    logistic = dl.compile(HERE / "logistic.opt")()
    fit, judge, test = cancer()
    low, high = math.log(1e-3), math.log(0.3)
    criterion = log_loss(logistic, fit, judge)
    classes = Curve(grid(criterion, low, high, points[1]), descend(criterion, torch.tensor([high]), low, high, 30))
    rows = []
    for label, trials in (("1 by grid", classes.grid), ("1 by derivative", classes.descent)):
        chosen = best(trials)
        w, bias = logistic(*fit, chosen.at[0].exp())
        right = (test[1] * (test[0] @ w + bias) > 0).double().mean()
        support = int((w.abs() > 1e-8).sum())
        rows.append((label, f"{len(trials)}", f"{chosen.error:.5f}", f"{right:.1%}", f"{support}"))
    show("Logistic, breast cancer", ("penalties", "solves", "held-out loss", "right in the test", "weights"), rows)
    draw(OUT / "penalties.png", curve, classes, errors)
    wrote(OUT / "penalties.png")


def chosen_for_lasso(lasso: dl.Layer, folds: Folds, points: int) -> tuple[Curve, list[Choice]]:
    """One penalty by a grid and by the derivative, three (one per kind of feature), and one per weight."""
    X, y = folds.all
    n = X.shape[-1]
    high = math.log((X.mT @ y).abs().max() / len(y))  # every weight is zero from here on
    low = high - 6
    criterion = squared_error(lasso, folds)
    curve = Curve(grid(criterion, low, high, points), descend(criterion, torch.tensor([high]), low, high, 30))
    by_grid, one = best(curve.grid), best(curve.descent)
    three_trials = descend(lambda u: criterion(u[kinds()]), one.at.expand(3).clone(), low, high + 2, 60)
    each_trials = descend(criterion, one.at.expand(n).clone(), low, high + 2, 60)
    three, each = best(three_trials), best(each_trials)
    before = len(curve.descent)
    return curve, [
        Choice("1 by grid", len(curve.grid), by_grid.error, by_grid.at.expand(n)),
        Choice("1 by derivative", before, one.error, one.at.expand(n)),
        Choice("3 by derivative", before + len(three_trials), three.error, three.at[kinds()]),
        Choice("64 by derivative", before + len(each_trials), each.error, each.at),
    ]


if __name__ == "__main__":
    main()
