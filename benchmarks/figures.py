"""Results to pictures: cost per instance against the batch and against the size, and all works side by side.

Each picture is made twice, for a light and a dark page, on a transparent ground. A candidate has the same colour and
marker in all; its name stands at its line. Hollow markers are inexact answers. The colours are Okabe and Ito's, which
people who do not see all colours can tell apart. Reference: Okabe and Ito, Color universal design, 2008.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from benchmarks.candidates.candidate import Kind
from benchmarks.measuring import Row
from benchmarks.report import duration
from benchmarks.results import Measured, Results, replace

STYLES = {
    "declarative": ("#D55E00", "o"),
    "Moreau": ("#0072B2", "s"),
    "proxsuite.torch": ("#009E73", "^"),
    "qpth": ("#CC79A7", "D"),
    "cvxpylayers": ("#56B4E9", "v"),
    "cvxpylayers, Moreau": ("#56B4E9", "P"),
    "DAQP": ("#E69F00", "X"),
    "JAXopt": ("#B8A500", "p"),
    "entmax.sparsemax": ("#8E6BBF", "h"),
    "torch LU": ("#888888", "*"),
    "torch.softmax": ("#888888", "d"),
    "torch bisection": ("#888888", "X"),
}
"""Colour and marker by the beginning of a candidate's name; the longest beginning counts."""


@dataclass(frozen=True)
class Theme:
    """The ink of a page."""

    name: str
    ink: str
    faint: str


THEMES = (Theme("light", "#24292f", "#d8dee4"), Theme("dark", "#e6edf3", "#30363d"))


def write(results: Results, folder: Path) -> list[str]:
    """Write every picture into ``folder``; the Markdown that shows them, with paths relative to the folder's parent."""
    pictures = {
        "batch": (batch_figure, "Cost of one instance against the batch, forward and backward"),
        "size": (size_figure, "Cost of one instance against the number of variables, forward and backward"),
        "works": (works_figure, "All works side by side"),
    }
    plt.switch_backend("svg")
    shown = []
    for name, (draw, title) in pictures.items():
        for theme in THEMES:
            with plt.rc_context(_settings(theme)):
                figure = draw(results, theme)
                content = io.BytesIO()
                figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
                plt.close(figure)
            replace(folder / f"benchmark-{name}-{theme.name}.svg", content.getvalue())
        light, dark = (f"{folder.name}/benchmark-{name}-{theme.name}.svg" for theme in THEMES)
        source = f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        shown.append(f'<picture>{source}<img alt="{title}" src="{light}"></picture>')
    return shown


def _settings(theme: Theme) -> dict[str, Any]:
    return {
        "font.family": "sans-serif",
        "font.size": 10,
        "svg.hashsalt": "benchmarks",
        "text.color": theme.ink,
        "axes.labelcolor": theme.ink,
        "axes.edgecolor": theme.ink,
        "axes.titlelocation": "left",
        "axes.titlesize": 11,
        "xtick.color": theme.ink,
        "ytick.color": theme.ink,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "axes.grid": True,
        "grid.color": theme.faint,
        "grid.linewidth": 0.7,
        "axes.axisbelow": True,
    }


def family(name: str) -> str:
    """What a candidate is drawn as, whatever its setting."""
    return max((key for key in STYLES if name.startswith(key)), key=len, default=name)


def style(name: str) -> tuple[str, str]:
    """Colour and marker."""
    return STYLES.get(family(name), ("#888888", "."))


def batch_figure(results: Results, theme: Theme) -> Figure:
    sections = list(dict.fromkeys(one.section for one in results.measured if one.section.startswith("batch ")))
    figure, axes = plt.subplots(
        1, len(sections), figsize=(5.4 * len(sections), 4.6), squeeze=False, layout="constrained"
    )
    for section, ax in zip(sections, axes[0], strict=True):
        points = results.section(section)
        _curves(ax, points, theme)
        ax.set_title(points[0].title.split(", batch")[0].replace("(", "(n, m, p) = ("))
        ax.set_xlabel("instances in the batch")
    axes[0][0].set_ylabel("time per instance, forward + backward")
    return figure


def size_figure(results: Results, theme: Theme) -> Figure:
    figure, ax = plt.subplots(figsize=(7.2, 4.8), layout="constrained")
    points = results.section("size")
    _curves(ax, points, theme)
    ax.set_title(f"m = 0.4 n inequalities, p = 0.1 n equalities, batch {points[0].batch}" if points else "")
    ax.set_xlabel("variables n")
    ax.set_ylabel("time per instance, forward + backward")
    return figure


def _curves(ax: Axes, points: list[Measured], theme: Theme) -> None:
    """A line for each candidate with its name at its end."""
    names = list(dict.fromkeys(row.name for one in points for row in one.rows))
    ends: list[tuple[float, float, str]] = []
    for name in names:
        colour, _ = style(name)
        found = [(one, row) for one in points for row in one.rows if row.name == name and row.measured]
        if not found:
            continue
        x, y = [one.at for one, _ in found], [row.median / one.batch for one, row in found]
        ours = found[0][1].kind is Kind.OURS
        ax.plot(x, y, color=colour, linewidth=2.6 if ours else 1.4, zorder=3 if ours else 2)
        for at, value, (_, row) in zip(x, y, found, strict=True):
            _marker(ax, at, value, row, theme)
        ends.append((x[-1], y[-1], name))
    ax.set_xscale("log")
    ax.set_yscale("log")
    ticks = sorted({one.at for one in points})
    ax.set_xticks(ticks, [f"{int(t)}" for t in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    ax.yaxis.set_minor_locator(NullLocator())
    _name_ends(ax, ends, max(ticks, default=1.0))


def _name_ends(ax: Axes, ends: list[tuple[float, float, str]], last: float) -> None:
    """Names to the right of the axes, moved apart where they would touch, each tied to the end of its line."""
    low, high = ax.get_ylim()
    apart, ends = 0.062, sorted(ends, key=lambda end: end[1])
    heights = [math.log(y / low) / math.log(high / low) for _, y, _ in ends]
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + apart)
    beyond = max(0.0, (heights[-1] if heights else 0) - 1)
    heights = [h - beyond * i / max(1, len(heights) - 1) for i, h in enumerate(heights)]
    left, right = ax.get_xlim()
    ax.set_xlim(left, right)
    for (x, y, name), height in zip(ends, heights, strict=True):
        ours = name == "declarative"
        ax.annotate(
            name,
            xy=(x, y),
            xytext=(1.03, height),
            textcoords="axes fraction",
            color=style(name)[0],
            fontweight="bold" if ours else "normal",
            fontsize=10 if ours else 9,
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "color": style(name)[0],
                "linewidth": 0.7,
                "linestyle": ":" if x < last else "-",
                "alpha": 0.7,
                "shrinkA": 1,
                "shrinkB": 4,
                "relpos": (0, 0.5),
            },
        )


def works_figure(results: Results, theme: Theme) -> Figure:
    """A line of markers for each work, from the shortest call to the longest."""
    works = [one for one in results.section("batch", "single", "large", "simplex") if one.ours]
    figure, ax = plt.subplots(figsize=(9.4, 0.42 * len(works) + 1.5), layout="constrained")
    for height, one in zip(range(len(works), 0, -1), works, strict=True):
        rows = [row for row in one.rows if row.measured and (row is one.ours or row.kind is not Kind.OURS)]
        times = [row.median for row in rows]
        ax.plot([min(times), max(times)], [height, height], color=theme.faint, linewidth=1, zorder=1)
        for row in rows:
            _marker(ax, row.median, height, row, theme, 7)
    ax.set_xscale("log")
    ax.set_yticks(range(len(works), 0, -1), [one.title for one in works])
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.grid(False, axis="y")
    ax.spines["left"].set_visible(False)
    ax.set_ylim(0.4, len(works) + 0.6)
    ax.set_xlabel("time of one call, forward + backward of every parameter")
    drawn = {family(row.name) for one in works for row in one.rows if row.measured}
    for name in (key for key in STYLES if key in drawn):
        colour, marker = style(name)
        ax.plot([], [], marker, color=colour, label=name, linestyle="none")
    figure.legend(loc="outside lower center", ncols=6, frameon=False, fontsize=8.5, handletextpad=0.1)
    return figure


def _marker(ax: Axes, x: float, y: float, row: Row, theme: Theme, size: float = 6) -> None:
    colour, marker = style(row.name)
    ours = row.kind is Kind.OURS
    ax.plot(
        x,
        y,
        marker,
        color=colour,
        markersize=size + 2 * ours,
        markerfacecolor=colour if row.exact else "none",
        markeredgewidth=1.3,
        zorder=4 if ours else 3,
        clip_on=False,
    )


def tick(seconds: float) -> str:
    """A power of ten with its unit."""
    return duration(seconds).replace(".00", "").replace(".0", "")
