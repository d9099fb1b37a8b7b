"""Mathematics in LaTeX: what is printed is balanced, escaped and what a paper would write."""

from __future__ import annotations

import itertools
import re

import pytest

from declarative.atoms import ATOMS
from declarative.frontend import parse_program
from declarative.ir.atom import Atom, AtomError
from declarative.ir.expression import Call, Constant, Expression, Let, Parameter, SizeValue
from declarative.ir.latex import latex
from declarative.ir.latex_words import GREEK, name, number, prose, size
from declarative.ir.shape import Size, shape_of

COMMANDS = GREEK | {
    *("top", "lVert", "rVert", "lvert", "rvert", "left", "right", "frac", "tfrac", "sum", "log", "det", "max", "min"),
    *("sqrt", "operatorname", "mathrm", "mathbf", "mathtt", "circ", "odot", "oslash", "infty", "begin", "end", "times"),
    *("cdot", "dots", "cdots", "tanh", "sin", "cos", "exp"),
}


def check_balanced(text: str) -> None:
    """Braces, brackets and paired commands match, every command is known, every underscore is a subscript."""
    depth = 0
    for match in re.finditer(r"\\.|[{}]", text):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        assert depth >= 0, text
    assert depth == 0, text
    for opening, closing in (("(", ")"), (r"\left", r"\right"), (r"\lVert", r"\rVert"), (r"\lvert", r"\rvert")):
        end = r"(?![a-zA-Z])" if opening != "(" else ""
        counts = [len(re.findall(re.escape(mark) + end, text)) for mark in (opening, closing)]
        assert counts[0] == counts[1], text
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert set(re.findall(r"\\([A-Za-z]+)", text)) <= COMMANDS, text
    assert not re.search(r"(?<!\\)[#%&$]", re.sub(r"\\begin\{bmatrix\}.*?\\end\{bmatrix\}", "", text)), text
    assert not re.search(r"\^(\{[^{}]*\}|\\top|.)\^", text), f"double superscript: {text}"
    assert not re.search(r"_(\{[^{}]*\}|[0-9A-Za-z])_", text), f"double subscript: {text}"


def calls(atom: Atom) -> list[Call]:
    """Calls with names that have underscores, of sums and of negatives, in every shape that fits."""
    most = len(atom.arguments) + atom.variadic
    shapes = [shape_of(), shape_of("n_x"), shape_of("n_x", "n_x"), shape_of(2, 3)]
    found = []
    for count in range(len(atom.arguments) - atom.optional, most + 1):
        for chosen in itertools.product(shapes, repeat=count):
            args: list[Expression] = [Parameter(f"a_{i}_max", shape) for i, shape in enumerate(chosen)]
            sums = [Call(ATOMS["add"], (a, Call(ATOMS["neg"], (a,)))) for a in args]
            negatives = [Call(ATOMS["neg"], (a,)) for a in args]
            choices: list[list[Expression]] = [args, list(sums), list(negatives)]
            if atom.name == "reshape":
                choices = [[args[0], *(SizeValue(Size.of(2)) for _ in args[1:])]]
            for group in choices:
                try:
                    found.append(Call(atom, tuple(group)))
                except AtomError:
                    continue
    return found


@pytest.mark.parametrize("atom", ATOMS.values(), ids=list(ATOMS))
def test_every_function_has_a_notation_that_balances(atom: Atom) -> None:
    found = calls(atom)
    assert found
    for call in found:
        square = Call(ATOMS["power"], (call, Constant(2.0)))
        total = Call(ATOMS["sum"], (Call(ATOMS["mul"], (Parameter("s", ()), call)),))
        for e in (call, square, total, Call(ATOMS["neg"], (call,)), Call(ATOMS["add"], (call, call))):
            check_balanced(latex(e))
            assert latex(e) == latex(e)


HEAD = "layer t\ndim n, T\nparam A[n, n]\nparam P[n, n]\nparam s\nparam x0[n]\nvar x[n]\nvar y[n]\nvar X[T+1, n]\n"
OBJECTIVE = "minimize sum(x) + sum(y) + sum(X) + sum(A) * s + sum(P @ x0)\n"


def expression(text: str) -> Expression:
    program = parse_program(f"{HEAD}let e = {text}\n{OBJECTIVE}output e as e, x, y, X\n", sizes={"T": 3})
    value = program.outputs[0].value
    assert isinstance(value, Let)
    return value.body


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x @ y", r"x^\top y"),
        ("(x + y) @ y", r"(x + y)^\top y"),
        ("A' @ (A @ x)", r"A^\top A x"),
        ("s * (x - y)", "s (x - y)"),
        ("A @ x0 * x0", r"A \mathrm{x}_{0} \odot \mathrm{x}_{0}"),
        ("(s + 1)^2", "(s + 1)^{2}"),
        ("sum(entr(x))", r"-\sum_{i} x_{i} \log(x_{i})"),
        ("x @ y + sum(entr(x))", r"x^\top y - \sum_{i} x_{i} \log(x_{i})"),
        ("s - (s - 1)", "s - (s - 1)"),
        ("-(-s)", "s"),
        ("quad_form(x - y, P)", r"(x - y)^\top P (x - y)"),
        ("sum_squares(A @ x)", r"\lVert A x \rVert_2^2"),
        ("sum_squares(X)", r"\lVert X \rVert_F^2"),
        ("norm1(x / (2 * s))", r"\left\lVert \frac{x}{2 s} \right\rVert_1"),
        ("sum(t * X[t, 0] for t in 1..T)", r"\sum_{t=1}^{T} t X_{t,0}"),
        ("X[0] - x0", r"X_{0} - \mathrm{x}_{0}"),
        ("sum(X[T])", r"\mathbf{1}^\top X_{T}"),
        ("1/2 * sum_squares(x)", r"\tfrac{1}{2} \lVert x \rVert_2^2"),
        ("2 * 3 * s", r"2 \cdot 3 s"),
    ],
)
def test_notation(text: str, expected: str) -> None:
    assert latex(expression(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x", "x"),
        ("lambda", r"\lambda"),
        ("sigma_max", r"\sigma_{\max}"),
        ("u_max", r"u_{\max}"),
        ("price_of_risk", r"\mathrm{price}_{\mathrm{of},\mathrm{risk}}"),
        ("theta_hat", r"\hat{\theta}"),
        ("x0", r"\mathrm{x}_{0}"),
        ("mu0", r"\mu_{\mathtt{0}}"),
        ("_x_", r"\mathrm{\_x\_}"),
    ],
)
def test_names(text: str, expected: str) -> None:
    assert name(text) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(2.0, "2"), (0.5, r"\tfrac{1}{2}"), (-0.25, r"-\tfrac{1}{4}"), (0.1, "0.1"), (1e-6, "10^{-6}"),
     (2.5e-8, r"2.5 \cdot 10^{-8}"), (1e20, "10^{20}"), (1 / 3, r"\tfrac{1}{3}"), (3.14159, "3.14159")],
)  # fmt: skip
def test_numbers(value: float, expected: str) -> None:
    assert number(value) == expected


def test_sizes() -> None:
    assert size(Size.of("T") + 1) == "T+1"
    assert size(Size.of("nu") * 2 - Size.of("m")) == r"2\mathrm{nu}-m"


def test_running_text_has_no_commands_of_its_own() -> None:
    text = r"50% of a_b & c#1 ${x}$ \input{file} ~^ <θ ≤ é 中|"
    assert prose(text) == (
        r"50\% of a\_b \& c\#1 \$\{x\}\$ \textbackslash{}input\{file\} \textasciitilde{}\textasciicircum{} "
        r"\textless{}$\theta$ $\le$ é [U+4E2D]\textbar{}"
    )
