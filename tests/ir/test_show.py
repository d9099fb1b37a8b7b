"""What is printed parses back to the same expression."""

from __future__ import annotations

import pytest

from declarative.frontend import parse_program
from declarative.ir.expression import Expression, Let
from declarative.ir.show import show


def expression(text: str) -> Expression:
    head = "layer t\ndim n, T\nparam A[n, n]\nparam s\nextern f(z[n]) -> v[n]\nvar x[n]\nvar y[n]\nvar X[T+1, n]\n"
    text = (
        f"{head}let e = {text}\nminimize sum(x) + sum(y) + sum(X) + sum(A) * s + sum(f(A[0]))\noutput e as e, x, y, X\n"
    )
    value = parse_program(text, sizes={"T": 3}).outputs[0].value
    assert isinstance(value, Let)
    return value.body


@pytest.mark.parametrize(
    "text",
    [
        "x + y - A @ x",
        "x - (y - x)",
        "x - -y",
        "-(x + y)",
        "-x * s",
        "-(x * s)",
        "s * (A @ x)",
        "s * A @ x",
        "(s * x)^2",
        "-x^2",
        "(-x)^2",
        "x^-1",
        "(x^2)^3",
        "(A + A')' @ x",
        "A' @ A[0]",
        "(A @ x)[0]",
        "X[0..T-1, 2]",
        "X[1]",
        "sum(t * X[t, i] for t in 0..T, i in 0..n-1)",
        "(n - 1) * x",
        "2 * n * x",
        "1e-06 * x",
        "0.5 * x / s",
        "x / (s / 2)",
        "concat(x, [1, 2.5, -3])",
        "f(x + y)",
        "norm2(x) + log_sum_exp(y)",
    ],
)
def test_round_trip_with_minimal_parentheses(text: str) -> None:
    assert show(expression(text)) == text
