"""Deep declarative nodes, projection on an ellipse and robust pooling: ``python -m examples.nodes``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import declarative as dl
from examples.command import OUT, full, show, wrote
from examples.nodes import closed_forms
from examples.nodes.figure import draw

HERE = Path(__file__).parent
AXES = torch.tensor([2.0, 1.0], dtype=torch.float64)
POOLED = torch.tensor([-1.2, -0.7, -0.5, -0.1, 0.2, 0.3, 0.6, 1.0], dtype=torch.float64)


@dataclass(frozen=True)
class Nodes:
    """The layers."""

    ellipse: dl.Layer
    pseudo_huber: dl.Layer
    welsch: dl.Layer


def main() -> None:
    """The table of disagreements, the diagnosis and the figure."""
    points = (
        150 if full(__doc__ or "", "a finer map of the derivative: 150 x 100 points a quarter, not 45 x 30") else 45
    )
    nodes = compiled()
    show(
        "Against the closed form", ("node", "instances", "solved", "largest |dy/dx|", "error of dy/dx"), compared(nodes)
    )

    print("diagnose at (1, 1), (0.5, 0) and (1.5, 0)\n")
    print(nodes.ellipse.diagnose(torch.tensor([[1.0, 1.0], [0.5, 0.0], [1.5, 0.0]]), AXES), "\n")
    draw(OUT / "nodes.png", nodes.ellipse, AXES, (nodes.pseudo_huber, nodes.welsch), POOLED, points)
    wrote(OUT / "nodes.png")


def compiled() -> Nodes:
    """The three nodes, which return NaN for what they cannot solve."""
    names = ("ellipse", "pseudo_huber", "welsch")
    return Nodes(**{name: dl.compile(HERE / f"{name}.opt")(on_failure="nan") for name in names})


def compared(nodes: Nodes) -> list[tuple[str, ...]]:
    """Rows of the table: 200 random instances of each node."""
    generator = torch.Generator().manual_seed(0)
    points = 2 * torch.randn(200, 2, generator=generator, dtype=AXES.dtype)
    values = torch.cat([POOLED.expand(200, -1), 4 * torch.randn(200, 1, generator=generator, dtype=AXES.dtype)], -1)
    scale, start = torch.tensor(1.0).to(AXES), torch.tensor(0.0).to(AXES)
    rows = []
    for name, x, layer, exact in (
        ("ellipse", points, lambda x: nodes.ellipse(x, AXES).y, lambda x, y: closed_forms.ellipse(x, AXES, y)),
        ("pseudo-Huber pooling", values, lambda x: nodes.pseudo_huber(x, scale)[..., None],
         lambda x, y: closed_forms.pseudo_huber(x, y[..., 0], scale)[..., None, :]),
        ("Welsch pooling", values, lambda x: nodes.welsch(x, scale, start)[..., None],
         lambda x, y: closed_forms.welsch(x, y[..., 0], scale)[..., None, :]),
    ):  # fmt: skip
        y, slope = jacobian(layer, x)
        solved = y.isfinite().all(-1)
        error = (slope - exact(x, y))[solved].abs().max()
        largest = slope[solved].abs().max()
        rows.append((name, f"{len(x)}", f"{int(solved.sum())}", f"{largest:.3g}", f"{error:.0e}"))
    return rows


def jacobian(layer: dl.Layer, x: Tensor) -> tuple[Tensor, Tensor]:
    """y (*batch, k) and dy/dx (*batch, k, n) of a layer of one argument x (*batch, n)."""
    x = x.detach().requires_grad_()
    y = layer(x)
    parts = [torch.autograd.grad(part.nansum(), x, retain_graph=True)[0] for part in y.unbind(-1)]
    return y.detach(), torch.stack(parts, -2)


if __name__ == "__main__":
    main()
