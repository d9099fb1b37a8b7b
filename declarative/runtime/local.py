"""How an emitted layer hands its functions to a smooth problem.

The layer states ``objective``, ``equalities``, ``inequalities`` or ``equations`` as methods of its variables and all
its parameters; here the variables are stacked, and the weights of externs become data so that they receive gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from declarative.runtime.assemble import concatenate, split
from declarative.runtime.externs import with_weights
from declarative.runtime.problem import Problem
from declarative.runtime.restated import OfLayer, stated_of_layer
from declarative.runtime.smooth import LocalProblem, RootProblem

if TYPE_CHECKING:
    from declarative.runtime.layer import Layer

Shapes = Sequence[tuple[int, ...]]


def local_problem(layer: Layer, *, start: Sequence[Tensor], shapes: Shapes, parameters: Sequence[Tensor]) -> Problem:
    """The layer's ``objective`` under its ``equalities`` and ``inequalities``, where it has these.

    ``start``: one tensor (*batch, *shape) per variable. ``parameters``: all of the layer's, in order of declaration.
    """
    if torch.compiler.is_compiling():
        rows = (_rows(layer, name, start, parameters) for name in ("equalities", "inequalities"))
        return _traced(layer, "local", _start(start, shapes), shapes, parameters, tuple(rows))
    return _local_problem(layer, shapes, parameters, _start(start, shapes), None)


def _local_problem(
    layer: Layer, shapes: Shapes, parameters: Sequence[Tensor], start: Tensor, weights: Sequence[Tensor] | None
) -> LocalProblem:
    functions: dict[str, Callable[..., Tensor]] = {}
    own: tuple[Tensor, ...] = ()
    for name in ("objective", "equalities", "inequalities"):
        if hasattr(layer, name):
            functions[name], own = _stacked(layer, name, shapes)
    return LocalProblem(
        functions["objective"],
        start=start,
        tensors=parameters,
        core_ranks=layer.ranks,
        equalities=functions.get("equalities"),
        inequalities=functions.get("inequalities"),
        weights=own if weights is None else weights,
    )


def root_problem(
    layer: Layer,
    *,
    start: Sequence[Tensor],
    shapes: Shapes,
    parameters: Sequence[Tensor],
    fixed_point: bool = False,
) -> Problem:
    """The layer's ``equations``, as many as there are unknowns; arguments as for `local_problem`.

    ``fixed_point``: they are the variables minus functions of them, in order.
    """
    if torch.compiler.is_compiling():
        kind = "fixed_point" if fixed_point else "root"
        return _traced(layer, kind, _start(start, shapes), shapes, parameters, ())
    return _root_problem(layer, shapes, parameters, _start(start, shapes), None, fixed_point)


def _root_problem(
    layer: Layer,
    shapes: Shapes,
    parameters: Sequence[Tensor],
    start: Tensor,
    weights: Sequence[Tensor] | None,
    fixed_point: bool,
) -> RootProblem:
    function, own = _stacked(layer, "equations", shapes)
    return RootProblem(
        function,
        start=start,
        tensors=parameters,
        core_ranks=layer.ranks,
        weights=own if weights is None else weights,
        fixed_point=fixed_point,
    )


def problem_of(layer: Layer, kind: str, shapes: Shapes, tensors: Sequence[Tensor]) -> Problem:
    """The layer's problem over the tensors of another: parameters, weights and the start, as a graph keeps them."""
    split_at = len(layer.ranks)
    parameters, weights, start = tensors[:split_at], tensors[split_at:-1], tensors[-1]
    if kind == "local":
        return _local_problem(layer, shapes, parameters, start, weights)
    return _root_problem(layer, shapes, parameters, start, weights, kind == "fixed_point")


def _traced(
    layer: Layer, kind: str, start: Tensor, shapes: Shapes, parameters: Sequence[Tensor], rows: tuple[int, ...]
) -> Problem:
    """The problem while a graph is traced: what it is a function of, and the statement that names the rest."""
    weights: list[Tensor] = []
    for extern in layer.externs:
        for weight in getattr(layer, extern).parameters():
            if all(weight is not other for other in weights):
                weights.append(weight)
    sizes = (start.shape[-1], *rows)
    ranks = (*layer.ranks, *(w.dim() for w in weights), 1)
    return OfLayer(stated_of_layer(kind, sizes, shapes), sizes, (*parameters, *weights, start), ranks)


def _rows(layer: Layer, name: str, variables: Sequence[Tensor], parameters: Sequence[Tensor]) -> int:
    """The number of rows of a constraint, by evaluating it."""
    return getattr(layer, name)(*variables, *parameters).shape[-1] if hasattr(layer, name) else 0


def _stacked(layer: Layer, name: str, shapes: Shapes) -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    """A method of the layer as a function of the stacked variables, the parameters and the externs' weights."""
    method: Callable[..., Tensor] = getattr(layer, name)

    def of_stacked(x: Tensor, *parameters: Tensor) -> Tensor:
        return method(*split(x, *shapes), *parameters)

    return with_weights(layer, of_stacked, layer.externs)


def _start(start: Sequence[Tensor], shapes: Shapes) -> Tensor:
    return concatenate(*((s, len(shape)) for s, shape in zip(start, shapes, strict=True)))
