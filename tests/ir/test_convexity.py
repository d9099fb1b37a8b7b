"""The culprit of an expression that breaks the composition rule, and a suggestion that itself obeys it."""

from __future__ import annotations

import pytest

from declarative.diagnostics.diagnostic import Diagnostic
from declarative.frontend import check

HEAD = "layer t\ndim m, n\nparam A[m, n]\nparam S[n, n] psd\nparam Q[n, n]\nparam c[n]\nparam s\nparam p nonneg\n"
VARIABLES = "var x[n]\nvar y[n] nonneg\nvar u nonneg\nvar v\nvar X[n, n] symmetric\n"
USES = "sum(A) * 0 + sum(S) * sum(Q) * sum(c) * s * p * 0 * (sum(x) + sum(y) + u + v + trace(X))"


def diagnostics(objective: str, sense: str = "minimize") -> list[Diagnostic]:
    return [d for d in check(f"{HEAD}{VARIABLES}{sense} {objective} + {USES}\n") if d.severity == "error"]


CONVEX = [
    "sum_squares(A @ x)", "x' @ x", "x' @ S @ x", "quad_form(x, A' @ A)", "norm2(x - c)", "-sum(entr(y))",
    "p * norm1(x)",
    "norm1(s * x)", "sum(y^3)", "sum(x^2)", "exp(norm2(x))", "max(x)", "-min(x)", "sum(maximum(x, c))", "v^2 / p",
    "quad_over_lin(x, u)", "inv_pos(u)", "log_sum_exp(A @ x)", "sum(logistic(x))", "sum(huber(x))", "lambda_max(X)",
    "-log_det(X)", "norm_nuc(X)", "sum(kl_div(y, c^2 + 1))", "-geo_mean(y)", "sum(square(pos(x)))", "tv(x)",
    "-sum(sqrt(y))",
    "sum(exp(c)) * v", "sum(tanh(c) * x)", "trace(S @ X)", "-log(sum(y))", "norm_inf(x)^2", "sum(abs(x))^2",
]  # fmt: skip


@pytest.mark.parametrize("objective", CONVEX)
def test_convex_expressions_pass(objective: str) -> None:
    assert diagnostics(objective) == []
    assert diagnostics(f"-({objective})", "maximize") == []


@pytest.mark.parametrize(
    ("objective", "culprit", "words"),
    [
        ("u * v", "u * v", "product of two expressions with variables"),
        ("norm2(x) + u * v", "u * v", "product of two"),
        ("sum(exp(log(y)))", "exp(log(y))", "takes a convex argument"),
        ("sum_squares(x) - norm2(x)", "norm2(x)", "hence a concave term here"),
        ("3 - sum(sqrt(y)) + sqrt(u)", "sqrt(u)", "is concave"),
        ("s * norm1(x)", "s * norm1(x)", "the sign of its factor `s` is not known"),
        ("norm1(norm2(x) * c)", "norm2(x) * c", "the sign of its factor `c` is not known"),
        ("x' @ Q @ x", "x' @ Q @ x", "convex only if `Q` is positive semidefinite"),
        ("quad_form(x, Q)", "quad_form(x, Q)", "convex only if `Q` is positive semidefinite"),
        ("sum(x^3)", "x^3", "the sign of `x` is not known"),
        ("sum_squares(abs(x) - c)", "sum_squares(abs(x) - c)", "takes an affine argument"),
        ("log_det(X)", "log_det(X)", "is concave"),
        ("1 / v", "1 / v", "divides by a variable"),
    ],
)
def test_the_smallest_part_is_named(objective: str, culprit: str, words: str) -> None:
    found = diagnostics(objective)
    assert [d.code for d in found] == ["E301"]
    assert found[0].primary is not None
    assert found[0].primary.span.text == culprit
    assert words in found[0].message


@pytest.mark.parametrize(
    ("objective", "help"),
    [
        ("sqrt(sum_squares(A @ x))", "norm2(A @ x)"),
        ("sqrt(x' @ x)", "norm2(x)"),
        ("sqrt(sum(x^2))", "norm2(x)"),
        ("sum_squares(x) / u", "quad_over_lin(x, u)"),
        ("sum(y * log(y / x))", "rel_entr(y, x)"),
        ("log(sum(exp(x)))", "log_sum_exp(x)"),
        ("sum(log(1 + exp(x)))", "logistic(x)"),
    ],
)
def test_suggestions_can_be_typed_in(objective: str, help: str) -> None:
    (found,) = diagnostics(objective)
    assert found.help == help
    assert found.primary is not None
    mended = objective.replace(found.primary.span.text, help)
    assert mended != objective
    assert diagnostics(mended) == []


@pytest.mark.parametrize(
    ("constraint", "culprit", "words"),
    [
        ("norm2(x) >= 1", "norm2(x)", "`>=` needs a concave left side"),
        ("1 <= norm2(x)", "norm2(x)", "`<=` needs a concave right side"),
        ("norm2(x) == 1", "norm2(x)", "`==` needs an affine left side"),
        ("-1 <= abs(v) <= 1", "abs(v)", "`<=` needs an affine middle"),
        ("1 >= sqrt(u) >= -1", "sqrt(u)", "`>=` needs an affine middle"),
        ("X * u in psd", "X * u", "`in psd` needs an affine expression"),
        ("sum(y[i] * v for i in 0..n-1) <= 1", "y[i] * v", "product of two expressions"),
    ],
)
def test_constraints(constraint: str, culprit: str, words: str) -> None:
    found = [
        d for d in check(f"{HEAD}{VARIABLES}minimize {USES}\nsubject to\n {constraint}\n") if d.severity == "error"
    ]
    assert [d.code for d in found] == ["E302"]
    assert found[0].primary is not None
    assert found[0].primary.span.text == culprit
    assert words in found[0].message
