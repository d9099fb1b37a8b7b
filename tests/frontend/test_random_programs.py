"""Random programs: only diagnostics come out, formatting keeps the program, printing keeps the expression.

Programs are mutated lexeme by lexeme, so that many of them reach elaboration and verification and some stay valid;
expressions are made by rank, so that nearly all of them are well formed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from declarative.atoms import ATOMS
from declarative.diagnostics.catalogue import CATALOGUE
from declarative.diagnostics.diagnostic import DiagnosticError
from declarative.diagnostics.render import render
from declarative.frontend import analyse, parse_program
from declarative.frontend.format import format_text
from declarative.frontend.lexemes import scan
from declarative.ir.expression import Expression, Let
from declarative.ir.show import show

PROGRAMS = Path(__file__).parents[1] / "programs"
GOOD = [p.read_text(encoding="utf-8") for p in sorted((PROGRAMS / "good").glob("*.opt"))]
WORDS = sorted(
    {lexeme.text for text in GOOD for lexeme in scan(text)} | set(ATOMS) | {"-1", "0", "1e300", "n+1", "t-1"}
)


def examples(few: int, many: int) -> pytest.MarkDecorator:
    """The property for few examples, and for many in the slow set."""
    return pytest.mark.parametrize("examples", [few, pytest.param(many, marks=pytest.mark.slow)])


def check(examples: int, strategy: st.SearchStrategy[str], holds: Callable[[str], object]) -> None:
    """A property of random texts."""

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def run(text: str) -> None:
        holds(text)

    run()


def only_diagnostics(text: str) -> None:
    """Diagnostics that lie in the text; of a text without errors, a program that formatting leaves as it is."""
    program, found = analyse(text, "fuzz.opt")
    for diagnostic in found:
        assert diagnostic.code in CATALOGUE
        for label in (diagnostic.primary, *diagnostic.secondary):
            assert label is None or 0 <= label.span.start <= label.span.end <= len(text)
        assert render(diagnostic).startswith(diagnostic.severity)
    try:
        formatted = format_text(text)
    except DiagnosticError:
        assert program is None
        return
    assert format_text(formatted) == formatted
    again, still = analyse(formatted, "fuzz.opt")
    assert again == program
    assert sorted(d.code for d in still) == sorted(d.code for d in found)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A program whose lexemes are dropped, doubled, swapped or replaced by those of other programs."""
    text = draw(st.sampled_from(GOOD))
    lexemes = list(scan(text))
    pieces: list[str] = []
    end = 0
    for lexeme in lexemes:
        pieces += [text[end : lexeme.start], lexeme.text]
        end = lexeme.end
    for _ in range(draw(st.integers(1, 4))):
        at = 2 * draw(st.integers(0, len(pieces) // 2 - 1)) + 1
        match draw(st.sampled_from(["drop", "double", "swap", "replace", "insert"])):
            case "drop":
                pieces[at] = ""
            case "double":
                pieces[at] = f"{pieces[at]} {pieces[at]}"
            case "swap":
                other = 2 * draw(st.integers(0, len(pieces) // 2 - 1)) + 1
                pieces[at], pieces[other] = pieces[other], pieces[at]
            case "replace":
                pieces[at] = draw(st.sampled_from(WORDS))
            case "insert":
                pieces[at - 1] += f" {draw(st.sampled_from(WORDS))} "
    return "".join(pieces)


@examples(150, 8000)
def test_mutated_programs(examples: int) -> None:
    check(examples, mutated(), only_diagnostics)


def words(text: str) -> str:
    return f"layer l\ndim n\nparam x[n]\nvar y[n]\n{text}"


@examples(60, 4000)
def test_random_words(examples: int) -> None:
    check(
        examples,
        st.lists(st.sampled_from([*WORDS, "\n", "\n"]), max_size=50).map(" ".join).map(words),
        only_diagnostics,
    )


@examples(60, 4000)
def test_random_characters(examples: int) -> None:
    alphabet = st.one_of(st.sampled_from("()[]'\"<=>+-*/@^.,:#\n\r\t \f\\xyn01"), st.characters(codec="utf-8"))
    check(examples, st.text(alphabet, max_size=150), only_diagnostics)


# Expressions, by rank

SYMBOLS = "param A[n, n]\nparam s\nparam X[T+1, n]\nparam x[n]\nparam y[n]\nextern f(z[n]) -> v[n]\nvar w\n"
HEAD = f"layer t\ndim n, T\n{SYMBOLS}"
LEAVES = {
    0: ["s", "2", "0.5", "n", "1e-06", "(T + 1)", "x[0]", "A[0, n-1]", "X[T, 0]"],
    1: ["x", "y", "X[0]", "X[T]", "A[n-1]", "f(x)"],
    2: ["A", "X[0..n-1]", "reshape(concat(x, y), 2, n)[0..1]"],
}


def deeper(rank: int, by: dict[int, st.SearchStrategy[str]]) -> st.SearchStrategy[str]:
    """An expression made of expressions, with parentheses where they are needed and elsewhere."""
    same, scalar, vector, matrix = by[rank], by[0], by[1], by[2]
    infix = st.builds("({}) {} ({})".format, same, st.sampled_from("+-*/"), same)
    made = [
        infix,
        st.builds("{} {} {}".format, same, st.sampled_from("+-"), same),
        st.builds("-{}".format, same),
        st.builds("({})^{}".format, same, st.sampled_from(["2", "-1", "0.5", "3"])),
        st.builds("{} * ({})".format, scalar, same),
        st.builds("{}({})".format, st.sampled_from(["abs", "exp", "pos", "square", "tanh", "entr"]), same),
        st.builds("maximum({}, {})".format, same, same),
        st.builds("sum(t * ({}) for t in 1..T)".format, same),
    ]
    if rank == 0:
        made += [
            st.builds("({})' @ ({})".format, vector, vector),
            st.builds("quad_form({}, {})".format, vector, matrix),
            st.builds("{}({})".format, st.sampled_from(["sum", "norm1", "norm2", "max", "log_sum_exp"]), vector),
            st.builds("{}({})".format, st.sampled_from(["trace", "det", "norm_fro", "lambda_max"]), st.just("A")),
            st.builds("({})[{}]".format, vector, st.sampled_from(["0", "n-1", "2"])),
        ]
    elif rank == 1:
        made += [
            st.builds("({}) @ ({})".format, st.just("A' @ A"), vector),
            st.builds("({})'".format, vector),
            st.builds("cumsum({})".format, vector),
        ]
    else:
        made += [st.builds("({})'".format, st.just("A")), st.just("A @ A + A'"), st.just("diag(x)")]
    return st.one_of(made)


def expressions() -> st.SearchStrategy[str]:
    """Text of an expression of any rank, up to three operations deep."""
    by = {rank: st.sampled_from(leaves) for rank, leaves in LEAVES.items()}
    for _ in range(3):
        by = {rank: st.one_of(by[rank], deeper(rank, by)) for rank in by}
    return st.one_of(*by.values())


def parsed(text: str) -> Expression | None:
    program, found = analyse(f"{HEAD}let e = {text}\nminimize w^2\noutput e, w\n", sizes={"T": 3})
    if program is None:
        assert all(d.code in CATALOGUE for d in found)
        return None
    value = program.outputs[0].value
    assert isinstance(value, Let)
    return value.body


@examples(150, 6000)
def test_a_printed_expression_reads_as_itself(examples: int) -> None:
    valid = 0

    def holds(text: str) -> None:
        nonlocal valid
        expression = parsed(text)
        if expression is not None:
            valid += 1
            printed = show(expression)
            assert parsed(printed) == expression
            assert len(printed) <= 2 * len(text) + 8

    check(examples, expressions(), holds)
    assert valid > examples / 4


def test_the_samples_survive_unmutated() -> None:
    for text in GOOD:
        parse_program(text)
        only_diagnostics(text)
