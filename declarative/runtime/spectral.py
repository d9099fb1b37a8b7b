"""The absolute value of a symmetric matrix, and what follows from it: semidefinite parts and singular-value shrinkage.

    |A| = Q diag(|l|) Q'  for A = Q diag(l) Q',     A_+ = (A + |A|) / 2,
    shrink(M, r) = U diag(max(s - r, 0)) V' = M + |H - r I|_12,     H = [0 M; M' 0], with eigenvalues +-s

|A| is the root S of S^2 = A^2. A Newton step for it is a Sylvester equation S X + X S = C, which in the eigenbasis
divides by |l_i| + |l_j|: repeated eigenvalues and singular values do no harm, and no derivative of an eigenvector is
taken. Two such steps at the root, differentiated, give derivatives of orders one to three. Where l_i and l_j are both
zero to rounding (a weakly active eigenvalue) the derivative of |A| there is zero, the mean of both sides.

Reference: Higham, Functions of Matrices, 2008, chapters 6 and 8; Lewis and Sendov, Twice differentiable spectral
functions, 2001; Cai, Candes and Shen, A singular value thresholding algorithm for matrix completion, 2010.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from declarative.runtime.transforms import pushes_forward, without_tangent


def semidefinite_parts(A: Tensor) -> tuple[Tensor, Tensor]:
    """(A_+, A_-), both positive semidefinite with A = A_+ - A_- and A_+ A_- = 0; of symmetric A (*batch, n, n)."""
    size = matrix_abs(A)
    return (size + A) / 2, (size - A) / 2


def shrink_singular_values(M: Tensor, threshold: Tensor | float) -> Tensor:
    """U diag(max(s - r, 0)) V' of M = U diag(s) V' (*batch, m, n); r >= 0, a number or (*batch)."""
    m, n = M.shape[-2:]
    r = threshold if isinstance(threshold, Tensor) else M.new_tensor(threshold)
    batch = torch.broadcast_shapes(M.shape[:-2], r.shape)  # type: ignore[no-untyped-call]
    M = M.expand(*batch, m, n)
    top = torch.cat([M.new_zeros(*batch, m, m), M], -1)
    bottom = torch.cat([M.mT, M.new_zeros(*batch, n, n)], -1)
    identity = torch.eye(m + n, dtype=M.dtype, device=M.device)
    shifted = torch.cat([top, bottom], -2) - r[..., None, None] * identity
    return M + matrix_abs(shifted)[..., :m, m:]


def matrix_abs(A: Tensor) -> Tensor:
    """|A| of symmetric matrices (*batch, n, n), computed in float64; NaN in an instance stays in it."""
    exact = A.to(torch.float64)
    with torch.no_grad():
        fixed = exact.detach()
        finite = fixed.isfinite().all(-1).all(-1)[..., None, None]
        values, basis = torch.linalg.eigh(torch.where(finite, fixed, 0))
        sizes = values.abs()
        root = torch.where(finite, (basis * sizes[..., None, :]) @ basis.mT, torch.nan)
    square, step = exact @ exact, root
    solve: Any = _ReverseSylvester.apply if torch.compiler.is_compiling() else _Sylvester.apply
    for _ in range(2):
        step = step + solve(step, square - step @ step, basis, sizes)
    # The value is the eigendecomposition's; the steps carry the derivatives.
    return (root + (step - step.detach())).to(A.dtype)


class _ReverseSylvester(torch.autograd.Function):
    """X with S X + X S = C, for a symmetric S = Q diag(d) Q' with d >= 0, all (*batch, n, n); for torch's compiler."""

    generate_vmap_rule = True

    @staticmethod
    def forward(S: Tensor, C: Tensor, basis: Tensor, sizes: Tensor) -> Tensor:
        divisor = sizes[..., :, None] + sizes[..., None, :]
        weak = torch.finfo(sizes.dtype).eps ** (2 / 3) * sizes.amax(-1, keepdim=True)[..., None]
        rotated = basis.mT @ C @ basis
        return basis @ torch.where(divisor > weak, rotated / torch.where(divisor > weak, divisor, 1), 0) @ basis.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, _, basis, sizes = inputs
        S = inputs[0]
        ctx.save_for_backward(S, basis, sizes, output)
        ctx.save_for_forward(S, basis, sizes, output)

    @staticmethod
    def backward(ctx: Any, bar: Tensor) -> tuple[Tensor | None, ...]:
        S, basis, sizes, X = ctx.saved_tensors
        solve: Any = _ReverseSylvester.apply if torch.compiler.is_compiling() else _Sylvester.apply
        C_bar = solve(S, bar, basis, sizes)
        return -(C_bar @ X.mT + X.mT @ C_bar), C_bar, None, None


class _Sylvester(_ReverseSylvester):
    """The same, also in forward mode, which torch's compiler does not take from a function of one's own."""

    generate_vmap_rule = False

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *given: Tensor) -> tuple[Tensor, int]:
        """The mapped dimension becomes the first of the batch, of everything."""
        moved = (
            t.expand(info.batch_size, *t.shape) if dim is None else t.movedim(dim, 0)
            for t, dim in zip(given, in_dims, strict=True)
        )
        return _Sylvester.apply(*moved), 0  # type: ignore[no-untyped-call]

    @staticmethod
    @pushes_forward
    def jvp(ctx: Any, S_dot: Tensor | None, C_dot: Tensor | None, *_: None) -> Tensor:
        S, basis, sizes, X = map(without_tangent, ctx.saved_tensors)
        change = torch.zeros_like(X) if C_dot is None else C_dot
        if S_dot is not None:
            change = change - S_dot @ X - X @ S_dot
        return _Sylvester.apply(S, change, basis, sizes)  # type: ignore[no-any-return, no-untyped-call]
