"""What a solver and an adjoint know of a problem: its data, and the residual F(w; theta) = 0 of its solution.

A problem is one batch of instances. Every data tensor has its own leading batch dimensions, which broadcast
against each other as in ``torch.linalg``; what follows them (its *core*) is the data of one instance.
The point w is a tuple of tensors, each of shape (*batch, size): the stacked primal and dual variables.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from declarative.runtime.status import Status

Point = tuple[Tensor, ...]


class Stated(NamedTuple):
    """All of a problem but its data, as a node of a graph carries it; `restated` reads it, and `graph` says why."""

    text: str
    """Its class and what of it is fixed."""
    sizes: tuple[int, ...] = ()
    """What may change from call to call, and be a symbol while a graph is traced."""
    of_layer: bool = False
    """Whether the rest is functions of the layer."""


class Problem(ABC):
    """Data of a batch of problems of one class; immutable."""

    @property
    @abstractmethod
    def tensors(self) -> tuple[Tensor, ...]:
        """The data that the solution is a function of, always in the same order."""

    @property
    @abstractmethod
    def core_ranks(self) -> tuple[int, ...]:
        """For each of ``tensors``, the number of its trailing dimensions that belong to one instance."""

    @abstractmethod
    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        """The same problem over other data."""

    @abstractmethod
    def residual(self, point: Point) -> Point:
        """F(w; theta), one tensor per tensor of ``point`` and of its shape: zero exactly at a solution.

        Differentiable in the data and in the point; the gradient of the solution is read off it.
        """

    def relative_residual(self, point: Point) -> Tensor:
        """Largest entry of F at the point, relative to the terms it is a sum of; (*batch)."""
        raise NotImplementedError(f"{type(self).__name__} does not measure its residual")

    def complementarity(self, point: Point) -> tuple[Tensor, Tensor]:
        """The smallest max(multiplier_i, slack_i) over the inequalities, and its row; both (*batch).

        +inf and -1 where there is none. Rows are numbered as in the class's ``conditions``.
        """
        raise NotImplementedError(f"{type(self).__name__} does not tell multipliers from slacks")

    def without_masks(self, point: Point) -> tuple[Problem, Point]:
        """The problem and a point of a closed form, where infinite data that mask an entry stand for finite ones."""
        return self, point

    def point_sizes(self) -> tuple[int, ...]:
        """The last dimension of every tensor of a point."""
        raise NotImplementedError(f"{type(self).__name__} cannot be a node of a compiled graph")

    def stated(self) -> Stated:
        """All but the data, as a node of a graph carries it."""
        raise NotImplementedError(f"{type(self).__name__} cannot be a node of a compiled graph")

    def remark(self, at: tuple[int, ...], status: Status) -> str:
        """What is known of the instance at an index of the batch that ended with a status, for the message of its
        failure: what it lacks that its class promises, or what the status does not say; empty where nothing is."""
        return ""

    @property
    def batch_shape(self) -> torch.Size:
        """Leading dimensions of all data, broadcast together."""
        batch = torch.Size()
        for tensor, rank in zip(self.tensors, self.core_ranks, strict=True):
            own = tensor.shape[: tensor.dim() - rank]
            if own and own != batch:
                batch = torch.Size(torch.broadcast_shapes(own, batch)) if batch else own  # type: ignore[no-untyped-call]
        return batch


@dataclass(frozen=True)
class Solved:
    """What a solver returns: a point and, per instance, how it went. Never raises for the data's sake.

    ``point``: tensors (*batch, size). ``status``: int8 (*batch), a `Status`. ``iterations``: int32 (*batch).
    ``residual``: (*batch), the largest entry of the KKT residual relative to the data's scale.
    """

    point: Point
    status: Tensor
    iterations: Tensor
    residual: Tensor
    complete: bool = False
    """True where the solver already knows that every instance is solved."""


class Solver(ABC):
    """Finds a KKT point; knows nothing of derivatives. Called with plain tensors, gradient mode off."""

    @abstractmethod
    def solve(self, problem: Problem) -> Solved: ...


class Adjoint(ABC):
    """Solves the transposed linear system (dF/dw)' u = cotangent at a point; knows nothing of the solver."""

    @abstractmethod
    def solve(self, problem: Problem, point: Point, cotangent: Point) -> Point:
        """u, with one tensor per tensor of ``point``.

        Where ``differentiable`` is true it is written in differentiable torch operations of the problem's tensors, the
        point and the cotangent, so that derivatives of every order follow.
        """

    @property
    @abstractmethod
    def differentiable(self) -> bool:
        """Whether ``solve`` can be differentiated in the data and the point.

        Where not, its backward raises `NotImplementedError`: gradient mode does not tell a first derivative from the
        inner of two, since torch.func keeps it on throughout.
        """

    def pull_back(
        self,
        problem: Problem,
        point: Point,
        cotangents: tuple[Tensor | None, ...],
        status: Tensor,
        wanted: Sequence[int],
    ) -> tuple[Tensor, ...] | None:
        """First derivatives at once: theta_bar for the ``wanted`` of ``problem.tensors``; None to go the general way.

        ``cotangents`` are those of the point, None where zero. Instances whose ``status`` is not usable give zero.
        """
        return None

    def residual(self, problem: Problem, point: Point, cotangent: Point, u: Point) -> Tensor:
        """Largest entry of (dF/dw)' u - cotangent per instance, relative to the cotangent; (*batch)."""
        _, pull_back = torch.func.vjp(lambda *w: problem.residual(w), *point)  # type: ignore[misc]
        defect = [
            (left - right).flatten(len(problem.batch_shape)).abs()
            for left, right in zip(pull_back(u), cotangent, strict=True)
        ]
        scale = torch.cat([c.flatten(len(problem.batch_shape)).abs() for c in cotangent], -1)
        if scale.shape[-1] == 0:
            return scale.new_zeros(problem.batch_shape)
        return torch.cat(defect, -1).amax(-1) / scale.amax(-1).clamp_min(torch.finfo(scale.dtype).tiny)
