"""The grammar has no conflict of any kind, and the lexer keeps its promises."""

from __future__ import annotations

from importlib.resources import files

import pytest
from lark import Lark

from declarative.diagnostics.span import Source
from declarative.frontend import syntax
from declarative.frontend.lines import Newlines
from declarative.frontend.parser import parse

GRAMMAR = files("declarative.grammar").joinpath("opt.lark").read_text(encoding="utf-8")


def test_grammar_is_strictly_lalr() -> None:
    """Lark's strict mode refuses shift-reduce conflicts and terminals that match the same text."""
    Lark(GRAMMAR, parser="lalr", lexer="contextual", strict=True, postlex=Newlines(), propagate_positions=True)


def test_strict_mode_would_notice() -> None:
    from lark.exceptions import GrammarError

    ambiguous = GRAMMAR.replace("product: unary\n", "product: unary | product unary\n")
    assert ambiguous != GRAMMAR
    with pytest.raises(GrammarError):
        Lark(ambiguous, parser="lalr", lexer="contextual", strict=True, postlex=Newlines(), propagate_positions=True)


def objective(text: str) -> syntax.Expression:
    """The syntax tree of an expression."""
    file, found = parse(Source("test", f"minimize {text}\n"))
    assert file is not None
    assert not found
    statement = file.statements[0]
    assert isinstance(statement, syntax.ObjectiveStatement)
    assert statement.expression is not None
    return statement.expression


def bracketed(node: syntax.Node) -> str:
    """An expression with every operation in parentheses."""
    match node:
        case syntax.Name(text=text):
            return text
        case syntax.Number(value=value):
            return f"{value:g}"
        case syntax.Binary(operator=operator, left=left, right=right):
            return f"({bracketed(left)} {operator} {bracketed(right)})"
        case syntax.Negation(operand=operand):
            return f"(-{bracketed(operand)})"
        case syntax.Transposition(operand=operand):
            return f"({bracketed(operand)}')"
        case syntax.Subscripted(base=base, subscripts=subscripts):
            return f"{bracketed(base)}[{', '.join(map(bracketed, subscripts))}]"
        case syntax.Interval(first=first, last=last):
            return f"{bracketed(first)}..{bracketed(last)}"
        case syntax.Application(function=function, arguments=arguments):
            return f"{function.text}({', '.join(map(bracketed, arguments))})"
    raise TypeError(node)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("a - b - c", "((a - b) - c)"),
        ("a / b * c @ d", "(((a / b) * c) @ d)"),
        ("-x^2", "(-(x ^ 2))"),
        ("x^y^z", "(x ^ (y ^ z))"),
        ("x^-y^z", "(x ^ (-(y ^ z)))"),
        ("-a * b", "((-a) * b)"),
        ("a * -b", "(a * (-b))"),
        ("a + b * c", "(a + (b * c))"),
        ("A' @ B'[0]", "((A') @ (B')[0])"),
        ("x[t+1]^2", "(x[(t + 1)] ^ 2)"),
        ("x[0..T-1]", "x[0..(T - 1)]"),
        ("x[1..2]", "x[1..2]"),
        ("1.5e-3 * x", "(0.0015 * x)"),
        ("f(a, -b)", "f(a, (-b))"),
        ("a +\n  b *\n  c", "(a + (b * c))"),
        ("f(a, # why\n\n  b\n)", "f(a, b)"),
    ],
)
def test_precedence(text: str, meaning: str) -> None:
    assert bracketed(objective(text)) == meaning


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("param params[n]", syntax.SymbolDeclaration),
        ("var variance", syntax.SymbolDeclaration),
        ("let forth = inner", syntax.LetDeclaration),
        ("minimize locally_smooth", syntax.ObjectiveStatement),
        ("dimension: x <= 1", syntax.ConstraintStatement),
        ("outputs <= information for t in 0..forward", syntax.ConstraintStatement),
        ("X in psd", syntax.ConstraintStatement),
        ("output x as assets, y", syntax.OutputStatement),
    ],
)
def test_keywords_end_where_words_end(line: str, kind: type[syntax.Statement]) -> None:
    file, found = parse(Source("test", line))
    assert not found
    assert file is not None
    assert [type(s) for s in file.statements] == [kind]


def test_spans_cover_statements_without_their_newlines() -> None:
    text = '# head\n\nlayer a "doc"  # tail\n\n  minimize x +\n    y   # more\nsubject to\n c: x <= 1'
    file, found = parse(Source("test", text))
    assert file is not None
    assert not found
    assert [s.span.text for s in file.statements] == [
        'layer a "doc"', "minimize x +\n    y", "subject to", "c: x <= 1",
    ]  # fmt: skip


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_newlines_of_every_system(newline: str) -> None:
    text = newline.join(["dim n", "", "minimize f(", "  x)", ""])
    file, found = parse(Source("test", text))
    assert not found
    assert file is not None
    assert len(file.statements) == 2
