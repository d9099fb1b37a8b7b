"""What is printed parses back to the same expression."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from declarative.frontend import parse_program
from declarative.frontend.format import format_text
from declarative.frontend.line_breaks import WIDTH
from declarative.ir.expression import At, Expression, Index, Let, SizeValue
from declarative.ir.program import Program
from declarative.ir.shape import Size
from declarative.ir.show import show
from declarative.ir.traverse import walk


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
        "x / (s/2)",
        "1/2 * x - x/2 + -x/2 + 2.5/s * x",
        "s / -2 * x",
        "x / s / 2",
        "x^2 / 2 + 2 / s^2 * x",
        "x / n + x/3",
        "concat(x, [1, 2.5, -3])",
        "f(x + y)",
        "norm2(x) + log_sum_exp(y)",
    ],
)
def test_round_trip_with_minimal_parentheses(text: str) -> None:
    assert show(expression(text)) == text


def expressions(program: Program) -> Iterator[Expression]:
    """Every expression of a program with all its parts."""
    whole = [let.body for let in program.lets]
    whole += [term for constraint in program.constraints for term in constraint.terms]
    whole += [program.objective.expression] if program.objective.expression is not None else []
    for expression in whole:
        yield from walk(expression)


@pytest.mark.parametrize("folder", ["good", "convex"])
def test_blanks_stand_where_the_formatter_puts_them(folder: str) -> None:
    texts = set()
    for path in sorted((Path(__file__).parents[1] / "programs" / folder).glob("*.opt")):
        texts |= {show(part) for part in expressions(parse_program(path.read_text(encoding="utf-8")))}
    texts = {text for text in texts if len(text) < WIDTH - len("minimize ")}
    assert len(texts) > 50
    for text in texts:
        assert format_text(f"layer l\nminimize {text}\n") == f"layer l\n\nminimize {text}\n"


def test_a_size_in_an_expression_has_blanks() -> None:
    size = Size(-1, (("T", 2), ("n", -1)))
    assert show(SizeValue(size)) == "2 * T - n - 1"
    assert show(Index(expression("x"), (At(size),))) == "x[2*T-n-1]"
