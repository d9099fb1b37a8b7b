"""Problems from text and tensors: how a node of a graph, which can carry nothing else, gets its problem back.

quadratic P q A b       a quadratic program with these data
cone (3, 5, ...)        a cone program of this pattern
local ((2, 1, 0), ...)  a local problem of a layer's functions: its point's sizes, and its variables' shapes
root ((2,), ...)        the same of a system of equations, or of a fixed_point
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from declarative.runtime.cone import ConePattern, ConeProgram
from declarative.runtime.problem import Point, Problem
from declarative.runtime.quadratic import DenseQP
from declarative.runtime.smooth import LocalProblem, RootProblem

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
    read = next(read for kinds, read in READERS.values() if kind in kinds)
    return read(kind, rest, layer, tensors)


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


def _quadratic(kind: str, rest: str, layer: Layer | None, tensors: Sequence[Tensor]) -> Problem:
    return DenseQP(**dict(zip(rest.split(), tensors, strict=True)))


def _cone(kind: str, rest: str, layer: Layer | None, tensors: Sequence[Tensor]) -> Problem:
    P, q, A, b = tensors
    return ConeProgram(_pattern(rest), P=P, q=q, A=A, b=b)


def _of_layer(kind: str, rest: str, layer: Layer | None, tensors: Sequence[Tensor]) -> Problem:
    from declarative.runtime.local import problem_of

    assert layer is not None
    return problem_of(layer, kind, ast.literal_eval(rest)[1], tensors)


Reader = Callable[[str, str, "Layer | None", Sequence[Tensor]], Problem]

READERS: dict[type[Problem], tuple[tuple[str, ...], Reader]] = {
    DenseQP: (("quadratic",), _quadratic),
    ConeProgram: (("cone",), _cone),
    LocalProblem: (("local",), _of_layer),
    RootProblem: (("root", "fixed_point"), _of_layer),
}
"""Class of problems to the words that its text begins with, and what reads the rest."""
