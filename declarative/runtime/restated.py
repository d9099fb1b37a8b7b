"""Problems from text and tensors: how a node of a graph, which can carry nothing else, gets its problem back.

quadratic P q A b       a quadratic program with these data
cone (3, 5, ...)        a cone program of this pattern
local ((2, 1, 0), ...)  a local problem of a layer's functions: its point's sizes, and its variables' shapes
root ((2,), ...)        the same of a system of equations, or of a fixed_point
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from declarative.runtime.cone import ConePattern, ConeProgram
from declarative.runtime.problem import Point, Problem
from declarative.runtime.quadratic import DenseQP

if TYPE_CHECKING:
    from declarative.runtime.layer import Layer


class OfLayer(Problem):
    """A local or root problem while a graph is traced: its data, with the layer's functions left out."""

    def __init__(self, text: str, sizes: tuple[int, ...], tensors: Sequence[Tensor], core_ranks: Sequence[int]) -> None:
        self._text, self._sizes = text, sizes
        self._tensors, self._core_ranks = tuple(tensors), tuple(core_ranks)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self._tensors

    @property
    def core_ranks(self) -> tuple[int, ...]:
        return self._core_ranks

    def with_tensors(self, tensors: Sequence[Tensor]) -> OfLayer:
        return OfLayer(self._text, self._sizes, tensors, self._core_ranks)

    def point_sizes(self) -> tuple[int, ...]:
        return self._sizes

    def stated(self) -> tuple[str, bool]:
        return self._text, True

    def residual(self, point: Point) -> Point:
        raise NotImplementedError("the functions of this problem are the layer's")


def restated(text: str, layer: Layer | None, tensors: Sequence[Tensor]) -> Problem:
    """The problem that `Problem.stated` wrote down, over these data; with its ``layer`` where it needs one."""
    kind, _, rest = text.partition(" ")
    if kind == "quadratic":
        return DenseQP(**dict(zip(rest.split(), tensors, strict=True)))
    if kind == "cone":
        P, q, A, b = tensors
        return ConeProgram(_pattern(rest), P=P, q=q, A=A, b=b)
    from declarative.runtime.local import problem_of

    assert layer is not None
    return problem_of(layer, kind, ast.literal_eval(rest)[1], tensors)


def sizes_of(text: str) -> tuple[int, ...] | None:
    """The sizes of the point, where the text says them."""
    kind, _, rest = text.partition(" ")
    if kind not in ("local", "root", "fixed_point"):
        return None
    sizes: tuple[int, ...] = ast.literal_eval(rest)[0]
    return sizes


@functools.lru_cache(maxsize=64)
def _pattern(text: str) -> ConePattern:
    return ConePattern(*ast.literal_eval(text))
