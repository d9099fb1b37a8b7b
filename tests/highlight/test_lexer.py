"""The Pygments lexer knows every word of the language and loses no character."""

from __future__ import annotations

from pathlib import Path

import pytest
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name, get_lexer_for_filename
from pygments.token import Comment, Error, Keyword, Name, Number, Operator, String, _TokenType

from declarative.atoms import ATOMS, OPERATORS
from declarative.highlight import CLAUSES, DECLARATIONS, PROPERTIES, RESULTS, OptLexer
from declarative.ir.words import RESERVED

PROGRAMS = sorted((Path(__file__).parents[1] / "programs").glob("*/*.opt"))


def kinds(text: str) -> list[tuple[_TokenType, str]]:
    return [(kind, word) for kind, word in OptLexer().get_tokens(text) if word.strip()]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_no_character_is_lost(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lexer = OptLexer(stripnl=False, ensurenl=False)
    tokens = list(lexer.get_tokens(text))
    assert "".join(word for _, word in tokens) == text
    if path.parent.name == "good":
        assert Error not in {kind for kind, _ in tokens}


def test_a_program_is_told_apart() -> None:
    declared = 'layer l "doc"\nparam c[n] nonneg  # why\nminimize diag(c)\n'
    text = f"{declared}  budget: sum(c[0..2]) <= 1.5e-3\n  in_cone: C in psd\n"
    assert kinds(text) == [
        (Keyword.Declaration, "layer"), (Name.Class, "l"), (String.Doc, '"doc"'),
        (Keyword.Declaration, "param"), (Name, "c"), *_brackets((Name, "n")), (Keyword.Type, "nonneg"),
        (Comment.Single, "# why"),
        (Keyword, "minimize"), (Name.Function, "diag"), *_parentheses((Name, "c")),
        (Name.Label, "budget"), *_mark(":"), (Name.Function, "sum"),
        *_parentheses((Name, "c"), *_brackets((Number, "0"), (Operator, ".."), (Number, "2"))),
        (Operator, "<="), (Number, "1.5e-3"),
        (Name.Label, "in_cone"), *_mark(":"), (Name, "C"), (Keyword, "in"), (Keyword.Type, "psd"),
    ]  # fmt: skip


def _mark(mark: str) -> list[tuple[_TokenType, str]]:
    return [(kind, word) for kind, word in OptLexer().get_tokens(mark) if word == mark]


def _brackets(*inside: tuple[_TokenType, str]) -> list[tuple[_TokenType, str]]:
    return [*_mark("["), *inside, *_mark("]")]


def _parentheses(*inside: tuple[_TokenType, str]) -> list[tuple[_TokenType, str]]:
    return [*_mark("("), *inside, *_mark(")")]


def test_the_groups_are_all_the_words_there_are() -> None:
    assert {*DECLARATIONS, *CLAUSES, *RESULTS} == set(RESERVED)
    for word in (*DECLARATIONS, *CLAUSES):
        assert kinds(word)[0][0] in Keyword
    for word in PROPERTIES:
        assert kinds(f"var x {word}")[-1] == (Keyword.Type, word)


@pytest.mark.parametrize("name", [name for name in ATOMS if name not in OPERATORS])
def test_every_function_is_known(name: str) -> None:
    assert kinds(f"{name}(x)")[0] == (Name.Function, name)
    assert kinds(f"{name}s")[0] == (Name, f"{name}s")


def test_pygments_finds_the_lexer() -> None:
    assert isinstance(get_lexer_by_name("opt"), OptLexer)
    assert isinstance(get_lexer_for_filename("softmax.opt"), OptLexer)
    html = highlight("var x\n", get_lexer_by_name("opt"), HtmlFormatter())
    assert '<span class="kd">var</span>' in html
