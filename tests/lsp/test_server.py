"""The language server, spoken to by a client over stdio as an editor does."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from declarative.cli import main
from declarative.frontend import check
from declarative.ir.expression import ATTRIBUTES
from declarative.ir.program import OPTIONS
from declarative.ir.words import RESERVED
from declarative.lsp import words

if TYPE_CHECKING:
    from conftest import Editor

BAD = Path(__file__).parents[1] / "programs" / "bad"

RIDGE = """\
layer ridge_box "Least squares in a box, 𝛽 is w."
dim m, n, T = 4
param A[m, n] "design matrix"
param b[m]    "targets"
param rho nonneg
param lo[n]
var   w[n]
var   x[T+1, n]
let r = A @ w - b "residual"

# sum_squares in a comment
minimize sum_squares(r) + rho * norm1(w) + sum(sum_squares(x[t]) for t in 0..T)
subject to
  box:  lo <= w
  step: x[t+1] >= x[t] + w  for t in 0..T-1
output w as weights, dual(step) as price, value
"""


def test_the_session_begins_with_what_the_server_can_do_and_ends_in_order(editor: Editor) -> None:
    other = type(editor)()
    started = other.start()
    assert started.server_info is not None
    assert started.server_info.name == "declarative"
    provided = started.capabilities
    for capability in (
        provided.hover_provider, provided.completion_provider, provided.definition_provider, provided.rename_provider,
        provided.document_formatting_provider, provided.document_symbol_provider, provided.code_action_provider,
        provided.references_provider,
    ):  # fmt: skip
        assert capability
    assert other.stop() == 0


def test_a_right_program_has_no_diagnostics(editor: Editor) -> None:
    assert editor.open(RIDGE).diagnostics() == []


def test_diagnostics_follow_the_typing(editor: Editor) -> None:
    program = editor.open(RIDGE)
    program.edit("A @ w - b", "A @ b - w")
    found = program.diagnostics()
    assert [d.code for d in found] == ["E203"]
    assert program.text_of(found[0].range) == "A @ b"
    assert "help: transpose the matrix: A' @ b" in found[0].message
    related = found[0].related_information or []
    assert [program.text_of(place.location.range) for place in related] == ["A[m, n]", "b[m]"]
    assert related[0].message == "A is m x n"
    program.edit("A @ b - w", "A @ w - b")
    assert program.diagnostics() == []


def test_columns_are_counted_in_utf_16(editor: Editor) -> None:
    program = editor.open('layer l "𝛽"\nvar x\nminimize x^2 + y # 𝛽\n')
    (found,) = program.diagnostics()
    assert program.text_of(found.range) == "y"
    program.edit('l "𝛽"', 'l "𝛽𝛽"\nparam y')
    assert program.diagnostics() == []


def test_unused_names_are_marked_as_unnecessary(editor: Editor) -> None:
    (found,) = editor.open("layer l\nparam c\nvar x\nminimize x^2\n").diagnostics()
    assert found.severity is types.DiagnosticSeverity.Warning
    assert list(found.tags or ()) == [types.DiagnosticTag.Unnecessary]


@pytest.mark.parametrize("path", sorted(BAD.glob("*.opt")), ids=lambda p: p.stem)
def test_every_diagnostic_reaches_the_editor(editor: Editor, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = editor.open(text, path.as_uri()).diagnostics()
    assert [d.code for d in found] == [d.code for d in check(text)]


@pytest.mark.parametrize(
    ("cursor", "expected"),
    [
        ("A @ |w - b", ["var   w[n]", "(n,) · affine"]),
        ("|A @ w - b", ["param A[m, n]", "(m, n) · constant", "design matrix"]),
        ("sum_squares(|r)", ["let r = A @ w - b", "(m,) · affine", "residual"]),
        ("rh|o *", ["param rho nonneg", "scalar · nonneg · constant"]),
        ("sum_squ|ares(r)", ["sum_squares(x)", "Here: scalar · nonneg · convex."]),
        ("A |@ w", ["A @ w", "(m,) · affine"]),
        ("+ |rho * n", ["param rho"]),
        ("rho |* norm1", ["rho * norm1(w)", "scalar · nonneg · convex"]),
        ("param lo[|n]", ["dim n"]),
        ("T| = 4", ["dim T = 4"]),
        ("x[|t+1] >=", ["for t in 0..T-1"]),
        ("sum_squares(x[|t])", ["for t in 0..T"]),
        ("dual(|step)", ["step: x[t+1] >= x[t] + w for t in 0..T-1", "dual (T, n)"]),
        ("rho nonn|eg", ["at least 0"]),
        ("minim|ize", ["must be convex"]),
        ("su|bject to", ["constraints follow"]),
        (", val|ue", ["optimal value"]),
        ("layer rid|ge_box", ["Least squares in a box", "Structure: "]),
    ],
)
def test_hover(editor: Editor, cursor: str, expected: list[str]) -> None:
    text = editor.open(RIDGE).hover(cursor)
    assert text is not None
    for words_ in expected:
        assert words_ in text


def test_hover_where_there_is_nothing_to_say(editor: Editor) -> None:
    program = editor.open(RIDGE)
    assert program.hover("in a com|ment") is None
    assert program.hover("targ|ets") is None


def test_hover_in_a_broken_program(editor: Editor) -> None:
    program = editor.open(RIDGE.replace("rho * norm1(w)", "rho * nrm1(w) +"))
    assert "(m, n) · constant" in (program.hover("|A @ w") or "")


@pytest.mark.parametrize(
    ("old", "new", "cursor", "has", "lacks"),
    [
        ("var   w[n]\n", "var   w[n]\n\n", "var   w[n]\n|\n", "param var let minimize solve", "subject to output w"),
        ("subject to\n", "s\n", "\ns|\n", "subject to output option", "param w sum_squares"),
        ("  box:  lo <= w", "  ", "\n  |\n", "w lo sum_squares output", "param minimize subject"),
        ("lo <= w", "lo <= ", "lo <= |", "w lo rho T sum_squares norm1", "t param nonneg"),
        ("rho nonneg", "rho ", "param rho |", "nonneg learned constant psd", "from w sum"),
        ("var   w[n]", "var   w[n] n", "w[n] n|", "nonneg from", "learned sum_squares"),
        ("lo[n]", "lo[]", "lo[|]", "n m T", "w sum_squares t"),
        ("x[t] + w", "x[]+ w", "x[|]+", "t T n", "w norm1"),
        ("0..T-1", "0..", "w  for t in 0..|", "T n", "w norm1"),
        ("minimize sum", "minimize l + sum", "minimize l| +", "locally w", "param"),
        ("dual(step)", "dual()", "dual(|)", "box step", "w sum"),
        ("output w", "output ", "output | as", "w dual value rho", "param"),
        ("box:  lo <= w", "box: w in ", "w in |", "psd", "sum_squares"),
        ("value\n", "value\noption \n", "option |\n", "tolerance on_failure", "w sum"),
    ],
)  # fmt: skip
def test_completion(editor: Editor, old: str, new: str, cursor: str, has: str, lacks: str) -> None:
    program = editor.open(RIDGE.replace(old, new, 1))
    found = program.complete(cursor)
    wanted = has.replace("subject to", "subject_to").split()
    assert {name.replace("_to", " to") if name == "subject_to" else name for name in wanted} <= found.keys()
    assert not set(lacks.split()) & found.keys()


def test_completion_says_what_it_offers(editor: Editor) -> None:
    found = editor.open(RIDGE).complete("+ rho| *")
    assert found["huber"].detail == "huber(x[, M])"
    assert found["huber"].insert_text == "huber($0)"
    assert "2 M |x| - M^2" in found["huber"].documentation.value
    assert (found["A"].detail, found["A"].documentation.value) == ("(m, n) · constant", "design matrix")
    assert found["w"].kind == types.CompletionItemKind.Variable


def test_no_completion_in_comments_and_descriptions(editor: Editor) -> None:
    program = editor.open(RIDGE)
    assert program.complete("# sum|_squares in") == {}
    assert program.complete("design| matrix") == {}


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("quad_form(|", ("quad_form(x, P)", "x")),
        ("quad_form(w[0, 1], |", ("quad_form(x, P)", "P")),
        ("quad_form(max(w, |", ("max(x)", "")),
        ("concat(w, b, |", ("concat(x, ...)", "x")),
        ("huber(w, |", ("huber(x[, M])", "M")),
        ("decode((w), |", ("decode(z (n,), c scalar) -> y (m,)", "c scalar")),
        ("norm1(w) + (|", None),
    ],
)
def test_signatures(editor: Editor, call: str, expected: tuple[str, str] | None) -> None:
    head = "layer l\ndim m, n\nparam b[m]\nextern decode(z[n], c) -> y[m] smooth\nvar w[n]\n\nminimize "
    program = editor.open(head + call.replace("|", ""))
    assert program.signature("minimize " + call) == expected


@pytest.mark.parametrize(
    ("cursor", "line", "text"),
    [
        ("A @ |w", 6, "w"),
        ("dual(st|ep)", 14, "step"),
        ("x[|t+1]", 14, "t"),
        ("param lo[n|]", 1, "n"),
        ("sum_squares(r|)", 8, "r"),
    ],
)
def test_definition(editor: Editor, cursor: str, line: int, text: str) -> None:
    program = editor.open(RIDGE)
    place = program.definition(cursor)
    assert place is not None
    assert (place.range.start.line, program.text_of(place.range)) == (line, text)


def test_functions_and_comments_have_no_definition(editor: Editor) -> None:
    program = editor.open(RIDGE)
    assert program.definition("nor|m1") is None
    assert program.definition("a com|ment") is None


def test_references(editor: Editor) -> None:
    found = editor.open(RIDGE).references("A @ |w")
    assert [place.range.start.line for place in found] == [6, 8, 11, 13, 14, 15]


@pytest.mark.parametrize(
    ("cursor", "name", "pairs"),
    [
        ("A @ |w", "weight", [("w[n]", "weight[n]"), ("@ w", "@ weight"), ("norm1(w)", "norm1(weight)"),
                              ("<= w", "<= weight"), ("+ w ", "+ weight "), ("output w", "output weight")]),
        ("box:  lo <= w\n  |step", "slew", [("step:", "slew:"), ("dual(step)", "dual(slew)")]),
        ("x[|t+1]", "s", [("x[t+1]", "x[s+1]"), (">= x[t]", ">= x[s]"), ("t in 0..T-1", "s in 0..T-1")]),
        ("sum_squares(x[|t])", "k", [("sum_squares(x[t]) for t in", "sum_squares(x[k]) for k in")]),
        ("dim m|", "rows", [("dim m", "dim rows"), ("A[m,", "A[rows,"), ("b[m]", "b[rows]")]),
        ("pri|ce", "cost", [("price", "cost")]),
        ("ridge_b|ox", "box", [("ridge_box", "box")]),
    ],
)  # fmt: skip
def test_rename_changes_every_occurrence_and_nothing_else(
    editor: Editor, cursor: str, name: str, pairs: list[tuple[str, str]]
) -> None:
    program = editor.open(RIDGE)
    expected = RIDGE
    for old, new in pairs:
        assert expected.count(old) == 1
        expected = expected.replace(old, new)
    assert program.rename(cursor, name) == expected
    assert check(expected) == ()


@pytest.mark.parametrize(
    ("name", "reason"), [("rho", "already declared"), ("sum of", "not a name"), ("output", "a word of the language")]
)
def test_a_name_that_will_not_do_is_refused(editor: Editor, name: str, reason: str) -> None:
    with pytest.raises(JsonRpcException, match=reason):
        editor.open(RIDGE).rename("A @ |w", name)


def test_only_names_of_the_program_can_be_renamed(editor: Editor) -> None:
    program = editor.open(RIDGE)
    assert program.prepare_rename("nor|m1") is None
    assert program.prepare_rename("rho nonn|eg") is None
    found = program.prepare_rename("rh|o *")
    assert found is not None
    assert program.text_of(found) == "rho"


def test_formatting(editor: Editor) -> None:
    program = editor.open("layer l\nvar   x # one\nminimize  x ^ 2")
    edits = program.format()
    assert edits is not None
    assert program.applied(edits) == "layer l\nvar x  # one\n\nminimize x^2\n"
    assert not editor.open("layer l\nvar x\n\nminimize x^2\n").format()
    assert editor.open("layer l\nvar x[\n").format() is None


def test_the_outline(editor: Editor) -> None:
    (layer,) = editor.open(RIDGE).symbols()
    assert (layer.name, layer.kind) == ("ridge_box", types.SymbolKind.Class)
    found = {symbol.name: symbol.detail for symbol in layer.children or []}
    names = "m n T A b rho lo w x r minimize box step weights price value"
    assert list(found) == names.split()
    assert found["A"] == "(m, n) · constant"


def test_quick_fixes_make_the_diagnostic_go(editor: Editor) -> None:
    program = editor.open(
        "layer l\nparam c[n]\ndim n\nvar x[n]\n\nminimize sumsquares(x - c)\nsubject to\n  sum(x) = 1\n"
    )
    unknown, equals = program.diagnostics()
    (fixed,) = program.actions(unknown).values()
    assert fixed == program.text.replace("sumsquares", "sum_squares")
    actions = program.actions(equals)
    assert list(actions) == ["replace `=` by `==`"]
    program = editor.open(actions["replace `=` by `==`"].replace("sumsquares", "sum_squares"))
    assert program.diagnostics() == []


def test_a_missing_declaration_can_be_written(editor: Editor) -> None:
    program = editor.open("layer l\nparam c\nvar x\n\nminimize (x - c)^2 + gamma * x\n")
    (found,) = program.diagnostics()
    fixed = program.actions(found)
    assert list(fixed) == ["insert `param gamma`", "insert `var gamma`"]
    assert fixed["insert `param gamma`"].startswith("layer l\nparam c\nparam gamma\nvar x\n")


def test_prose_is_no_quick_fix(editor: Editor) -> None:
    program = editor.open("layer l\nvar x\nvar x\n\nminimize x^2\n")
    (found,) = program.diagnostics()
    assert "rename" in found.message or "remove" in found.message
    assert program.actions(found) == {}


def test_closing_a_program_clears_its_diagnostics(editor: Editor) -> None:
    program = editor.open("layer l\n", "file:///closed.opt")
    assert program.diagnostics()
    params = types.DidCloseTextDocumentParams(program.id)
    editor.client.text_document_did_close(params)
    editor.versions[program.uri] = None  # type: ignore[assignment]
    assert program.diagnostics() == []


def test_every_word_of_the_language_is_explained() -> None:
    assert set(words.KEYWORDS) == set(RESERVED)
    assert set(words.ATTRIBUTES) == {*ATTRIBUTES, "learned", "constant", "smooth"}
    assert set(words.OPTIONS) == set(OPTIONS)


def test_without_pygls_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    imported = builtins.__import__

    def refuse(name: str, *args: Any, **keywords: Any) -> Any:
        if name == "declarative.lsp.server":
            raise ModuleNotFoundError("No module named 'pygls'", name="pygls")
        return imported(name, *args, **keywords)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert main(["lsp"]) == 2
    assert 'pip install -e ".[lsp]"' in capsys.readouterr().err
