"""What the message of a failure says of its cause: constraints from a start, convexity, kinks, and what holds NaN."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import declarative as dl

RING = """layer ring
param x[2]
param r
var y[2] from x
minimize locally sum_squares(y - x)
subject to
  ring: sum_squares(y) >= r^2
output y
"""
REFINE = """layer refine
param z0[2]
extern energy(z[2]) -> e smooth
var z[2] from z0
minimize locally energy(z) + 1/2 * sum_squares(z - z0)
output z
"""
RIDGE = """layer ridge
param b[2]
param rho nonneg learned
param M[2, 2] learned
var x[2]
minimize sum_squares(M @ x - b) + rho * sum_squares(x)
subject to
  cap: sum(x) <= 1
output x
"""
INDEFINITE = """layer indefinite
param P[2, 2] psd
param q[2]
var x[2]
minimize 1/2 * quad_form(x, P) + q @ x
subject to
  box: -1 <= x <= 1
output x
"""


class Kinked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[3.0, 1.0], [-2.0, 4.0]]))

    def forward(self, z: Tensor) -> Tensor:
        return 5 * torch.relu(z @ self.weight).sum(-1)


def test_a_start_without_descent_is_no_proof_that_there_is_no_point() -> None:
    """The centre of the disc that is forbidden: its violation is stationary there, and yet there are points outside."""
    layer = dl.compile(RING)()
    centre = torch.zeros(2, dtype=torch.float64)
    (meaning,) = layer.diagnose(centre, 1.5).meaning
    assert "no point satisfies" not in meaning[0]
    assert "goes no lower in the neighbourhood that this start leads to" in meaning[0]
    assert "try another start" in meaning[0]
    with pytest.raises(dl.SolveError, match=r"infeasible.*; the violation of the constraints goes no lower"):
        layer(centre, 1.5)
    assert layer(centre + 1e-3, 1.5).norm() == pytest.approx(1.5)  # another start


def test_no_program_without_points_is_told_so() -> None:
    layer = dl.compile(
        "layer gap\nparam c[2]\nvar x[2]\nminimize c @ x\nsubject to\n  low: x <= -1\n  high: x >= 1\n"
    )()
    (meaning,) = layer.diagnose(torch.ones(2, dtype=torch.float64)).meaning
    assert meaning[0].startswith("infeasible: no point satisfies the constraints; ")


def test_an_indefinite_matrix_is_the_cause_and_not_the_iterations() -> None:
    layer = dl.compile(INDEFINITE)()
    P, q = torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64)), torch.ones(2, dtype=torch.float64)
    with pytest.raises(dl.SolveError, match="is not positive semidefinite") as raised:
        layer(P, q)
    assert "0 iterations" not in str(raised.value)
    (meaning,) = layer.diagnose(P, q).meaning
    assert "its eigenvalues go from -1 to 1" in meaning[0]


def test_a_stall_in_a_kink_names_what_may_have_it() -> None:
    layer = dl.compile(REFINE)(energy=Kinked())
    start = torch.tensor([[0.3, 0.4], [-0.5, 0.2]])
    with pytest.raises(dl.SolveError, match=r"if an extern has kinks, as ReLU.*Softplus"):
        layer(start)
    assert "if an extern has kinks" in layer.diagnose(start).meaning[0][0]


def test_what_the_layer_owns_is_named_where_it_holds_nan() -> None:
    layer = dl.compile(RIDGE)(M=torch.eye(2))
    with torch.no_grad():
        layer.M[0, 1] = torch.nan
    b = torch.ones(3, 2)
    with pytest.raises(dl.SolveError, match="note: the layer's `M` holds NaN") as raised:
        layer(b)
    assert "`rho`" not in str(raised.value)
    layer = dl.compile(RIDGE)(M=torch.eye(2))
    with torch.no_grad():
        layer.unconstrained["rho"].fill_(torch.nan)
    with pytest.raises(dl.SolveError, match="note: the layer's `rho` holds NaN"):
        layer(b)


def test_weights_of_externs_are_named_too() -> None:
    kinked = Kinked()
    kinked.weight.data[0, 0] = torch.nan
    with pytest.raises(dl.SolveError, match=r"the layer's `energy\.weight` holds NaN"):
        dl.compile(REFINE)(energy=kinked)(torch.ones(2))


@pytest.mark.parametrize(
    ("b", "said"),
    [
        (torch.tensor([1.0, torch.nan]), r"note: `b` is not finite$"),
        (torch.tensor([[1.0, 1.0], [1.0, torch.nan]]), r"note: `b` is not finite in instance 1$"),
    ],
    ids=["alone", "batch"],
)
def test_an_argument_is_named_with_its_instance_where_there_are_several(b: Tensor, said: str) -> None:
    with pytest.raises(dl.SolveError, match=said):
        dl.compile(RIDGE)(M=torch.eye(2))(b)
