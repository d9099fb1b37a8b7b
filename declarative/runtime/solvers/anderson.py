"""Anderson acceleration of fixed points z = g(z), batched, with a safeguard per instance.

With the residuals f_i = g(z_i) - z_i of the last m + 1 iterates and their differences dZ, dF, one step is

    gamma = argmin |f_k - dF gamma|^2,      z_{k+1} = z_k + b f_k - (dZ + b dF) gamma,

for the mixing b; without memory it is the damped Picard iteration z + b f. Where the step leaves the domain, or the
residual more than doubles, the instance takes the Picard step instead and forgets its memory; that is halved until the
residual is finite. To autograd gamma is a constant: the unrolled derivative is that of the mixed Picard steps.

References: Walker and Ni, Anderson acceleration for fixed-point iterations, 2011; Zhang, O'Donoghue and Boyd, Globally
convergent type-I Anderson acceleration for nonsmooth fixed-point iterations, 2020, for the safeguard; Bai, Kolter and
Koltun, Deep equilibrium models, 2019.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from declarative.runtime.errors import InputError
from declarative.runtime.problem import Problem
from declarative.runtime.smooth import RootProblem, SmoothProblem, largest
from declarative.runtime.solvers.iteration import Iterate, Iteration, default_tolerance, first_iterate
from declarative.runtime.status import Status

GROWTH = 2
DIVERGED = 1e6
REGULARISATION = 1e-14
HALVINGS = 40
REGULARITY_LIMIT = 128
"""Up to as many equations the Jacobian at the solution is checked; beyond, the adjoint's residual tells."""


@dataclass(frozen=True)
class Anderson(Iteration):
    """Fixed points of a `RootProblem` that is stated as z - g(z) = 0, from its start.

    ``tolerance``: on the largest entry of z - g(z), relative to max(1, largest entry of z); by default 1e-10 in
    float64 and 1e-5 in float32. ``memory``: m, zero for the Picard iteration. ``mixing``: b, in (0, 1]. An instance
    whose residual grows without end, or stays, is inaccurate: `DampedNewton` does not need a contraction.
    Raises `InputError` for settings out of range and for a system that is not a fixed point.
    """

    tolerance: float | None = None
    max_iterations: int = 500
    memory: int = 5
    mixing: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.mixing <= 1:
            raise InputError(f"Anderson: mixing is {self.mixing!r}; expected a number in (0, 1]")
        if isinstance(self.memory, bool) or not isinstance(self.memory, int) or self.memory < 0:
            raise InputError(f"Anderson: memory is {self.memory!r}; expected a whole number, at least 0")

    def refuse(self, problem: Problem) -> None:
        if not isinstance(problem, RootProblem):
            raise TypeError(f"Anderson solves a RootProblem, found a {type(problem).__name__}")
        if not problem.fixed_point:
            raise InputError(
                "Anderson is for fixed points: expected equations of the form `z == g(z)`, one for each variable; "
                'found others, which the solver "newton" takes'
            )

    def begin(self, problem: SmoothProblem) -> Iterate:
        assert isinstance(problem, RootProblem)
        z = problem.start.clone()
        f = -problem.residual((z,))[0]
        differences = z.new_zeros(*z.shape, self.memory)
        used = torch.zeros_like(z[:, 0], dtype=torch.int64)
        memory = (f, differences, differences, used, largest(f).detach())
        return self._judged(first_iterate(z, f.isfinite().all(-1), memory))

    def step(self, problem: SmoothProblem, now: Iterate) -> Iterate:
        assert isinstance(problem, RootProblem)
        f, dZ, dF, used, least = now.memory
        z = _mixed(now.x, f, dZ, dF, used, self.mixing)
        there = -problem.residual((z,))[0]
        # Written so that NaN, which compares false, is refused.
        refused = ~(largest(there) <= GROWTH * largest(f)) & (used > 0)
        refused = refused | ~there.isfinite().all(-1)
        rows = refused.nonzero()[:, 0]
        if rows.numel():
            picard, value = _picard(problem.take(rows), now.x[rows], f[rows], self.mixing)
            z, there = z.index_copy(0, rows, picard), there.index_copy(0, rows, value)
        if self.memory:
            dZ = torch.cat([dZ[..., 1:], (z - now.x)[..., None]], -1)
            dF = torch.cat([dF[..., 1:], (there - f)[..., None]], -1)
        used = torch.where(refused, 0, (used + 1).clamp_max(self.memory))
        least = torch.minimum(least, largest(there).detach())
        lost = ~(largest(there) <= DIVERGED * least.clamp_min(1)) | (z == now.x).all(-1)
        status = torch.where(lost, int(Status.INACCURATE), now.status).to(torch.int8)
        return self._judged(replace(now, x=z, status=status, memory=(there, dZ, dF, used, least)))

    def evaluated(self, problem: SmoothProblem, now: Iterate) -> Iterate:
        assert isinstance(problem, RootProblem)
        return replace(now, memory=(-problem.residual((now.x,))[0], *now.memory[1:]))

    def finish(self, problem: SmoothProblem, end: Iterate) -> Iterate:
        assert isinstance(problem, RootProblem)
        index = (end.status == Status.SOLVED).nonzero()[:, 0]
        if problem.size > REGULARITY_LIMIT or not index.numel():
            return end
        irregular = index[~problem.take(index).is_regular(end.x[index])]
        return replace(end, status=end.status.index_fill(0, irregular, int(Status.INACCURATE)))

    def _judged(self, now: Iterate) -> Iterate:
        tolerance = default_tolerance(now.x.dtype) if self.tolerance is None else self.tolerance
        error = (largest(now.memory[0]) / largest(now.x).clamp_min(1)).detach()
        done = (error <= tolerance) & (now.status != Status.NOT_FINITE)
        return replace(now, status=torch.where(done, int(Status.SOLVED), now.status).to(torch.int8), error=error)


def _mixed(z: Tensor, f: Tensor, dZ: Tensor, dF: Tensor, used: Tensor, mixing: float) -> Tensor:
    """The accelerated step (B, N) from differences (B, N, m), of which each instance has ``used`` (B,), the last."""
    count = dF.shape[-1]
    if not count:
        return z + mixing * f
    filled = torch.arange(count, device=z.device) >= count - used[:, None]
    dZ, dF = (torch.where(filled[:, None], t, 0) for t in (dZ, dF))
    with torch.no_grad():
        # Columns of length one make the scale of the iterates irrelevant to the regularisation.
        length = torch.linalg.vector_norm(dF, dim=1)
        scale = torch.where(length > 0, length, 1).reciprocal()
        columns = (dF * scale[:, None]).double()
        identity = torch.eye(count, dtype=torch.float64, device=z.device)
        gram = columns.mT @ columns + REGULARISATION * identity
        gram = torch.where(filled[:, :, None] & filled[:, None], gram, identity)
        factor, failed = torch.linalg.cholesky_ex(gram)
        good = (failed == 0) & gram.isfinite().all(-1).all(-1)
        factor = torch.where(good[:, None, None], factor, identity)
        gamma = torch.cholesky_solve(columns.mT @ f[..., None].double(), factor)[..., 0].to(z) * scale
        gamma = torch.where(good[:, None] & filled, gamma, 0)
    return z + mixing * f - ((dZ + mixing * dF) @ gamma[..., None])[..., 0]


def _picard(problem: RootProblem, z: Tensor, f: Tensor, mixing: float) -> tuple[Tensor, Tensor]:
    """z + b f and its residual g - z, with b halved from ``mixing`` until that is finite."""
    length = torch.full_like(z[:, :1], mixing)
    for _ in range(HALVINGS):
        with torch.no_grad():
            broken = ~problem.residual((z + length * f,))[0].isfinite().all(-1)
        if not bool(broken.any()):
            break
        length = torch.where(broken[:, None], length / 2, length)
    moved = z + length * f
    return moved, -problem.residual((moved,))[0]
