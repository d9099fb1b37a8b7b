"""Systems with the Hessian of a local problem, H u = r, by products with H alone, differentiable to any order.

MINRES minimises |r - H u| over the Krylov space, for symmetric H of any signature; on a singular but consistent system
it gives the least-norm solution. Here it is one more solver under the implicit function theorem: the system is
a `Problem` with residual H(theta) u - r, and since H = H', its adjoint is the same system with another right-hand side.

References: Paige and Saunders, Solution of sparse indefinite systems of linear equations, 1975; Choi, Paige and
Saunders, MINRES-QLP, 2011, for its limits on singular systems.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from declarative.runtime import derivatives, implicit
from declarative.runtime.problem import Adjoint, Point, Problem, Solved, Solver
from declarative.runtime.smooth import LocalProblem
from declarative.runtime.status import Status

RESTARTS = 4


def hessian_solve(problem: LocalProblem, x: Tensor, right: Tensor) -> Tensor:
    """u (*batch, N) with H u = r at x (*batch, N); NaN for an instance whose residual stays above 1e-10 (float32:
    1e-5) of r."""
    answer = implicit.solve(_HessianSystem(problem, x, right), _Minres(), _SameSystem(), on_failure="nan")
    return answer.point[0]


class _HessianSystem(Problem):
    """The linear system at one point, as a problem of its own; its data are the local problem's, x and r."""

    def __init__(self, local: LocalProblem, x: Tensor, right: Tensor) -> None:
        self._local, self._x, self._right = local, x, right

    @property
    def local(self) -> LocalProblem:
        return self._local

    @property
    def x(self) -> Tensor:
        return self._x

    @property
    def right(self) -> Tensor:
        return self._right

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (*self._local.tensors, self._x, self._right)

    @property
    def core_ranks(self) -> tuple[int, ...]:
        return (*self._local.core_ranks, 1, 1)

    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        changed = copy(self)
        *local, changed._x, changed._right = tensors
        changed._local = self._local.with_tensors(local)
        return changed

    def residual(self, point: Point) -> Point:
        x = self._x.expand(point[0].shape)
        product = derivatives.hessian_product(self._local.objective, x)
        return (product(point[0]) - self._right,)


@dataclass(frozen=True)
class _SameSystem(Adjoint):
    @property
    def differentiable(self) -> bool:
        return True

    def solve(self, problem: Problem, point: Point, cotangent: Point) -> Point:
        assert isinstance(problem, _HessianSystem)
        return (hessian_solve(problem.local, problem.x, cotangent[0]),)


@dataclass(frozen=True)
class _Minres(Solver):
    def solve(self, problem: Problem) -> Solved:
        assert isinstance(problem, _HessianSystem)
        batch, n = problem.batch_shape, problem.right.shape[-1]
        with torch.no_grad():
            product = derivatives.hessian_product(problem.local.objective, problem.x.expand(*batch, n))
            right = problem.right.expand(*batch, n)
            solution = torch.zeros_like(right)
            tolerance = 1e-10 if right.dtype == torch.float64 else 1e-5
            allowed = tolerance * torch.linalg.vector_norm(right, dim=-1)
            remainder, iterations = right, torch.zeros(batch, dtype=torch.int32, device=right.device)
            for _ in range(RESTARTS):
                if not bool((torch.linalg.vector_norm(remainder, dim=-1) > allowed).any()):
                    break
                correction, taken = minres(product, remainder, allowed / 10, 4 * n)
                solution, iterations = solution + correction, iterations + taken
                remainder = right - product(solution)
        left = torch.linalg.vector_norm(remainder, dim=-1)
        status = torch.where(left <= allowed, int(Status.SOLVED), int(Status.MAX_ITERATIONS)).to(torch.int8)
        return Solved(
            (solution,), status, iterations, left / allowed.clamp_min(torch.finfo(left.dtype).tiny) * tolerance
        )


def minres(
    product: Callable[[Tensor], Tensor], right: Tensor, allowed: Tensor, max_iterations: int
) -> tuple[Tensor, Tensor]:
    """u (*batch, n) with H u = right up to ``allowed`` (*batch) in the 2-norm, and the iterations each instance
    took."""
    solution = torch.zeros_like(right)
    size = torch.linalg.vector_norm(right, dim=-1)
    running = size > allowed
    vector = right / torch.where(running, size, 1)[..., None]
    before, along, along_before = (torch.zeros_like(right) for _ in range(3))
    cosine, cosine_before = torch.ones_like(size), torch.ones_like(size)
    sine, sine_before, beta = (torch.zeros_like(size) for _ in range(3))
    left = size
    iterations = torch.zeros_like(size, dtype=torch.int32)
    for _ in range(max_iterations):
        if not bool(running.any()):
            break
        image = product(vector)
        alpha = (vector * image).sum(-1)
        image = image - alpha[..., None] * vector - beta[..., None] * before
        following = torch.linalg.vector_norm(image, dim=-1)
        # One Givens rotation keeps the Lanczos tridiagonal matrix upper triangular.
        delta = cosine * alpha - cosine_before * sine * beta
        diagonal = torch.hypot(delta, following)
        first, second = sine * alpha + cosine_before * cosine * beta, sine_before * beta
        running = running & (diagonal > 0)
        divisor = torch.where(diagonal > 0, diagonal, 1)
        direction = (vector - second[..., None] * along_before - first[..., None] * along) / divisor[..., None]
        cosine_before, cosine, sine_before, sine = cosine, delta / divisor, sine, following / divisor
        solution = solution + torch.where(running, cosine * left, 0)[..., None] * direction
        left = torch.where(running, -sine * left, left)
        iterations = iterations + running.to(torch.int32)
        along_before, along = along, direction
        before, vector = vector, image / torch.where(following > 0, following, 1)[..., None]
        beta = following
        running = running & (left.abs() > allowed)
    return solution, iterations
