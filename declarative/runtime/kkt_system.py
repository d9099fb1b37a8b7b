"""The linear system of a quadratic program's active set, which polishing a point and its adjoint both solve.

With the active rows C of [G] and the variables B that a bound holds, the Jacobian of the KKT residual is, transposed or
not, the symmetric matrix below acting on (u_x, u_nu, u_lambda, u_z), where u_z lives on B alone:

    [ P  A' C' I_B ] [u_x     ]   [r_x     ]
    [ A            ] [u_nu    ] = [r_nu    ]
    [ C            ] [u_lambda]   [r_lambda]
    [ I_B'         ] [u_z     ]   [r_z     ]

The last row gives the held variables outright, so the system solved is that of the free variables and the active rows,
padded where the instances of a batch have different numbers of them.

Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., 2006, section 16.1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from declarative.runtime.linear_solve import linear_solve
from declarative.runtime.quadratic import ActiveSet, DenseQP, QPPoint, matvec
from declarative.runtime.transforms import values_are_hidden


def solve_active_system(problem: DenseQP, active: ActiveSet, right: QPPoint) -> QPPoint:
    """u of the system above, with zeros for the inactive rows and free variables in its last two parts.

    ``right`` holds r_x, r_nu, r_lambda (read on active rows) and r_z (read on held variables), each (*batch, size).
    Where the rows are dependent or x is not unique, the least-norm solution. Differentiable to any order in the data of
    the problem and in ``right``.
    """
    if problem.G is None and problem.lower is None and problem.upper is None:
        return _solve_without_inequalities(problem, right)
    held = active.bounds
    start = torch.where(held, right.bounds, 0)
    rest = right.x - problem.curvature_times(start)
    eq_rest = right.eq if problem.A is None else right.eq - matvec(problem.A, start)
    ineq_rest = right.ineq if problem.G is None else right.ineq - matvec(problem.G, start)
    variables, rows = _selection(~held), _selection(active.ineq)

    matrix = _assemble(
        problem, right.x.shape[:-1], (variables, _chosen(~held, variables)), (rows, _chosen(active.ineq, rows))
    )
    sides = [
        torch.where(_chosen(~held, variables), rest.take_along_dim(variables, -1), 0),
        eq_rest,
        torch.where(_chosen(active.ineq, rows), ineq_rest.take_along_dim(rows, -1), 0),
    ]
    solution = linear_solve(matrix, torch.cat(sides, -1), symmetric=True)
    free, eq, ineq = solution.split([variables.shape[-1], problem.p, rows.shape[-1]], -1)  # type: ignore[no-untyped-call]

    x = start + torch.zeros_like(start).scatter(-1, variables, free)
    multipliers = torch.zeros_like(right.ineq).scatter(-1, rows, ineq)
    force = right.x - problem.curvature_times(x)
    if problem.A is not None:
        force = force - matvec(problem.A.mT, eq)
    if problem.G is not None:
        force = force - matvec(problem.G.mT, multipliers)
    return QPPoint(x, eq, multipliers, torch.where(held, force, 0))


def _solve_without_inequalities(problem: DenseQP, right: QPPoint) -> QPPoint:
    """The same where every instance has the same rows: data that the batch shares is factored once for all of it."""
    matrix = (problem.P + problem.P.mT) / 2
    if problem.A is not None:
        batch = torch.broadcast_shapes(matrix.shape[:-2], problem.A.shape[:-2])  # type: ignore[no-untyped-call]
        A = problem.A.expand(*batch, problem.p, problem.n)
        corner = A.new_zeros(*batch, problem.p, problem.p)
        matrix = matrix.expand(*batch, problem.n, problem.n)
        matrix = torch.cat([torch.cat([matrix, A.mT], -1), torch.cat([A, corner], -1)], -2)
    solution = linear_solve(matrix, torch.cat([right.x, right.eq], -1), symmetric=True)
    x, eq = solution.split([problem.n, problem.p], -1)  # type: ignore[no-untyped-call]
    return QPPoint(x, eq, torch.zeros_like(right.ineq), torch.zeros_like(right.bounds))


def _selection(mask: Tensor) -> Tensor:
    """Indices (*batch, k) of the true entries first, k the largest number of them in the batch (all of them under a
    transform or a compiler, where a size may not depend on values)."""
    order = mask.to(torch.int8).argsort(dim=-1, descending=True, stable=True)
    if order.numel() == 0 or values_are_hidden(mask):
        return order
    return order[..., : int(mask.sum(-1).amax())]


def _chosen(mask: Tensor, selection: Tensor) -> Tensor:
    return mask.take_along_dim(selection, -1)


def _assemble(
    problem: DenseQP, batch: torch.Size, variables: tuple[Tensor, Tensor], rows: tuple[Tensor, Tensor]
) -> Tensor:
    """The matrix over (free variables, equalities, active rows): (*batch, N, N), one on the diagonal of its padding."""
    (at, free), (at_row, live) = variables, rows
    p = problem.p
    both = free[..., :, None] & free[..., None, :]
    P = ((problem.P + problem.P.mT) / 2).expand(*batch, problem.n, problem.n)
    P = P.take_along_dim(at[..., :, None], -2).take_along_dim(at[..., None, :], -1)
    P = torch.where(both, P, 0) + torch.diag_embed((~free).to(P.dtype))
    constraints = []
    if problem.A is not None:
        constraints.append(problem.A.expand(*batch, p, problem.n).take_along_dim(at[..., None, :], -1))
    if problem.G is not None:
        G = problem.G.expand(*batch, problem.m, problem.n).take_along_dim(at_row[..., :, None], -2)
        constraints.append(torch.where(live[..., None], G.take_along_dim(at[..., None, :], -1), 0))
    if not constraints:
        return P
    C = torch.where(free[..., None, :], torch.cat(constraints, -2), 0)
    padding = torch.cat([P.new_zeros(*batch, p), (~live).to(P.dtype)], -1)
    return torch.cat([torch.cat([P, C.mT], -1), torch.cat([C, torch.diag_embed(padding)], -1)], -2)
