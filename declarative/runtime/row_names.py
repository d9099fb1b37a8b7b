"""From a row of a problem to the constraint of the program and the entry that it stands for.

The row numbers are those of ``Conditions.complementarity_row``: of a quadratic program the rows of Gx <= h, then the
lower bounds, then the upper ones; of a local problem the rows of g; of a cone program those of A.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import torch

from declarative.runtime.binding import Bound
from declarative.runtime.cone import ConeProgram
from declarative.runtime.layer import Layer
from declarative.runtime.problem import Problem
from declarative.runtime.quadratic import DenseQP
from declarative.runtime.sizes import evaluate


def row_names(layer: Layer, bound: Bound, problem: Problem) -> Callable[[int], str]:
    """A function from the number of an inequality to its name, ``limits[3, 1]``; "" for -1, which is none."""
    kind = layer.specialised(bound.sizes)

    @cache
    def name(row: int) -> str:
        if row < 0:
            return ""
        if isinstance(problem, ConeProgram):
            return _cone_row(layer, kind, bound, problem, row)
        if isinstance(problem, DenseQP) and row >= problem.m:
            return _entry(kind, "bounds", (row - problem.m) % problem.n, bound.sizes)
        return _entry(kind, "ineq", row, bound.sizes)

    return name


def _entry(kind: type[Layer], part: str, row: int, sizes: Mapping[str, int]) -> str:
    """The name of a row among the blocks of one part, in order."""
    left = row
    for block in kind.blocks:
        if block.kind != part:
            continue
        shape = tuple(evaluate(size, sizes) or 0 for size in block.sizes)
        count = torch.Size(shape).numel()
        if left < count:
            return labelled(block.name, left, shape)
        left -= count
    return f"{part}[{row}]"


def _cone_row(layer: Layer, kind: type[Layer], bound: Bound, problem: ConeProgram, row: int) -> str:
    """The constraint whose dual reads the multiplier of this row.

    Duals are linear maps of z, so the dual of a unit vector tells. Rows that no dual reads bound an attribute of
    a variable or an auxiliary variable of the cone form.
    """
    pattern = problem.pattern
    unit = torch.zeros(pattern.m, dtype=problem.b.dtype, device=problem.b.device)
    unit[row] = 1
    nothing = torch.zeros(pattern.n, dtype=unit.dtype, device=unit.device)
    for name, dual in kind.duals(layer, kind.point_type(nothing, unit, unit * 0), *bound.values).items():
        entries = dual.flatten().nonzero()
        if entries.numel():
            # Only where every row is a cone of its own does an entry have a margin of its own.
            return labelled(name, int(entries[0]), tuple(dual.shape)) if _is_scalar_cone(problem, row) else name
    return f"row {row} of the cone program"


def _is_scalar_cone(problem: ConeProgram, row: int) -> bool:
    return any(cone.dim == 1 and bool((rows == row).any()) for cone, rows in problem.pattern.cone.groups)


def labelled(name: str, entry: int, shape: tuple[int, ...]) -> str:
    """``name[i, j]`` for an entry of a tensor stored row by row; the name alone for a scalar."""
    index = []
    for size in reversed(shape):
        entry, position = divmod(entry, size)
        index.append(str(position))
    return f"{name}[{', '.join(reversed(index))}]" if shape else name
