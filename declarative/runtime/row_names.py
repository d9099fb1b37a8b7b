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
from declarative.runtime.cone_rows import ConeRows, labelled
from declarative.runtime.layer import Layer
from declarative.runtime.problem import Problem
from declarative.runtime.quadratic import DenseQP
from declarative.runtime.sizes import evaluate


def row_names(layer: Layer, bound: Bound, problem: Problem) -> Callable[[int], str]:
    """A function from the number of an inequality to its name, ``limits[3, 1]``; "" for -1, which is none."""
    kind = layer.specialised(bound.sizes)
    cone_row = ConeRows(layer, kind, bound, problem).name if isinstance(problem, ConeProgram) else None

    @cache
    def name(row: int) -> str:
        if row < 0:
            return ""
        if cone_row is not None:
            return cone_row(row)
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
