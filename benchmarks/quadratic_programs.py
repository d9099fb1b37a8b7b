"""Differentiable quadratic programs on the CPU, side by side: forward and backward of all parameters, float64.

Every candidate solves the same random batch and pulls back the same cotangent; runs are interleaved, so that whatever
else the machine does falls on all alike, and the median and the least time of each are shown with the largest error of
x against the reference solver. ``known active set`` is what no solver can do without solving: one torch factorisation
of the KKT matrix of the active constraints, and its backward. Peers take part where they are installed.

    python -m benchmarks.quadratic_programs [--threads 2] [--repeats 9] [--sizes 10,5,2 50,50,0]
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from declarative.runtime import implicit
from declarative.runtime.adjoints.active_set import ActiveSetAdjoint
from declarative.runtime.adjoints.native_active_set import NativeActiveSetAdjoint
from declarative.runtime.kkt_system import solve_active_system
from declarative.runtime.native import library
from declarative.runtime.quadratic import DenseQP, QPPoint
from declarative.runtime.solvers.interior_point import InteriorPoint
from declarative.runtime.solvers.native_interior_point import NativeInteriorPoint

Layer = Callable[..., Tensor]
"""From (P, q, G, h, A, b) to x."""


def programs(batch: int, n: int, m: int, p: int) -> list[Tensor]:
    """P, q, G, h, A, b of a random batch with a strictly feasible point."""
    at = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, dtype=torch.float64, generator=at)

    root, inside, G, A = normal(n, n), normal(n), normal(m, n), normal(p, n)
    h = (G @ inside[..., None])[..., 0] + torch.rand(batch, m, dtype=torch.float64, generator=at)
    P = root @ root.mT / n + 0.1 * torch.eye(n, dtype=torch.float64)
    return [P, normal(n), G, h, A, (A @ inside[..., None])[..., 0]]


def problem(P: Tensor, q: Tensor, G: Tensor, h: Tensor, A: Tensor, b: Tensor) -> DenseQP:
    return DenseQP(P=P, q=q, G=G, h=h, A=A if A.shape[-2] else None, b=b if A.shape[-2] else None)


def native(*data: Tensor) -> Tensor:
    return implicit.solve(problem(*data), NativeInteriorPoint(), NativeActiveSetAdjoint()).point[0]


def reference(*data: Tensor) -> Tensor:
    return implicit.solve(problem(*data), InteriorPoint(), ActiveSetAdjoint()).point[0]


def with_known_active_set(data: list[Tensor]) -> Layer:
    """The linear system of the active set found beforehand, differentiated by torch."""
    stated = problem(*data)
    active = stated.active_set(InteriorPoint().solve(stated).point)

    def layer(*given: Tensor) -> Tensor:
        stated = problem(*given)
        right = QPPoint(-stated.q, given[5], given[3], torch.zeros_like(stated.q))
        return solve_active_system(stated, active, right).x

    return layer


def qpth_layer() -> Layer:
    from qpth.qp import QPFunction

    return QPFunction(verbose=False, check_Q_spd=False)


def candidates(data: list[Tensor]) -> dict[str, Layer]:
    found: dict[str, Layer] = {"torch reference": reference, "known active set": with_known_active_set(data)}
    if library.library() is not None:
        found = {f"declarative ({library.instructions()})": native, **found}
    if importlib.util.find_spec("qpth"):
        found["qpth"] = qpth_layer()
    return found


def measure(data: list[Tensor], repeats: int) -> dict[str, tuple[float, float, float]]:
    """Median and least milliseconds of forward and backward, and the error of x, by candidate."""
    layers = candidates(data)
    leaves = [t.clone().requires_grad_() for t in data]
    bar = torch.randn(data[1].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    exact = reference(*data)
    times: dict[str, list[float]] = {name: [] for name in layers}
    errors: dict[str, float] = {}
    for count in range(repeats + 1):
        for name, layer in layers.items():
            start = time.perf_counter()
            x = layer(*leaves)
            torch.autograd.grad(x, leaves, bar, allow_unused=True)
            if count:
                times[name].append(1e3 * (time.perf_counter() - start))
            errors[name] = float((x.detach() - exact).abs().max())
    return {name: (statistics.median(t), min(t), errors[name]) for name, t in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--sizes", nargs="*", default=["10,5,2", "50,50,0", "100,100,0"], help="n,m,p")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {platform.processor() or platform.machine()}, {options.threads} threads")
    print("| n, m, p | batch | solver | median ms | least ms | error of x |")
    print("|---|---|---|---|---|---|")
    for size in options.sizes:
        n, m, p = map(int, size.split(","))
        for batch in (options.batch, 1):
            for name, (median, least, error) in measure(programs(batch, n, m, p), options.repeats).items():
                print(f"| {n}, {m}, {p} | {batch} | {name} | {median:.3g} | {least:.3g} | {error:.0e} |", flush=True)


if __name__ == "__main__":
    main()
