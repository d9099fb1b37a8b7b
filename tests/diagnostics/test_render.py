"""The layout of diagnostics, character by character."""

from __future__ import annotations

from declarative.diagnostics.diagnostic import Diagnostic, Label
from declarative.diagnostics.render import render, to_json
from declarative.diagnostics.span import Source, Span

TEXT = "layer l\nparam A[m, n]\nminimize f(A @ b) +\n\tg(A) + h(観, b)\n"
SOURCE = Source("l.opt", TEXT)


def at(text: str, nth: int = 0) -> Span:
    """The span of the nth occurrence of a text."""
    start = -1
    for _ in range(nth + 1):
        start = TEXT.index(text, start + 1)
    return Span(SOURCE, start, start + len(text))


def drawn(*lines: str) -> str:
    return "\n".join(lines)


def test_the_layout() -> None:
    diagnostic = Diagnostic(
        "E203", "it does not fit", Label(at("A @ b"), "n is not m"), (Label(at("A[m, n]"), "A is m x n"),),
        ("shapes are not stretched",), "transpose: A' @ b",
    )  # fmt: skip
    assert render(diagnostic) == drawn(
        "error[E203]: it does not fit",
        "  --> l.opt:3:12",
        " 2 | param A[m, n]",
        "   |       ------- A is m x n",
        " 3 | minimize f(A @ b) +",
        "   |            ^^^^^ n is not m",
        "note: shapes are not stretched",
        "help: transpose: A' @ b",
    )


def test_labels_of_one_line_share_a_row_if_they_fit() -> None:
    diagnostic = Diagnostic("W1", "m", Label(at("b"), "wrong"), (Label(at("f"), ""), Label(at("A", 1), "long words")))
    assert render(diagnostic) == drawn(
        "warning[W1]: m",
        "  --> l.opt:3:16",
        " 3 | minimize f(A @ b) +",
        "   |          -     ^ wrong",
        "   |            - long words",
    )


def test_a_label_over_two_lines_and_tabs() -> None:
    start = at("f(A").start
    diagnostic = Diagnostic("E1", "m", Label(Span(SOURCE, start, at("g(A)").end), "here"))
    assert render(diagnostic) == drawn(
        "error[E1]: m",
        "  --> l.opt:3:10",
        " 3 | minimize f(A @ b) +",
        "   |          ^^^^^^^^^^",
        " 4 |     g(A) + h(観, b)",
        "   |     ^^^^ here",
    )


def test_wide_signs_take_two_columns() -> None:
    diagnostic = Diagnostic("E1", "m", Label(at("b", 1), "x"), (Label(at("観"), ""),))
    assert render(diagnostic).splitlines()[3] == "   |              --  ^ x"


def test_the_end_of_a_line_and_of_the_file() -> None:
    newline = TEXT.index("\n")
    assert render(Diagnostic("E1", "m", Label(Span(SOURCE, newline, newline + 1)))).splitlines()[2:] == [
        " 1 | layer l", "   |        ^",
    ]  # fmt: skip
    end = len(TEXT)
    assert render(Diagnostic("E1", "m", Label(Span(SOURCE, end, end)))).splitlines()[1:] == [
        "  --> l.opt:5:1",
        " 5 |",
        "   | ^",
    ]


def test_a_long_line_is_cut_around_its_label() -> None:
    source = Source("l.opt", "a" * 500 + "!" + "b" * 500)
    row, mark = render(Diagnostic("E1", "m", Label(Span(source, 500, 501)))).splitlines()[2:]
    assert len(row) < 160
    assert row[mark.index("^")] == "!"
    assert row.startswith(" 1 | ...")
    assert row.endswith("...")


def test_two_files() -> None:
    other = Source("other.py", "y = 1\n")
    diagnostic = Diagnostic("E1", "m", Label(Span(other, 0, 1), "here"), (Label(at("A[m, n]"), "there"),))
    assert render(diagnostic) == drawn(
        "error[E1]: m",
        "  --> other.py:1:1",
        " 1 | y = 1",
        "   | ^ here",
        "  ::: l.opt:2:7",
        " 2 | param A[m, n]",
        "   |       ------- there",
    )


def test_terminals_are_not_fooled() -> None:
    source = Source("a\033[2J.opt", "\033[31mred\n")
    text = render(Diagnostic("E1", "m \033[0m", Label(Span(source, 0, 1))))
    assert "\033" not in text
    assert "\033[1;31merror[E1]\033[0m" in render(Diagnostic("E1", "m"), color=True)


def test_json_counts_from_one_and_half_open() -> None:
    data = to_json(Diagnostic("E1", "m", Label(Span(SOURCE, at("f(A").start, at("g(A)").end), "here"), help="h"))
    assert data["primary"] == {
        "file": "l.opt", "line": 3, "column": 10, "end_line": 4, "end_column": 6, "text": "here",
    }  # fmt: skip
    assert (data["code"], data["severity"], data["secondary"], data["notes"], data["help"]) == (
        "E1",
        "error",
        [],
        [],
        "h",
    )
