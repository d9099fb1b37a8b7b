"""A deep equilibrium layer, its solvers and its adjoints: ``python -m examples.equilibrium``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

import declarative as dl
from examples.command import OUT, full, show, wrote
from examples.digits.data import load
from examples.equilibrium.figure import draw

HERE = Path(__file__).parent
NORMS = (0.5, 0.9, 0.99)
SOLVERS = {
    "picard": dl.Anderson(memory=0, max_iterations=3000),
    "anderson": dl.Anderson(max_iterations=3000),
    "newton": dl.DampedNewton(),
}
TERMS = (0, 1, 2, 5, 10, 20, 50, 100)
ADJOINTS = ("dense", "neumann:3", "jacobian_free")


def main() -> None:
    """The tables and the figure."""
    epochs = 30 if full(__doc__ or "", "train 30 epochs instead of 8") else 8
    steps, errors = {}, {}
    for norm in NORMS:
        layer, x = random_layer(norm)
        steps[norm] = {name: residuals(layer, x, name) for name in SOLVERS}
        errors[norm] = neumann_errors(layer, x)
    show(
        "Iterations to 1e-10, and the gradient's error with a series of k terms",
        ("rho", *SOLVERS, *(f"k = {k}" for k in TERMS)),
        [
            (f"{norm}", *(f"{max(r)}" for r in steps[norm].values()), *(f"{e:.0e}" for e in errors[norm]))
            for norm in NORMS
        ],
    )
    torch.set_default_dtype(torch.float32)
    curves = {adjoint: trained(adjoint, epochs) for adjoint in ADJOINTS}
    show("Digits, wrong of 197 held out", ("adjoint", "at the end"), [(a, f"{c[-1]}") for a, c in curves.items()])
    draw(OUT / "equilibrium.png", steps[0.99], dict(zip(NORMS, errors.values(), strict=True)), TERMS, curves)
    wrote(OUT / "equilibrium.png")


def random_layer(norm: float, n: int = 64) -> tuple[dl.Layer, Tensor]:
    """A layer whose recurrent matrix is ``norm`` times a rotation, in float64, and 32 inputs of 8 entries."""
    generator = torch.Generator().manual_seed(0)

    def random(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator, dtype=torch.float64)

    W, U = torch.linalg.qr(random(n, n))[0], random(n, 8) / 50
    layer = dl.compile(HERE / "equilibrium.opt")(W=W, U=U, b=torch.zeros_like(W[0]), rho=W.new_tensor(norm))
    return layer, random(32, 8)


def residuals(layer: dl.Layer, x: Tensor, solver: str) -> dict[int, float]:
    """The largest residual of a batch after some numbers of iterations, the last of which solves every instance."""
    layer.solver, layer.on_failure = SOLVERS[solver], "nan"
    last = int(layer.solve(x).iterations.max())
    found = {}
    for k in sorted({round(last ** (share / 12)) - 1 + share // 12 for share in range(13)}):
        layer.solver = replace(SOLVERS[solver], max_iterations=k)
        found[k] = layer.solve(x).residuals.max().item()
    layer.solver = None
    return found


def neumann_errors(layer: dl.Layer, x: Tensor) -> list[float]:
    """The relative error of the gradient in U for each number of terms."""

    def gradient(adjoint: str) -> Tensor:
        layer.adjoint = adjoint
        return torch.autograd.grad(layer(x).square().sum(), layer.U)[0]

    exact = gradient("dense")
    return [((gradient(f"neumann:{k}") - exact).norm() / exact.norm()).item() for k in TERMS]


class Reader(nn.Module):
    """Classes of digits from the equilibrium of 32 units."""

    def __init__(self, adjoint: str) -> None:
        super().__init__()
        n, m = 32, 64
        self.equilibrium = dl.compile(HERE / "equilibrium.opt")(
            W=torch.randn(n, n), U=torch.randn(n, m) / m**0.5, b=torch.zeros(n), rho=0.9
        )
        self.equilibrium.adjoint = adjoint
        self.read = nn.Linear(n, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (*batch, 10) of images (*batch, 8, 8)."""
        scores: Tensor = self.read(self.equilibrium(images.flatten(-2)))
        return scores


def trained(adjoint: str, epochs: int) -> list[int]:
    """How many of the held-out digits are read wrong after each epoch."""
    torch.manual_seed(0)
    digits, reader = load(), Reader(adjoint)
    optimizer = torch.optim.Adam(reader.parameters(), lr=5e-3)
    wrong = []
    for _ in range(epochs):
        for rows in torch.randperm(len(digits.train)).split(100):
            optimizer.zero_grad()
            scores = reader(digits.train.images[rows])
            nn.functional.cross_entropy(scores, digits.train.classes[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            held = digits.validation
            wrong.append(int((reader(held.images).argmax(-1) != held.classes).sum()))
    return wrong


if __name__ == "__main__":
    main()
