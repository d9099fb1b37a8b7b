"""Both branches of the unit circle, their slopes, and the points where there is none: ``python -m examples.circle``.

On x² + y² = 1 the implicit function theorem gives dy/dx = -x / y wherever the derivative of the equation in y, 2y, is
not zero. At (±1, 0) it is, two branches meet, and there is no derivative to return.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import declarative as dl
from examples.command import OUT, full, show, wrote
from examples.drawing import BLUE, FAINT, INK, MUTED, RED, sheet

HERE = Path(__file__).parent


def main() -> None:
    """The table, the diagnosis and the figure."""
    points = 120 if full(__doc__, "draw three times as many points") else 40
    layer = dl.compile(HERE / "circle.opt")()

    x = torch.tensor([0.0, 0.6, -0.96, 1 - 1e-6, 1 - 1e-12])
    rows = []
    for sign in (1.0, -1.0):
        y, slope = branch(layer, x, sign)
        exact = closed_form(x, sign)
        for columns in zip(x.tolist(), y.tolist(), slope.tolist(), exact.tolist(), strict=True):
            error = abs(columns[2] - columns[3]) / max(1.0, abs(columns[3]))
            rows.append((f"{columns[0]:.12g}", *(f"{c:.6g}" for c in columns[1:]), f"{error:.0e}"))
    show("Slopes", ("x", "y", "dy/dx", "closed form", "error"), rows)

    print("diagnose at (1, 0) and (-1, 0)\n")
    print(layer.diagnose(torch.tensor([1.0, -1.0]), torch.tensor([0.0, 0.0])), "\n")
    draw(OUT / "circle.png", layer, points)
    wrote(OUT / "circle.png")


def branch(layer: dl.Layer, x: Tensor, sign: float) -> tuple[Tensor, Tensor]:
    """y and dy/dx at x (N,) on the upper (``sign`` 1) or the lower (-1) branch."""
    x = x.detach().requires_grad_()
    y = layer(x, torch.full_like(x, sign).detach())
    (slope,) = torch.autograd.grad(y.sum(), x)
    return y.detach(), slope


def closed_form(x: Tensor, sign: float) -> Tensor:
    """-x / y; (1 - x)(1 + x) keeps the digits that 1 - x² loses near its roots."""
    return -x / (sign * ((1 - x) * (1 + x)).sqrt())


def draw(path: Path, layer: dl.Layer, points: int) -> None:
    """Both branches with tangents, their slopes, and the error as the branches meet."""
    with sheet(path, 1, 3, size=(13, 4.4), width_ratios=[1, 1.15, 1.15]) as (circle, slopes, meeting):
        angle = np.linspace(0, np.pi, 200)
        away = torch.linspace(-0.97, 0.97, points)
        for sign, color, name in ((1.0, RED, "start above"), (-1.0, BLUE, "start below")):
            circle.plot(np.cos(angle), sign * np.sin(angle), color=color)
            some = torch.cos(torch.pi * torch.tensor([0.125, 0.375, 0.625, 0.875]))
            for at, y, slope in zip(some, *branch(layer, some, sign), strict=True):
                reach = 0.27 / (1 + slope**2).sqrt()
                circle.plot([at - reach, at + reach], [y - reach * slope, y + reach * slope], color=INK, lw=1.1)
                circle.plot(at, y, "o", color=color)
            fine = torch.linspace(-0.975, 0.975, 400)
            slopes.plot(fine, closed_form(fine, sign), color=FAINT, lw=6, solid_capstyle="round")
            slopes.plot(away, branch(layer, away, sign)[1], ".", color=color, ms=5, label=name)
        circle.plot([-1, 1], [0, 0], "o", color=INK, mfc="white", ms=8, ls="none")
        for side, align in ((-1, "left"), (1, "right")):
            circle.text(side * 0.88, 0, "no derivative", color=MUTED, ha=align, va="center", fontsize=9)
        circle.set(title="A start chooses the branch", aspect="equal", xlabel="x", ylabel="y", xticks=[-1, 0, 1])
        circle.set(yticks=[-1, 0, 1], xlim=(-1.2, 1.2), ylim=(-1.2, 1.2))
        slopes.set(title="dy/dx, on the closed form in grey", xlabel="x", xticks=[-1, -0.5, 0, 0.5, 1])
        slopes.legend(loc="upper center")

        gap = torch.logspace(-12, -0.5, points)
        x = 1 - gap
        slope, exact = branch(layer, x, 1.0)[1], closed_form(x, 1.0)
        meeting.plot(1 - x, exact.abs(), color=FAINT, lw=6, solid_capstyle="round")
        meeting.plot(1 - x, slope.abs(), ".", color=RED)
        error = ((slope - exact) / exact).abs().clamp_min(1e-17)
        meeting.plot(1 - x, error, ".", color=MUTED)
        meeting.plot(gap, torch.finfo(gap.dtype).eps / gap, color=MUTED, lw=1, ls=(0, (4, 3)))
        meeting.text(1e-6, 3e4, "|dy/dx|", color=RED, ha="right")
        meeting.text(1e-7, 1e-13, "relative error", color=MUTED)
        meeting.text(1e-5, 1e-8, "ε / (1 - x)", color=MUTED, ha="right")
        meeting.set(title="As the branches meet", xlabel="1 - x", xscale="log", yscale="log", ylim=(1e-18, 1e8))
        meeting.invert_xaxis()


if __name__ == "__main__":
    main()
