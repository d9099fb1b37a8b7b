"""From a row of a cone program to the constraint of the program, or the attribute of a variable, that it comes from.

    its dual reads the row           the constraint, and the entry of its dual
    it bounds declared variables     the variable, and its entry: ``nonneg``, ``nonpos``, ``psd``
    it bounds auxiliary variables    the constraint that these serve, or the epigraph of a function in the objective

An auxiliary variable t stands for a function of the program, as in ``|x| <= t``. Rows that share one belong together,
as do the rows of one cone; a row of such a group that a dual reads says which constraint the group is of. Variables in
equations do not join groups: they are expressions with a name, and may serve several.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch

from declarative.runtime.cone import ConeProgram
from declarative.runtime.sizes import evaluate

if TYPE_CHECKING:
    from declarative.runtime.binding import Bound
    from declarative.runtime.layer import Layer

AT_ONCE = 256
"""Rows whose names are read off the duals in one call."""


class Place(NamedTuple):
    """An entry of a dual or of a variable, of a tensor stored row by row."""

    name: str
    entry: int
    shape: tuple[int, ...]


class ConeRows:
    """The names of the rows of one cone program of a layer."""

    def __init__(self, layer: Layer, kind: type[Layer], bound: Bound, problem: ConeProgram) -> None:
        self.layer, self.kind, self.bound, self.problem = layer, kind, bound, problem
        self.pattern = problem.pattern

    def name(self, row: int) -> str:
        """``limits[3, 1]``, without the subscripts where the row's cone has more rows."""
        cone = self._cone[row]
        own = self._read_by_duals(cone)
        if own:
            return _joined(own, whole=len(cone) > 1)
        columns = [j for i in cone for j in self._columns[i]]
        auxiliary = [j for j in columns if j not in self._declared]
        if not auxiliary:
            found = [self._declared[j] for j in columns]
            one = len({place.name for place in found}) == 1
            return _joined(found, whole=len(cone) > 1) if one else f"row {row} of the cone program"
        served = self._read_by_duals(self._group(cone))
        if len({place.name for place in served}) == 1:
            return _joined(served, whole=len(cone) > 1)
        return "epigraph"

    @cached_property
    def _cone(self) -> dict[int, tuple[int, ...]]:
        """The rows of each row's cone."""
        return {row: tuple(rows) for _, where in self.pattern.cone.groups for rows in where.tolist() for row in rows}

    @cached_property
    def _columns(self) -> dict[int, list[int]]:
        """The variables in each row."""
        found: dict[int, list[int]] = defaultdict(list)
        for row, column in zip(self.pattern.A_rows, self.pattern.A_columns, strict=True):
            found[row].append(column)
        return found

    @cached_property
    def _rows(self) -> dict[int, list[int]]:
        """The rows that each variable is in."""
        found: dict[int, list[int]] = defaultdict(list)
        for row, column in zip(self.pattern.A_rows, self.pattern.A_columns, strict=True):
            found[column].append(row)
        return found

    @cached_property
    def _declared(self) -> dict[int, Place]:
        """The program's own variables, by their places in x; the first entry of those that stand at several."""
        found: dict[int, Place] = {}
        blocks = [block for block in self.kind.blocks if block.kind == "variable"]
        for block, variable in zip(blocks, self.kind.variables, strict=True):
            shape = tuple(evaluate(size, self.bound.sizes) or 0 for size in block.sizes)
            rows, columns, _ = variable.entries
            for entry, column in zip(rows, columns, strict=True):
                found.setdefault(column, Place(block.name, entry, shape))
        return found

    def _group(self, cone: Iterable[int]) -> list[int]:
        """The rows that belong together with a cone, by way of auxiliary variables that no equation holds."""
        equations = {row for row, rows in self._cone.items() if rows == (row,) and self._is_equation(row)}
        seen, ahead = set(cone), list(cone)
        while ahead:
            for column in self._columns[ahead.pop()]:
                rows = self._rows[column]
                if column in self._declared or not equations.isdisjoint(rows):
                    continue
                for row in (i for reached in rows for i in self._cone[reached]):
                    if row not in seen:
                        seen.add(row)
                        ahead.append(row)
        return sorted(seen)

    def _is_equation(self, row: int) -> bool:
        kind, count = self.pattern.cones[0] if self.pattern.cones else ("", 0)
        return kind == "zero" and row < count

    def _read_by_duals(self, rows: Sequence[int]) -> list[Place]:
        """The entries of duals that read the multipliers of these rows: linear maps of z, which unit vectors tell."""
        pattern, like = self.pattern, self.problem.b
        found: list[Place] = []
        for first in range(0, len(rows), AT_ONCE):
            some = torch.tensor(rows[first : first + AT_ONCE], device=like.device)
            units = torch.zeros(len(some), pattern.m, dtype=like.dtype, device=like.device)
            units[torch.arange(len(some), device=like.device), some] = 1
            nothing = torch.zeros(len(some), pattern.n, dtype=like.dtype, device=like.device)
            point = self.kind.point_type(nothing, units, units * 0)
            for name, dual in self.kind.duals(self.layer, point, *self.bound.values).items():
                shape = tuple(dual.shape[1:])
                entries = sorted(set(dual.reshape(len(some), -1).nonzero()[:, 1].tolist()))
                found += [Place(name, entry, shape) for entry in entries]
        return found


def _joined(places: Sequence[Place], *, whole: bool) -> str:
    """The name that places share, with the entry where it is one and the same."""
    name, entry, shape = places[0]
    return labelled(name, entry, shape) if not whole and len({p.entry for p in places}) == 1 else name


def labelled(name: str, entry: int, shape: tuple[int, ...]) -> str:
    """``name[i, j]`` for an entry of a tensor stored row by row; the name alone for a scalar."""
    index = []
    for size in reversed(shape):
        entry, position = divmod(entry, size)
        index.append(str(position))
    return f"{name}[{', '.join(reversed(index))}]" if shape else name
