"""Each sample program, built in Python, is the program that its text gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import declarative.builder as dl
from declarative.builder import LayerDefinition
from declarative.diagnostics.diagnostic import DiagnosticError
from declarative.frontend import parse_program

PROGRAMS = Path(__file__).parents[1] / "programs" / "good"


def softmax() -> LayerDefinition:
    x = dl.param("x", "n", doc="scores (logits)")
    y = dl.var("y", "n")
    choice = dl.layer("softmax", "Entropy-regularised choice over the simplex.")
    return choice.maximize(x.T @ y + dl.sum(dl.entr(y))).subject_to(simplex=dl.sum(y) == 1).output(y)


def sparsemax() -> LayerDefinition:
    x = dl.param("x", "n")
    y = dl.var("y", "n", nonneg=True)
    projection = dl.layer("sparsemax", "Euclidean projection of the scores onto the simplex.")
    return projection.minimize(dl.sum_squares(y - x)).subject_to(simplex=dl.sum(y) == 1).output(y)


def optnet_qp() -> LayerDefinition:
    n, m, p = dl.dims("n", "m", "p")
    Q, q = dl.param("Q", n, n, psd=True), dl.param("q", n)
    A, b = dl.param("A", p, n), dl.param("b", p)
    G, h = dl.param("G", m, n), dl.param("h", m)
    z = dl.var("z", n)
    return (
        dl.layer("optnet_qp", "Quadratic program with every coefficient a parameter (OptNet).")
        .minimize(dl.constant(1) / 2 * dl.quad_form(z, Q) + q.T @ z)
        .subject_to(eq=A @ z == b, ineq=G @ z <= h)
        .output(z, nu=dl.dual("eq"), lam=dl.dual("ineq"))
    )


def savi() -> LayerDefinition:
    x, mu0, logvar0 = dl.param("x", "d"), dl.param("mu0", "k"), dl.param("logvar0", "k")
    noise, gamma, rho = dl.param("noise", "k"), dl.param("gamma", nonneg=True), dl.param("rho", nonneg=True)
    decode = dl.extern("decode", z="k", returns=("xhat", "d"), smooth=True)
    mu, logvar = dl.var("mu", "k", start=mu0), dl.var("logvar", "k", start=logvar0)
    xhat = dl.let("xhat", decode(mu + dl.exp(logvar / 2) * noise))
    nll = dl.let("nll", dl.sum_squares(x - xhat) / (2 * gamma))
    kl = dl.let("kl", dl.constant(1) / 2 * dl.sum(mu**2 + dl.exp(logvar) - logvar - 1))
    proximal = dl.sum_squares(mu - mu0) + dl.sum_squares(logvar - logvar0)
    doc = "Semi-amortised variational inference: refine the encoder's Gaussian posterior."
    return dl.layer("savi", doc).minimize_locally(nll + kl + rho / 2 * proximal).output(mu, logvar)


def elastic_net() -> LayerDefinition:
    A, b = dl.param("A", "m", "n"), dl.param("b", "m")
    lasso, ridge = dl.param("lasso", nonneg=True, learned=True), dl.param("ridge", nonneg=True, learned=True)
    w = dl.var("w", "n")
    loss = dl.constant(1) / 2 * dl.sum_squares(A @ w - b)
    objective = loss + lasso * dl.norm1(w) + ridge / 2 * dl.sum_squares(w)
    return dl.layer("elastic_net", "Sparse regression with learned penalties.").minimize(objective).output(w)


def portfolio() -> LayerDefinition:
    n, f = dl.dims("n", "f")
    mu, F, d = dl.param("mu", n), dl.param("F", f, n), dl.param("d", n, nonneg=True)
    sigma_max, cap = dl.param("sigma_max", nonneg=True), dl.param("cap", nonneg=True)
    w = dl.var("w", n)
    return (
        dl.layer("portfolio", "Long-only portfolio with a bound on its standard deviation.")
        .maximize(mu.T @ w)
        .subject_to(risk=dl.norm2(dl.concat(F @ w, d * w)) <= sigma_max)
        .subject_to(budget=dl.sum(w) == 1, box=dl.between(0, w, cap))
        .output(w, price_of_risk=dl.dual("risk"))
    )


def mpc() -> LayerDefinition:
    T = dl.dim("T", default=20)
    x0 = dl.param("x0", "nx")
    A, B = dl.param("A", "nx", "nx"), dl.param("B", "nx", "nu")
    Q, R = dl.param("Q", "nx", "nx", psd=True), dl.param("R", "nu", "nu", psd=True)
    u_max = dl.param("u_max", nonneg=True)
    x, u = dl.var("x", T + 1, "nx"), dl.var("u", "T", "nu")
    state_cost = dl.total(lambda t: dl.quad_form(x[t], Q), t=(1, T))
    input_cost = dl.total(lambda t: dl.quad_form(u[t], R), t=(0, T - 1))
    return (
        dl.layer("mpc", "Linear model-predictive control over a horizon of T steps.")
        .minimize(state_cost + input_cost)
        .subject_to(
            start=x[0] == x0,
            dynamics=dl.forall(lambda t: x[t + 1] == A @ x[t] + B @ u[t], t=(0, T - 1)),
            limits=dl.forall(lambda t: dl.between(-u_max, u[t], u_max), t=(0, "T-1")),
            slew=dl.forall(lambda t: dl.norm_inf(u[t + 1] - u[t]) <= u_max / 4, t=(0, T - 2)),
        )
        .output(action=u[0], x=x)
    )


def budget_softmax() -> LayerDefinition:
    x, cost, limit = dl.param("x", "n"), dl.param("cost", "n", nonneg=True), dl.param("limit", nonneg=True)
    y = dl.var("y", "n")
    return (
        dl.layer("budget_softmax", "Softmax whose expected cost stays within a budget.")
        .maximize(x @ y + dl.sum(dl.entr(y)))
        .subject_to(simplex=dl.sum(y) == 1, budget=cost @ y <= limit)
        .output(y, price=dl.dual("budget"))
    )


def low_rank() -> LayerDefinition:
    M, tau = dl.param("M", "m", "n"), dl.param("tau", nonneg=True)
    X = dl.var("X", "m", "n")
    doc = "Singular-value shrinkage: the proximal map of the nuclear norm."
    objective = dl.constant(1) / 2 * dl.sum_squares(X - M) + tau * dl.norm_nuc(X)
    return dl.layer("low_rank", doc).minimize(objective).output(X)


def nearest_correlation() -> LayerDefinition:
    C, X = dl.param("C", "n", "n", symmetric=True), dl.var("X", "n", "n", symmetric=True)
    nearest = dl.layer("nearest_correlation", "Nearest correlation matrix, a semidefinite program.")
    return nearest.minimize(dl.sum_squares(X - C)).subject_to(definite=dl.in_psd(X), unit=dl.diag(X) == 1).output(X)


def circle() -> LayerDefinition:
    x, y0 = dl.param("x"), dl.param("y0")
    y = dl.var("y", start=y0)
    branch = dl.layer("circle", "The branch of the unit circle that the start lies on.")
    return branch.solve(circle=x**2 + y**2 == 1).output(y)


SAMPLES = (
    *(softmax, sparsemax, optnet_qp, savi, elastic_net, portfolio, mpc, budget_softmax, low_rank),
    *(nearest_correlation, circle),
)


@pytest.mark.parametrize("build", SAMPLES, ids=lambda build: build.__name__)
def test_python_gives_the_program_of_the_text(build: Callable[[], LayerDefinition]) -> None:
    text = (PROGRAMS / f"{build.__name__}.opt").read_text(encoding="utf-8")
    assert build().program == parse_program(text)


def test_every_sample_is_built() -> None:
    assert {build.__name__ for build in SAMPLES} <= {path.stem for path in PROGRAMS.glob("*.opt")}


def written(objective: str, *declarations: str, rest: str = "") -> object:
    """The program of a text with these declarations and this objective."""
    return parse_program("\n".join(["layer f", *declarations, objective, rest]) + "\n")


@pytest.mark.parametrize(
    ("term", "text"),
    [
        (lambda x, A: dl.sum(x[1:]), "sum(x[1..n-1])"),
        (lambda x, A: dl.sum(x[:-1]), "sum(x[0..n-2])"),
        (lambda x, A: dl.sum(x[0:3]), "sum(x[0..2])"),
        (lambda x, A: x[-1] ** 2, "x[n-1]^2"),
        (lambda x, A: -x[0], "-x[0]"),
        (lambda x, A: 3 - x[0], "3 - x[0]"),
        (lambda x, A: x[0] - 3, "x[0] - 3"),
        (lambda x, A: x[0] * -3, "x[0] * -3"),
        (lambda x, A: 2 / dl.constant(3) * x[0], "2 / 3 * x[0]"),
        (lambda x, A: dl.sum(x @ A), "sum(x' @ A)"),
        (lambda x, A: dl.sum(A.T @ x), "sum(A' @ x)"),
        (lambda x, A: A[0, 1] * x[2], "A[0, 1] * x[2]"),
        (lambda x, A: dl.max(dl.abs(x)), "max(abs(x))"),
        (lambda x, A: dl.power(x[0], 4), "power(x[0], 4)"),
        (lambda x, A: dl.huber(x[0], 2) + dl.huber(x[1]), "huber(x[0], 2) + huber(x[1])"),
        (lambda x, A: np.array([1.0, 2.0]) @ x[0:2], "[1, 2]' @ x[0..1]"),
        (lambda x, A: [1, 2] @ x[0:2], "[1, 2]' @ x[0..1]"),
        (lambda x, A: dl.sum(x[0:2] * torch.tensor([1.0, 2.0])), "sum(x[0..1] * [1, 2])"),
        (
            lambda x, A: dl.total(lambda i, j: A[i, j] * x[j], i=(0, "n-1"), j=(0, 2)),
            "sum(A[i, j] * x[j] for i in 0..n-1, j in 0..2)",
        ),
    ],
)
def test_expressions_are_those_of_the_text(term: Callable[..., dl.Term], text: str) -> None:
    n = dl.dim("n", default=5)
    x, A = dl.var("x", n), dl.param("A", n, n)
    built = dl.layer("f").minimize(term(x, A)).output(x).program
    parsed = written(f"minimize {text}", "dim n = 5", "param A[n, n]", "var x[n]")
    assert built.objective == parsed.objective


def test_dimensions_are_numbers_in_expressions() -> None:
    n = dl.dim("n")
    x, a = dl.var("x", n, nonneg=True), dl.param("a", n)
    objective = 1 / n * dl.sum(x) + dl.total(lambda t: (t + 1) * x[t], t=(0, n - 1)) - a @ x
    built = dl.layer("f").minimize(objective).program
    assert [d.name for d in built.dimensions] == ["n"]
    text = "minimize 1/n * sum(x) + sum(t * x[t] for t in 0..n-1) - a' @ x"
    parsed = written(text, "dim n", "param a[n]", "var x[n] nonneg")
    assert built.objective.expression.args[0].args[0] == parsed.objective.expression.args[0].args[0]
    assert built.objective.expression.curvature is parsed.objective.expression.curvature


def test_bindings_and_attributes() -> None:
    weights = dl.param("weights", 3, constant=[1, 2, 3])
    table = dl.param("table", "n", "n", constant=True, diag=True, nonneg=True)
    scale = dl.param("scale", learned=True, nonneg=True)
    x = dl.var("x", "n", nonpos=True)
    built = dl.layer("f").minimize(scale * dl.quad_form(x, table) + dl.sum(weights) * x[0]).option(tolerance=1).program
    parsed = written(
        "minimize scale * quad_form(x, table) + sum(weights) * x[0]",
        *("dim n", "param weights[3] constant = [1, 2, 3]", "param table[n, n] constant diag nonneg"),
        *("param scale learned nonneg", "var x[n] nonpos"),
        rest="option tolerance = 1",
    )
    assert built == parsed


def test_declarations_keep_their_order_whatever_order_they_are_used_in() -> None:
    first, second = dl.param("first", "n"), dl.param("second", "n", "m")
    y, x = dl.var("y", "m"), dl.var("x", "n")
    program = dl.layer("f").minimize(dl.sum_squares(second @ y - x) + dl.sum_squares(x - first)).program
    assert [p.name for p in program.parameters] == ["first", "second"]
    assert [v.name for v in program.variables] == ["y", "x"]
    assert [d.name for d in program.dimensions] == ["n", "m"]
    assert [o.name for o in program.outputs] == ["y", "x"]


def test_a_definition_is_not_changed_by_its_methods() -> None:
    x = dl.var("x", "n")
    a = dl.param("a", "n")
    begun = dl.layer("f").minimize(dl.sum_squares(x - a))
    bounded = begun.subject_to(x >= 0)
    assert not begun.program.constraints
    assert len(bounded.program.constraints) == 1


def test_dimensions_may_be_fixed() -> None:
    x = dl.var("x", "n")
    layer = dl.layer("f").minimize(dl.sum_squares(x - 1))
    with pytest.raises(DiagnosticError, match="nothing determines the dimension `n`"):
        layer.build()
    assert layer.build({"n": 4}) == written("minimize sum_squares(x - 1)", "dim n = 4", "var x[n]")


def test_every_function_of_the_language_is_offered() -> None:
    assert {"norm1", "huber", "power", "sum"} <= set(dir(dl))
    assert "neg" not in dir(dl)
    assert dl.norm1.__doc__.startswith("Sum of absolute values")
