"""Diagnosis of a call: the conditions of the implicit function theorem at its solutions, measured and told in words.

The returned gradient is the derivative of the solution where, at the KKT point, the gradients of the active constraints
are independent, every active inequality has a positive multiplier, and the Lagrangian curves upwards along the active
rows. Each is measured per instance; a margin counts as zero when it is not told from zero at the accuracy of the point:

    strict complementarity   below eps^(2/3), or below ten times the square root of a residual larger than rounding: at
                             a weakly active constraint multiplier * slack is of the residual's size, both its root;
    second order             below eps^(3/4).

Reference: Fiacco, Introduction to Sensitivity and Stability Analysis in Nonlinear Programming, 1983, theorem 3.2.2.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import astuple, fields, replace
from typing import Any

import torch
from torch import Tensor

from declarative.runtime.binding import Bound
from declarative.runtime.conditions import Conditions, strictly_complementary
from declarative.runtime.cone import ConeProgram
from declarative.runtime.defaults import chosen_adjoint
from declarative.runtime.errors import AdjointWarning
from declarative.runtime.finite_differences import STEP, disagreement, outputs_of
from declarative.runtime.implicit import usable
from declarative.runtime.layer import Layer
from declarative.runtime.meanings import Verdict, meanings
from declarative.runtime.problem import Point, Problem, Solved
from declarative.runtime.quadratic import DenseQP
from declarative.runtime.report import Report
from declarative.runtime.row_names import row_names
from declarative.runtime.status import Status
from declarative.runtime.verification import REMARKS, posed, verified

__all__ = ["Report", "diagnose"]

WITHOUT_POINT = (Status.INFEASIBLE, Status.UNBOUNDED, Status.NOT_FINITE)


def diagnose(layer: Layer, bound: Bound, finite_differences: bool | float = False) -> Report:
    """The conditions at the solutions of a call, the adjoint's residual, and on request finite differences.

    ``bound``: the arguments, from `Layer.bind`. ``finite_differences``: True, or the relative step; the solved
    instances are then solved again, some ten times per parameter, in float64 on a copy of the layer. No instance's
    failure raises.
    """
    with torch.no_grad():
        whole, solved = layer._tolerant(bound, "keep")
        closed_form = layer.solution is not None
        if closed_form:
            solved = verified(layer, whole, solved)
        problem, point = posed(layer, whole, solved.point) if closed_form else (layer._problem(whole), solved.point)
        batch, status = solved.status.shape, solved.status.flatten()
        pointless = torch.stack([status == int(s) for s in WITHOUT_POINT]).any(0)
        finite = torch.stack([p.isfinite().all(-1).expand(batch).flatten() for p in point]).all(0)
        measured = (finite & ~pointless).nonzero()[:, 0]
        conditions = _measure(problem, point, batch, measured)
        if closed_form:
            conditions = replace(conditions, kkt_residual=solved.residual.flatten())
        answered = (finite & usable(status)).nonzero()[:, 0]
    residual = torch.full_like(conditions.second_order, torch.nan)
    if not closed_form and answered.numel():
        residual[answered] = _adjoint_residual(layer, whole, problem, solved, answered).to(residual)
    kkt = torch.where(conditions.kkt_residual.isnan(), solved.residual.flatten().to(residual), conditions.kkt_residual)

    verdicts = _verdicts(layer, whole, problem, solved, conditions)
    compared: dict[str, Tensor] = {}
    if finite_differences:
        step = STEP if finite_differences is True else float(finite_differences)
        compared = _compared(layer, bound, batch, answered, step)
    return Report(
        layer=type(layer).__name__,
        status=solved.status,
        kkt_residual=kkt.reshape(batch),
        licq_rank=conditions.licq_rank.reshape(batch),
        licq_rows=conditions.licq_rows.reshape(batch),
        complementarity=conditions.complementarity.reshape(batch),
        weakest=tuple(v.weakest for v in verdicts),
        second_order=conditions.second_order.reshape(batch),
        adjoint_condition=conditions.adjoint_condition.reshape(batch),
        adjoint_residual=residual.reshape(batch),
        holds=torch.tensor([v.holds for v in verdicts], device=status.device, dtype=torch.bool).reshape(batch),
        meaning=tuple(
            meanings(v, problem, adjoint_residual=left) for v, left in zip(verdicts, residual.tolist(), strict=True)
        ),
        disagreement=compared,
    )


def _measure(problem: Any, point: Point, batch: torch.Size, measured: Tensor) -> Conditions:
    """The conditions of every instance, (count,): NaN, zero rows and row -1 for those that have no point."""
    count = batch.numel()
    nothing = {"licq_rank": 0, "licq_rows": 0, "complementarity_row": -1}
    if not measured.numel():
        blank = point[0].new_full((count,), torch.nan)
        return Conditions(
            **{
                f.name: torch.full_like(blank, nothing[f.name], dtype=torch.int64) if f.name in nothing else blank
                for f in fields(Conditions)
            }
        )
    some, at = _instances(problem, point, batch, measured)
    found = some.conditions(at)
    spread = {}
    for f, value in zip(fields(Conditions), astuple(found), strict=True):
        empty = value.new_full((count,), nothing.get(f.name, torch.nan))
        empty[measured] = value.detach().expand(some.batch_shape).flatten()
        spread[f.name] = empty
    return Conditions(**spread)


def _instances(problem: Problem, point: Point, batch: torch.Size, chosen: Tensor) -> tuple[Any, Point]:
    """The problem and the point of some instances, with one batch dimension; data without one stays shared."""
    if not batch:
        return problem, point
    data = []
    for tensor, rank in zip(problem.tensors, problem.core_ranks, strict=True):
        if tensor.dim() > rank:
            core = tensor.shape[tensor.dim() - rank :]
            tensor = tensor.expand((*batch, *core)).reshape((batch.numel(), *core))[chosen]
        data.append(tensor)
    return problem.with_tensors(data), tuple(
        p.expand(*batch, -1).reshape(batch.numel(), p.shape[-1])[chosen] for p in point
    )


def _adjoint_residual(layer: Layer, bound: Bound, problem: Problem, solved: Solved, answered: Tensor) -> Tensor:
    """Relative residual of the adjoint system for a random cotangent of the outputs, at the instances ``answered``."""
    cotangent = _cotangent(layer, bound, solved)
    with torch.no_grad():
        some, point = _instances(problem, solved.point, solved.status.shape, answered)
        _, bar = _instances(problem, cotangent, solved.status.shape, answered)
    adjoint = chosen_adjoint(layer.adjoint, problem)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdjointWarning)  # the number that it warns of is what is reported
        u = adjoint.solve(some, point, bar)
        return adjoint.residual(some, point, bar, u).detach().flatten()


def _cotangent(layer: Layer, bound: Bound, solved: Solved) -> Point:
    """A random cotangent of the outputs, pulled back to the point; zero where that is not finite."""
    point = tuple(p.detach().requires_grad_() for p in solved.point)
    kind = layer.specialised(bound.sizes)
    outputs = outputs_of(kind.outputs(layer, kind.point_type(*point), *(v.detach() for v in bound.values)))
    random = torch.Generator().manual_seed(0)
    drawn = [torch.randn(o.shape, generator=random).to(o) for o in outputs]
    with torch.enable_grad():
        found = torch.autograd.grad(outputs, point, drawn, allow_unused=True)
    return tuple(torch.zeros_like(p) if g is None else g.nan_to_num(0, 0, 0) for g, p in zip(found, point, strict=True))


def _verdicts(layer: Layer, bound: Bound, problem: Problem, solved: Solved, conditions: Conditions) -> list[Verdict]:
    name = row_names(layer, bound, problem)
    eps = torch.finfo(solved.point[0].dtype).eps
    strict = strictly_complementary(conditions.complementarity, conditions.kkt_residual)
    known = ~conditions.complementarity.isnan()
    columns = (
        solved.status.flatten(),
        conditions.licq_rank,
        conditions.licq_rows,
        strict | ~known,
        conditions.complementarity_row,
        conditions.second_order,
        _linear(problem, solved.status.shape),
        eps**0.75 * _curvature(problem, solved.status.shape),
    )
    remarks = {} if layer.solution is None else REMARKS
    return [
        Verdict(
            status=Status(status),
            remark="" if Status(status).usable else remarks.get(Status(status)) or problem.remark(at, Status(status)),
            independent=rank == rows,
            strict=is_strict,
            rank=rank,
            rows=rows,
            weakest=name(row),
            second_order=curvature,
            flat=abs(curvature) <= level,
            saddle=curvature < -level,
            vertex=curvature == float("inf") and isinstance(problem, DenseQP | ConeProgram),
            linear=is_linear,
        )
        for at, status, rank, rows, is_strict, row, curvature, is_linear, level in zip(
            itertools.product(*map(range, solved.status.shape)), *(c.tolist() for c in columns), strict=True
        )
    ]


def _curvature(problem: Problem, batch: torch.Size) -> Tensor:
    """The size of the objective's curvature, up to one, beside which that along the active rows is judged; (count,)."""
    if isinstance(problem, DenseQP) and problem.n:
        size = problem.P.detach().double().abs().amax((-2, -1)).expand(batch).flatten()
        return torch.where(size > 0, size, 1).clamp_max(1)
    return torch.ones(batch.numel(), dtype=torch.float64)


def _linear(problem: Problem, batch: torch.Size) -> Tensor:
    """Whether the objective of each instance has no quadratic part, (count,); false for what is not a program."""
    if isinstance(problem, DenseQP):
        return (problem.P == 0).all(-1).all(-1).expand(batch).flatten()
    if isinstance(problem, ConeProgram):
        return (problem.P == 0).all(-1).expand(batch).flatten()
    return torch.zeros(batch.numel(), dtype=torch.bool)


def _compared(layer: Layer, bound: Bound, batch: torch.Size, answered: Tensor, step: float) -> dict[str, Tensor]:
    """The disagreement with finite differences, NaN for the instances that were not compared."""
    if not answered.numel():
        return {}
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdjointWarning)
        compared = disagreement(layer, bound, answered, step)
    for name, worst in compared.items():
        if worst.dim():
            spread = worst.new_full((batch.numel(),), torch.nan)
            spread[answered] = worst.detach()
            worst = spread.reshape(batch)
        found[name] = worst.detach()
    return found
