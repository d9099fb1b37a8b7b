"""Results to Markdown: the tables, and their places in the page.

A place is what stands between ``<!-- NAME -->`` and ``<!-- end of NAME -->``. The page itself is written by hand; only
its places are replaced, all of them or none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from benchmarks.candidates.candidate import Kind
from benchmarks.measuring import Row, ratio
from benchmarks.results import Measured, Results


def places(results: Results, figures: list[str]) -> dict[str, str]:
    """Everything that the page has places for, by name."""
    tables: dict[str, Callable[[Measured], str]] = dict.fromkeys(
        ("batch", "single", "large", "shared", "precision", "simplex"), table
    )
    found = {
        name: "\n\n".join(f"**{one.title}**\n\n{write(one)}" for one in results.section(name)) or "Not in this run."
        for name, write in tables.items()
    }
    environment = [f"| {name} | {what} |" for name, what in (results.environment | results.limits).items()]
    return found | {
        "summary": summary(results),
        "machine": "\n".join(["| | |", "|---|---|", *environment]),
        "settings": " ".join(results.settings.values()),
        "figures": "\n\n".join(figures),
    }


def placed(page: str, contents: dict[str, str]) -> str:
    """The page with its places filled; raises ValueError where page and contents have different places."""
    names = re.findall(r"<!-- end of (\w+) -->", page)
    if set(names) != set(contents):
        raise ValueError(f"the page has the places {sorted(names)}, and there is {sorted(contents)} to put into them")
    for name, content in contents.items():
        between = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        page, count = between.subn(lambda match, content=content: f"{match[1]}\n{content}\n\n{match[2]}", page)
        if count != 1:
            raise ValueError(f"the page has {count} places `{name}`")
    return page


def table(measured: Measured) -> str:
    """A row for each candidate: ours first, then by time, then those without one."""
    if measured.reason:
        return measured.reason
    ours = measured.ours
    order = sorted(
        measured.rows, key=lambda r: (not r.measured, r.kind is not Kind.OURS, r.median if r.measured else 0)
    )
    lines = [
        "| | median | least | times ours | error of x | error of gradients | |",
        "|---|--:|--:|--:|--:|--:|---|",
        *(_line(row, ours, measured) for row in order),
    ]
    return "\n".join(lines)


def _line(row: Row, ours: Row | None, measured: Measured) -> str:
    name = f"**{row.name}**" if row.kind is Kind.OURS else row.name
    if not row.measured:
        return f"| {name} | | | | | | {row.reason} |"
    times = "" if ours is None or row is ours else f"{significant(ratio(row, ours))}x"
    cells = [
        name,
        duration(row.median),
        duration(row.least),
        times,
        f"{row.x_error:.0e}",
        f"{row.gradient_error:.0e}",
        "; ".join(_notes(row, ours, measured)),
    ]
    return f"| {' | '.join(cells)} |"


def _notes(row: Row, ours: Row | None, measured: Measured) -> list[str]:
    notes = []
    if not row.exact:
        notes.append(f"**inexact**: {wrong(row)}")
    if len(row.turns) == 1:
        notes.append("one call")
    if row is ours and measured.limit is not None:
        notes.append(f"{percent(measured.limit.seconds / row.median)} of the limit ({measured.limit.bound})")
    if row.kind is Kind.LOOP:
        notes.append("no layer")
    if row.kind is Kind.YARDSTICK:
        notes.append("yardstick")
    return notes


def wrong(row: Row) -> str:
    """Which of an inexact row's answers is beyond its tolerance."""
    parts = {"x": row.x_error > row.tolerance.x, "gradients": row.gradient_error > row.tolerance.gradient}
    return " and ".join(name for name, beyond in parts.items() if beyond) or "not a number"


def summary(results: Results) -> str:
    """One line a work: ours, the best exact layer, the best exact loop, and how near the limit."""
    lines = ["| | declarative | fastest exact layer | | loop | | of the limit |", "|---|--:|---|--:|---|--:|--:|"]
    for one in results.section("batch", "single", "large", "simplex"):
        ours = one.ours
        if ours is None:
            continue
        share = "" if one.limit is None else f"{percent(one.limit.seconds / ours.median)}, {one.limit.bound}"
        cells = [one.title, duration(ours.median)]
        for kind in (Kind.LAYER, Kind.LOOP):
            best = min((r for r in one.rows if r.kind is kind and r.exact), key=lambda r: r.median, default=None)
            cells += ["", ""] if best is None else [best.name, f"{significant(ratio(best, ours))}x"]
        lines.append(f"| {' | '.join([*cells, share])} |")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Three digits with a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{significant(seconds / size)} {unit}"
    return f"{significant(seconds / 1e-6)} µs"


def significant(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, without exponent."""
    if value <= 0 or not math.isfinite(value):
        return str(value)
    places = max(0, digits - 1 - math.floor(math.log10(value)))
    return f"{value:,.{places}f}"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.1f} %"
