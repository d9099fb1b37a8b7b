"""What is wrong in a program built in Python is told at the user's own expression, with the text to write instead."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import declarative.builder as dl
from declarative.diagnostics.diagnostic import Diagnostic, DiagnosticError

CHAIN = "for a chain, dl.between(low, x, high); else hand the constraint to .subject_to(...)"

n, m = dl.dims("n", "m")
A = dl.param("A", m, n)
b, c = dl.param("b", m), dl.param("c", n)
x, X = dl.var("x", n), dl.var("X", n, n)
module = dl.extern("module", z=n, returns=("y", m))


def only(build: Callable[[], object]) -> Diagnostic:
    """The one diagnostic of what a builder raises."""
    with pytest.raises(DiagnosticError) as caught:
        build()
    (diagnostic,) = caught.value.diagnostics
    return diagnostic


MISTAKES = {
    "transpose": (lambda: x + A @ b, "E203", "A @ b", "transpose the matrix: A.T @ b"),
    "outer": (lambda: x @ c.T, "E203", "x @ c.T", "for the matrix of all products: dl.outer(x, c)"),
    "shapes": (lambda: 2 * (x + b), "E203", "x + b", None),
    "count": (lambda: dl.norm1(x, c), "E203", "dl.norm1(x, c)", "write dl.norm1(x)"),
    "argument": (lambda: dl.trace(X[0] + 1), "E203", "X[0] + 1", None),
    "chain": (lambda: 0 <= x <= 1, "E110", "0 <= x <= 1", CHAIN),
    "strict": (lambda: x < 1, "E105", "x < 1", "for a constraint write `<=`"),
    "unequal": (lambda: x != 1, "E105", "x != 1", None),
    "truth": (lambda: bool(x), "E212", "bool(x)", None),
    "loop": (
        lambda: list(x),
        "E212",
        "list(x)",
        "dl.sum(x) for the sum of all entries; dl.total(lambda t: ..., t=(a, b)) for another",
    ),
    "subscripts": (lambda: x[0, 1], "E209", "x[0, 1]", None),
    "beyond": (lambda: x[n], "E208", "x[n]", None),
    "reaches": (lambda: dl.total(lambda t: x[t + 1], t=(0, n - 1)), "E208", "x[t + 1]", None),
    "negative": (lambda: dl.total(lambda t: x[t - 2], t=(1, n - 1)), "E208", "x[t - 2]", None),
    "step": (lambda: x[::2], "E206", "x[::2]", None),
    "empty range": (lambda: dl.total(lambda t: x[t], t=(3, 2)), "E208", "dl.total(lambda t: x[t], t=(3, 2))", None),
    "taken index": (lambda: dl.total(lambda n: x[n], n=(0, 1)), "E202", "dl.total(lambda n: x[n], n=(0, 1))", None),
    "size": (lambda: dl.var("w", "n / 2"), "E206", 'dl.var("w", "n / 2")', None),
    "rank": (lambda: dl.var("w", 2, 3, 4), "E213", 'dl.var("w", 2, 3, 4)', None),
    "name": (lambda: dl.var("for"), "E205", 'dl.var("for")', "choose another name, for instance for_"),
    "value": (lambda: dl.param("p", 2, constant=[1, 2, 3]), "E211", 'dl.param("p", 2, constant=[1, 2, 3])', None),
    "number": (lambda: x + "c", "E211", 'x + "c"', None),
    "inputs": (lambda: module(x, x), "E212", "module(x, x)", None),
    "inputs by name": (lambda: module(z=x), "E212", "module(z=x)", "module(z)"),
    "an extern that is not called": (lambda: x + module, "E212", "x + module", "module(z)"),
    "no result": (
        lambda: dl.extern("g", z="k", returns=()),
        "E110",
        'dl.extern("g", z="k", returns=())',
        'dl.extern("f", z="k", returns=("y", "d"))',
    ),
    "a result that is text": (
        lambda: dl.extern("g", z="k", returns="xhat"),
        "E110",
        'dl.extern("g", z="k", returns="xhat")',
        '`returns=("xhat", "d")` for a vector, `returns=("xhat",)` for a scalar',
    ),
    "a result without a name": (
        lambda: dl.extern("g", z="k", returns=(3, "y")),
        "E110",
        'dl.extern("g", z="k", returns=(3, "y"))',
        None,
    ),
    "a name of a result": (
        lambda: dl.extern("g", z="k", returns=("1y", "d")),
        "E205",
        'dl.extern("g", z="k", returns=("1y", "d"))',
        None,
    ),
    "no inputs": (lambda: dl.extern("g", returns=("y",)), "E110", 'dl.extern("g", returns=("y",))', None),
    "no arguments": (lambda: dl.norm2(), "E203", "dl.norm2()", "write dl.norm2(x)"),
    "no function": (
        lambda: dl.total(x[0], t=(0, 1)),
        "E212",
        "dl.total(x[0], t=(0, 1))",
        "dl.total(lambda t: x[t], t=(0, T))",
    ),
    "another index": (
        lambda: dl.forall(lambda s: x[s] <= 1, t=(0, 1)),
        "E212",
        "dl.forall(lambda s: x[s] <= 1, t=(0, 1))",
        "dl.forall(lambda t: x[t] <= 1, t=(0, T))",
    ),
    "a truth for a size": (lambda: dl.dim("k", True), "E206", 'dl.dim("k", True)', None),
    "a truth for a size, as text": (lambda: dl.var("w", "True"), "E206", 'dl.var("w", "True")', None),
    "not a number": (lambda: x + float("nan"), "E211", 'x + float("nan")', None),
    "input shape": (lambda: module(b), "E203", "module(b)", None),
    "declared twice": (lambda: x + dl.var("x", m)[0], "E202", 'dl.var("x", m)', "rename one of them"),
    "no name": (lambda: dl.layer("f").output(x + 1), "E501", 'dl.layer("f").output(x + 1)', ".output(result=...)"),
    "a list": (
        lambda: dl.layer("f").subject_to([x >= 0]),
        "E110",
        'dl.layer("f").subject_to([x >= 0])',
        "subject_to(*conditions)",
    ),
    "no comparison": (lambda: dl.layer("f").subject_to(a=True), "E110", 'dl.layer("f").subject_to(a=True)', None),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_told_at_the_expression(mistake: str) -> None:
    build, code, text, help = MISTAKES[mistake]
    found = only(build)
    assert found.code == code
    assert found.primary is not None
    assert found.primary.span.text == text
    assert found.primary.span.source.name.endswith("test_mistakes.py")
    if help is not None:
        assert found.help == help


def problem(objective: object, *constraints: object) -> Callable[[], object]:
    return lambda: dl.layer("f").minimize(objective).subject_to(*constraints).program


Y, Q, w = dl.var("Y", n, n), dl.param("Q", n, n), dl.param("w")
u = dl.var("u", "k")
HELPS = {
    "matrix": (lambda: dl.max(x, 0), "entry by entry: dl.maximum(x, 0), or dl.pos(x)"),
    "root": (problem(dl.sqrt(dl.sum_squares(x))), "dl.norm2(x)"),
    "sign": (problem(w * dl.norm1(x)), 'declare the sign, if it has one: dl.param("w", nonneg=True)'),
    "promise": (problem(dl.quad_form(x, Q)), 'declare it, if it is: dl.param("Q", "n", "n", psd=True)'),
    "base": (problem(dl.sum(x**3)), 'dl.var("x", "n", nonneg=True)'),
    "product": (problem(x[0] * x[1]), "write `.minimize_locally(...)` if this is meant"),
    "scalar": (problem(x + dl.norm1(x)), "sum it up: dl.sum(x)"),
    "cone": (problem(dl.sum_squares(Y), dl.in_psd(Y)), 'dl.var("Y", "n", "n", symmetric=True)'),
    "start": (
        lambda: dl.layer("f").minimize_locally(dl.sum_squares(x - c)).program,
        'dl.var("x", "n", start=0), or from a parameter',
    ),
    "kink": (
        lambda: dl.layer("f").minimize_locally(dl.sum(dl.abs(z - c))).program,
        "a smooth function close to it: dl.sqrt((z - c)**2 + 1e-6)",
    ),
    "size": (problem(dl.sum_squares(u)), 'give it a default, dl.dim("k", 10), or fix it: dl.compile(..., k=10)'),
    "gram": (problem(x @ (Q / 2) @ x), "write it as a Gram matrix: F.T @ F"),
}
z = dl.var("z", n, start=c)


@pytest.mark.parametrize("name", HELPS)
def test_a_help_is_python(name: str) -> None:
    build, help = HELPS[name]
    with pytest.raises(DiagnosticError) as caught:
        build()
    assert help in [found.help for found in caught.value.diagnostics]


def test_a_misfit_points_at_the_declarations() -> None:
    found = only(lambda: A @ b)
    assert found.message == "`@` needs equal inner sizes, but (m, n) meets (m,)"
    assert found.primary.text == "n is not m"
    assert [(label.span.text, label.text) for label in found.secondary] == [
        ('dl.param("A", m, n)', "A is (m, n)"),
        ('dl.param("b", m)', "b is (m,)"),
    ]


def test_curvature_is_told_at_the_sub_expression() -> None:
    found = only(lambda: dl.layer("f").minimize(dl.sum(dl.sqrt(x)) + c @ x).program)
    assert found.code == "E301"
    assert found.primary.span.text in ("dl.sum(dl.sqrt(x)) + c @ x", "dl.sum(dl.sqrt(x))", "dl.sqrt(x)")


def test_a_dual_of_no_constraint() -> None:
    layer = dl.layer("f").minimize(dl.sum_squares(x - c)).subject_to(simplex=dl.sum(x) == 1)
    found = only(lambda: layer.output(x, price=dl.dual("budget")).program)
    assert (found.code, found.help) == ("E503", "the named constraints are simplex")


def test_two_constraints_of_one_name() -> None:
    layer = dl.layer("f").minimize(dl.sum_squares(x - c)).subject_to(box=x <= 1)
    found = only(lambda: layer.subject_to(box=x >= 0))
    assert (found.code, found.primary.span.text) == ("E202", "x >= 0")
    assert [label.span.text for label in found.secondary] == ["x <= 1"]


def test_columns_are_characters_not_bytes() -> None:
    found = only(lambda: ("ä → ö", A @ b)[1])
    assert found.primary.span.text == "A @ b"


def test_a_layer_without_objective() -> None:
    assert only(lambda: dl.layer("f").output(x).program).code == "E108"


def test_a_second_objective() -> None:
    assert only(lambda: dl.layer("f").minimize(dl.sum(x)).maximize(dl.sum(x))).code == "E108"


def test_functions_of_python_are_answered_with_those_of_the_builder() -> None:
    y = dl.var("y", "n")
    for wrong in (lambda: max(y, 0), lambda: min(y, 0), lambda: bool(y)):
        with pytest.raises(DiagnosticError, match=r"dl\.maximum\(y, 0\) and dl\.minimum\(y, 0\)"):
            wrong()
    with pytest.raises(DiagnosticError, match=r"help: dl\.abs\(x\)"):
        abs(y)
    with pytest.raises(DiagnosticError, match="a constraint has no truth value in Python"):
        bool(y == 1)
