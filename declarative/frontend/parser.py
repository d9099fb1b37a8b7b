"""Text to syntax tree.

The grammar is `grammar/opt.lark`. A syntax error does not end the work: the statement around it is blanked out and the
rest is parsed again, so that all syntax errors of a file are told at once.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from lark import Lark, Tree, UnexpectedInput
from lark.lexer import Token

from declarative.diagnostics.diagnostic import Diagnostic, Label
from declarative.diagnostics.span import Source, Span
from declarative.frontend import syntax
from declarative.frontend.build import Builder
from declarative.frontend.limits import MAXIMUM_DEPTH, MAXIMUM_ERRORS, MAXIMUM_LENGTH
from declarative.frontend.lines import Newlines, brackets, statement_blocks
from declarative.frontend.mistakes import explain


@cache
def parser() -> Lark:
    """The parser of the language; building its tables takes about 0.1 s, once."""
    grammar = files("declarative.grammar").joinpath("opt.lark").read_text(encoding="utf-8")
    return Lark(
        grammar,
        parser="lalr",
        lexer="contextual",
        postlex=Newlines(),
        propagate_positions=True,
        maybe_placeholders=True,
    )


def parse(source: Source) -> tuple[syntax.File | None, list[Diagnostic]]:
    """The syntax tree of what could be read (None if nothing could) and every syntax error."""
    refusal = _refuse(source)
    if refusal is not None:
        return None, [refusal]
    text, found = source.text, []
    while True:
        try:
            tree = parser().parse(text if text.endswith("\n") else text + "\n")
        except UnexpectedInput as error:
            found.append(explain(parser(), source, text, error))
            start, end = _block_around(text, _position(found[-1]))
            if len(found) == MAXIMUM_ERRORS or not text[start:end].strip():
                return None, found
            text = text[:start] + "".join(c if c == "\n" else " " for c in text[start:end]) + text[end:]
            continue
        deep = _too_deep(source, tree)
        if deep:
            return None, [*found, *deep]
        return Builder(source).transform(tree), found


def _refuse(source: Source) -> Diagnostic | None:
    """Whether the text is not worth parsing."""
    text = source.text
    if "\0" in text:
        at = Span(source, text.index("\0"), text.index("\0") + 1)
        return Diagnostic("E002", "this is not a text file: it contains a zero byte", Label(at, "the first one"))
    if len(text) > MAXIMUM_LENGTH:
        message = f"the file has {len(text):,} characters, more than the {MAXIMUM_LENGTH:,} that a program may have"
        return Diagnostic(
            "E003", message, help="give data as a `param`, and repeat terms with `sum(... for t in a..b)`"
        )
    depth = 0
    for bracket in brackets(text):
        depth += 1 if bracket.text in "([" else -1
        if depth > MAXIMUM_DEPTH:
            at = Span(source, bracket.position, bracket.position + 1)
            return _depth_error(at, "brackets are nested too deeply")
    return None


def _too_deep(source: Source, tree: Tree[Token]) -> list[Diagnostic]:
    """An error for every statement whose tree is too deep for the passes that descend it."""
    found = []
    for statement in tree.children:
        level, depth = [statement], 0
        while level and depth <= MAXIMUM_DEPTH:
            level = [child for node in level if isinstance(node, Tree) for child in node.children]
            depth += 1
        if level and isinstance(statement, Tree):
            at = Span(source, statement.meta.start_pos, statement.meta.end_pos)
            found.append(_depth_error(at, "this statement is nested too deeply"))
    return found


def _depth_error(at: Span, message: str) -> Diagnostic:
    return Diagnostic(
        "E107",
        f"{message}: more than {MAXIMUM_DEPTH} levels",
        Label(at, "here"),
        notes=("a chain of operators counts one level for each",),
        help="name parts of it with `let`, or write a repeated term as `sum(... for t in a..b)`",
    )


def _block_around(text: str, position: int) -> tuple[int, int]:
    last = (0, len(text))
    for start, end in statement_blocks(text):
        last = (start, end)
        if position < end:
            break
    return last


def _position(diagnostic: Diagnostic) -> int:
    """Where the mistake is, which for a bracket left open is not where the parser stopped."""
    return diagnostic.primary.span.start if diagnostic.primary else 0
