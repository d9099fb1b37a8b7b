"""Every convex program has the value, the solution and the duals that cvxpy gives to the same problem.

The references are accurate to 1e-11 in value; where the objective bends with a modulus about one, the solution is then
known to the root of that, which is the tolerance here.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from declarative.runtime.status import Status
from tests.conformance.convex.posed import Posed
from tests.conformance.convex.references import NAMES, PROGRAMS

VALUE, SOLUTION = 1e-8, 5e-6


@pytest.mark.parametrize("program", PROGRAMS, ids=NAMES)
def test_equals_cvxpy(program: Posed) -> None:
    layer, data = program.layer(), program.data()
    solution = layer.solve(**data)
    outputs, duals = program.expected(data)
    assert solution.status.item() == Status.SOLVED
    assert solution.residuals.item() < 1e-9
    found = program.named(solution.outputs)
    assert set(found) == set(outputs)
    assert set(duals) == {name for name in solution.duals if name in program.constraint_names}
    for name, value in (outputs | duals).items():
        actual = (found | solution.duals)[name].detach()
        assert actual.shape == np.shape(value), name
        np.testing.assert_allclose(actual.numpy(), value, rtol=0, atol=SOLUTION, err_msg=name)
        if name == program.value:
            np.testing.assert_allclose(actual.numpy(), value, rtol=VALUE, atol=VALUE, err_msg=name)


@pytest.mark.parametrize("program", PROGRAMS, ids=NAMES)
def test_forward_is_the_output_of_solve(program: Posed) -> None:
    layer, data = program.layer(), program.data()
    outputs = program.named(layer(**data))
    for name, value in program.named(layer.solve(**data).outputs).items():
        assert torch.equal(outputs[name], value), name
