"""The figure: what a gradient costs, what inference gains, where latents collapse, and what refining looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from torch import Tensor

from examples.drawing import BLUE, FAINT, GOLD, GREEN, INK, MUTED, RED, STYLE, plt
from examples.savi.cost import Costs
from examples.savi.experiments import LONG, LONGER
from examples.savi.model import AMORTISED, DISTILLED, LATENTS, PROXIMAL, SVI, UNROLLED
from examples.savi.training import Verdict


@dataclass(frozen=True)
class Look:
    """How a method is drawn."""

    label: str
    color: str


LOOKS = {
    AMORTISED.name: Look("amortised only", MUTED),
    LONG.name: Look(f"amortised only,\n{LONGER} x the steps", MUTED),
    SVI.name: Look("SVI,\nno encoder", GOLD),
    UNROLLED.name: Look("SA-VAE,\n20 steps unrolled", BLUE),
    PROXIMAL.name: Look("proximal,\nimplicit", RED),
    DISTILLED.name: Look("distillation", GREEN),
}
"""The rows of the table."""


@dataclass(frozen=True)
class Findings:
    """All that is drawn. ``table``: verdicts by method, one a seed; ``bounds``: of unrolling, by its number of steps;
    ``active``: units by method and gamma, both with the first seed; ``spectrum``: eigenvalues of the images'
    covariance; ``pictures``: rows of images (columns, 8, 8) by what they are, the images themselves first."""

    costs: Costs
    table: Mapping[str, Sequence[Verdict]]
    bounds: Mapping[int, float]
    active: Mapping[str, Mapping[float, int]]
    spectrum: Tensor
    pictures: Mapping[str, Tensor]


def draw(path: Path, findings: Findings) -> None:
    """Write the figure."""
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(13, 12.2))
        upper, middle, lower = figure.subfigures(3, 1, height_ratios=[3.6, 3.8, 4.4], hspace=0.05)
        memory, seconds, bound = upper.subplots(1, 3)
        _memory(memory, findings.costs)
        _seconds(seconds, findings.costs)
        _bound(bound, findings)
        methods, active = middle.subplots(1, 2, width_ratios=[1.65, 1])
        _methods(methods, findings.table)
        _active(active, findings)
        _pictures(lower, findings.pictures)
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, dpi=150, facecolor="white")
        plt.close(figure)


def _memory(axes: Axes, costs: Costs) -> None:
    unrolled, implicit = _lines(axes, costs, [[c.memory for c in each] for each in (costs.unrolled, costs.implicit)])
    last = costs.steps[-1]
    arrow = {"arrowstyle": "<->", "color": MUTED, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (1.06 * last, implicit[-1]), (1.06 * last, unrolled[-1]), arrowprops=arrow)
    ratio = f"{unrolled[-1] / implicit[-1]:.0f} times"
    axes.text(1.04 * last, 0.4 * (unrolled[-1] + implicit[-1]), ratio, ha="right", va="center")
    axes.set(ylabel="MiB held at once", xlim=(0, 1.12 * last))
    axes.set_title("Peak memory of one gradient")


def _seconds(axes: Axes, costs: Costs) -> None:
    _lines(axes, costs, [[1000 * c.seconds for c in each] for each in (costs.unrolled, costs.implicit)])
    star = (costs.newton_steps, 1000 * costs.newton.seconds)
    axes.plot(*star, "*", color=RED, ms=15, mec="white")
    axes.annotate(
        f"the layer's own choice:\nNewton, converged\nafter {costs.newton_steps} steps",
        star,
        (0.04, 0.93),
        textcoords="axes fraction",
        color=RED,
        fontsize=9,
        va="top",
        arrowprops={"arrowstyle": "-", "color": RED, "lw": 0.8, "shrinkB": 7, "relpos": (0.08, 0)},
    )
    axes.set(ylabel="milliseconds", xlim=(0, 1.12 * costs.steps[-1]))
    axes.set_title("Time of one gradient")


def _lines(axes: Axes, costs: Costs, values: Sequence[Sequence[float]]) -> Sequence[Sequence[float]]:
    """The two gradients against the number of steps, named at their ends."""
    top = max(map(max, values))
    for line, name, color, side in zip(values, ("unrolled", "implicit"), (BLUE, RED), (1, -1), strict=True):
        axes.plot(costs.steps, line, "o-", color=color, ms=4)
        x = 0.8 * costs.steps[-1]
        y = float(np.interp(x, costs.steps, line))
        above = side > 0 or y < 0.2 * top
        axes.text(x - 3 * (side > 0), y + 0.04 * top * (1 if above else -1), name, color=color,
                  ha="right" if side > 0 else "center", va="bottom" if above else "top")  # fmt: skip
    axes.set(xlabel="inner steps", ylim=(0, 1.1 * top))
    return values


def _bound(axes: Axes, findings: Findings) -> None:
    """All with the first seed."""
    steps, bounds = list(findings.bounds), list(findings.bounds.values())
    axes.plot(steps, bounds, "o-", color=BLUE, ms=4)
    for method, at, side in ((AMORTISED, -1, "right"), (PROXIMAL, 0, "left")):
        level, color = findings.table[method.name][0].inferred, LOOKS[method.name].color
        axes.axhline(level, color=color, lw=1.5, ls=(0, (5, 2)))
        axes.text(steps[at], level, method.name, color=color, fontsize=9, ha=side, va="bottom")
    axes.text(steps[0], bounds[0], "  SA-VAE, unrolled", color=BLUE, va="top", fontsize=9)
    axes.set(xscale="log", xlabel="inner steps", ylabel="nats per held-out image")
    axes.xaxis.set_major_locator(FixedLocator(steps))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0f}"))
    axes.margins(y=0.1)
    axes.set_title("Bound by the steps that are unrolled")


def _methods(axes: Axes, table: Mapping[str, Sequence[Verdict]]) -> None:
    """A row for every method, a line for every seed: from the encoder's proposal to what is inferred and beyond."""
    marks = {
        "the encoder's proposal": {"marker": "o", "mfc": "white", "ms": 6},
        "inferred": {"marker": "o", "mec": "white", "mew": 0.5, "ms": 7},
        "refined to the end": {"marker": "|", "ms": 9, "mew": 1.5},
    }
    for row, (name, verdicts) in enumerate(table.items()):
        color = LOOKS[name].color
        for verdict, shift in zip(verdicts, np.linspace(-0.26, 0.26, len(verdicts) + 2)[1:-1], strict=True):
            bounds = [verdict.proposal, verdict.inferred, verdict.refined]
            axes.plot(bounds, [row + shift] * 3, color=color, lw=1, alpha=0.35)
            for bound, mark in zip(bounds, marks.values(), strict=True):
                axes.plot(bound, row + shift, color=color, **mark)
    for label, mark in marks.items():
        axes.plot([], [], color=INK, ls="", label=label, **mark)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3, columnspacing=1.5, handletextpad=0.2)
    axes.set_yticks(range(len(table)), [LOOKS[name].label for name in table])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.set(title="Bound on held-out images, a line for every seed", xlabel="nats per image")


def _active(axes: Axes, findings: Findings) -> None:
    """Active units against gamma, beside how many principal components exceed gamma."""
    gammas = list(findings.active[AMORTISED.name])
    fine = np.geomspace(gammas[0], gammas[-1], 400)
    above = np.minimum((findings.spectrum.numpy()[:, None] > fine).sum(0), LATENTS)
    axes.fill_between(fine, above, color=FAINT, step="mid", lw=0)
    axes.text(fine[12], 0.35, "principal components\nwith variance above γ", color=MUTED, fontsize=9)
    for (name, counts), shift in zip(findings.active.items(), (0.97, 1.03), strict=True):
        color = LOOKS[name].color
        axes.plot(np.array(gammas) * shift, list(counts.values()), "o-", color=color, label=name)
    axes.set(
        xscale="log", xlabel="γ, variance of the emission", ylabel=f"active units of {LATENTS}", ylim=(0, LATENTS + 0.5)
    )
    axes.xaxis.set_major_locator(FixedLocator(gammas))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.legend(frameon=False, loc="upper right", fontsize=9)
    axes.set_title("Posterior collapse")


def _pictures(area: SubFigure, pictures: Mapping[str, Tensor]) -> None:
    """The first row is the images themselves; below the others their squared error stands."""
    (_, images), *_ = pictures.items()
    rows = area.subplots(len(pictures), len(images), gridspec_kw={"wspace": 0.04, "hspace": 0.04})
    for line, (label, decoded) in zip(rows, pictures.items(), strict=True):
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", labelpad=10)
        for axes, image, picture in zip(line, images, decoded, strict=True):
            axes.imshow(picture.clamp(0, 1).numpy(), cmap="gray_r", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set(visible=True, color=FAINT)
            if decoded is not images:
                error = float((picture - image).square().sum())
                axes.set_xlabel(f"error {error:.2f}", fontsize=8, color=MUTED, labelpad=3)
    title = "Held-out images as the encoder proposes them, and after the search"
    area.suptitle(title, fontsize=11.5, fontweight="bold", x=0.01, ha="left")
