"""The demo's figure: how both readers learnt, where the sparse layer looks, and which learned limits bind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from examples.digits.data import Part
from examples.digits.model import CLASSES, WINDOW, Reading
from examples.digits.training import Epoch

INK, MUTED, FAINT = "#22262e", "#7c828d", "#e3e5e9"
DECLARED, DENSE = "#d1495b", "#2e6f95"
HEAT = LinearSegmentedColormap.from_list("heat", ["#ffffff", "#f6c6a8", DECLARED, "#5c1a33"])
QUESTIONS = 4
"""Rows of the lower half: the questions with most to tell."""


@dataclass(frozen=True)
class Curve:
    """One reader's history and what it reached on the test images."""

    label: str
    color: str
    epochs: Sequence[Epoch]
    test: float


def draw(path: Path, curves: Sequence[Curve], reading: Reading, part: Part) -> None:
    """Write the figure; ``reading`` is what the declared reader made of ``part``, the test images."""
    style = {
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": MUTED,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with plt.rc_context(style):
        figure = plt.figure(figsize=(13, 10.2), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)
        upper, lower = figure.subfigures(2, 1, height_ratios=[3.5, 6.4], hspace=0.04)
        _learning(upper, curves, reading, part)
        _looking(lower, reading, part)
        figure.savefig(path, dpi=150, facecolor="white")
        plt.close(figure)


def _learning(area: Figure | SubFigure, curves: Sequence[Curve], reading: Reading, part: Part) -> None:
    loss, right, limits = area.subplots(1, 3, width_ratios=[1, 1, 1.1])
    for line, curve in enumerate(curves):
        epochs = np.arange(1, len(curve.epochs) + 1)
        loss.plot(epochs, [e.loss for e in curve.epochs], color=curve.color, lw=1.8, label=curve.label)
        errors = [100 * (1 - e.accuracy) for e in curve.epochs]
        right.plot(epochs, errors, color=curve.color, lw=1.8)
        said = f"{curve.test:.2%} right on test images"
        right.text(0.98, 0.95 - 0.09 * line, said, color=curve.color, transform=right.transAxes, ha="right", va="top")
    loss.set(yscale="log", xlabel="epoch")
    right.set(yscale="log", xlabel="epoch")
    right.set_yticks([2, 5, 10, 20, 50], ["2 %", "5 %", "10 %", "20 %", "50 %"])
    right.minorticks_off()
    _headline(loss, "Training loss")
    _headline(right, "Errors on validation images")
    for axes in (loss, right):
        axes.grid(color=FAINT, lw=0.8)
        axes.set_axisbelow(True)
    loss.legend(frameon=False)
    _limits(limits, reading, part)


def _limits(axes: Axes, reading: Reading, part: Part) -> None:
    """Share of the images of each class in which each learned limit has a price."""
    assert reading.price is not None
    binding = torch.stack([(reading.price[part.classes == c] > 1e-6).float().mean(0) for c in range(CLASSES)])
    order = binding.sum(0).argsort(descending=True)
    image = axes.imshow(binding[:, order].numpy(), cmap=HEAT, vmin=0, vmax=1, aspect="auto")
    axes.set(xlabel="learned limit  G[i]'z <= h[i],  most often binding first", yticks=range(CLASSES))
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    _headline(axes, "How often each limit binds, by digit")
    bar = axes.figure.colorbar(image, ax=axes, fraction=0.045, pad=0.02, ticks=[0, 0.5, 1])
    bar.ax.set_yticklabels(["never", "half", "always"])
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)


def _looking(area: SubFigure, reading: Reading, part: Part) -> None:
    """Digits in columns; in rows the image, the attention of all questions, and that of single questions."""
    assert reading.weights is not None
    chosen = torch.stack([(part.classes == c).nonzero()[0, 0] for c in range(CLASSES)])
    heat = on_pixels(reading.weights[chosen])
    windows = (reading.weights[chosen] > 0).sum(-1).double().mean(-1)
    asked = _telling(reading.weights)
    answers = reading.log_p[chosen].argmax(-1)
    rows = area.subplots(2 + QUESTIONS, CLASSES, gridspec_kw={"wspace": 0.04, "hspace": 0.04})
    for column, image in enumerate(part.images[chosen]):
        _pixels(rows[0, column], image, None)
        wrong = int(answers[column]) != column
        rows[0, column].set_title(f"read as {int(answers[column])}", fontsize=9.5, color=DECLARED if wrong else INK)
        _pixels(rows[1, column], image, heat[column].mean(0))
        rows[1, column].set_xlabel(f"{windows[column]:.1f} of 36 windows", fontsize=8, color=MUTED, labelpad=3)
        for row, question in enumerate(asked):
            _pixels(rows[2 + row, column], image, heat[column, question])
    labels = ["image", "all questions", *(f"question {q + 1}" for q in asked)]
    for row, label in enumerate(labels):
        rows[row, 0].set_ylabel(label, rotation=0, ha="right", va="center", labelpad=10)
    side = part.images.shape[-1] - WINDOW + 1
    area.suptitle(
        f"Where the sparsemax layer looks, among {side} x {side} windows of {WINDOW} x {WINDOW} pixels "
        "(no colour: the weight is exactly zero)",
        fontsize=11.5,
        fontweight="bold",
        x=0.01,
        ha="left",
    )


def on_pixels(weights: Tensor) -> Tensor:
    """Weights of windows (*batch, 36) as images (*batch, 8, 8), each window's weight spread over its pixels."""
    side = int(weights.shape[-1] ** 0.5)
    square = weights.unflatten(-1, (side, side))
    image = weights.new_zeros(*weights.shape[:-1], side + WINDOW - 1, side + WINDOW - 1)
    for row in range(WINDOW):
        for column in range(WINDOW):
            image[..., row : row + side, column : column + side] += square
    return image


def _telling(weights: Tensor) -> list[int]:
    """The questions whose attention differs most from image to image, in order of their number."""
    spread = weights.std(0).sum(-1)
    return sorted(spread.topk(QUESTIONS).indices.tolist())


def _pixels(axes: Axes, image: Tensor, heat: Tensor | None) -> None:
    """A digit in grey with attention on top; transparent where there is none."""
    strength = 1.0 if heat is None else 0.45
    axes.imshow(1 - strength * image.numpy(), cmap="gray", vmin=0, vmax=1)
    if heat is not None:
        relative = (heat / heat.max()).numpy()
        axes.imshow(relative, cmap=HEAT, vmin=0, vmax=1, alpha=np.where(relative > 0, 0.25 + 0.6 * relative, 0.0))
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=True, color=FAINT)


def _headline(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=11.5, fontweight="bold")
