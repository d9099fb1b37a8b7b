"""Adjoint systems (dF/dw)' u = cotangent of smooth problems by products alone, differentiable to any order.

A product with (dF/dw)' is one reverse pass through F; no matrix is formed. The system is itself a `Problem`, with
residual A(theta, w) u - r, solved under the implicit function theorem: its adjoint is the same system transposed, with
another right-hand side, so derivatives of every order follow without differentiating a Krylov iteration.

A system that is not solved to the tolerance gives what the method ended with and an `AdjointWarning`: least residual
where it is singular, as with a factorisation, and never silent.

Reference: Saad, Iterative Methods for Sparse Linear Systems, 2003, chapters 6 and 9.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from declarative.runtime import derivatives, implicit
from declarative.runtime.adjoints.krylov_methods import cg, gmres, minres
from declarative.runtime.errors import AdjointWarning, InputError
from declarative.runtime.lanczos import Product
from declarative.runtime.problem import Adjoint, Point, Problem, Solved, Solver
from declarative.runtime.smooth import LocalProblem, RootProblem
from declarative.runtime.status import Status

Method = Literal["cg", "minres", "gmres"]
METHODS: dict[str, Callable[[Product, Tensor, Tensor, int], tuple[Tensor, Tensor]]] = {
    "cg": cg,
    "minres": minres,
    "gmres": gmres,
}
RESTARTS = 4
"""Times that the remaining residual is solved for again, against the drift of the recurrences."""


@dataclass(frozen=True)
class KrylovAdjoint(Adjoint):
    """Adjoint of `LocalProblem` and `RootProblem` by products with dF/dw.

    ``method``: ``"cg"`` at minima without constraints; ``"minres"`` at any stationary point without constraints, or
    with equalities alone; ``"gmres"`` always. ``tolerance``: on the 2-norm of the residual relative to the
    cotangent's, by default 1e-10 in float64 and 1e-5 in float32; an instance above it is an `AdjointWarning`.
    ``max_iterations``: products per instance and restart, by default 4 N. Raises `InputError` for a method that needs
    symmetry where there is none.
    """

    method: Method = "gmres"
    tolerance: float | None = None
    max_iterations: int | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"KrylovAdjoint: method is {self.method!r}; expected one of {', '.join(METHODS)}")

    @property
    def differentiable(self) -> bool:
        return True

    def solve(self, problem: Problem, point: Point, cotangent: Point) -> Point:
        if not isinstance(problem, LocalProblem | RootProblem):
            raise TypeError(f"KrylovAdjoint is for a LocalProblem or a RootProblem, found a {type(problem).__name__}")
        symmetric = isinstance(problem, LocalProblem) and point[2].shape[-1] == 0
        if not symmetric and self.method != "gmres":
            what = "a system of equations" if isinstance(problem, RootProblem) else "inequality constraints"
            raise InputError(
                f'adjoint "{self.method}" needs a symmetric matrix, which {what} does not give; '
                'expected "gmres" or "dense"'
            )
        sizes = [part.shape[-1] for part in point]
        system = LinearisedSystem(problem, torch.cat(point, -1), torch.cat(cotangent, -1), sizes, not symmetric)
        return torch.split(solve_linearised(system, self), sizes, dim=-1)


class LinearisedSystem(Problem):
    """(dF/dw)' u = r at a point, or (dF/dw) u = r; its data are the problem's, the point and r, both (*batch, n)."""

    def __init__(
        self, problem: LocalProblem | RootProblem, at: Tensor, right: Tensor, sizes: list[int], transposed: bool
    ) -> None:
        self.problem, self.at, self.right, self.sizes, self.transposed = problem, at, right, sizes, transposed

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (*self.problem.tensors, self.at, self.right)

    @property
    def core_ranks(self) -> tuple[int, ...]:
        return (*self.problem.core_ranks, 1, 1)

    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        changed = copy(self)
        *data, changed.at, changed.right = tensors
        changed.problem = self.problem.with_tensors(data)
        return changed

    def residual(self, point: Point) -> Point:
        return (self.product(point[0].shape)(point[0]) - self.right,)

    def product(self, shape: torch.Size) -> Product:
        """v -> A v for v of a shape (*batch, n)."""
        at = self.at.expand(shape)
        if isinstance(self.problem, LocalProblem) and not self.problem.constrained:
            return derivatives.hessian_product(self.problem.objective, at)
        pull_back = torch.func.vjp(self._stacked, at)[1]
        if self.transposed:
            return lambda v: pull_back(v)[0]
        # The pullback is linear, so its own pullback is the product with dF/dw: no forward mode is asked of an extern.
        push_forward = torch.func.vjp(lambda u: pull_back(u)[0], torch.zeros_like(at))[1]
        return lambda v: push_forward(v)[0]

    def _stacked(self, w: Tensor) -> Tensor:
        return torch.cat(self.problem.residual(torch.split(w, self.sizes, dim=-1)), -1)


def solve_linearised(system: LinearisedSystem, settings: KrylovAdjoint) -> Tensor:
    """u (*batch, n)."""
    return implicit.solve(system, _Iterated(settings), _Transposed(settings), on_failure="keep").point[0]


@dataclass(frozen=True)
class _Transposed(Adjoint):
    settings: KrylovAdjoint

    @property
    def differentiable(self) -> bool:
        return True

    def solve(self, problem: Problem, point: Point, cotangent: Point) -> Point:
        assert isinstance(problem, LinearisedSystem)
        other = copy(problem)
        other.right, other.transposed = cotangent[0], not problem.transposed
        return (solve_linearised(other, self.settings),)


@dataclass(frozen=True)
class _Iterated(Solver):
    settings: KrylovAdjoint

    def solve(self, problem: Problem) -> Solved:
        assert isinstance(problem, LinearisedSystem)
        batch, n = problem.batch_shape, problem.right.shape[-1]
        shape = torch.Size((*batch, n))
        method = METHODS[self.settings.method]
        with torch.no_grad():
            product, right = problem.product(shape), problem.right.expand(shape)
            tolerance = self._tolerance(right.dtype)
            allowed = tolerance * torch.linalg.vector_norm(right, dim=-1)
            solution, remainder = torch.zeros_like(right), right
            iterations = torch.zeros(batch, dtype=torch.int32, device=right.device)
            for _ in range(RESTARTS):
                if not bool((torch.linalg.vector_norm(remainder, dim=-1) > allowed).any()):
                    break
                correction, taken = method(product, remainder, allowed / 10, self.settings.max_iterations or 4 * n)
                solution, iterations = solution + correction, iterations + taken
                remainder = right - product(solution)
        left = torch.linalg.vector_norm(remainder, dim=-1)
        solved = left <= allowed
        residual = left / allowed.clamp_min(torch.finfo(left.dtype).tiny) * tolerance
        if not bool(solved.all()):
            count, worst = int((~solved).sum()), float(residual[~solved].max())
            warnings.warn(_unsolved(self.settings.method, count, solved.numel(), worst), AdjointWarning, stacklevel=2)
        status = torch.where(solved, int(Status.SOLVED), int(Status.MAX_ITERATIONS)).to(torch.int8)
        return Solved((solution,), status, iterations, residual)

    def _tolerance(self, dtype: torch.dtype) -> float:
        if self.settings.tolerance is not None:
            return self.settings.tolerance
        return 1e-10 if dtype == torch.float64 else 1e-5


def _unsolved(method: str, count: int, total: int, worst: float) -> str:
    return (
        f"the adjoint system of {count} of {total} instances is not solved ({method}: relative residual {worst:.1e}): "
        'their gradient is approximate; `layer.adjoint = "dense"` factors the matrix, and `layer.diagnose(...)` tells '
        "whether it is singular"
    )
