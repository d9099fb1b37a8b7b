"""What a diagnosis found, as data, and as a table for people."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from declarative.runtime.status import Status

SHOWN = 20
"""Instances that the printed table shows at most."""

HEADINGS = (
    "instance",
    "status",
    "residual",
    "LICQ",
    "complementarity",
    "at",
    "second order",
    "condition",
    "adjoint",
    "holds",
)


@dataclass(frozen=True)
class Report:
    """The conditions of the implicit function theorem at the solutions of one call; every tensor is (*batch).

    ``status``: int8, a `Status`. ``kkt_residual``: largest entry of the KKT residual, relative. ``licq_rank`` of
    ``licq_rows``: rank and number of the active rows. ``complementarity``: the smallest max(multiplier, slack) over the
    inequalities, +inf where there is none; ``weakest``: the constraint and entry that has it, ``limits[3, 1]``, one
    string per instance, row by row. ``second_order``: smallest curvature of the Lagrangian along the active rows,
    +inf at a vertex. ``adjoint_condition``: condition number of the system that the backward solves.
    ``adjoint_residual``: how well that was solved for a random cotangent of the outputs, relative; NaN for a closed
    form, which solves none. Margins are NaN where an instance has no point.

    ``holds``: whether the instance was solved and the three conditions hold. ``meaning``: per instance, row by row,
    what the returned gradient is where one fails, and what is worth knowing where they hold.

    ``disagreement``: where finite differences were asked for, the largest relative disagreement of the backward with
    them per parameter: (*batch) for a parameter of the call, () for what the layer owns. NaN where not compared.
    """

    layer: str
    status: Tensor
    kkt_residual: Tensor
    licq_rank: Tensor
    licq_rows: Tensor
    complementarity: Tensor
    weakest: tuple[str, ...]
    second_order: Tensor
    adjoint_condition: Tensor
    adjoint_residual: Tensor
    holds: Tensor
    meaning: tuple[tuple[str, ...], ...]
    disagreement: Mapping[str, Tensor] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary per instance, row by row: Python numbers and strings, with ``instance`` its index."""
        batch = self.status.shape
        count = batch.numel()
        columns = {
            "status": [Status(code).label for code in _flat(self.status)],
            "kkt_residual": _flat(self.kkt_residual),
            "licq_rank": _flat(self.licq_rank),
            "licq_rows": _flat(self.licq_rows),
            "complementarity": _flat(self.complementarity),
            "weakest": list(self.weakest),
            "second_order": _flat(self.second_order),
            "adjoint_condition": _flat(self.adjoint_condition),
            "adjoint_residual": _flat(self.adjoint_residual),
            "holds": _flat(self.holds),
            "meaning": list(self.meaning),
        }
        for name, worst in self.disagreement.items():
            if worst.shape == batch:
                columns[f"disagreement.{name}"] = _flat(worst)
        places = torch.cartesian_prod(*(torch.arange(n) for n in batch)).reshape(count, -1).tolist() if batch else [[]]
        return [
            {"instance": tuple(places[i]), **{name: values[i] for name, values in columns.items()}}
            for i in range(count)
        ]

    def summary(self) -> str:
        """One line of counts."""
        count = self.status.numel()
        held = int(self.holds.sum())
        kinds = Counter(Status(code).label for code in _flat(self.status))
        told = Counter(_kind(text) for texts in self.meaning for text in texts)
        parts = [f"{n} {name}" for name, n in (kinds | told).items()]
        return f"{self.layer}: the conditions hold in {held} of {count} instances ({', '.join(parts)})"

    def __str__(self) -> str:
        rows = self._shown()
        cells = [HEADINGS, *(_cells(row) for row in rows)]
        used = [j for j, name in enumerate(HEADINGS) if name != "instance" or self.status.dim()]
        widths = {j: max(len(line[j]) for line in cells) for j in used}
        lines = ["  ".join(line[j].ljust(widths[j]) for j in used).rstrip() for line in cells]
        lines.insert(1, "  ".join("-" * widths[j] for j in used))
        return "\n".join([*lines, *self._below(rows)])

    def _repr_html_(self) -> str:
        rows = self._shown()
        head = "".join(f"<th>{html.escape(name)}</th>" for name in HEADINGS)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(row)) + "</tr>" for row in rows
        )
        below = "".join(f"<p>{html.escape(line)}</p>" for line in self._below(rows) if line)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"

    def _shown(self) -> list[dict[str, Any]]:
        """The rows of the table: all of them, or those with something to tell first, in their order."""
        rows = self.rows()
        if len(rows) <= SHOWN:
            return rows
        by_interest = sorted(range(len(rows)), key=lambda i: (rows[i]["holds"], not rows[i]["meaning"], i))
        return [rows[i] for i in sorted(by_interest[:SHOWN])]

    def _below(self, rows: list[dict[str, Any]]) -> list[str]:
        """What stands under the table: instances left out, meanings, finite differences, the counts."""
        left_out = self.status.numel() - len(rows)
        lines = [f"and {left_out} more"] if left_out else []
        together: dict[str, list[str]] = {}
        for row in rows:
            for text in row["meaning"]:
                together.setdefault(text, []).append(_place(row["instance"]))
        lines += [f"{_named(places)}{text}" for text, places in together.items()]
        if self.disagreement:
            largest = {name: _largest(worst) for name, worst in self.disagreement.items()}
            told = ", ".join(f"{name} {worst:.1e}" for name, worst in largest.items())
            lines.append(f"backward against finite differences, largest relative disagreement: {told}")
            if any(map(math.isnan, largest.values())):
                lines.append(
                    "nan: no instance could be compared; it or a neighbour has no solution, or an infinite output"
                )
        return [*lines, self.summary()]


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        _place(row["instance"]),
        row["status"],
        _number(row["kkt_residual"]),
        "-" if row["second_order"] != row["second_order"] else f"{row['licq_rank']} of {row['licq_rows']}",
        _number(row["complementarity"]),
        row["weakest"],
        _number(row["second_order"]),
        _number(row["adjoint_condition"]),
        _number(row["adjoint_residual"]),
        "yes" if row["holds"] else "no",
    )


def _place(index: tuple[int, ...]) -> str:
    return ", ".join(map(str, index))


def _named(places: list[str]) -> str:
    if places == [""]:
        return ""
    many = " and more" if len(places) > 8 else ""
    text = ", ".join(f"({p})" if ", " in p else p for p in places[:8])
    return f"instance{'s' if len(places) > 1 else ''} {text}{many}: "


def _number(value: float) -> str:
    return "-" if value != value else f"{value + 0.0:.1e}"


def _kind(text: str) -> str:
    """The kind of a meaning, for counting: what stands before its particulars."""
    return text.split(":")[0].split(";")[0]


def _largest(worst: Tensor) -> float:
    known = worst[~worst.isnan()]
    return float(known.max()) if known.numel() else float("nan")


def _flat(tensor: Tensor) -> list[Any]:
    values: list[Any] = tensor.detach().flatten().tolist()
    return values
