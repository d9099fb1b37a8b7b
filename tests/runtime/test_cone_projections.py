"""Projections onto cones against cvxpy and Moreau's conditions, their derivatives against central differences."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch

from declarative.runtime.cones import ConeProduct
from declarative.runtime.cones.semidefinite import smat, svec
from declarative.runtime.errors import InputError

torch.set_num_threads(1)

SPECS = [
    ("zero", 1),
    ("nonneg", 1),
    ("soc", 1),
    ("soc", 2),
    ("soc", 5),
    ("psd", 1),
    ("psd", 2),
    ("psd", 4),
    ("exp", 1),
    ("pow", 0.3),
    ("pow", 0.5),
    ("pow", 0.9),
]


def samples(spec, count=200, seed=0):
    torch.manual_seed(seed)
    product = ConeProduct((spec,))
    scale = 10 ** torch.linspace(-2, 2, count, dtype=torch.float64)
    return product, torch.randn(count, product.size, dtype=torch.float64) * scale[:, None]


def in_cone(spec, s, slack):
    """Membership by the definition of each cone, up to an absolute slack."""
    kind, value = spec
    if kind == "zero":
        return (s.abs() <= slack[..., None]).all(-1)
    if kind == "nonneg":
        return (s >= -slack[..., None]).all(-1)
    if kind == "soc":
        return s[..., 1:].norm(dim=-1) <= s[..., 0] + slack
    if kind == "psd":
        return torch.linalg.eigvalsh(smat(s, value))[..., 0] >= -slack
    x, y, z = s.unbind(-1)
    if kind == "exp":
        return torch.where(
            y > 0, y * (x / y).exp() - z <= slack * (1 + z.abs()), (y >= -slack) & (x <= slack) & (z >= -slack)
        )
    near_x, near_y = (x + slack).clamp_min(0), (y + slack).clamp_min(0)  # the surface is infinitely steep at its edges
    return (x >= -slack) & (y >= -slack) & (near_x**value * near_y ** (1 - value) - z.abs() >= -slack)


def in_dual(spec, z, slack):
    kind, value = spec
    if kind == "zero":
        return torch.ones_like(z[..., 0], dtype=torch.bool)
    if kind in ("nonneg", "soc", "psd"):
        return in_cone(spec, z, slack)
    u, v, w = z.unbind(-1)
    if kind == "exp":
        # cl {u < 0, -u exp(v/u - 1) <= w}
        inner = -u * (v / u.clamp_max(-1e-300) - 1).exp() <= w + slack
        return torch.where(u < -1e-14, inner, (u <= slack) & (v >= -slack) & (w >= -slack))
    scaled = torch.stack([u / value, v / (1 - value), w], -1)
    return in_cone(spec, scaled, slack)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_projection_is_the_moreau_decomposition(spec):
    product, v = samples(spec)
    s = product.project(v)
    z = s - v
    size = v.norm(dim=-1)
    slack = 1e-12 * size
    assert in_cone(spec, s, slack).all()
    assert in_dual(spec, z, slack).all()
    assert ((s * z).sum(-1).abs() <= 1e-13 * size**2).all()


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_derivative_equals_central_differences(spec):
    product, v = samples(spec, seed=1)
    v = v / v.norm(dim=-1, keepdim=True)
    D = product.derivative(v).dense()
    step, eye = 1e-6, torch.eye(product.size, dtype=v.dtype)
    numeric = torch.stack(
        [(product.project(v + step * e) - product.project(v - step * e)) / (2 * step) for e in eye], -1
    )
    regular = (numeric - numeric.mT).abs().amax((-2, -1)) < 1e-7  # a difference across a kink is not symmetric
    assert regular.double().mean() > 0.9 if product.size > 1 else True
    error = (D - numeric).abs().amax((-2, -1))
    assert torch.quantile(error, 0.97) < 1e-8
    assert (error < 1e-3).double().mean() > 0.98


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_autograd_and_vmap_use_the_derivative(spec):
    product, v = samples(spec, count=6, seed=2)
    D = product.derivative(v).dense()
    torch.testing.assert_close(torch.func.vmap(torch.func.jacrev(product.project))(v), D)
    torch.testing.assert_close(torch.func.vmap(torch.func.jacfwd(product.project))(v), D)
    w = v.clone().requires_grad_()
    g = torch.randn_like(v)
    (got,) = torch.autograd.grad(product.project(w), w, g)
    torch.testing.assert_close(got, (D @ g[..., None])[..., 0])


@pytest.mark.parametrize("tiny", [1e-8, 1e-14, 1e-17, 1e-200])
def test_exponential_cone_next_to_an_axis(tiny):
    """The ratio of the root's bracket ends is 1 / tiny, at either end; at zero the projection is continuous."""
    product = ConeProduct((("exp", 1),))
    for v in ([tiny, 1.2453, 0.5659], [-tiny, 1.2453, 0.5659], [1.2, tiny, 0.5], [1.2, -tiny, 0.5]):
        v = torch.tensor(v, dtype=torch.float64)
        at_zero = torch.where(v.abs() == tiny, 0, v)
        torch.testing.assert_close(product.project(v), product.project(at_zero), rtol=0, atol=4 * tiny + 1e-14)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_second_derivative_equals_central_differences_of_the_first(spec):
    product, v = samples(spec, seed=3)
    v = v / v.norm(dim=-1, keepdim=True)
    a, b = torch.randn_like(v), torch.randn_like(v)

    def difference(step):
        return (product.derivative(v + step * b) @ a - product.derivative(v - step * b) @ a) / (2 * step)

    numeric, coarse = difference(1e-6), difference(4e-6)
    size = 1 + numeric.abs().amax(-1)
    # Next to an edge of a power cone the curvature has no bound, and no step is small enough.
    regular = (product.smallest_margin(v)[0] > 1e-3) & ((coarse - numeric).abs().amax(-1) / size < 1e-6)
    assert regular.double().mean() > 0.8
    second = product.second_derivative(v, a, b)
    assert ((second - numeric).abs().amax(-1) / size)[regular].max() < 1e-6
    torch.testing.assert_close(product.second_derivative(v, b, a), second, rtol=1e-9, atol=1e-10)


def test_second_derivative_at_repeated_eigenvalues():
    """Differences of eigenvalues on one side of zero are not divided by."""
    product = ConeProduct((("psd", 3),))
    v = svec(torch.diag(torch.tensor([2.0, 2.0, -1.0], dtype=torch.float64)))
    torch.manual_seed(6)
    a, b = torch.randn(2, 6, dtype=torch.float64)
    step = 1e-5
    numeric = (product.derivative(v + step * b) @ a - product.derivative(v - step * b) @ a) / (2 * step)
    torch.testing.assert_close(product.second_derivative(v, a, b), numeric, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(("value", "kept"), [(3.0, 1.0), (-2.0, 0.0)])
def test_derivative_is_exact_away_from_the_surface(value, kept):
    interior = {"soc": [1.0, 0.1, 0.2], "psd": [1.0, 0.1, 2.0], "exp": [-1.0, 1.0, 2.0], "pow": [1.0, 2.0, 0.1]}
    for kind, point in interior.items():
        product = ConeProduct(((kind, {"soc": 3, "psd": 2, "exp": 1, "pow": 0.4}[kind]),))
        v = torch.tensor(point, dtype=torch.float64) * abs(value)
        if value < 0:  # minus the interior of the dual cone
            v = -v if kind in ("soc", "psd", "pow") else -torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64)
        assert torch.equal(product.derivative(v).dense(), kept * torch.eye(3, dtype=torch.float64))


def test_repeated_eigenvalues_and_kinks_are_harmless():
    product = ConeProduct((("psd", 3),))
    v = svec(torch.diag(torch.tensor([2.0, 2.0, -1.0], dtype=torch.float64)))
    D = product.derivative(v).dense()
    theta = torch.tensor([[1, 1, 2 / 3], [1, 1, 2 / 3], [2 / 3, 2 / 3, 0]], dtype=torch.float64)
    expected = torch.diag(svec(theta) / svec(torch.ones(3, 3, dtype=torch.float64)))
    torch.testing.assert_close(D, expected)
    for spec in SPECS[1:]:
        product = ConeProduct((spec,))
        at_apex = product.derivative(torch.zeros(product.size, dtype=torch.float64)).dense()
        assert torch.equal(at_apex, torch.eye(product.size, dtype=torch.float64))


def test_weak_activity_counts_as_inactive():
    nonneg = ConeProduct((("nonneg", 3),))
    D = nonneg.derivative(torch.tensor([1.0, 1e-17, -1e-17], dtype=torch.float64)).dense()
    assert torch.equal(D.diagonal(), torch.ones(3, dtype=torch.float64))
    psd = ConeProduct((("psd", 2),))
    for tiny in (1e-16, -1e-16):
        v = svec(torch.diag(torch.tensor([1.0, tiny], dtype=torch.float64)))
        assert torch.equal(psd.derivative(v).dense(), torch.eye(3, dtype=torch.float64))
    soc = ConeProduct((("soc", 2),))
    for tiny in (1e-16, -1e-16):
        v = torch.tensor([1.0, 1.0 + tiny], dtype=torch.float64)
        assert torch.equal(soc.derivative(v).dense(), torch.eye(2, dtype=torch.float64))
    on_surface = torch.tensor([[0.3, 1.0, torch.e**0.3]], dtype=torch.float64)
    assert torch.equal(ConeProduct((("exp", 1),)).derivative(on_surface).dense()[0], torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize("spec", [("soc", 2), ("soc", 5), ("psd", 2), ("exp", 1), ("pow", 0.3), ("pow", 0.9)], ids=str)
def test_margin_is_the_distance_from_the_nearest_kink(spec):
    """Kinks are the boundaries of the cone and of its polar: step off either by a known distance, to either side."""
    product, v = samples(spec, count=60, seed=4)
    p = product.project(v)
    d = v - p
    between = (p.norm(dim=-1) > 0.1) & (d.norm(dim=-1) > 0.1) & (p.abs().amin(-1) > 0.01)
    p, d = p[between], d[between]
    assert len(p) > 5
    step = 1e-5
    for at, normal in ((p, d / d.norm(dim=-1, keepdim=True)), (d, p / p.norm(dim=-1, keepdim=True))):
        for side in (1, -1):
            margin, row = product.smallest_margin(at + side * step * normal)
            torch.testing.assert_close(margin, torch.full_like(margin, step), rtol=1e-2, atol=0)
            assert (row == 0).all()


def test_margins_in_closed_form():
    def margin(spec, *point):
        return float(ConeProduct((spec,)).smallest_margin(torch.tensor(point, dtype=torch.float64))[0])

    assert margin(("zero", 1), 3.0) == float("inf")
    assert margin(("nonneg", 1), -3.0) == 3
    assert margin(("soc", 3), 3.0, 0.6, 0.8) == pytest.approx(2 / 2**0.5)
    assert margin(("psd", 2), 2.0, 0.0, -0.5) == pytest.approx(0.5)


def test_exponential_extremes():
    """Directions whose ratio rho is far from 1, checked by Moreau's conditions at full relative accuracy."""
    product = ConeProduct((("exp", 1),))
    v = torch.tensor(
        [
            [1e3, 1.0, 1.0],
            [1.0, 1e-8, -1.0],
            [-1e4, 1.0, -1e-3],
            [5.0, -1e-6, 1e5],
            [1e-9, -1.0, 1.0],
            [600.0, 1.0, 1e200],
        ],
        dtype=torch.float64,
    )
    s = product.project(v)
    assert s.isfinite().all()
    size = v.norm(dim=-1)
    assert in_cone(("exp", 1), s / size[:, None], 1e-12 * torch.ones(6)).all()
    assert in_dual(("exp", 1), (s - v) / size[:, None], 1e-12 * torch.ones(6)).all()
    assert ((s * (s - v)).sum(-1).abs() <= 1e-12 * size**2).all()
    assert product.derivative(v).dense().isfinite().all()


@pytest.mark.parametrize("spec", [("exp", 1), ("pow", 0.3), ("psd", 3), ("soc", 4)], ids=str)
def test_projection_agrees_with_cvxpy(spec):
    product, v = samples(spec, count=4, seed=3)
    v = v / v.norm(dim=-1, keepdim=True)
    for row in v:
        s = cp.Variable(product.size)
        kind, value = spec
        if kind == "exp":
            constraint = cp.ExpCone(s[0], s[1], s[2])
        elif kind == "pow":
            constraint = cp.PowCone3D(s[0], s[1], s[2], value)
        elif kind == "soc":
            constraint = cp.SOC(s[0], s[1:])
        else:
            X = cp.Variable((value, value), PSD=True)
            scaled = [X[i, j] * (1 if i == j else 2**0.5) for j in range(value) for i in range(j + 1)]
            constraint = s == cp.hstack(scaled)
        cp.Problem(cp.Minimize(cp.sum_squares(s - row.numpy())), [constraint]).solve(solver=cp.CLARABEL)
        np.testing.assert_allclose(product.project(row), s.value, atol=2e-5)


def test_product_keeps_cones_apart_and_in_order():
    specs = (("soc", 3), ("zero", 2), ("exp", 2), ("soc", 3), ("nonneg", 1), ("pow", 0.3), ("psd", 2))
    product = ConeProduct(specs)
    torch.manual_seed(0)
    v = torch.randn(4, 5, product.size, dtype=torch.float64)
    pieces, start = [], 0
    for spec in specs:
        one = ConeProduct((spec,))
        pieces.append(one.project(v[..., start : start + one.size]))
        start += one.size
    assert torch.equal(product.project(v), torch.cat(pieces, -1))


def test_a_cone_that_is_not_finite_leaves_the_others_alone():
    product = ConeProduct((("psd", 2), ("exp", 1), ("nonneg", 2)))
    v = torch.ones(2, product.size, dtype=torch.float64)
    v[1, 1] = torch.nan
    s = product.project(v)
    assert torch.equal(s[0], product.project(v[0]))
    assert torch.equal(s[1, 3:], s[0, 3:])
    assert s[1, :3].isnan().all()


def test_unknown_cones_are_refused():
    for spec in (("box", 3), ("pow", 1.5), ("soc", 2.5)):
        with pytest.raises(InputError):
            ConeProduct((spec,)).groups  # noqa: B018
