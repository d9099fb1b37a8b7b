"""The figure: projections on an ellipse, the size of their derivative, and pooling as one value wanders off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from torch import Tensor

import declarative as dl
from examples.drawing import BLUE, FAINT, HEAT, INK, MUTED, RED, sheet

EXTENT = (3.0, 2.0)


def draw(
    path: Path, ellipse: dl.Layer, axes: Tensor, pooling: tuple[dl.Layer, dl.Layer], values: Tensor, points: int
) -> None:
    """Write the figure; ``axes`` (2,) of the ellipse, ``values`` (n,) that are pooled beside the one that wanders."""
    with sheet(path, 2, 2, size=(13, 8.2), width_ratios=[1.25, 1]) as (lines, value, sizes, influence):
        _projections(lines, ellipse, axes)
        _derivative(sizes, ellipse, axes, points)
        _pooling(value, influence, pooling, values)


def _outline(panel: Axes, axes: Tensor, color: str) -> None:
    """The ellipse, and its evolute, the centres of its curvature."""
    t = np.linspace(0, 2 * np.pi, 400)
    a, b = axes.tolist()
    panel.plot(a * np.cos(t), b * np.sin(t), color=INK, lw=1.8)
    c = a**2 - b**2
    panel.plot(c / a * np.cos(t) ** 3, -c / b * np.sin(t) ** 3, color=color, lw=1.2, ls=(0, (4, 3)))
    panel.set(aspect="equal", xlim=(-EXTENT[0], EXTENT[0]), ylim=(-EXTENT[1], EXTENT[1]))


def _projections(panel: Axes, ellipse: dl.Layer, axes: Tensor) -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.tensor([5.6, 3.6]) * (torch.rand(70, 2, generator=generator) - 0.5)
    y = ellipse(x, axes).y
    for start, end in zip(x.tolist(), y.tolist(), strict=True):
        panel.plot([start[0], end[0]], [start[1], end[1]], color=BLUE, lw=0.9, alpha=0.75)
    panel.plot(*x.mT, "o", color=BLUE, ms=3.5)
    panel.plot(*y.mT, "o", color=RED, ms=4.5)
    _outline(panel, axes, MUTED)
    panel.set(title="Points, their projections, and the ellipse's evolute (dashed)")


def _derivative(panel: Axes, ellipse: dl.Layer, axes: Tensor, points: int) -> None:
    """The largest singular value of dy/dx in one quarter of the plane, and by symmetry in all."""
    width, height = (np.arange(n) + 0.5 for n in (points, 2 * points // 3))
    across, up = torch.as_tensor(width * EXTENT[0] / points), torch.as_tensor(height * EXTENT[1] / len(height))
    x = torch.stack(torch.meshgrid(across, up, indexing="xy"), -1).requires_grad_()
    y = ellipse(x, axes).y
    rows = [torch.autograd.grad(part.nansum(), x, retain_graph=True)[0] for part in y.unbind(-1)]
    size = torch.linalg.matrix_norm(torch.stack(rows, -2), 2).numpy()
    whole = np.block([[size[::-1, ::-1], size[::-1]], [size[:, ::-1], size]])
    extent = (-EXTENT[0], EXTENT[0], -EXTENT[1], EXTENT[1])
    image = panel.imshow(whole, extent=extent, origin="lower", cmap=HEAT, norm=LogNorm(0.3, 10))
    _outline(panel, axes, INK)
    bar = panel.figure.colorbar(image, cax=panel.inset_axes([1.03, 0, 0.03, 1]), ticks=[0.3, 1, 3, 10], extend="max")
    bar.ax.set_yticklabels(["0.3", "1", "3", "10"])
    bar.outline.set_visible(False)
    panel.set(title="Size of the derivative: infinite at the evolute's cusps")
    panel.grid(False)


def _pooling(value: Axes, influence: Axes, layers: tuple[dl.Layer, dl.Layer], values: Tensor) -> None:
    """The pooled value, and its derivative in the value that wanders."""
    wandering = torch.linspace(-8, 8, 161).requires_grad_()
    x = torch.cat([values.expand(len(wandering), -1), wandering[:, None]], -1)
    scale = torch.tensor(1.0)
    huber, welsch = layers
    for name, y, color in (
        ("mean", x.mean(-1), MUTED),
        ("pseudo-Huber", huber(x, scale), BLUE),
        ("Welsch", welsch(x, scale, torch.tensor(0.0)), RED),
    ):
        (slope,) = torch.autograd.grad(y.sum(), wandering, retain_graph=True)
        value.plot(wandering.detach(), y.detach(), color=color, label=name)
        influence.plot(wandering.detach(), slope, color=color)
    for panel in (value, influence):
        panel.plot(values, np.full(len(values), 0.03), "|", color=INK, ms=9, transform=panel.get_xaxis_transform())
        panel.axhline(0, color=FAINT, lw=1.5, zorder=0)
    value.set(title="Robust pooling: the average as one value wanders off")
    value.legend(loc="upper left")
    influence.set(title="Its derivative in that value", xlabel="the value that wanders; the others as ticks")
