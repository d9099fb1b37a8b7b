"""cvxpylayers: a cvxpy problem with parameters, solved and differentiated as a cone program.

Its default and Clarabel go through diffcp. A parametric quadratic form is not DPP, so P enters by a factor, as its
documentation does it; the Cholesky factorisation belongs to the call. With Moreau as its solver it takes the quadratic
form as it is. Reference: Agrawal et al., Differentiable convex optimization layers, 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.candidates.candidate import Call, Candidate, Kind, UnavailableError, differentiated, written_out
from benchmarks.cases import Case, Program

TIGHT = {"solve_method": "Clarabel", "tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}
LARGEST = 200
"""Variables beyond which canonicalisation alone takes minutes."""


def layer(sizes: tuple[int, int, int], by_factor: bool, options: dict[str, Any]) -> Callable[..., tuple[Tensor, ...]]:
    import cvxpy as cp
    from cvxpylayers.torch import CvxpyLayer

    n, m, p = sizes
    x, q = cp.Variable(n), cp.Parameter(n)
    A, b, G, h = cp.Parameter((p, n)), cp.Parameter(p), cp.Parameter((m, n)), cp.Parameter(m)
    P = cp.Parameter((n, n)) if by_factor else cp.Parameter((n, n), PSD=True)
    curved = cp.sum_squares(P @ x) if by_factor else cp.quad_form(x, P)
    constraints = ([A @ x == b] if p else []) + ([G @ x <= h] if m else [])
    parameters = [P, q, *([A, b] if p else []), *([G, h] if m else [])]
    return CvxpyLayer(cp.Problem(cp.Minimize(curved / 2 + q @ x), constraints), parameters, [x], **options)


def prepare(case: Case, by_factor: bool, options: dict[str, Any]) -> Call:
    sizes = Program(*case.parameters).sizes
    if sizes[0] > LARGEST:
        raise UnavailableError(f"not tried beyond n = {LARGEST}: compiling the problem takes minutes")
    solve = layer(sizes, by_factor, options)

    def forward(*parameters: Tensor) -> Tensor:
        P, q, *rows = written_out(parameters, case.batch)
        first = torch.linalg.cholesky(P).mT if by_factor else P
        return solve(first, q, *(t for t in rows if t.shape[1]))[0]

    return differentiated(forward, case)


DEFAULT = Candidate("cvxpylayers", Kind.LAYER, partial(prepare, by_factor=True, options={}), "cvxpylayers")
CLARABEL = Candidate(
    "cvxpylayers, Clarabel at 1e-12",
    Kind.LAYER,
    partial(prepare, by_factor=True, options={"solver_args": TIGHT}),
    "cvxpylayers",
)
MOREAU = Candidate(
    "cvxpylayers, Moreau",
    Kind.LAYER,
    partial(prepare, by_factor=False, options={"solver": "MOREAU"}),
    "cvxpylayers",
)
