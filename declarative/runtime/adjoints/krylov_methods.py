"""Krylov subspace methods for batches of linear systems A u = r that are known by their products alone.

    cg       A symmetric positive definite; stops at a direction of no positive curvature
    minres   A symmetric of any signature; least-norm solution of a singular but consistent system
    gmres    any A; restarted

Each takes v -> A v on vectors (*batch, n), r of that shape, the residual in the 2-norm ``allowed`` per instance
(*batch) and a number of products, and returns u and the iterations that each instance took. An instance that has ended
keeps its u. None looks at the whole batch but to stop, so an instance's answer is its own.

References: Hestenes and Stiefel, Methods of conjugate gradients for solving linear systems, 1952; Paige and Saunders,
Solution of sparse indefinite systems of linear equations, 1975; Saad and Schultz, GMRES, 1986; Choi, Paige and
Saunders, MINRES-QLP, 2011, for the limits of MINRES on singular systems.
"""

from __future__ import annotations

import torch
from torch import Tensor

from declarative.runtime.lanczos import Product

SUBSPACE = 50
"""Vectors that GMRES keeps before it restarts."""


def cg(product: Product, right: Tensor, allowed: Tensor, max_iterations: int) -> tuple[Tensor, Tensor]:
    """Conjugate gradients."""
    solution, remainder, search = torch.zeros_like(right), right, right
    square = (right * right).sum(-1)
    iterations = torch.zeros_like(square, dtype=torch.int32)
    running = square.sqrt() > allowed
    for _ in range(max_iterations):
        if not bool(running.any()):
            break
        image = product(search)
        curvature = (search * image).sum(-1)
        running = running & (curvature > 0)
        length = torch.where(running, square / torch.where(running, curvature, 1), 0)[..., None]
        solution, remainder = solution + length * search, remainder - length * image
        following = (remainder * remainder).sum(-1)
        turn = torch.where(running, following / torch.where(running, square, 1), 0)[..., None]
        search = remainder + turn * search
        square = torch.where(running, following, square)
        iterations = iterations + running.to(torch.int32)
        running = running & (square.sqrt() > allowed)
    return solution, iterations


def minres(product: Product, right: Tensor, allowed: Tensor, max_iterations: int) -> tuple[Tensor, Tensor]:
    """Minimal residuals, by the Lanczos process."""
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


def gmres(product: Product, right: Tensor, allowed: Tensor, max_iterations: int) -> tuple[Tensor, Tensor]:
    """Generalised minimal residuals, restarted after `SUBSPACE` products."""
    solution = torch.zeros_like(right)
    iterations = torch.zeros_like(allowed, dtype=torch.int32)
    remainder, done = right, 0
    while done < max_iterations and bool((torch.linalg.vector_norm(remainder, dim=-1) > allowed).any()):
        steps = min(SUBSPACE, right.shape[-1], max_iterations - done)
        correction, taken = _arnoldi_cycle(product, remainder, allowed, steps)
        solution, iterations, done = solution + correction, iterations + taken, done + steps
        remainder = right - product(solution)
    return solution, iterations


def _arnoldi_cycle(product: Product, right: Tensor, allowed: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """The minimiser of |r - A u| over the Krylov space of ``steps`` products, by Givens rotations of the Hessenberg
    matrix; the coefficients of an instance that has ended are zero from there on."""
    size = torch.linalg.vector_norm(right, dim=-1)
    running = size > allowed
    basis = [right / torch.where(size > 0, size, 1)[..., None]]
    columns: list[list[Tensor]] = []
    rotations: list[tuple[Tensor, Tensor]] = []
    rotated, left = [], torch.where(running, size, 0)
    iterations = torch.zeros_like(size, dtype=torch.int32)
    for _ in range(steps):
        if not bool(running.any()):
            break
        image = product(basis[-1])
        spanned = torch.stack(basis, -1)
        heights = torch.zeros_like(spanned[..., 0, :])
        for _ in range(2):  # twice is enough for orthogonality to rounding
            along = (spanned.mT @ image[..., None])[..., 0]
            image, heights = image - (spanned @ along[..., None])[..., 0], heights + along
        following = torch.linalg.vector_norm(image, dim=-1)
        basis.append(image / torch.where(following > 0, following, 1)[..., None])
        column = list(heights.unbind(-1))
        for i, (cosine, sine) in enumerate(rotations):
            upper = cosine * column[i] + sine * column[i + 1]
            column[i + 1] = cosine * column[i + 1] - sine * column[i]
            column[i] = upper
        diagonal = torch.hypot(column[-1], following)
        running = running & (diagonal > 0)
        divisor = torch.where(diagonal > 0, diagonal, 1)
        cosine, sine = column[-1] / divisor, following / divisor
        column[-1] = torch.where(running, diagonal, 1)
        rotations.append((cosine, sine))
        columns.append(column)
        rotated.append(torch.where(running, cosine * left, 0))
        left = torch.where(running, -sine * left, left)
        iterations = iterations + running.to(torch.int32)
        running = running & (left.abs() > allowed)
    return _combined(basis, columns, rotated, right), iterations


def _combined(basis: list[Tensor], columns: list[list[Tensor]], rotated: list[Tensor], right: Tensor) -> Tensor:
    """The basis times the solution of the triangular system R y = g, given by columns."""
    remaining, solution = list(rotated), torch.zeros_like(right)
    for j in reversed(range(len(columns))):
        weight = remaining[j] / columns[j][j]
        solution = solution + weight[..., None] * basis[j]
        for i in range(j):
            remaining[i] = remaining[i] - weight * columns[j][i]
    return solution
