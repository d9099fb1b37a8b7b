"""What a compiled layer returns is the solution, and its duals are the multipliers, by other solvers' account."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.conformance.cases import CASES, NAMES, Case


@pytest.mark.parametrize("case", CASES, ids=NAMES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_solution_and_duals(case: Case, seed: int) -> None:
    layer, data = case.layer(), case.data(seed)
    outputs, duals = case.expected(layer, data)
    solution = layer.solve(**data)
    assert int(solution.status) == 0
    found = case.named(solution.outputs)
    assert tuple(found) == tuple(outputs)
    for name, value in found.items():
        accuracy = 1e-6 if name not in ("nu", "lam", "price", "price_of_risk") else 1e-5
        np.testing.assert_allclose(value.detach().numpy(), outputs[name], atol=accuracy, err_msg=name)
    assert set(solution.duals) == set(case.duals) == set(duals)
    for name, value in solution.duals.items():
        np.testing.assert_allclose(value.detach().numpy(), duals[name], atol=1e-5, err_msg=name)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_forward_returns_the_outputs_of_solve(case: Case) -> None:
    layer, data = case.layer(), case.data(4, (3,))
    solution = layer.solve(**data)
    for name, value in case.named(layer(**data)).items():
        torch.testing.assert_close(value, case.named(solution.outputs)[name], rtol=0, atol=0)
    assert solution.status.shape == solution.iterations.shape == solution.residuals.shape == (3,)
    assert bool(solution.solved.all())
    assert float(solution.residuals.max()) < 1e-8


INEQUALITIES = ("ineq", "risk", "box", "limits", "slew", "budget")


@pytest.mark.parametrize("case", [c for c in CASES if set(c.duals) & set(INEQUALITIES)], ids=str)
def test_the_data_activate_and_release_every_inequality(case: Case) -> None:
    """Agreement on multipliers that are all zero, or on gradients of a vertex, would show little."""
    layer = case.layer()
    solutions = [layer.solve(**case.data(seed)).duals for seed in (2, 3)]
    for name in set(case.duals) & set(INEQUALITIES) - ({"budget"} if case.name == "portfolio" else set()):
        multipliers = torch.cat([duals[name].flatten().abs() for duals in solutions])
        assert float(multipliers.max()) > 0.05, f"{name} is never active"
        if name != "slew":
            assert float(multipliers.min()) < 1e-7, f"{name} is always active"
