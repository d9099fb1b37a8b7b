"""Formatting changes blanks, line ends and spare parentheses, and nothing else."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from declarative.diagnostics.diagnostic import DiagnosticError
from declarative.diagnostics.span import Source
from declarative.frontend import line_breaks, parse_program, syntax
from declarative.frontend.format import format_text
from declarative.frontend.lexemes import Lexeme, scan
from declarative.frontend.line_breaks import WIDTH
from declarative.frontend.lines import SIGNS
from declarative.frontend.parser import parse

PROGRAMS = Path(__file__).parents[1] / "programs"
GOOD = sorted((PROGRAMS / "good").glob("*.opt"))
BAD = sorted((PROGRAMS / "bad").glob("*.opt"))

HEAD = "layer example\ndim n, m, T\nparam A[m, n]\nparam b[m]\nparam x[n]\nvar y[n]\nvar Y[T+1, n]\n\n"


def tree(text: str) -> object:
    """The syntax tree without the places of its nodes; None for a text that does not parse."""
    file, found = parse(Source("test.opt", text))
    return None if file is None or found else _without_spans(file)


def _without_spans(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(map(_without_spans, value))
    if isinstance(value, syntax.Node):
        fields = [getattr(value, f.name) for f in dataclasses.fields(value) if f.name != "span"]
        return type(value).__name__, tuple(map(_without_spans, fields))
    return value


def comments(text: str) -> list[str]:
    return [lexeme.text for lexeme in scan(text) if lexeme.kind == "comment"]


def check_format(text: str) -> str:
    formatted = format_text(text)
    assert tree(formatted) == tree(text)
    assert comments(formatted) == comments(text)
    assert format_text(formatted) == formatted
    return formatted


@pytest.mark.parametrize("path", GOOD, ids=lambda p: p.stem)
def test_sample_programs_keep_their_meaning(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert parse_program(check_format(text)) == parse_program(text)


@pytest.mark.parametrize("path", [p for p in BAD if tree(p.read_text(encoding="utf-8"))], ids=lambda p: p.stem)
def test_programs_with_wrong_names_and_shapes_are_formatted_too(path: Path) -> None:
    check_format(path.read_text(encoding="utf-8"))


def test_a_text_that_cannot_be_read_is_refused_with_all_its_errors() -> None:
    with pytest.raises(DiagnosticError) as caught:
        format_text("layer l\nvar x[n\nminimize x +\n+ 1\noutput x\n", "l.opt")
    assert caught.value.diagnostics
    assert all(d.code.startswith("E1") for d in caught.value.diagnostics)


def test_the_layout_of_a_whole_program() -> None:
    written = """
# A program as a hurried hand writes it.
layer   control   "Control."
dim T=20,nx,   nu


param   x0 [ nx ]"where it starts"
param Q[nx,nx]  psd   "cost"    # measured
param limit "bound" nonneg
var x[T + 1,nx]
var  u[T,nu] nonneg from x0
extern   f( z[nx] )->y[nx]smooth
let first=x[0]
let remaining = sum( x[ 1 .. T ] )  # all others
# the goal
minimize sum(quad_form(x[t],Q) for t in 1 .. T)+
  1 / 2*sum_squares(u)-( -first@x0 )

subject   to

# where it starts
start:x[0]==x0
slow_changes: norm_inf(u[t + 1]-u[t])<=limit/4 for t in 0..T-2
 0<=u
  limits: - limit<=u[t]<=limit for t in 0..T - 1
output u[0]as action,x,dual(start)as price
option   tolerance=1e-8
option max_iterations =50
"""
    assert (
        check_format(written)
        == """\
# A program as a hurried hand writes it.
layer control "Control."
dim T = 20, nx, nu

param x0[nx]        "where it starts"
param Q[nx, nx] psd "cost"  # measured
param limit nonneg  "bound"
var   x[T+1, nx]
var   u[T, nu] nonneg from x0
extern f(z[nx]) -> y[nx] smooth
let first     = x[0]
let remaining = sum(x[1..T])  # all others

# the goal
minimize sum(quad_form(x[t], Q) for t in 1..T) +
         1/2 * sum_squares(u) - (-first @ x0)
subject to
  # where it starts
  start:        x[0] == x0
  slow_changes: norm_inf(u[t+1] - u[t]) <= limit/4  for t in 0..T-2
  0 <= u
  limits:       -limit <= u[t] <= limit             for t in 0..T-1
output u[0] as action, x, dual(start) as price
option tolerance      = 1e-8
option max_iterations = 50
"""
    )


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("a+b*c@d", "a + b * c @ d"),
        ("-x ^ -2 - - 1", "-x^-2 - -1"),
        ("A ' @ b '", "A' @ b'"),
        ("A.T@b**2", "A.T @ b**2"),
        ("1 / 2*x / 2 + x / y + 3/x^2 + a/(2)", "1/2 * x / 2 + x / y + 3 / x^2 + a/2"),
        ("rho / 2 * ( x )", "rho/2 * x"),
        ("((x + 1))*2", "(x + 1) * 2"),
        ("sum(((x+1)))", "sum(x + 1)"),
        ("(x' ) @ (f(x)) + (a + b) + (2*c)", "x' @ f(x) + (a + b) + (2 * c)"),
        ("x[2 * (t + 1)..n - 1, i]", "x[2*(t+1)..n-1, i]"),
        ("[ 1,- 2 ,3]@x", "[1, -2, 3] @ x"),
        ("(-x)^2 + (x^2)^3", "(-x)^2 + (x^2)^3"),
        (
            "sum(x[t + 1]*(t + 1) for t in 0 .. T - 1,s in t + 1..T)",
            "sum(x[t+1] * (t + 1) for t in 0..T-1, s in t+1..T)",
        ),
        ("x[a:b]", "x[a:b]"),
    ],
)
def test_spacing_of_expressions(written: str, expected: str) -> None:
    assert check_format(f"layer l\nminimize {written}\n") == f"layer l\n\nminimize {expected}\n"


def test_a_long_objective_is_broken_after_its_loosest_operators() -> None:
    term = "weight_of_the_term * sum_squares(A @ first_variable - b)"
    text = check_format(HEAD + f"minimize {' + '.join([term] * 3)}\n")
    lines = text.splitlines()[-3:]
    assert lines == [f"minimize {term} +", f"         {term} +", f"         {term}"]


def test_a_long_argument_is_broken_behind_its_bracket() -> None:
    term = "weight_of_the_term * first_variable"
    text = check_format(HEAD + f"minimize sum_squares({' - '.join([term] * 4)})\n")
    first, second = text.splitlines()[-2:]
    assert first == f"minimize sum_squares({term} - {term} -"
    assert second == " " * len("minimize sum_squares(") + f"{term} - {term})"


def test_lines_fit_where_an_operator_allows_it() -> None:
    terms = " + ".join(f"norm2(A @ x{i} - b)^2 * w[{i}]" for i in range(40))
    text = check_format(HEAD + f"let r = {terms}\nminimize r\nsubject to\n  c: {terms} <= {terms}  for t in 0..T\n")
    assert max(map(len, text.splitlines())) <= WIDTH


def test_breaks_and_comments_inside_a_statement_stay() -> None:
    written = "minimize sum(  # of all\n x) +  # and\n # more\n   (y  # in parentheses\n     - b)\n"
    assert check_format(f"layer l\n\n{written}").splitlines()[2:] == [
        "minimize sum(  # of all",
        "         x) +  # and",
        "         # more",
        "         (y  # in parentheses",
        "         - b)",
    ]


def test_comments_stand_as_what_follows_them() -> None:
    written = (
        "layer l # one\n   # two\nsolve #three\n# four\na: x == 0\n# five\n\n\n# six\noutput x\n# end\n  # of file"
    )
    assert check_format(written) == (
        "layer l  # one\n\n# two\nsolve  #three\n  # four\n  a: x == 0\n# five\n\n# six\noutput x\n# end\n# of file\n"
    )


def test_comments_alone() -> None:
    assert check_format("\n\n  # nothing\n") == "# nothing\n"
    assert check_format("") == ""


def test_remarks_line_up() -> None:
    written = "layer l\nvar x # one\nvar longer[n] # two\n\nminimize x\n"
    assert check_format(written).splitlines()[1:3] == ["var x          # one", "var longer[n]  # two"]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([p.read_text(encoding="utf-8") for p in (*GOOD, *BAD)]), st.data())
def test_whatever_parses_is_formatted(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        pieces = ["", " ", "\n", " # why\n", "(", ")", "'", "-", "+\n", "x", "[0]", "^2", ", ", '"doc"']
        text = text[:start] + data.draw(st.sampled_from(pieces)) + text[start + data.draw(st.integers(0, 3)) :]
    if tree(text) is not None:
        check_format(text)


@pytest.mark.parametrize("path", GOOD, ids=lambda p: p.stem)
def test_sample_programs_are_in_the_canonical_layout(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert format_text(text) == text


DECLARATIONS = ['param x[n]{}"one"', 'param mean[n] nonneg{}"two"', "param longest[n] nonneg"]


def declared(*gaps: int) -> str:
    rows = [row.format(" " * gap) for row, gap in zip(DECLARATIONS, [*gaps, *[0] * (3 - len(gaps))], strict=True)]
    return "layer l\n" + "\n".join(rows) + "\n\nminimize 0\n"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ((11, 1), (11, 1)),  # one column, close behind what is described
        ((14, 4), (14, 4)),  # one column, behind the longest declaration
        ((17, 7), (17, 7)),
        ((18, 8), (11, 1)),  # far from everything
        ((1, 1), (11, 1)),  # no column
        ((10, 0), (11, 1)),  # no room
        ((13, 4), (11, 1)),  # almost a column
    ],
)
def test_a_column_of_descriptions_is_the_authors_if_it_is_one(
    written: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert check_format(declared(*written)) == declared(*expected)


def test_the_gap_of_descriptions_stays_where_declarations_change() -> None:
    text = check_format('layer l\nparam x[n,n]    "one"\nparam mean[n]\n')
    assert text.splitlines()[1] == 'param x[n, n]    "one"'


CLAUSES = """\
layer l
minimize 0
subject to
  a: x[t] <= 1{}for t in 0..T
  b: x[t] <= longer{}for t in 0..T
  c: x[t] <= the_longest{}for t in 0..T
"""


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ((7, 2, 2), (7, 2, 2)),  # the first two line up, the third stands out
        ((12, 7, 2), (12, 7, 2)),
        ((2, 2, 2), (12, 7, 2)),  # none line up
        ((8, 3, 2), (12, 7, 2)),  # two line up, a blank too far
        ((6, 1, 2), (12, 7, 2)),  # two line up, a blank too near
    ],
)
def test_neighbours_that_line_up_do_not_wait_for_a_longer_line(
    written: tuple[int, int, int], expected: tuple[int, int, int]
) -> None:
    text = CLAUSES.replace("minimize 0", "\nminimize 0")
    assert check_format(text.format(*(" " * n for n in written))) == text.format(*(" " * n for n in expected))


def test_variables_with_one_blank_stay_if_they_agree() -> None:
    for several in ("var x\nvar yy", "var   x\nvar   yy"):
        assert several in check_format(f"layer l\nparam a\n{several}\n\nminimize x\n")
    assert "var   x\nvar   yy" in check_format("layer l\nparam a\nvar x\nvar   yy\n\nminimize x\n")
    assert "var   x\n" in check_format("layer l\nparam a\nvar x\n\nminimize x\n")


def test_windows_line_ends() -> None:
    assert check_format("layer l\r\nvar x\r\n\r\nminimize x # all\r\n") == "layer l\nvar x\n\nminimize x  # all\n"


def scattered(text: str, random_: random.Random) -> str:
    """A text with its blanks, line ends and comments thrown about, as far as the language does not mind."""
    file, _ = parse(Source("scattered.opt", text))
    assert file is not None
    lexemes = [lexeme for lexeme in scan(text) if lexeme.kind != "comment"]
    ends = {statement.span.end for statement in file.statements}
    return "".join(_scattered(lexemes, ends, random_))


def _scattered(lexemes: list[Lexeme], ends: set[int], random_: random.Random) -> Iterator[str]:
    depth = 0
    for before, lexeme in zip([None, *lexemes[:-1]], lexemes, strict=True):
        yield lexeme.text
        depth += (lexeme.text in ("(", "[")) - (lexeme.text in (")", "]"))
        may_break = depth > 0 or (lexeme.kind == "sign" and lexeme.text in SIGNS)
        if lexeme.end in ends:
            yield random_.choice(["\n", " \n\n\n", "  # remark\n", "\n  # note\n", "\n\n# note\n\n"])
        elif lexeme.text == "subject" or (before is not None and before.text == "subject"):
            yield " "
        elif may_break and random_.random() < 0.25:
            yield random_.choice(["\n", "\n\n  ", " # inside\n", "\n # inside\n  # again\n"])
        elif lexeme.kind in ("name", "number"):
            yield random_.choice([" ", "   "])
        else:
            yield random_.choice(["", " ", "\t "])


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(GOOD), st.integers(0, 2**32), st.sampled_from([20, 40, WIDTH]))
def test_scattered_programs_keep_their_meaning(path: Path, seed: int, width: int) -> None:
    text = path.read_text(encoding="utf-8")
    written = scattered(text, random.Random(seed))
    with patch.object(line_breaks, "WIDTH", width):
        assert parse_program(check_format(written)) == parse_program(text)
