"""What the machine could do at best, and the least that a case asks of it.

The peak is that of torch's matrix product, the bandwidth that of torch's copy with as many bytes in use as the case
has, so that a case which lives in a cache is held against the cache; the dispatch is an empty autograd function there
and back. Each is measured in processes of its own, as the candidates are. The limit of a case is then

    max(flops / peak, bytes / bandwidth) + dispatch,

with the flops of the algorithm that is used, at the number of iterations it takes here, and every input read once in
each direction and every output written once. One instance cannot be shared out: its peak is that of one thread.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmarks.apart import alone
from benchmarks.cases import DOUBLE, Case, Program
from benchmarks.reference import stated
from declarative.runtime.solvers.native_interior_point import NativeInteriorPoint


@dataclass(frozen=True)
class Limit:
    """Seconds that a call cannot go below, and which of the three bounds it."""

    seconds: float
    bound: str


@dataclass
class Machine:
    """Peaks in flops per second by precision and number of threads, and bandwidths in bytes per second; measured when
    first asked for."""

    threads: int
    peaks: dict[tuple[torch.dtype, int], float] = field(default_factory=dict)
    bandwidths: dict[int, float] = field(default_factory=dict)
    empty_call: float = 0.0

    def peak(self, dtype: torch.dtype, threads: int) -> float:
        if (dtype, threads) not in self.peaks:
            self.peaks[dtype, threads] = most(_product_rate, dtype, threads)
        return self.peaks[dtype, threads]

    def bandwidth(self, size: int) -> float:
        """Of a copy that has about ``size`` bytes in use; fewer than 1 MiB are in the innermost caches as that is."""
        size = 1 << min(28, max(20, (size - 1).bit_length()))
        if size not in self.bandwidths:
            self.bandwidths[size] = most(_copy_rate, size)
        return self.bandwidths[size]

    @property
    def dispatch(self) -> float:
        self.empty_call = self.empty_call or alone(_empty_call)
        return self.empty_call

    def limit(self, flops: float, size: int, dtype: torch.dtype, threads: int) -> Limit:
        computing, moving = flops / self.peak(dtype, threads), size / self.bandwidth(size)
        largest = max(computing, moving, self.dispatch)
        bound = {computing: "flops", moving: "bytes", self.dispatch: "dispatch"}[largest]
        return Limit(max(computing, moving) + self.dispatch, bound)


def program_flops(
    sizes: tuple[int, int, int], iterations: float, active: float, batch: int = 1, *, shared: bool = False
) -> float:
    """Of a batch: an interior point, the solution of the active set that it ends at, the adjoint and the gradients.

    With r = m + p rows P is factored, its inverse between the rows formed, and an iteration factors a symmetric matrix
    of r, multiplies by it and solves with it for predictor and corrector; where that is more, it forms C'WC and factors
    one of n + p instead. Without inequalities the active set is known, and one factor of P + A'A serves both ends. What
    depends on the matrices alone is done once where they are ``shared``.
    """
    n, m, p = sizes
    r, k, times = m + p, n + p, 1 if shared else batch
    sweep = 4 * n**2 + 8 * n * r
    outer = 2 * n * (n + r)
    if not m:
        return 2 * times * (p * n**2 + n**3 / 3) + batch * (2 * sweep + outer)
    factored = n**3 / 3 + n * r * (n + r)
    in_rows = times * factored + batch * iterations * (r**3 / 3 + 6 * r**2)
    in_variables = batch * iterations * (m * n**2 + k**3 / 3 + 4 * k**2 + 6 * n * r + 2 * n**2)
    polish = (active + p) ** 3 / 3 + 2 * sweep
    adjoint = (active + p) * n**2 + n**3 / 3 + 2 * sweep
    return min(in_rows, in_variables) + batch * (polish + adjoint + outer)


def of_program(machine: Machine, case: Case, active: float) -> Limit:
    """The limit of one forward and backward of a batch of quadratic programs."""
    program = Program(*case.parameters)
    solved = NativeInteriorPoint().solve(stated(case.parameters))
    iterations = float(solved.iterations.double().mean())
    flops = program_flops(program.sizes, iterations, active, case.batch, shared=program.P.dim() == 2)
    size = sum(t.numel() * t.element_size() for t in case.parameters)
    threads = min(machine.threads, case.batch)
    return machine.limit(flops, 3 * size, DOUBLE, threads)


def of_rows(machine: Machine, case: Case) -> Limit:
    """The limit of a projection of rows: scores read and result written, then scores and cotangent read and gradient
    written; what little arithmetic there is does not count."""
    scores: Tensor = case.parameters[0]
    return machine.limit(0.0, 5 * scores.numel() * scores.element_size(), scores.dtype, machine.threads)


def most(rate: Callable[..., float], *given: object) -> float:
    """The largest of a few tries, each in a new process: one may meet what else the machine does."""
    return max(alone(rate, *given) for _ in range(3))


def _best(call: Callable[[], object], seconds: float = 0.15) -> float:
    """Least seconds of a call, back to back for so long that the system has parted threads which it had woken on one
    processor."""
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def _product_rate(dtype: torch.dtype, threads: int, size: int = 1024) -> float:
    """Flops per second of a product of square matrices, in a process that is left with so many threads."""
    left, right = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    out = torch.empty_like(left)
    torch.set_num_threads(threads)
    return 2 * size**3 / _best(lambda: torch.mm(left, right, out=out))


def _copy_rate(size: int) -> float:
    """Bytes read and written per second; half of ``size`` is copied to the other half."""
    source = torch.zeros(size // 16, dtype=DOUBLE)
    target = torch.empty_like(source)
    return size / _best(lambda: target.copy_(source))


class _Nothing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: object, bar: Tensor) -> Tensor:
        return bar


def _empty_call() -> float:
    """Seconds of an autograd function that does nothing, forward and backward; the median."""
    leaf, bar = torch.zeros(1, requires_grad=True), torch.ones(1)
    times = []
    for _ in range(5000):
        start = time.perf_counter()
        torch.autograd.grad(_Nothing.apply(leaf), leaf, bar)
        times.append(time.perf_counter() - start)
    return statistics.median(times)
