"""A solve as one node of the graphs that torch compiles and exports.

A compiler of torch cannot look into an iteration that runs until it converges, so the solve of a layer is one
operator, ``declarative::solve``, and its backward pass another, ``declarative::pull_back``; what a layer computes
before and after is traced as usual. An operator of torch takes tensors, integers and text. The text says which problem
the tensors are the data of, and how it is solved; the integers are the sizes that change from call to call. A quadratic
program or a cone program states itself in full, so that an exported graph runs in any process that imports this
package; a problem made of a layer's own functions (a local problem, a root, a solver or an adjoint that the user set)
names the living layer, and stays within its process.

The numbers, the statuses and the failure policy are those of `implicit`: an instance without a solution raises when the
compiled function runs. A closed form is traced whole; where it has no solution, it gives NaN and does not raise.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor

from declarative.runtime import implicit
from declarative.runtime.errors import InputError, LayerError
from declarative.runtime.living import living
from declarative.runtime.problem import Adjoint, Problem, Solved, Solver
from declarative.runtime.pullback import pull_back
from declarative.runtime.restated import point_sizes, restated

if TYPE_CHECKING:
    from declarative.runtime.implicit import OnFailure
    from declarative.runtime.layer import Layer


class Task(NamedTuple):
    """What a node's text says."""

    problem: str
    """The problem without its data, as its class states it."""
    layer: int
    """The number of the layer whose functions, solver or adjoint take part, or -1."""
    solver_name: str | None
    adjoint_name: str | None
    tolerance: float | None
    max_iterations: int | None
    on_failure: OnFailure

    def living(self) -> Layer | None:
        """The layer that takes part, if any; raises `LayerError` where it is no longer there."""
        if self.layer < 0:
            return None
        layer = living(self.layer)
        if layer is None:
            raise LayerError(
                "this compiled or exported graph solves a problem made of a layer's own functions, and that layer is "
                "not in this process; save the layer itself instead, with pickle or torch.save"
            )
        return cast("Layer", layer)

    def solver(self, problem: Problem) -> Solver:
        from declarative.runtime import defaults  # loads scipy, which a graph without a solve has no use for

        layer = self.living()
        choice = self.solver_name if layer is None else layer.solver
        return defaults.chosen_solver(choice, problem, self.tolerance, self.max_iterations)

    def adjoint(self, problem: Problem) -> Adjoint:
        from declarative.runtime import defaults

        layer = self.living()
        return defaults.chosen_adjoint(self.adjoint_name if layer is None else layer.adjoint, problem)


def solve(layer: Layer, problem: Problem, on_failure: OnFailure) -> Solved:
    """What `implicit.solve` does, as a node of the graph being traced. Raises `InputError` for another gradient than
    the implicit one."""
    if layer.gradient != "implicit":
        raise InputError(
            f'gradient is {layer.gradient!r}, and torch\'s compiler traces no iterations; expected "implicit"'
        )
    stated = problem.stated()
    names = [choice if isinstance(choice, str) else None for choice in (layer.solver, layer.adjoint)]
    objects = [choice for choice in (layer.solver, layer.adjoint) if choice is not None and not isinstance(choice, str)]
    number = layer._number if stated.of_layer or objects else -1
    settings = f"{layer.tolerance!r}, {layer.max_iterations!r}, {on_failure!r}"
    text = f"({stated.text!r}, {number}, {names[0]!r}, {names[1]!r}, {settings})"
    *point, status, iterations, residual = torch.ops.declarative.solve(list(problem.tensors), list(stated.sizes), text)
    return Solved(tuple(point), status, iterations, residual)


def watched(layer: Layer, solved: Solved) -> Solved:
    """The same solution, with a node on its way that tells the layer's monitors of it when the graph runs.

    Not in an exported graph, which runs in other processes, where the layer and its monitors are not.
    """
    if torch.compiler.is_exporting():
        return solved
    told = solved.status, solved.iterations, solved.residual.detach()
    point = torch.ops.declarative.watch(list(solved.point), *told, layer._number)
    return replace(solved, point=tuple(point))


@functools.lru_cache(maxsize=256)
def _task(text: str) -> Task:
    return Task(*ast.literal_eval(text))


def _problem(task: Task, tensors: Sequence[Tensor], sizes: Sequence[int]) -> Problem:
    return restated(task.problem, sizes, task.living(), tensors)


@contextmanager
def _as_in_a_call() -> Iterator[None]:
    """Autograd and torch.func as outside of an operator: in its kernels torch leaves them out, and solvers and adjoints
    need them. Autocast, which torch leaves out by the same means wherever it is off, is left out again."""
    included, excluded = torch._C._dispatch_tls_local_include_set(), torch._C._dispatch_tls_local_exclude_set()
    with torch._C._ForceDispatchKeyGuard(included, excluded - excluded), torch._C._DisableAutocast():
        yield


def _owned(results: Sequence[Tensor]) -> list[Tensor]:
    """What an operator returns: no view of its arguments, and laid out as a compiler was told to expect."""
    return [t.clone(memory_format=torch.contiguous_format) for t in results]


@torch.library.custom_op("declarative::solve", mutates_args=())
def _solve(tensors: list[Tensor], sizes: list[int], how: str) -> list[Tensor]:
    task = _task(how)
    problem = _problem(task, [t.detach() for t in tensors], sizes)
    with _as_in_a_call(), torch.no_grad():
        solved = implicit.solve(problem, task.solver(problem), task.adjoint(problem), task.on_failure)
    return _owned([*solved.point, solved.status, solved.iterations, solved.residual])


@_solve.register_fake
def _(tensors: list[Tensor], sizes: list[int], how: str) -> list[Tensor]:
    task = _task(how)
    problem = _problem(task, tensors, sizes)
    batch, like = problem.batch_shape, tensors[-1]
    return [
        *(like.new_empty((*batch, size)) for size in point_sizes(problem, task.problem, sizes)),
        like.new_empty(batch, dtype=torch.int8),
        like.new_empty(batch, dtype=torch.int32),
        like.new_empty(batch),
    ]


@torch.library.custom_op("declarative::pull_back", mutates_args=())
def _pull_back(
    tensors: list[Tensor],
    point: list[Tensor],
    status: Tensor,
    bars: list[Tensor],
    wanted: list[int],
    sizes: list[int],
    how: str,
) -> list[Tensor]:
    found: list[Tensor] = implicit.undisturbed(_pulled_back, tensors, point, status, bars, wanted, sizes, how)
    return found


def _pulled_back(
    tensors: list[Tensor],
    point: list[Tensor],
    status: Tensor,
    bars: list[Tensor],
    wanted: list[int],
    sizes: list[int],
    how: str,
) -> list[Tensor]:
    task = _task(how)
    problem = _problem(task, [t.detach() for t in tensors], sizes)
    at, given = tuple(p.detach() for p in point), tuple(b.detach() for b in bars)
    adjoint = task.adjoint(problem)
    with _as_in_a_call():
        with torch.no_grad():
            found = adjoint.pull_back(problem, at, given, status, wanted)
        if found is None:
            found = pull_back(problem, adjoint, problem.tensors, at, status, given, wanted)
    return _owned(found)


@_pull_back.register_fake
def _(
    tensors: list[Tensor],
    point: list[Tensor],
    status: Tensor,
    bars: list[Tensor],
    wanted: list[int],
    sizes: list[int],
    how: str,
) -> list[Tensor]:
    return [torch.empty_like(tensors[i], memory_format=torch.contiguous_format) for i in wanted]


def _keep(ctx: Any, inputs: tuple[list[Tensor], list[int], str], output: list[Tensor]) -> None:
    tensors, ctx.sizes, ctx.how = inputs
    *point, status, _, _ = output
    ctx.count, ctx.wanted = len(tensors), [i for i, t in enumerate(tensors) if t.requires_grad]
    ctx.save_for_backward(*tensors, *point, status)


def _backward(ctx: Any, bars: list[Tensor]) -> tuple[list[Tensor | None], list[Tensor | None] | None, None]:
    *rest, status = ctx.saved_tensors
    tensors, point = rest[: ctx.count], rest[ctx.count :]
    given = list(bars[: len(point)])
    found = torch.ops.declarative.pull_back(tensors, point, status, given, ctx.wanted, ctx.sizes, ctx.how)
    gradients: list[Tensor | None] = [None] * ctx.count
    for i, gradient in zip(ctx.wanted, found, strict=True):
        gradients[i] = gradient
    nothing: list[Tensor | None] | None = None if ctx.sizes else []  # torch takes an empty list for one of tensors
    return gradients, nothing, None


_solve.register_autograd(_backward, setup_context=_keep)


@_solve.register_vmap
def _(info: Any, in_dims: Any, tensors: list[Tensor], sizes: list[int], how: str) -> tuple[list[Tensor], list[int]]:
    ranks = _problem(_task(how), tensors, sizes).core_ranks
    found = torch.ops.declarative.solve(implicit.mapped_first(tensors, ranks, in_dims[0]), sizes, how)
    return found, [0] * len(found)


@_pull_back.register_vmap
def _(
    info: Any,
    in_dims: Any,
    tensors: list[Tensor],
    point: list[Tensor],
    status: Tensor,
    bars: list[Tensor],
    wanted: list[int],
    sizes: list[int],
    how: str,
) -> tuple[list[Tensor], list[int]]:
    """Every instance that is mapped over has a gradient of its own, also of what all of them share."""
    ranks = _problem(_task(how), tensors, sizes).core_ranks
    dims = list(in_dims[0])
    for i in wanted:
        if dims[i] is None:
            tensors, dims = [*tensors], [*dims]
            tensors[i], dims[i] = tensors[i].expand(info.batch_size, *tensors[i].shape), 0
    given, ends = [*tensors, *point, status, *bars], [*dims, *in_dims[1], in_dims[2], *in_dims[3]]
    moved = implicit.mapped_first(given, [*ranks, *[1] * len(point), 0, *[1] * len(bars)], ends)
    first, last = len(tensors), len(tensors) + len(point)
    whole = (moved[:first], moved[first:last], moved[last], moved[last + 1 :])
    found = torch.ops.declarative.pull_back(*whole, wanted, sizes, how)
    return found, [0] * len(found)


@torch.library.custom_op("declarative::watch", mutates_args=())
def _watch(point: list[Tensor], status: Tensor, iterations: Tensor, residual: Tensor, layer: int) -> list[Tensor]:
    """The point as it is: what is watched has to be on the way to the outputs, or a compiler leaves it out."""
    from declarative.runtime.monitor import watched as tell

    it = cast("Layer | None", living(layer))
    if it is not None:
        tell(it, None, Solved(tuple(point), status, iterations, residual))
    return _owned(point)


@_watch.register_fake
def _(point: list[Tensor], status: Tensor, iterations: Tensor, residual: Tensor, layer: int) -> list[Tensor]:
    return [torch.empty_like(p, memory_format=torch.contiguous_format) for p in point]


_watch.register_autograd(lambda ctx, bars: (list(bars), None, None, None, None))


@_watch.register_vmap
def _(
    info: Any, in_dims: Any, point: list[Tensor], status: Tensor, iterations: Tensor, residual: Tensor, layer: int
) -> tuple[list[Tensor], list[int | None]]:
    return torch.ops.declarative.watch(point, status, iterations, residual, layer), list(in_dims[0])
