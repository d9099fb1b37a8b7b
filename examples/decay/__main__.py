"""A penalty for every weight, by a Neumann series of k terms: ``python -m examples.decay``.

The gradient of an error C(w(u)) in the penalties is -(d²f/du dw) H⁻¹ dC/dw. H⁻¹ is applied by k + 1 terms of its
Neumann series, each of which costs one product with H; by conjugate gradients, which make the most of as many
products; or by a factorisation, which is exact.

Reference: Lorraine, Vicol and Duvenaud, Optimizing millions of hyperparameters by implicit differentiation, 2020.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import softplus

import declarative as dl
from declarative.runtime.problem import Adjoint
from examples.command import OUT, full, show, wrote
from examples.decay.figure import draw
from examples.penalties.data import cancer

HERE = Path(__file__).parent
START = -4.0
"""Logarithm of the penalty that every weight begins with."""
TERMS = (0, 1, 3, 10, 30, 100, 300, 1000)
TOLERANCES = (0.3, 0.1, 1e-2, 1e-3, 1e-5, 1e-7, 1e-9)
TRAINED: dict[str, Adjoint | str] = {
    "jacobian_free": "jacobian_free", "neumann:3": "neumann:3", "neumann:30": "neumann:30", "dense": "dense"
}  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """Of one gradient: its relative error, one minus its cosine with the exact one, and the seconds of its backward."""

    error: float
    turn: float
    seconds: float


@dataclass(frozen=True)
class Rows:
    """Features (m, n) and classes (m,), 1 or -1."""

    X: Tensor
    y: Tensor

    def loss(self, w: Tensor) -> Tensor:
        """Mean logistic loss of weights (n,)."""
        return softplus(-self.y * (self.X @ w)).mean()


def main() -> None:
    """The tables and the figure."""
    asked = full(__doc__ or "", "the products of ten features too, 85 weights, and longer training")
    fit, held, test = features(products=asked)
    layer = dl.compile(HERE / "decay.opt")()
    u = torch.full((fit.X.shape[-1],), START)

    exact, seconds = timed(layer, "dense", fit, held, u)
    series = {k: cost(layer, dl.NeumannAdjoint(terms=k), fit, held, u, exact) for k in TERMS}
    krylov = {t: cost(layer, dl.KrylovAdjoint("cg", tolerance=t), fit, held, u, exact) for t in TOLERANCES}
    rows = [(f"{k + 1} terms", *cells(c)) for k, c in series.items()]
    rows += [(f"cg to {t:g}", *cells(c)) for t, c in krylov.items()]
    rows.append(("dense", "0", "0", f"{1e3 * seconds:.1f}"))
    show(f"One gradient in {len(u)} penalties", ("adjoint", "error", "1 - cosine", "ms"), rows)

    curves = {name: trained(layer, adjoint, fit, held, u, 60 if asked else 25) for name, adjoint in TRAINED.items()}
    rows = []
    for name, (losses, end) in curves.items():
        w = layer(fit.X, fit.y, end)
        right = (test.y * (test.X @ w) > 0).double().mean()
        rows.append((name, f"{losses[0]:.4f}", f"{losses[-1]:.4f}", f"{test.loss(w):.4f}", f"{right:.1%}"))
    show("Penalties learnt", ("adjoint", "held-out loss before", "after", "test loss", "right in the test"), rows)
    draw(OUT / "decay.png", series, krylov, seconds, {name: losses for name, (losses, _) in curves.items()})
    wrote(OUT / "decay.png")


def features(products: bool) -> tuple[Rows, Rows, Rows]:
    """Breast cancer's 30 features and, with ``products``, those of two of the first ten, to fit, to judge, to test."""
    i, j = torch.triu_indices(10, 10)
    parts = []
    for X, y in cancer():
        parts.append((torch.cat([X, X[:, i] * X[:, j]], -1) if products else X, y))
    mean, scale = parts[0][0].mean(0), parts[0][0].std(0)
    fit, held, test = (Rows((X - mean) / scale, y) for X, y in parts)
    return fit, held, test


def gradient(w: Tensor, u: Tensor, held: Rows) -> Tensor:
    """The derivative of the held-out loss in ``u`` (n,), through the solution ``w`` (n,)."""
    return torch.autograd.grad(held.loss(w), u, retain_graph=True)[0]


def timed(layer: dl.Layer, adjoint: Adjoint | str, fit: Rows, held: Rows, u: Tensor) -> tuple[Tensor, float]:
    """The gradient by an adjoint, and the seconds of its backward, the fastest of ten."""
    layer.adjoint, u = adjoint, u.detach().requires_grad_()
    w = layer(fit.X, fit.y, u)
    found, seconds = gradient(w, u, held), []
    for _ in range(10):
        started = time.perf_counter()
        gradient(w, u, held)
        seconds.append(time.perf_counter() - started)
    layer.adjoint = None
    return found, min(seconds)


def cost(layer: dl.Layer, adjoint: Adjoint, fit: Rows, held: Rows, u: Tensor, exact: Tensor) -> Cost:
    """The cost of an adjoint beside the exact gradient (n,)."""
    found, seconds = timed(layer, adjoint, fit, held, u)
    turn = 1 - torch.cosine_similarity(found, exact, dim=-1)
    return Cost(((found - exact).norm() / exact.norm()).item(), turn.item(), seconds)


def trained(
    layer: dl.Layer, adjoint: Adjoint | str, fit: Rows, held: Rows, u: Tensor, steps: int
) -> tuple[list[float], Tensor]:
    """Held-out losses as Adam moves the penalties, and where it leaves them."""
    u = u.clone().requires_grad_()
    optimizer, losses = torch.optim.Adam([u], lr=0.2), []
    layer.adjoint = adjoint
    for step in range(steps + 1):
        loss = held.loss(layer(fit.X, fit.y, u))
        losses.append(loss.item())
        if step < steps:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    layer.adjoint = None
    return losses, u.detach()


def cells(found: Cost) -> tuple[str, ...]:
    """A row of the table."""
    return f"{found.error:.0e}", f"{max(found.turn, 0):.0e}", f"{1e3 * found.seconds:.1f}"


if __name__ == "__main__":
    main()
