"""Implicit, unrolled and truncated gradients of one layer, the names of solvers and adjoints, and what is refused."""

import copy
import pickle
from pathlib import Path

import pytest
import torch

import declarative as dl
from declarative.runtime.adjoints.neumann import NeumannAdjoint
from declarative.runtime.errors import AdjointWarning, InputError, SolveError
from declarative.runtime.solvers.gradient_descent import GradientDescent

F64 = torch.float64

FACTOR = """layer factor
dim n, m
param A[m, n]
param b[m]
param x0[n]
param rho nonneg
var x[n] from x0

minimize locally sum_squares(tanh(A @ x) - b) / 2 + rho / 2 * sum_squares(x)
output x
"""

EQUILIBRIUM = """layer equilibrium
dim n
param W[n, n]
param u[n]
var z[n] from 0

solve
  tanh(W @ z + u) == z
output z
"""

PROJECTION = """layer projection
dim n
param c[n]
var x[n] from 0.5

minimize locally sum_squares(x - c)
subject to
  ball: sum_squares(x) <= 1
output x
"""


def compiled(text: str, folder: Path):
    path = folder / "program.opt"
    path.write_text(text)
    return dl.compile(path)()


@pytest.fixture
def factor(tmp_path):
    random = torch.Generator().manual_seed(5)
    A = torch.randn(6, 4, generator=random, dtype=F64) / 2
    b, x0 = (torch.randn(3, n, generator=random, dtype=F64) for n in (6, 4))
    return compiled(FACTOR, tmp_path), [t.requires_grad_() for t in (A, b, x0, torch.tensor(0.7, dtype=F64))]


@pytest.fixture
def equilibrium(tmp_path):
    random = torch.Generator().manual_seed(5)
    W, u = torch.randn(8, 8, generator=random, dtype=F64) * 0.2, torch.randn(3, 8, generator=random, dtype=F64)
    return compiled(EQUILIBRIUM, tmp_path), [t.requires_grad_() for t in (W, u)]


def gradients(layer, tensors, **settings):
    for name, value in settings.items():
        setattr(layer, name, value)
    y = layer(*tensors)
    return torch.autograd.grad((y**3).sum() + y.sum(), tensors, allow_unused=True, materialize_grads=True)


def error(found, expected):
    return max(float((a - b).norm() / b.norm().clamp_min(1)) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("solver", ["newton", "newton_cg", "lbfgs", "gradient_descent"])
def test_a_long_unroll_agrees_with_the_implicit_gradient(factor, solver):
    layer, tensors = factor
    expected = gradients(layer, tensors)
    unrolled = gradients(layer, tensors, solver=solver, gradient="unrolled")
    assert error(unrolled, expected) <= 1e-6
    truncated = gradients(layer, tensors, solver=solver, gradient="truncated:400")
    assert error(truncated, expected) <= 1e-6


@pytest.mark.parametrize("solver", ["newton", "anderson", "picard"])
def test_a_long_unroll_of_a_fixed_point_too(equilibrium, solver):
    layer, tensors = equilibrium
    layer.tolerance = 1e-13
    expected = gradients(layer, tensors)
    assert error(gradients(layer, tensors, solver=solver, gradient="unrolled"), expected) <= 1e-6


def test_one_step_of_newton_is_the_implicit_gradient(factor):
    layer, tensors = factor
    expected = gradients(layer, tensors)
    assert error(gradients(layer, tensors, gradient="truncated:1"), expected) <= 1e-6


def test_the_last_steps_of_picard_are_a_neumann_series(equilibrium):
    layer, tensors = equilibrium
    for k in (1, 3, 6):
        truncated = gradients(layer, tensors, solver="picard", adjoint=None, gradient=f"truncated:{k}")
        series = gradients(layer, tensors, adjoint=f"neumann:{k - 1}", gradient="implicit")
        assert error(truncated, series) <= 1e-8
    free = gradients(layer, tensors, adjoint="jacobian_free")
    assert error(free, gradients(layer, tensors, adjoint="neumann:0")) == 0
    assert error(free, gradients(layer, tensors, adjoint="dense")) > 1e-2


@pytest.mark.parametrize("steps", [1, 5, 12])
def test_unrolled_steps_are_differentiated_down_to_the_start(factor, steps):
    layer, tensors = factor
    layer.solver = GradientDescent(step_size=0.15, momentum=0.5, steps=steps)
    layer.gradient = "unrolled"
    found = gradients(layer, tensors)
    assert found[2].abs().max() > 1e-6
    bars = [torch.cos(torch.arange(t.numel(), dtype=F64)).reshape(t.shape) for t in tensors]
    for tensor, gradient, bar in zip(tensors, found, bars, strict=True):
        values = []
        for h in (1e-5, -1e-5):
            moved = [t.detach() + (h * bar if t is tensor else 0) for t in tensors]
            y = layer(*moved)
            values.append((y**3).sum() + y.sum())
        difference = (values[0] - values[1]) / 2e-5
        assert abs((gradient * bar).sum() - difference) <= 1e-6 * (1 + abs(difference))


def test_a_truncated_window_does_not_reach_the_start(factor):
    layer, tensors = factor
    layer.solver = GradientDescent(step_size=0.15, steps=12)
    whole = gradients(layer, tensors, gradient="unrolled")
    last = gradients(layer, tensors, gradient="truncated:4")
    assert (last[2] == 0).all()
    assert error(last[:1], whole[:1]) > 1e-3
    assert error(gradients(layer, tensors, gradient="truncated:12"), whole) <= 1e-14


class Counted(torch.nn.Module):
    """The sum of squares about 1, and how often it was asked for."""

    calls = 0

    def forward(self, z):
        self.calls += 1
        return (z - 1).square().sum(-1)


def test_a_known_number_of_steps_is_taken_once(tmp_path):
    z0, bent = dl.param("z0", "k"), dl.extern("bent", z="k", returns=("e",), smooth=True)
    z = dl.var("z", "k", start=z0)
    program = dl.layer("counted").minimize_locally(bent(z) + dl.sum_squares(z - z0)).output(z)
    layer = dl.compile(program)(bent=Counted())
    layer.solver = GradientDescent(step_size=0.1, steps=50)
    start = torch.tensor([[0.5, 2.0], [-1.0, 3.0]], dtype=F64, requires_grad=True)
    evaluations, slopes = {}, {}
    for gradient in ("unrolled", "truncated:5"):
        layer.bent.calls, layer.gradient = 0, gradient
        slopes[gradient] = torch.autograd.grad(layer(start).sum(), start)[0]
        evaluations[gradient] = layer.bent.calls
    assert abs(evaluations["truncated:5"] - evaluations["unrolled"]) <= 2
    # d/dz of the map is 1 - 0.1 (2 + 2) = 0.6, of z0 it is 0.1 * 2: a geometric series.
    for gradient, k in (("unrolled", 50), ("truncated:5", 5)):
        series = 0.2 * (1 - 0.6**k) / 0.4 + (0.6**50 if gradient == "unrolled" else 0)
        assert (slopes[gradient] - series).abs().max() <= 1e-12


def test_an_instance_that_fails_contributes_nothing_to_an_unrolled_gradient(factor):
    layer, tensors = factor
    A, b, x0, rho = tensors
    broken = b.detach().clone()
    broken[1] = torch.nan
    settings = {"gradient": "unrolled", "solver": "newton", "on_failure": "nan"}
    good = torch.tensor([0, 2])
    expected = gradients(
        layer, [A, b.detach()[good].requires_grad_(), x0.detach()[good].requires_grad_(), rho], **settings
    )
    y = layer(A, broken.requires_grad_(), x0, rho)
    assert y.isnan().any(-1).tolist() == [False, True, False]
    to_A, to_rho = torch.autograd.grad((y[good] ** 3).sum() + y[good].sum(), (A, rho))
    assert error((to_A, to_rho), (expected[0], expected[3])) <= 1e-12
    layer.on_failure = "raise"
    with pytest.raises(SolveError, match="instance 1"):
        layer(A, broken, x0, rho)


@pytest.mark.parametrize("adjoint", ["dense", "cg", "minres", "gmres", "neumann:3000"])
def test_adjoints_by_name(factor, adjoint):
    layer, tensors = factor
    expected = gradients(layer, tensors)
    assert error(gradients(layer, tensors, adjoint=adjoint), expected) <= 1e-8


def test_diagnose_reports_what_an_approximate_adjoint_leaves(factor):
    layer, tensors = factor
    assert (layer.diagnose(*tensors).adjoint_residual <= 1e-9).all()
    residuals = []
    for adjoint in ("neumann:1", "neumann:5", NeumannAdjoint(20)):
        layer.adjoint = adjoint
        report = layer.diagnose(*tensors)
        residuals.append(float(report.adjoint_residual.max()))
        worst = int(report.adjoint_residual.argmax())
        assert report.meaning[worst][0].startswith("approximate gradient: the adjoint system is left with")
    assert residuals == sorted(residuals, reverse=True)
    assert residuals[-1] > 1e-6


def test_diagnose_compares_an_unrolled_gradient_with_finite_differences(factor):
    layer, tensors = factor
    layer.solver, layer.gradient = GradientDescent(step_size=0.15, steps=6), "unrolled"
    report = layer.diagnose(*tensors, finite_differences=True)
    assert max(float(worst.max()) for worst in report.disagreement.values()) <= 1e-6


def test_constraints_take_gmres_and_refuse_what_needs_symmetry_or_iterations(tmp_path):
    layer = compiled(PROJECTION, tmp_path)
    c = torch.tensor([[3.0, 4.0], [0.1, 0.2]], dtype=F64, requires_grad=True)
    expected = gradients(layer, [c])
    assert error(gradients(layer, [c], adjoint="gmres"), expected) <= 1e-8
    for adjoint in ("cg", "neumann:3"):
        layer.adjoint = adjoint
        with pytest.raises(InputError, match=r'expected .*"gmres"'):
            layer(c).sum().backward()
    layer.adjoint, layer.gradient = None, "unrolled"
    with pytest.raises(InputError, match=r'constraints is solved by an interior point method; expected "implicit"'):
        layer(c)


def test_what_is_not_iterated_has_no_unrolled_gradient(tmp_path):
    x, y = dl.param("x", "n"), dl.var("y", "n", nonneg=True)
    closed = dl.compile(dl.layer("closed").minimize(dl.sum_squares(y - x)).subject_to(dl.sum(y) == 1).output(y))()
    with pytest.raises(InputError, match="closed form"):
        closed.gradient = "unrolled"
    z = dl.var("z", "n")
    G = dl.param("G", "m", "n")
    program = dl.compile(dl.layer("program").minimize(dl.sum_squares(z - x)).subject_to(G @ z <= 1).output(z))()
    program.gradient = "truncated:3"
    with pytest.raises(InputError, match=r"DenseQP .*minimize locally"):
        program(torch.ones(3), torch.ones(2, 3))


@pytest.mark.parametrize("wrong", ["unroll", "truncated", "truncated:0", "truncated:-1", 3, None])
def test_an_unknown_gradient_is_refused_when_it_is_set(factor, wrong):
    with pytest.raises(InputError, match='expected "implicit", "unrolled" or "truncated:k"'):
        factor[0].gradient = wrong


def test_unknown_names_are_refused_with_the_known_ones(factor, equilibrium):
    layer, tensors = factor
    layer.solver = "adam"
    with pytest.raises(InputError, match="'newton', 'newton_cg', 'lbfgs', 'gradient_descent'"):
        layer(*tensors)
    layer.solver, layer.adjoint = None, "neumann"
    with pytest.raises(InputError, match="'dense', 'cg', 'minres', 'gmres', 'jacobian_free', 'neumann:k'"):
        layer(*tensors)
    layer, tensors = equilibrium
    layer.solver = "lbfgs"
    with pytest.raises(InputError, match="'newton', 'anderson', 'picard'"):
        layer(*tensors)


def test_a_fixed_number_of_steps_has_no_implicit_gradient(factor):
    layer, tensors = factor
    layer.solver = GradientDescent(steps=3)
    with pytest.raises(InputError, match=r'layer.gradient = "unrolled"'):
        layer(*tensors)
    with torch.no_grad():
        assert layer(*tensors).shape == (3, 4)


def test_vmap_over_an_unrolled_layer_is_refused(factor):
    layer, tensors = factor
    layer.gradient = "unrolled"
    A, b, x0, rho = (t.detach() for t in tensors)
    with pytest.raises(InputError, match="vmap"):
        torch.func.vmap(lambda b, x0: layer(A, b, x0, rho))(b, x0)


def test_settings_survive_a_copy(factor):
    layer = factor[0]
    layer.solver, layer.adjoint, layer.gradient = "lbfgs", "cg", "truncated:2"
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert (other.solver, other.adjoint, other.gradient) == ("lbfgs", "cg", "truncated:2")


def test_a_warning_of_the_adjoint_names_the_remedy(factor):
    layer, tensors = factor
    layer.adjoint = NeumannAdjoint(terms=60, step=5.0)
    with pytest.warns(AdjointWarning, match="grows"):
        layer(*tensors).sum().backward()
