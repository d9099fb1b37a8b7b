"""Random convex programs have the value and the solution that cvxpy finds, or a status that is honest about it."""

from __future__ import annotations

import warnings
from functools import cache

import cvxpy as cp
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

import declarative as dl
from tests.conformance.random_convex.programs import Drawn, programs
from tests.conformance.references import ACCURACY

ACCURATE = 1e-5

FAR = 1e3
"""Size of a solution beyond which there may be none: an infimum that no point attains, which cvxpy calls optimal."""

quickly = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
at_length = settings(quickly, max_examples=2000)


@cache
def compiled(text: str) -> type[dl.Layer]:
    return dl.compile(text)


def reference(drawn: Drawn) -> str:
    """cvxpy's status, well beyond the accuracy that is asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            drawn.problem.solve(solver=cp.CLARABEL, **ACCURACY)
        except cp.error.SolverError:
            return "error"
    return str(drawn.problem.status)


def assert_agrees(drawn: Drawn) -> None:
    layer = compiled(drawn.text)().double()
    data = {name: torch.as_tensor(value) for name, value in drawn.values.items()}
    solution = layer.solve(**data)
    status, theirs = dl.Status(int(solution.status)), reference(drawn)
    if status is dl.Status.SOLVED:
        assert_is_optimal(drawn, solution.outputs, theirs)
    elif status is dl.Status.INFEASIBLE:
        assert theirs not in ("optimal", "unbounded"), f"infeasible, and cvxpy says {theirs}"
    elif status is dl.Status.UNBOUNDED:
        assert theirs not in ("optimal", "infeasible"), f"unbounded, and cvxpy says {theirs}"
    elif status is dl.Status.INACCURATE:
        assert float(solution.residuals) < ACCURATE, "an inaccurate point is near one"
    elif float(np.abs(drawn.x.value if drawn.x.value is not None else np.inf).max()) < FAR:
        assert theirs != "optimal", f"{status.label}, residual {float(solution.residuals):.1e}, and cvxpy solves it"


def assert_is_optimal(drawn: Drawn, outputs: tuple[torch.Tensor, ...], theirs: str) -> None:
    """No worse than cvxpy's solution, within the constraints, and equal to it where there is one only."""
    x, value = outputs[0].detach().numpy(), float(outputs[1].detach())
    assert theirs not in ("unbounded", "infeasible"), f"solved, and cvxpy says {theirs}"
    best, unique = drawn.problem.value, drawn.x.value
    if drawn.x.is_nonneg():
        assert float(x.min()) > -ACCURATE
        x = np.maximum(x, 0)  # where roots and entropies of it are defined
    drawn.x.value = x
    scale = 1 + np.abs(x).max()
    for constraint in drawn.problem.constraints:
        assert float(np.max(constraint.violation())) <= ACCURATE * scale, f"violates {constraint}"
    own = float(drawn.problem.objective.value)
    if not drawn.x.is_nonneg() or float(x.min()) > ACCURATE:
        # At an entry of zero, rounding of x leaves the domain of a root or an entropy, and `value` is that of x.
        assert value == pytest.approx(own, rel=ACCURATE, abs=ACCURATE), "value is not the objective at x"
    if theirs == "optimal":
        assert own == pytest.approx(best, rel=ACCURATE, abs=ACCURATE)
        if drawn.strongly:
            np.testing.assert_allclose(x, unique, atol=1e-4 * scale)


@quickly
@given(programs())
def test_a_few(drawn: Drawn) -> None:
    assert_agrees(drawn)


@pytest.mark.slow
@at_length
@given(programs())
def test_many(drawn: Drawn) -> None:
    assert_agrees(drawn)
