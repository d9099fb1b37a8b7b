"""How an emitted layer hands its functions to a smooth problem.

The layer states ``objective``, ``equalities``, ``inequalities`` or ``equations`` as methods of its variables and all
its parameters; here the variables are stacked, and the weights of externs become data so that they receive gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from declarative.runtime.assemble import concatenate, split
from declarative.runtime.externs import with_weights
from declarative.runtime.smooth import LocalProblem, RootProblem

if TYPE_CHECKING:
    from declarative.runtime.layer import Layer

Shapes = Sequence[tuple[int, ...]]


def local_problem(
    layer: Layer, *, start: Sequence[Tensor], shapes: Shapes, parameters: Sequence[Tensor]
) -> LocalProblem:
    """The layer's ``objective`` under its ``equalities`` and ``inequalities``, where it has these.

    ``start``: one tensor (*batch, *shape) per variable. ``parameters``: all of the layer's, in order of declaration.
    """
    functions: dict[str, Callable[..., Tensor]] = {}
    weights: tuple[Tensor, ...] = ()
    for name in ("objective", "equalities", "inequalities"):
        if hasattr(layer, name):
            functions[name], weights = _stacked(layer, name, shapes)
    return LocalProblem(
        functions["objective"],
        start=_start(start, shapes),
        tensors=parameters,
        core_ranks=layer.ranks,
        equalities=functions.get("equalities"),
        inequalities=functions.get("inequalities"),
        weights=weights,
    )


def root_problem(
    layer: Layer,
    *,
    start: Sequence[Tensor],
    shapes: Shapes,
    parameters: Sequence[Tensor],
    fixed_point: bool = False,
) -> RootProblem:
    """The layer's ``equations``, as many as there are unknowns; arguments as for `local_problem`.

    ``fixed_point``: they are the variables minus functions of them, in order.
    """
    function, weights = _stacked(layer, "equations", shapes)
    return RootProblem(
        function,
        start=_start(start, shapes),
        tensors=parameters,
        core_ranks=layer.ranks,
        weights=weights,
        fixed_point=fixed_point,
    )


def _stacked(layer: Layer, name: str, shapes: Shapes) -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    """A method of the layer as a function of the stacked variables, the parameters and the externs' weights."""
    method: Callable[..., Tensor] = getattr(layer, name)

    def of_stacked(x: Tensor, *parameters: Tensor) -> Tensor:
        return method(*split(x, *shapes), *parameters)

    return with_weights(layer, of_stacked, layer.externs)


def _start(start: Sequence[Tensor], shapes: Shapes) -> Tensor:
    return concatenate(*((s, len(shape)) for s, shape in zip(start, shapes, strict=True)))
