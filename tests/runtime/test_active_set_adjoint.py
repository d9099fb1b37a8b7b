"""Derivatives of `DenseQP` solutions against finite differences, closed forms and themselves composed otherwise."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import create_autospec

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from declarative.runtime import implicit
from declarative.runtime.adjoints.active_set import ActiveSetAdjoint
from declarative.runtime.problem import Problem
from declarative.runtime.quadratic import DenseQP, QPPoint
from declarative.runtime.solvers.interior_point import InteriorPoint

NAMES = ("P", "q", "A", "b", "G", "h", "lower", "upper")


@pytest.fixture(autouse=True)
def modest_threads() -> None:
    torch.set_num_threads(1)


def solution(problem: DenseQP, on_failure: implicit.OnFailure = "raise") -> QPPoint:
    return QPPoint(*implicit.solve(problem, InteriorPoint(), ActiveSetAdjoint(), on_failure).point)


def data(batch: tuple[int, ...] = (2,), n: int = 5, m: int = 4, p: int = 2, seed: int = 10) -> dict[str, Tensor]:
    """Random data of every kind, P not symmetric. The seeds are such that `freedom` holds where a test asks for it."""
    at = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*batch, *shape, dtype=torch.float64, generator=at)

    root, skew, inside, A, G = normal(n, n), normal(n, n), normal(n), normal(p, n), normal(m, n)
    width = 0.2 + torch.rand(*batch, 2 * n + m, dtype=torch.float64, generator=at)
    return {
        "P": root @ root.mT + 0.1 * torch.eye(n).double() + (skew - skew.mT),
        "q": 1.5 * normal(n),
        "A": A,
        "b": (A @ inside[..., None])[..., 0],
        "G": G,
        "h": (G @ inside[..., None])[..., 0] + width[..., :m],
        "lower": inside - 0.8 * width[..., m : m + n],
        "upper": inside + 0.8 * width[..., m + n :],
    }


def freedom(problem: DenseQP) -> Tensor:
    """Whether an instance has an active row, an active bound, an inactive one of each, and room to move beside them."""
    active = problem.active_set(solution(problem))
    held, rows = active.bounds.sum(-1), active.ineq.sum(-1)
    return (held > 0) & (rows > 0) & (rows < problem.m) & (held + rows + problem.p < problem.n)


def central_difference(function: Callable[[Tensor], Tensor], at: Tensor, step: float = 1e-6) -> Tensor:
    """Gradient of a scalar function by two-sided differences, all taken in one call over one more leading dimension."""
    shifts = step * torch.eye(at.numel(), dtype=at.dtype).view(at.numel(), *at.shape)
    return ((function(at + shifts) - function(at - shifts)) / (2 * step)).view(at.shape)


@pytest.mark.parametrize("part", QPPoint._fields)
@pytest.mark.parametrize("name", NAMES)
def test_each_part_of_the_point_in_each_tensor(name: str, part: str) -> None:
    tensors = data()
    assert freedom(DenseQP(**tensors)).all()
    weights = torch.randn(getattr(solution(DenseQP(**tensors)), part).shape, dtype=torch.float64)

    def loss(tensor: Tensor) -> Tensor:
        value: Tensor = getattr(solution(DenseQP(**{**tensors, name: tensor})), part)
        return (weights * value).sum((-2, -1))

    at = tensors[name].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(at), at)
    expected = central_difference(lambda t: loss(t).detach(), tensors[name])
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-6 * float(1 + expected.abs().max()))
    if name == "P":
        torch.testing.assert_close(gradient, gradient.mT)


@pytest.mark.parametrize(
    "absent", [(), ("A", "b"), ("G", "h"), ("lower",), ("A", "b", "G", "h"), ("A", "b", "G", "h", "lower", "upper")]
)
def test_derivatives_of_two_orders_with_every_absence(absent: tuple[str, ...]) -> None:
    tensors = {k: v for k, v in data((2,), 4, 3, 1, seed=15).items() if k not in absent}

    def function(*values: Tensor) -> tuple[Tensor, ...]:
        point = solution(DenseQP(**dict(zip(tensors, values, strict=True))))
        return tuple(t for t in point if t.numel())

    if not absent:
        assert freedom(DenseQP(**tensors)).all()
    inputs = tuple(t.requires_grad_() for t in tensors.values())
    assert gradcheck(function, inputs, rtol=1e-4, atol=1e-6, fast_mode=True)
    assert gradgradcheck(function, inputs, rtol=1e-4, atol=1e-5, fast_mode=True)


def test_shared_data_gets_the_sum_over_the_batch() -> None:
    whole = data((6,), seed=2)
    shared = {k: (v[0] if k in ("P", "A", "G", "lower", "upper") else v) for k, v in whole.items()}
    shared["b"], shared["h"] = (shared["A"] @ whole["q"][..., None])[..., 0] / 50, shared["h"].abs() + 1
    shared["lower"], shared["upper"] = shared["lower"] - 2, shared["upper"] + 2
    copies = {
        k: v.expand(6, *v.shape[v.dim() - len(whole[k].shape) + 1 :]).clone().requires_grad_()
        for k, v in shared.items()
    }
    leaves = {k: v.clone().requires_grad_() for k, v in shared.items()}
    for tensors in (copies, leaves):
        point = solution(DenseQP(**tensors))
        (point.x.pow(3).sum() + point.eq.sum() + point.ineq.pow(2).sum() + point.bounds.pow(2).sum()).backward()
    for name in NAMES:
        expected = copies[name].grad.sum(0) if leaves[name].shape != copies[name].shape else copies[name].grad
        torch.testing.assert_close(leaves[name].grad, expected, rtol=1e-9, atol=1e-9)


def test_sparsemax_jacobian_in_closed_form() -> None:
    """diag(s) - ss'/|S| on the support S."""
    theta = torch.randn(8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    one = torch.ones(1, dtype=torch.float64)

    def sparsemax(t: Tensor) -> Tensor:
        return solution(
            DenseQP(P=torch.eye(8).double(), q=-t, A=one.expand(1, 8), b=one, lower=torch.zeros(8).double())
        ).x

    support = (sparsemax(theta) > 0).double()
    expected = torch.diag(support) - torch.outer(support, support) / support.sum()
    for transform in (torch.func.jacrev, torch.func.jacfwd):
        torch.testing.assert_close(transform(sparsemax)(theta), expected, rtol=0, atol=1e-12)


def test_linear_program_is_piecewise_constant_in_its_cost() -> None:
    tensors = data((4,), 5, 4, 2, seed=4)
    tensors["P"] = torch.zeros_like(tensors["P"])
    q = tensors.pop("q").requires_grad_()
    b = tensors.pop("b").requires_grad_()
    gradients = torch.autograd.grad(solution(DenseQP(q=q, b=b, **tensors)).x.pow(2).sum(), (q, b))
    assert torch.equal(gradients[0], torch.zeros_like(q))
    numeric = central_difference(
        lambda v: solution(DenseQP(q=q.detach(), b=v, **tensors)).x.pow(2).sum((-2, -1)), b.detach()
    )
    assert numeric.abs().max() > 0.1
    torch.testing.assert_close(gradients[1], numeric, rtol=1e-5, atol=1e-6)


def test_dependent_rows_leave_the_gradient_of_x_alone() -> None:
    tensors = data((3,), seed=5)
    mix = torch.tensor([[1.0, 0], [0, 1], [1, 1]], dtype=torch.float64)
    gradients = []
    for rows in (torch.eye(2).double(), mix):
        q = tensors["q"].clone().requires_grad_()
        changed = {**tensors, "q": q, "A": rows @ tensors["A"], "b": tensors["b"] @ rows.T}
        gradients += torch.autograd.grad(solution(DenseQP(**changed)).x.pow(2).sum(), q)
    assert gradients[0].abs().max() > 1e-2
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-9)


def test_weakly_active_counts_as_inactive() -> None:
    """min 1/2 x^2 - tx with x >= 0 at t = 0: the derivative towards the inside, for bounds and rows alike."""
    one = torch.ones(1, 1, dtype=torch.float64)
    for constraint in ({"lower": torch.zeros(1).double()}, {"G": -one, "h": torch.zeros(1).double()}):
        q = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(solution(DenseQP(P=one, q=q, **constraint)).x.sum(), q)
        assert float(gradient) == -1.0


def test_the_sign_and_size_of_equality_duals_do_not_matter() -> None:
    """nu = 0 at the solution: nothing divides by it."""
    one = torch.ones(1, 2, dtype=torch.float64)
    b = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    point = solution(DenseQP(P=torch.eye(2).double(), q=torch.zeros(2).double(), A=one, b=b))
    assert point.eq.item() == 0
    x = torch.autograd.grad(point.x[0], b, retain_graph=True)[0]
    nu = torch.autograd.grad(point.eq.sum(), b)[0]
    torch.testing.assert_close(torch.cat([x, nu]), torch.tensor([0.5, -0.5]).double())


@pytest.mark.parametrize("how", ["infeasible", "nan"])
def test_one_failed_instance_of_many(how: str) -> None:
    """The other rows and their gradients are what they are without it, shared parameters included."""
    tensors = data((64,), seed=6)
    shared = {"P": tensors["P"][0], "G": tensors["G"][0]}
    tensors["h"], others = tensors["h"] + 30, torch.arange(64) != 20
    if how == "infeasible":
        tensors["lower"][20, 0] = tensors["upper"][20, 0] + 1
    else:
        tensors["q"][20, 1] = torch.nan

    def gradients(mask: Tensor) -> tuple[QPPoint, dict[str, Tensor]]:
        leaves = {k: shared.get(k, v[mask]).clone().requires_grad_() for k, v in tensors.items()}
        point = solution(DenseQP(**leaves), on_failure="nan")
        good = ~point.x.isnan().any(-1)
        loss = point.x[good].pow(2).sum() + point.eq[good].sum() + point.bounds[good].sum()
        return point, dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))

    point, gradient = gradients(torch.ones(64, dtype=torch.bool))
    alone, expected = gradients(others)
    assert point.x[20].isnan().all()
    for got, want in zip(point, alone, strict=True):
        torch.testing.assert_close(got[others], want, rtol=0, atol=1e-12)
    for name in NAMES:
        got = gradient[name] if name in shared else gradient[name][others]
        torch.testing.assert_close(got, expected[name], rtol=1e-9, atol=1e-9)
        if name not in shared:
            assert torch.equal(gradient[name][20], torch.zeros_like(gradient[name][20]))


def test_function_transforms() -> None:
    tensors = data((2,), 4, 3, 1, seed=15)
    values = tuple(tensors.values())

    def loss(*parts: Tensor) -> Tensor:
        point = solution(DenseQP(**dict(zip(tensors, parts, strict=True))))
        return point.x.pow(3).sum() + point.ineq.pow(2).sum() + point.eq.sum() + point.bounds.pow(2).sum()

    every = tuple(range(len(values)))
    leaves = [v.clone().requires_grad_() for v in values]
    expected = torch.autograd.grad(loss(*leaves), leaves)
    for got, want in zip(torch.func.vmap(torch.func.grad(loss, every))(*values), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(torch.func.vmap(loss)(*values).sum(), loss(*values))

    def of_q(q: Tensor) -> Tensor:
        return loss(values[0], q, *values[2:])

    hessian = torch.func.jacrev(torch.func.grad(of_q))(values[1])
    forward_over_reverse = torch.func.jacfwd(torch.func.grad(of_q))(values[1])
    torch.testing.assert_close(forward_over_reverse, hessian, rtol=1e-9, atol=1e-9)
    slopes = torch.func.vmap(torch.func.grad(of_q))
    shifts = 1e-5 * torch.eye(values[1].numel(), dtype=torch.float64).view(-1, *values[1].shape)
    numeric = ((slopes(values[1] + shifts) - slopes(values[1] - shifts)) / 2e-5).flatten(1)
    torch.testing.assert_close(hessian.reshape(numeric.shape), numeric, rtol=1e-5, atol=1e-5)
    assert numeric.abs().max() > 0.1
    only_q = torch.func.vmap(lambda q: solution(DenseQP(P=values[0][0], q=q, G=values[4][0], h=values[5][0])).x)(
        values[1]
    )
    loop = [solution(DenseQP(P=values[0][0], q=q, G=values[4][0], h=values[5][0])).x for q in values[1]]
    torch.testing.assert_close(only_q, torch.stack(loop))


def test_adjoint_solves_the_transposed_jacobian_of_the_residual() -> None:
    """Against the dense Jacobian of F by autograd, for cotangents on every part."""
    problem = DenseQP(**data((1,), seed=8)).with_tensors([t[0] for t in data((1,), seed=8).values()])
    point = tuple(solution(problem))
    sizes = [t.shape[-1] for t in point]

    def stacked(w: Tensor) -> Tensor:
        return torch.cat(problem.residual(w.split(sizes)))

    jacobian = torch.func.jacrev(stacked)(torch.cat(point))
    cotangent = torch.randn(sum(sizes), dtype=torch.float64)
    u = ActiveSetAdjoint().solve(problem, point, cotangent.split(sizes))
    torch.testing.assert_close(jacobian.mT @ torch.cat(u), cotangent)
    assert float(ActiveSetAdjoint().residual(problem, point, cotangent.split(sizes), u)) < 1e-12


def test_another_problem_is_refused() -> None:
    other = create_autospec(Problem, instance=True)
    with pytest.raises(TypeError, match="ActiveSetAdjoint is the adjoint of DenseQP"):
        ActiveSetAdjoint().solve(other, (), ())


def test_conditions_name_what_fails() -> None:
    """A regular program, dependent rows, a weakly active bound and a face of solutions, told apart."""
    eye, one = torch.eye(2).double(), torch.ones(2, dtype=torch.float64)
    regular = DenseQP(P=2 * eye, q=torch.tensor([-4.0, 0]).double(), A=one[None], b=one[:1], lower=0 * one - 5)
    found = regular.conditions(solution(regular))
    assert (int(found.licq_rank), int(found.licq_rows), int(found.complementarity_row)) == (1, 1, 1)
    torch.testing.assert_close(found.second_order, torch.tensor(2.0).double())
    torch.testing.assert_close(found.complementarity, torch.tensor(4.5).double())
    assert float(found.kkt_residual) < 1e-14
    torch.testing.assert_close(found.adjoint_condition, torch.tensor((3**0.5 + 1) / (3**0.5 - 1), dtype=torch.float64))

    dependent = DenseQP(P=eye, q=one, A=torch.stack([one, 2 * one]), b=one * torch.tensor([1.0, 2]).double())
    found = dependent.conditions(solution(dependent))
    assert (int(found.licq_rank), int(found.licq_rows)) == (1, 2)
    assert float(found.adjoint_condition) == float("inf")
    assert float(found.complementarity) == float("inf")
    assert int(found.complementarity_row) == -1

    weak = DenseQP(P=eye, q=torch.tensor([0.0, -1]).double(), G=eye, h=one * 3, lower=0 * one, upper=one * 9)
    found = weak.conditions(solution(weak))
    assert float(found.complementarity) < 1e-10
    assert int(found.complementarity_row) == 2

    flat = DenseQP(P=torch.zeros(2, 2).double(), q=0 * one, A=one[None], b=one[:1], lower=0 * one)
    assert float(flat.conditions(solution(flat)).second_order) == 0.0
    vertex = DenseQP(P=torch.zeros(2, 2).double(), q=one * torch.tensor([1.0, 2]), lower=0 * one)
    assert float(vertex.conditions(solution(vertex)).second_order) == float("inf")


def test_conditions_of_failed_and_fixed_instances() -> None:
    """A NaN instance spoils no other, and a fixed variable is an equality, not a weakly active pair of bounds."""
    lower = torch.tensor([0.5, -1], dtype=torch.float64)
    q = torch.tensor([[torch.nan, 1.0], [0, 5], [0, 5]], dtype=torch.float64)
    problem = DenseQP(P=torch.eye(2).double(), q=q, lower=lower, upper=torch.tensor([0.5, 3], dtype=torch.float64))
    found = problem.conditions(solution(problem, "nan"))
    for margin in (found.second_order, found.complementarity, found.adjoint_condition, found.kkt_residual):
        assert margin.isnan().tolist() == [True, False, False]
    assert found.licq_rank.tolist() == [0, 2, 2]
    torch.testing.assert_close(found.complementarity[1:], torch.tensor([4.0, 4.0]).double())
    assert found.complementarity_row[1:].tolist() == [1, 1]


def test_gradients_in_float32_and_of_an_empty_batch() -> None:
    double = data((8,), seed=9)
    gradients = []
    for dtype in (torch.float32, torch.float64):
        leaves = {k: v.float().to(dtype).requires_grad_() for k, v in double.items()}
        gradients.append(torch.autograd.grad(solution(DenseQP(**leaves)).x.pow(2).sum(), list(leaves.values())))
    for single, exact in zip(*gradients, strict=True):
        assert single.dtype == torch.float32
        torch.testing.assert_close(single, exact.float(), rtol=1e-4, atol=1e-5 * float(exact.abs().max()))
    q = torch.zeros(0, 5, dtype=torch.float64, requires_grad=True)
    P = double["P"][0].clone().requires_grad_()
    gradients = [torch.autograd.grad(solution(DenseQP(P=P, q=q, lower=double["lower"][0])).x.sum(), (P, q))]
    assert torch.equal(gradients[0][0], torch.zeros_like(P))
    assert gradients[0][1].shape == (0, 5)


def test_shared_matrices_without_inequalities() -> None:
    """The closed form of an equality-constrained program, P and A without batch dimensions; gradients are sums."""
    tensors = {k: v for k, v in data((6,), seed=10).items() if k in "PqAb"}
    tensors["P"], tensors["A"] = tensors["P"][0], tensors["A"][0]
    leaves = [v.clone().requires_grad_() for v in tensors.values()]
    point = solution(DenseQP(**dict(zip("PqAb", leaves, strict=True))))
    P, q, A, b = leaves
    kkt = torch.cat([torch.cat([(P + P.T) / 2, A.T], 1), torch.cat([A, torch.zeros(2, 2).double()], 1)], 0)
    exact = torch.cat([-q, b], -1) @ torch.linalg.inv(kkt)
    torch.testing.assert_close(torch.cat([point.x, point.eq], -1), exact)
    expected = torch.autograd.grad(exact.pow(2).sum(), leaves)
    for got, want in zip(
        torch.autograd.grad((point.x.pow(2).sum() + point.eq.pow(2).sum()), leaves), expected, strict=True
    ):
        torch.testing.assert_close(got, want)


def test_a_constraint_given_twice_leaves_the_gradient_of_x_alone() -> None:
    """Both copies are active, so LICQ fails; their multipliers share the load and dx/dq is what one copy gives."""
    tensors = data((3,), seed=5)
    gradients = []
    assert freedom(DenseQP(**tensors)).all()
    for rows in ([0, 1, 2, 3], [0, 1, 2, 3, 0, 1, 2, 3]):
        q = tensors["q"].clone().requires_grad_()
        problem = DenseQP(**{**tensors, "q": q, "G": tensors["G"][:, rows], "h": tensors["h"][:, rows]})
        point = solution(problem)
        gradients += torch.autograd.grad(point.x.pow(2).sum(), q)
    found = problem.conditions(point)
    assert (found.licq_rank < found.licq_rows).any()
    assert gradients[0].abs().max() > 1e-2
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-8, atol=1e-8)
