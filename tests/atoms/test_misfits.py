"""Arguments that do not fit are refused with names, sizes and the text to write instead."""

from __future__ import annotations

import pytest

from declarative.atoms import call
from declarative.ir.atom import AtomError
from declarative.ir.expression import Constant, Expression, Parameter, SizeValue, Variable
from declarative.ir.shape import Size, shape_of

A, B = Parameter("A", shape_of("m", "n")), Parameter("B", shape_of("k", "n"))
b, c = Parameter("b", shape_of("m")), Parameter("c", shape_of("n"))
s, x = Parameter("s", ()), Variable("x", shape_of("n"))
Ax = call("matmul", A, x)

MISFITS = [
    ("matmul", (A, b), "`@` needs equal inner sizes, but (m, n) meets (m,)", "transpose the matrix: A' @ b"),
    ("matmul", (A, B), "`@` needs equal inner sizes, but (m, n) meets (k, n)", "transpose the matrix: A @ B'"),
    ("matmul", (x, A), "`@` needs equal inner sizes, but (n,) meets (m, n)", "transpose the matrix: x @ A'"),
    ("matmul", (x, b), "`@` needs equal inner sizes, but (n,) meets (m,)",
     "for the matrix of all products: outer(x, b)"),
    ("matmul", (s, A), "`@` multiplies vectors and matrices, but scalar meets (m, n)",
     "write the product with a scalar as s * A"),
    ("add", (A, B), "`+` needs equal shapes or a scalar, but (m, n) meets (k, n)", None),
    ("add", (Ax, call("neg", c)), "`-` needs equal shapes or a scalar, but (m,) meets (n,)", None),
    ("add", (x, A), "`+` needs equal shapes or a scalar, but (n,) meets (m, n)", None),
    ("mul", (A, x), "`*` needs equal shapes or a scalar, but (m, n) meets (n,)", "for the product of matrices: A @ x"),
    ("norm2", (A,), "`norm2` is the norm of a vector, not of a matrix",
     "for the root of the sum of squares of all entries: norm_fro"),
    ("norm1", (x, b), "`norm1` takes 1 argument, not 2", "write norm1(x)"),
    ("maximum", (x,), "`maximum` takes 2 or more arguments, not 1", "write maximum(x, y, ...)"),
    ("huber", (x, s, s), "`huber` takes 1 to 2 arguments, not 3", "write huber(x, M)"),
    ("trace", (A,), "`trace` needs a square matrix, not (m, n)", None),
    ("quad_form", (x, call("matmul", A, call("transpose", A))),
     "`quad_form` needs a matrix that fits the vector, but (n,) meets (m, m)", None),
    ("power", (s, x), "the exponent of `^` is a scalar", None),
    ("vstack", (x, b), "`vstack` needs rows of equal length, but (n,) meets (m,)", None),
    ("reshape", (x, SizeValue(Size.of("m"))),
     "`reshape` keeps the number of entries, but (n,) has n and (m,) has m", None),
    ("reshape", (x, s), "the shape given to `reshape` consists of sizes", None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "message", "help"), MISFITS)
def test_misfit(name: str, args: tuple[Expression, ...], message: str, help: str | None) -> None:
    with pytest.raises(AtomError) as caught:
        call(name, *args)
    assert caught.value.message == message
    assert caught.value.help == help


def test_a_variable_exponent_is_pointed_at() -> None:
    with pytest.raises(AtomError) as caught:
        call("power", Constant(2.0), Variable("y", ()))
    assert caught.value.argument == 1


def test_a_threshold_that_is_solved_for_is_refused() -> None:
    with pytest.raises(AtomError, match="threshold"):
        call("huber", x, Variable("y", ()))


def test_help_puts_parentheses_where_they_are_needed() -> None:
    with pytest.raises(AtomError) as caught:
        call("matmul", call("add", A, A), Ax)
    assert caught.value.help == "transpose the matrix: (A + A)' @ (A @ x)"
