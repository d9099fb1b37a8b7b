"""Problems from text, sizes and tensors: how a node of a graph, which can carry nothing else, gets its problem back.

    text                what it says                                                    sizes
    quadratic P q A b   a quadratic program with these data                             none
    cone (3, 5, ...)    a cone program of this pattern                                  none
    local (1, 2)        a local problem of a layer's functions in a vector, a matrix    3 of its point; n, k, l
    root (0,)           a system of equations in a number; or a fixed_point             1 of its point

Sizes stand apart from the text: while a graph is traced that serves all sizes, they are symbols, which no text holds.
"""

from __future__ import annotations

import ast
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from declarative.runtime.cone import ConePattern, ConeProgram
from declarative.runtime.problem import Point, Problem, Stated
from declarative.runtime.quadratic import DenseQP
from declarative.runtime.smooth import LocalProblem, RootProblem

if TYPE_CHECKING:
    from declarative.runtime.layer import Layer


class OfLayer(Problem):
    """A local or root problem while a graph is traced: its data, with the layer's functions left out."""

    def __init__(
        self, stated: Stated, sizes: tuple[int, ...], tensors: Sequence[Tensor], core_ranks: Sequence[int]
    ) -> None:
        self._stated, self._sizes = stated, sizes
        self._tensors, self._core_ranks = tuple(tensors), tuple(core_ranks)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self._tensors

    @property
    def core_ranks(self) -> tuple[int, ...]:
        return self._core_ranks

    def with_tensors(self, tensors: Sequence[Tensor]) -> OfLayer:
        return OfLayer(self._stated, self._sizes, tensors, self._core_ranks)

    def point_sizes(self) -> tuple[int, ...]:
        return self._sizes

    def stated(self) -> Stated:
        return self._stated

    def residual(self, point: Point) -> Point:
        raise NotImplementedError("the functions of this problem are the layer's")


def stated_of_layer(kind: str, point_sizes: tuple[int, ...], shapes: Sequence[tuple[int, ...]]) -> Stated:
    """How a ``local``, ``root`` or ``fixed_point`` problem in variables of these shapes is written down."""
    ranks = tuple(len(shape) for shape in shapes)
    return Stated(f"{kind} {ranks}", (*point_sizes, *(size for shape in shapes for size in shape)), of_layer=True)


def restated(text: str, sizes: Sequence[int], layer: Layer | None, tensors: Sequence[Tensor]) -> Problem:
    """The problem that `Problem.stated` wrote down, over these data; with its ``layer`` where it needs one."""
    kind, _, rest = text.partition(" ")
    read = next(read for kinds, read in READERS.values() if kind in kinds)
    return read(kind, rest, sizes, layer, tensors)


def point_sizes(problem: Problem, text: str, sizes: Sequence[int]) -> tuple[int, ...]:
    """The last dimensions of the problem's point: as written down where they are, for no function can be evaluated
    while a graph is traced."""
    parts = POINT_PARTS.get(text.partition(" ")[0])
    return problem.point_sizes() if parts is None else tuple(sizes[:parts])


@functools.lru_cache(maxsize=64)
def _pattern(text: str) -> ConePattern:
    return ConePattern(*ast.literal_eval(text))


def _quadratic(kind: str, rest: str, sizes: Sequence[int], layer: Layer | None, tensors: Sequence[Tensor]) -> Problem:
    return DenseQP(**dict(zip(rest.split(), tensors, strict=True)))


def _cone(kind: str, rest: str, sizes: Sequence[int], layer: Layer | None, tensors: Sequence[Tensor]) -> Problem:
    P, q, A, b = tensors
    return ConeProgram(_pattern(rest), P=P, q=q, A=A, b=b)


def _of_layer(kind: str, rest: str, sizes: Sequence[int], layer: Layer | None, tensors: Sequence[Tensor]) -> Problem:
    from declarative.runtime.local import problem_of

    assert layer is not None
    ranks: tuple[int, ...] = ast.literal_eval(rest)
    left = iter(sizes[POINT_PARTS[kind] :])
    return problem_of(layer, kind, [tuple(itertools.islice(left, rank)) for rank in ranks], tensors)


POINT_PARTS = {"local": 3, "root": 1, "fixed_point": 1}
"""The number of tensors of a point, for the problems whose sizes are written down: its dimensions come first."""

Reader = Callable[[str, str, Sequence[int], "Layer | None", Sequence[Tensor]], Problem]

READERS: dict[type[Problem], tuple[tuple[str, ...], Reader]] = {
    DenseQP: (("quadratic",), _quadratic),
    ConeProgram: (("cone",), _cone),
    LocalProblem: (("local",), _of_layer),
    RootProblem: (("root", "fixed_point"), _of_layer),
}
"""Class of problems to the words that its text begins with, and what reads the rest."""
