"""What the iterative solvers of smooth problems share: instances go their own way, and the way may be differentiated.

A method states how an iterate begins, one step, and the verdict at the end. Here its steps are taken for the
instances that still go on; one that has ended is taken out of the batch, so it costs nothing and stays as it is, and
nothing is averaged over the batch. The loop can run under autograd from a given iteration of each instance on: its
iterates are then functions of the data and of the start, whose derivative is that of the steps themselves.

Reference: Griewank and Walther, Evaluating Derivatives, 2008, chapter 15 (derivatives of iterative processes).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from declarative.runtime import derivatives
from declarative.runtime.lanczos import extreme_eigenvalues
from declarative.runtime.problem import Point, Problem, Solved, Solver
from declarative.runtime.smooth import LocalProblem, RootProblem, SmoothProblem, largest
from declarative.runtime.status import Status

GOING = Status.MAX_ITERATIONS
"""The status of an instance that has not ended yet; one that never does keeps it."""

FAR = 1e6, 1e9
"""In float32 and float64: beyond this many times the start, an instance with a steep gradient is unbounded."""


@dataclass(frozen=True)
class Iterate:
    """The state of a flat batch: x (B, N), status int8 (B,), relative residual (B,), iterations int32 (B,), of which
    ``moves`` up to the last that moved x, and what the method keeps between its steps, tensors (B, ...)."""

    x: Tensor
    status: Tensor
    error: Tensor
    iterations: Tensor
    moves: Tensor
    memory: tuple[Tensor, ...] = ()

    def take(self, index: Tensor) -> Iterate:
        """The instances ``index``."""
        return self._map(lambda t: t[index])

    def put(self, index: Tensor, other: Iterate) -> Iterate:
        """With the instances ``index`` replaced by those of ``other``."""
        pairs = zip(self._tensors, other._tensors, strict=True)
        return self._of([mine.index_copy(0, index, theirs) for mine, theirs in pairs])

    def cut(self, where: Tensor) -> Iterate:
        """The same values, without the derivatives of the instances ``where`` (B,)."""
        return self._map(
            lambda t: torch.where(where.reshape(-1, *[1] * (t.dim() - 1)), t.detach(), t) if t.requires_grad else t
        )

    @property
    def going(self) -> Tensor:
        """The indices of the instances that go on."""
        return (self.status == GOING).nonzero()[:, 0]

    @property
    def _tensors(self) -> list[Tensor]:
        return [*(getattr(self, f.name) for f in fields(self)[:-1]), *self.memory]

    def _map(self, function: object) -> Iterate:
        return self._of([function(t) for t in self._tensors])  # type: ignore[operator]

    def _of(self, tensors: list[Tensor]) -> Iterate:
        x, status, error, iterations, moves, *memory = tensors
        return Iterate(x, status, error, iterations, moves, tuple(memory))


class Iteration(Solver):
    """A solver of smooth problems that states its steps."""

    max_iterations: int

    @abstractmethod
    def begin(self, problem: SmoothProblem) -> Iterate:
        """The first iterate of a flat problem, from its start."""

    @abstractmethod
    def step(self, problem: SmoothProblem, now: Iterate) -> Iterate:
        """The next iterate of instances that all go on, with what has become of each as its status."""

    def evaluated(self, problem: SmoothProblem, now: Iterate) -> Iterate:
        """The same iterate, with what its memory holds of the functions at x computed anew, as functions of the data:
        where a differentiated window begins, these belong to it though the step before had computed them."""
        return now

    def finish(self, problem: SmoothProblem, end: Iterate) -> Iterate:
        """The verdict on instances that have ended; called without derivatives."""
        return end

    def refuse(self, problem: Problem) -> None:
        """Raise `TypeError` or `InputError` for a problem that this method does not solve."""

    def solve(self, problem: Problem) -> Solved:
        self.refuse(problem)
        assert isinstance(problem, SmoothProblem)
        with torch.no_grad():
            end = self.run(problem.flattened())
        return solved_of(problem, end)

    def run(self, problem: SmoothProblem, first: Tensor | None = None) -> Iterate:
        """All steps of a flat problem. ``first`` (B,): the iteration that each instance is differentiated from."""

        def recorded(rows: Tensor, count: int) -> bool:
            return first is not None and bool((first[rows] <= count).any())

        every = torch.arange(problem.batch_shape.numel(), device=problem.start.device)
        with torch.set_grad_enabled(recorded(every, 0)):
            whole = self.begin(problem)
            index = whole.going
        if first is not None:
            whole = whole.cut(first > 0)
        for count in range(self.max_iterations):
            if not index.numel():
                break
            with torch.set_grad_enabled(recorded(index, count)):
                full = index.numel() == every.numel()
                here, now = (problem, whole) if full else (problem.take(index), whole.take(index))
                if first is not None and count:
                    now = self._begun(here, now, (first[index] == count).nonzero()[:, 0])
                after = self.step(here, now)
                moved = (after.x != now.x).any(-1)
                done = now.iterations + 1
                after = replace(after, iterations=done, moves=torch.where(moved, done, now.moves))
                if first is not None:
                    after = after.cut(first[index] > count)
            # Outside of the block: what earlier windows have recorded must outlive a step that records nothing.
            whole = after if full else whole.put(index, after)
            index = index[after.going]
        with torch.no_grad():
            verdict = self.finish(problem, whole)
        return replace(whole, status=verdict.status, error=verdict.error)

    def _begun(self, problem: SmoothProblem, now: Iterate, rows: Tensor) -> Iterate:
        """The iterate with the instances ``rows`` at the beginning of their differentiated window."""
        if not rows.numel():
            return now
        return now.put(rows, self.evaluated(problem.take(rows), now.take(rows)))


def solved_of(problem: SmoothProblem, end: Iterate) -> Solved:
    """The end of a flat batch with the batch dimensions of the problem."""
    batch = problem.batch_shape
    x = end.x.reshape(*batch, end.x.shape[-1])
    point: Point = (x,) if isinstance(problem, RootProblem) else (x, x[..., :0], x[..., :0])
    return Solved(point, end.status.reshape(batch), end.iterations.reshape(batch), end.error.reshape(batch))


def first_iterate(x: Tensor, finite: Tensor, memory: tuple[Tensor, ...]) -> Iterate:
    """An iterate at the start; NOT_FINITE where the functions are not ``finite`` there."""
    status = torch.where(finite, int(GOING), int(Status.NOT_FINITE)).to(torch.int8)
    nan = torch.full(x.shape[:1], torch.nan, dtype=x.dtype, device=x.device)
    none = torch.zeros_like(status, dtype=torch.int32)
    return Iterate(x, status, nan, none, none, memory)


def relative_gradient(problem: LocalProblem, x: Tensor, slope: Tensor) -> Tensor:
    """Largest entry of the gradient relative to max(1, largest entry of |H x|), the size of its terms; (B,)."""
    with torch.no_grad():
        image = derivatives.hessian_product(problem.objective, x.detach())(x.detach())
        return largest(slope.detach()) / largest(image).clamp_min(1)


def unbounded(problem: LocalProblem, x: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Whether x has left for good: far from the start, with a gradient as steep as the one ``before``; (B,)."""
    steep = largest(after) > 0.1 * largest(before)
    return steep & (largest(x) > FAR[x.dtype == torch.float64] * largest(problem.start).clamp_min(1))


def second_order(problem: LocalProblem, end: Iterate, dense_limit: int) -> Iterate:
    """SADDLE for solved instances whose Hessian has a clearly negative eigenvalue; beyond ``dense_limit`` variables
    by the Lanczos process."""
    index = (end.status == Status.SOLVED).nonzero()[:, 0]
    if not index.numel():
        return end
    here, x = problem.take(index), end.x[index]
    if x.shape[-1] <= dense_limit:
        values = torch.linalg.eigvalsh(derivatives.hessian(here.objective, x))
        smallest, highest = values[..., 0], values[..., -1]
    else:
        smallest, highest = extreme_eigenvalues(derivatives.hessian_product(here.objective, x), x)
    extent = torch.maximum(smallest.abs(), highest.abs())
    saddle = smallest < -(torch.finfo(x.dtype).eps ** 0.5) * extent
    return replace(end, status=end.status.index_fill(0, index[saddle], int(Status.SADDLE)))


def default_tolerance(dtype: torch.dtype) -> float:
    """Relative tolerance on residuals: 1e-10 in float64, 1e-5 in float32."""
    return 1e-10 if dtype == torch.float64 else 1e-5
