"""The optimal value where the solution lies on the edge of the objective's domain, or by rounding beyond it."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import torch
from torch import Tensor

import declarative as dl
from declarative.atoms import ATOMS
from declarative.ir.atom import Operand
from declarative.ir.shape import Size
from declarative.runtime import functions

F64 = torch.float64
EDGED = {
    "sqrt": (),
    "entr": (),
    "rel_entr": (2.0,),
    "kl_div": (2.0,),
    "power": (0.3,),
}


def value_and_gradient(layer: dl.Layer, *data: Tensor) -> tuple[Tensor, ...]:
    leaves = [d.clone().requires_grad_() for d in data]
    outputs = layer(*leaves)
    return outputs.v.detach(), *torch.autograd.grad(outputs.v.sum(), leaves)


@pytest.mark.parametrize("name", EDGED)
def test_a_function_on_its_edge(name: str) -> None:
    """The function itself inside; a finite value and slope where it ends, and no NaN from the second derivative."""
    operands = [Operand("x", (Size(4),)), *(Operand(str(y), (), is_number=True) for y in EDGED[name])]
    x = torch.tensor([-1e-27, 0.0, 1e-20, 0.7], dtype=F64, requires_grad=True)
    scope = {"torch": torch, "functions": functions, "x": x}
    found = eval(ATOMS[name].torch_at_edge(*operands), scope)
    inside = eval(ATOMS[name].torch(*operands), {**scope, "x": x[2:]})
    assert torch.equal(found[2:], inside)
    at_zero = eval(ATOMS[name].torch(*operands), {**scope, "x": torch.zeros(4, dtype=F64)})[:2]
    torch.testing.assert_close(found[:2], at_zero, rtol=0, atol=1e-15)
    (slope,) = torch.autograd.grad(found.square().sum() + found.sum(), x, create_graph=True)
    (bend,) = torch.autograd.grad(slope[[0, 1, 3]].sum(), x)
    assert slope[:2].isfinite().all()
    assert (slope[:2].abs() > 5).all()
    assert bend.isfinite().all()


def test_the_geometric_mean_on_its_edge() -> None:
    x = torch.tensor([2.0, -1e-27, 3.0], dtype=F64, requires_grad=True)
    text = ATOMS["geo_mean"].torch_at_edge(Operand("x", (Size(3),)))
    value = eval(text, {"torch": torch, "functions": functions, "x": x})
    assert abs(value.item()) < 1e-15
    assert torch.autograd.grad(value, x)[0].isfinite().all()


ENTROPIES = ["sum(entr(y))", "-sum(y * log(y))", "-(y' @ log(y))", "-sum(rel_entr(y, p)) - sum(y * log(p))"]


@pytest.mark.parametrize("entropy", ENTROPIES)
def test_a_probability_that_underflows(entropy: str) -> None:
    """The value is logsumexp of the scores, whose gradient is y."""
    extra = "param p[n] nonneg\n" if "p" in entropy else ""
    entropy = entropy.replace(" - sum(y * log(p))", " + log(p)' @ y")
    source = (
        f"layer choice\ndim n\nparam x[n]\n{extra}var y[n]\nmaximize x' @ y + {entropy}\nsubject to\n  sum(y) == 1\n"
    )
    layer = dl.compile(source + "output y, value as v\n")()
    x = torch.tensor([[0.0, -1000.0, 1.0], [0.5, 0.2, -2000.0]], dtype=F64)
    given = (x, torch.ones(3, dtype=F64)) if extra else (x,)
    value, gradient, *_ = value_and_gradient(layer, *given)
    expected = x.clone().requires_grad_()
    torch.logsumexp(expected, -1).sum().backward()
    torch.testing.assert_close(value, torch.logsumexp(x, -1))
    torch.testing.assert_close(gradient, expected.grad)


@pytest.mark.parametrize("curved", ["entr(x)", "sqrt(x)", "-x * log(x)", "x^0.5"])
def test_entries_that_a_cone_program_holds_at_zero(curved: str) -> None:
    """The gradient in the costs is the solution; that in the level is minus its multiplier, infinite at zero."""
    source = (
        "layer held\ndim n\nparam c[n]\nparam level\nvar x[n] nonneg\n"
        f"let curved = {curved}\nminimize c' @ x - sum(curved) + norm2(x)\nsubject to\n  cap: x[1] + x[2] <= level\n"
        "output x, value as v, dual(cap) as price\n"
    )
    layer = dl.compile(source, n=4)()
    c = torch.tensor([3.0, 2.0, 1.0, 5.0], dtype=F64)
    level = torch.tensor([0.0, 0.1], dtype=F64)
    outputs = layer(c, level)
    value, by_cost, by_level = value_and_gradient(layer, c.expand(2, 4), level)
    torch.testing.assert_close(by_cost, outputs.x, rtol=0, atol=1e-7)
    torch.testing.assert_close(by_level[1], -outputs.price[1], rtol=1e-7, atol=0)
    assert by_level[0] < -5
    bent = np.sqrt if "log" not in curved and "entr" not in curved else scipy.special.entr
    free = c[[0, 3]].numpy()
    least = scipy.optimize.minimize(
        lambda x: free @ x - bent(x).sum() + np.linalg.norm(x), [0.1, 0.1], bounds=[(1e-9, 1)] * 2, tol=1e-14
    )
    # The root of 1e-14, which a solver leaves of a zero, is 1e-7.
    np.testing.assert_allclose(value[0].item(), least.fun, rtol=0, atol=1e-6)
