"""Differentiable batched solution of square systems K u = r, where K may be singular and r consistent with it.

Forward: K is equilibrated by diagonal matrices, factored (symmetric indefinite LDL', or LU), and the solution refined
against K itself. An instance whose factorisation reveals a condition number near 1/eps, or whose refined residual stays
large, is solved again through its spectrum: the least-norm solution among those of least residual.

Backward: from K u = r follow, with the cotangent u_bar of u,

    K' v = u_bar,    r_bar = v,    K_bar = -v u',

so the pullback is again such a solve, and derivatives of every order follow by differentiating it.

References: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., 2002, chapters 7, 11, 12 (scaling, LDL',
refinement); Ruiz, A scaling algorithm to equilibrate both rows and columns norms in matrices, 2001.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from declarative.runtime.transforms import pushes_forward, without_tangent

REFINEMENTS = 2
SMALL = 64
"""Largest order for which a batched LU is taken on the CPU: beyond about 140 torch's, on several threads, is wrong."""


def linear_solve(matrix: Tensor, right: Tensor, *, symmetric: bool = False) -> Tensor:
    """u (*batch, N) with K u = r, for ``matrix`` K (*batch_K, N, N) and ``right`` r (*batch_r, N), which broadcast.

    Where K is singular (to rounding) the answer is the least-norm solution, of least residual if r is not in K's range.
    ``symmetric`` promises K = K' and is faster; only one triangle may then be read. float32 is solved in float64.
    NaN in an instance gives NaN in that instance alone. Differentiable to any order, also under ``torch.func``.
    """
    lead = right.dim() - 1 - (matrix.dim() - 2)
    if lead > 0:  # right-hand sides beyond K's batch dimensions become columns: K is factored once for all of them
        batch = torch.broadcast_shapes(matrix.shape[:-2], right.shape[lead:-1])  # type: ignore[no-untyped-call]
        columns = right.expand(*right.shape[:lead], *batch, right.shape[-1]).reshape(
            right.shape[:lead].numel(), *batch, right.shape[-1]
        )
        solution = _solve(matrix.expand(*batch, *matrix.shape[-2:]), columns.movedim(0, -1), symmetric)
        return solution.movedim(-1, 0).reshape(*right.shape[:lead], *batch, right.shape[-1])
    batch = torch.broadcast_shapes(matrix.shape[:-2], right.shape[:-1])  # type: ignore[no-untyped-call]
    full = matrix.expand(*batch, *matrix.shape[-2:])
    return _solve(full, right.expand(*batch, right.shape[-1])[..., None], symmetric)[..., 0]


def _solve(matrix: Tensor, right: Tensor, symmetric: bool) -> Tensor:
    solution: Tensor = _LinearSolve.apply(matrix, right, symmetric)  # type: ignore[no-untyped-call]
    return solution


class _LinearSolve(torch.autograd.Function):
    """K (*batch, N, N), R (*batch, N, k) -> U (*batch, N, k)."""

    @staticmethod
    def forward(matrix: Tensor, right: Tensor, symmetric: bool) -> Tensor:
        return _solve_numerically(matrix, right, symmetric)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        matrix, _, symmetric = inputs
        ctx.save_for_backward(matrix, output)
        ctx.save_for_forward(matrix, output)
        ctx.symmetric = symmetric

    @staticmethod
    def backward(ctx: Any, bar: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        matrix, solution = ctx.saved_tensors
        right_bar = _solve(matrix.mT, bar, ctx.symmetric)
        matrix_bar = -right_bar @ solution.mT if ctx.needs_input_grad[0] else None
        return matrix_bar, right_bar if ctx.needs_input_grad[1] else None, None

    @staticmethod
    @pushes_forward
    def jvp(ctx: Any, matrix_dot: Tensor | None, right_dot: Tensor | None, _: None) -> Tensor:
        matrix, solution = map(without_tangent, ctx.saved_tensors)
        change = torch.zeros_like(solution) if right_dot is None else right_dot
        if matrix_dot is not None:
            change = change - matrix_dot @ solution
        return _solve(matrix, change, ctx.symmetric)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], matrix: Tensor, right: Tensor, symmetric: bool) -> tuple[Tensor, int]:
        """A mapped K is one more batch dimension; where only R is mapped, its instances are more columns."""
        at_matrix, at_right, _ = in_dims
        if at_matrix is None:
            columns = right.movedim(at_right, -1)
            solution = _solve(matrix, columns.flatten(-2), symmetric)
            return solution.reshape(columns.shape).movedim(-1, 0), 0
        matrix = matrix.movedim(at_matrix, 0)
        right = right.expand(info.batch_size, *right.shape) if at_right is None else right.movedim(at_right, 0)
        return _solve(matrix, right, symmetric), 0


def _solve_numerically(matrix: Tensor, right: Tensor, symmetric: bool) -> Tensor:
    """The forward pass, on one flat batch in float64."""
    batch, (order, columns) = matrix.shape[:-2], right.shape[-2:]
    if right.numel() == 0:
        return torch.zeros_like(right)
    flat = matrix.reshape(-1, order, order).to(torch.float64)
    sides = right.reshape(-1, order, columns).to(torch.float64)
    rows, cols = _equilibrate(flat, symmetric)
    scaled = rows[..., :, None] * flat * cols[..., None, :]
    unknowns, trusted = _factor_and_refine(scaled, rows[..., None] * sides, symmetric)
    solution = cols[..., None] * unknowns
    doubtful = (~trusted).nonzero()[:, 0]
    if doubtful.numel():
        finite = flat[doubtful].isfinite().all(-1).all(-1)
        solution = solution.index_fill(0, doubtful[~finite], torch.nan)
        index = doubtful[finite]
        if index.numel():
            parts = [t.index_select(0, index) for t in (scaled, rows, cols, sides)]
            solution = solution.index_copy(0, index, _least_norm(*parts, symmetric=symmetric))
    return solution.reshape(*batch, order, columns).to(right.dtype)


def _equilibrate(matrix: Tensor, symmetric: bool) -> tuple[Tensor, Tensor]:
    """Row and column scales that bring the largest entries of rows and columns of |K| near one (Ruiz); (B, N) each."""
    magnitude = matrix.abs()
    rows = torch.ones_like(matrix[..., 0])
    cols = torch.ones_like(rows)
    for _ in range(3):
        current = rows[..., :, None] * magnitude * cols[..., None, :]
        by_row = current.amax(-1)
        rows = rows * _inverse_root(by_row)
        cols = rows if symmetric else cols * _inverse_root(current.amax(-2))
    return rows, cols


def _inverse_root(scale: Tensor) -> Tensor:
    """1/sqrt, and one where a row is zero or not finite."""
    return torch.where((scale > 0) & scale.isfinite(), scale, 1).rsqrt()


def _factor_and_refine(matrix: Tensor, right: Tensor, symmetric: bool) -> tuple[Tensor, Tensor]:
    """Solution (B, N, k) of the scaled systems, and which instances it may be trusted for, (B,).

    One more right-hand side without structure rides along: the growth of its solution bounds the condition number from
    below, and tells a singular matrix even where the given right-hand sides happen to be solved well.
    """
    order = matrix.shape[-1]
    probe = torch.cos(torch.arange(order, dtype=matrix.dtype, device=matrix.device).square() + 1)
    sides = torch.cat([right, probe.expand(right.shape[0], order)[..., None]], -1)
    solve = _factor(matrix, symmetric)
    solution = solve(sides)
    for _ in range(REFINEMENTS):
        solution = solution + solve(sides - matrix @ solution)
    eps = torch.finfo(matrix.dtype).eps
    size = matrix.abs().sum(-1).amax(-1)
    growth = solution[..., -1].abs().amax(-1) * size
    solution = solution[..., :-1]
    defect = (right - matrix @ solution).abs().amax(-2)
    allowed = 100 * order * eps * (size[:, None] * solution.abs().amax(-2) + right.abs().amax(-2))
    trusted = (defect <= allowed).all(-1) & (growth <= 1 / (100 * order * eps))
    return solution, trusted


def _factor(matrix: Tensor, symmetric: bool) -> Any:
    """A function from right-hand sides (B, N, k) to solutions, by a factorisation that is right on this device."""
    if symmetric and matrix.device.type == "cpu":
        factors, pivots, _ = torch.linalg.ldl_factor_ex(matrix)
        return lambda sides: torch.linalg.ldl_solve(factors, pivots, sides)
    if matrix.device.type == "cpu" and matrix.shape[-1] > SMALL:
        each = [torch.linalg.lu_factor_ex(m)[:2] for m in matrix]
        return lambda sides: torch.stack([torch.linalg.lu_solve(*f, side) for f, side in zip(each, sides, strict=True)])
    lu, pivots, _ = torch.linalg.lu_factor_ex(matrix)
    return lambda sides: torch.linalg.lu_solve(lu, pivots, sides)


def _least_norm(matrix: Tensor, rows: Tensor, cols: Tensor, right: Tensor, *, symmetric: bool) -> Tensor:
    """Least-norm solution (B, N, k) of K u = r by the spectrum of the scaled matrix diag(rows) K diag(cols).

    Scaling makes the rank of K visible but changes what is shortest, so the part of the solution in K's null space,
    which is ``cols`` times that of the scaled matrix, is projected away in the end.
    """
    if symmetric:
        values, vectors = torch.linalg.eigh((matrix + matrix.mT) / 2)
        left = vectors
    else:
        left, values, transposed = torch.linalg.svd(matrix)
        vectors = transposed.mT
    floor = 100 * matrix.shape[-1] * torch.finfo(matrix.dtype).eps * values.abs().amax(-1, keepdim=True)
    kept = values.abs() > floor
    inverse = torch.where(kept, 1 / torch.where(kept, values, 1), 0)[..., None]
    sides = rows[..., None] * right
    solution = vectors @ (inverse * (left.mT @ sides))
    solution = solution + vectors @ (inverse * (left.mT @ (sides - matrix @ solution)))
    solution = cols[..., None] * solution
    null_first = kept.to(torch.int8).argsort(dim=-1, stable=True)[..., None, :]
    null = torch.take_along_dim(cols[..., None] * vectors * ~kept[..., None, :], null_first, -1)
    basis: Tensor = torch.linalg.qr(null)[0] * ~torch.take_along_dim(kept[..., None, :], null_first, -1)
    shortest: Tensor = solution - basis @ (basis.mT @ solution)
    return shortest
