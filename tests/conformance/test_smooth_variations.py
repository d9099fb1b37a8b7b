"""Local problems with constraints, externs with two inputs, systems of equations: against formulas and differences."""

from __future__ import annotations

import pytest
import torch
from scipy import optimize
from torch import Tensor, nn

import declarative as dl
from tests.conformance.cases import text


def f64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def differences_agree(layer: dl.Layer, data: dict[str, Tensor], rel: float = 1e-4) -> None:
    """Gradients of outputs and duals by parameters and weights, along a random direction each."""

    def total(values: dict[str, Tensor]) -> Tensor:
        solution = layer.solve(**values)
        assert bool(solution.solved.all())
        outputs = solution.outputs
        parts = [*([outputs] if isinstance(outputs, Tensor) else outputs), *solution.duals.values()]
        generator = torch.Generator().manual_seed(7)
        terms = [(v * torch.randn(v.shape, generator=generator, dtype=v.dtype)).sum() for v in parts]
        return torch.stack(terms).sum()

    leaves = {n: v.clone().requires_grad_() for n, v in data.items()}
    targets = leaves | dict(layer.named_parameters())
    gradients = torch.autograd.grad(total(leaves), list(targets.values()), allow_unused=True, materialize_grads=True)
    generator = torch.Generator().manual_seed(8)
    for (name, target), gradient in zip(targets.items(), gradients, strict=True):
        direction = torch.randn(target.shape, generator=generator, dtype=target.dtype)
        start, ends = target.detach().clone(), []
        with torch.no_grad():
            for sign in (1, -1):
                target.copy_(start + sign * 1e-5 * direction)
                ends.append(total(leaves).item())
            target.copy_(start)
        numeric = (ends[0] - ends[1]) / 2e-5
        assert (gradient * direction).sum().item() == pytest.approx(numeric, rel=rel, abs=1e-7), name


CONSTRAINED = """layer constrained
dim n
param a[n]
param r
param x0[n]
var x[n] from x0
{objective}
subject to
  shell: sum_squares(x) == r^2
  above: x[0] >= 0.2
  below: x[1] <= 0.3
output x, dual(shell) as nu, dual(above) as lam, dual(below) as mu, value as cost
"""


@pytest.mark.parametrize(
    ("objective", "sign"),
    [("minimize locally sum((x - a)^2) + sum(sin(x))", 1), ("maximize locally -sum((x - a)^2) - sum(sin(x))", -1)],
)
def test_constrained_local_problem(objective: str, sign: int) -> None:
    """The point by SLSQP, the duals by the stationarity of the Lagrangian, both senses with the same duals."""
    layer = text(CONSTRAINED.format(objective=objective))()
    data = {"a": f64(-0.5, 0.9, 0.4), "r": torch.tensor(1.1, dtype=torch.float64), "x0": f64(0.5, 0.2, 0.9)}
    found = layer(**data)

    def cost(x: object) -> float:
        point = torch.as_tensor(x, dtype=torch.float64)
        return float(((point - data["a"]) ** 2).sum() + torch.sin(point).sum())

    best = optimize.minimize(
        cost,
        data["x0"].numpy(),
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
        constraints=[
            {"type": "eq", "fun": lambda x: x @ x - 1.1**2},
            {"type": "ineq", "fun": lambda x: x[0] - 0.2},
            {"type": "ineq", "fun": lambda x: 0.3 - x[1]},
        ],
    )
    torch.testing.assert_close(found.x, torch.as_tensor(best.x), rtol=1e-5, atol=1e-5)
    assert float(found.cost) == pytest.approx(sign * best.fun, abs=1e-8)
    slope = 2 * (found.x - data["a"]) + torch.cos(found.x) + 2 * found.nu * found.x
    slope = slope - found.lam * f64(1, 0, 0) + found.mu * f64(0, 1, 0)
    torch.testing.assert_close(slope, torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-7)
    assert found.lam.item() > 0.05
    assert found.mu.item() > 0.05
    differences_agree(layer, data)


def test_extern_of_two_inputs_with_a_learned_weight() -> None:
    source = (
        "layer energy\ndim n, k\nparam c[k]\nparam x0[n]\nparam w nonneg learned\nextern f(x[n], c[k]) -> e smooth\n"
        "var x[n] from x0\nminimize locally f(x, c) + w*sum_squares(x - x0)\n"
    )

    class Energy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(9)
            self.inner = nn.Bilinear(2, 3, 4)

        def forward(self, x: Tensor, c: Tensor) -> Tensor:
            return torch.tanh(self.inner(x, c.expand(*x.shape[:-1], 3))).sum(-1)

    module = Energy()
    layer = text(source)(f=module, w=1.5).double()
    data = {"c": f64(0.3, -1, 0.5), "x0": torch.stack([f64(0.2, -0.4), f64(1, 0.3)])}
    x = layer(**data).detach().requires_grad_()
    loss = (module(x, data["c"]) + layer.w.detach() * (x - data["x0"]).square().sum(-1)).sum()
    assert torch.autograd.grad(loss, x)[0].abs().max().item() < 1e-8
    differences_agree(layer, data)


def test_an_extern_in_training_mode_that_draws_is_refused() -> None:
    source = (
        "layer noisy\ndim n\nparam x0[n]\nextern f(x[n]) -> e smooth\nvar x[n] from x0\n"
        "minimize locally f(x) + sum_squares(x - x0)\n"
    )
    module = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5), nn.Linear(3, 1), nn.Flatten(-2)).double()
    with pytest.raises(dl.InputError, match=r"(?s)extern `f`.*Dropout"):
        text(source)(f=module)(f64(0.1, 0.2))


SYSTEM = """layer system
dim n
param A[n, n]
param b[n]
param k
param start[n]
var x[n] from start
var s from k
solve
  rows: A @ x + tanh(x) == b + s
  tie:  s + 0.1*s^3 == k + 0.2*sum(x)
output x, s
"""


def test_system_of_equations() -> None:
    generator = torch.Generator().manual_seed(10)
    A = torch.randn(3, 3, generator=generator, dtype=torch.float64) * 0.3 + 2 * torch.eye(3, dtype=torch.float64)
    data = {"A": A, "b": f64(1, -0.5, 0.3), "k": torch.tensor(0.4, dtype=torch.float64), "start": f64(0, 0, 0)}
    layer = text(SYSTEM)()
    x, s = layer(**data)
    torch.testing.assert_close(A @ x + torch.tanh(x), data["b"] + s, rtol=0, atol=1e-10)
    torch.testing.assert_close(s + 0.1 * s**3, data["k"] + 0.2 * x.sum(), rtol=0, atol=1e-10)
    differences_agree(layer, data)


def test_root_of_a_batch_with_a_shared_matrix() -> None:
    generator = torch.Generator().manual_seed(11)
    A = torch.randn(3, 3, generator=generator, dtype=torch.float64) * 0.3 + 2 * torch.eye(3, dtype=torch.float64)
    b = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    data = {"A": A, "b": b, "k": torch.zeros(6, dtype=torch.float64), "start": f64(0, 0, 0)}
    layer = text(SYSTEM)()
    shared = A.clone().requires_grad_()
    layer(**(data | {"A": shared})).x.square().sum().backward()
    parts = []
    for k in range(6):
        own = A.clone().requires_grad_()
        layer(own, b[k], data["k"][k], data["start"]).x.square().sum().backward()
        parts.append(own.grad)
    torch.testing.assert_close(shared.grad, torch.stack(parts).sum(0), rtol=1e-8, atol=1e-9)


def test_a_system_without_a_root_fails_by_name() -> None:
    layer = text("layer none\nparam a\nvar x from a\nsolve\n  row: x^2 + 1 == 0\n")()
    with pytest.raises(dl.SolveError, match="the problem was not solved"):
        layer(torch.tensor(0.7, dtype=torch.float64))


def test_a_saddle_is_told() -> None:
    """The stationary branch of a saddle is returned, with its derivative, and its status says what it is."""
    layer = text("layer saddle\nparam a\nvar x[2] from 0\nminimize locally a*x[0]^2 - x[1]^2 + x[0]*x[1]\n")()
    solution = layer.solve(torch.tensor(1.0, dtype=torch.float64))
    assert dl.Status(int(solution.status)) in (dl.Status.SADDLE, dl.Status.UNBOUNDED)


@pytest.mark.parametrize(
    ("declaration", "branch"),
    [
        ("x from 1", 1.0),
        ("x from -1/2", -1.0),
        ("x from a", 1.0),
        ("x[2] from 1", 1.0),
        ("x[2] from -a", -1.0),
        ("x[2] from [1, -2]", None),
        ("x[2, 3] from -2", -1.0),
        ("x[2, 3] from a", 1.0),
    ],
)
@pytest.mark.parametrize("batch", [(), (3,), (2, 1)], ids=str)
def test_starting_points(declaration: str, branch: float | None, batch: tuple[int, ...]) -> None:
    """A number or a scalar is the start of every entry; it decides between the branches sqrt(a) and -sqrt(a)."""
    source = f"layer roots\nparam a\nvar {declaration}\nsolve\n  row: x^2 == a\n"
    shape = {"x ": (), "x[2] ": (2,), "x[2, 3] ": (2, 3)}[declaration.split("from")[0]]
    x = text(source)()(torch.full(batch, 2.25, dtype=torch.float64))
    signs = torch.full(shape, branch, dtype=torch.float64) if branch else f64(1, -1)
    torch.testing.assert_close(x, (1.5 * signs).expand((*batch, *shape)), rtol=1e-12, atol=0)


@pytest.mark.parametrize("chain", ["lo <= x <= hi", "hi >= x >= lo"])
def test_two_sided_dual_of_a_local_problem(chain: str) -> None:
    """Positive at the upper side, negative at the lower: stationarity gives 2 (a - x) - cos(x)."""
    source = "layer band\nparam a[3]\nparam lo\nparam hi\nvar x[3] from 0\n"
    source += "minimize locally sum_squares(x - a) + sum(sin(x))\n"
    layer = text(f"{source}subject to\n  band: {chain}\noutput x, dual(band) as z\n")()
    data = {"a": f64(3, 0.2, -3), "lo": torch.tensor(-1.0).double(), "hi": torch.tensor(2.0).double()}
    x, z = layer(**data)
    torch.testing.assert_close(z, 2 * (data["a"] - x) - torch.cos(x), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(x[::2], f64(2, -1), rtol=1e-7, atol=1e-7)
    assert z[0].item() > 1
    assert z[2].item() < -1
    differences_agree(layer, data)
