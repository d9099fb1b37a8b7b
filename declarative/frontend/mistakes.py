"""Syntax errors in words: what is wrong here, and what to type.

Most specific first: characters of other languages, brackets, habits, misspelt keywords, the examples of
``grammar/mistakes``, and last the list of what could have stood here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from difflib import get_close_matches

from lark import Lark, Token, UnexpectedInput, UnexpectedToken

from declarative.diagnostics.diagnostic import Diagnostic, Label
from declarative.diagnostics.span import Source, Span
from declarative.frontend import examples
from declarative.frontend.foreign import CHARACTERS, STATEMENTS
from declarative.frontend.habits import HABITS
from declarative.frontend.idioms import IDIOMS, function_of_module
from declarative.frontend.lines import (
    CLOSING,
    OPENING,
    SIGNS,
    code_before,
    open_brackets,
    starts_statement,
    statement_blocks,
)
from declarative.frontend.stop import Stop

WORDS = {
    "NAME": "a name", "NUMBER": "a number", "STRING": "a description", "_NL": "the end of the line", "_DOTS": "`..`",
    "_ARROW": "`->`", "LPAR": "`(`", "RPAR": "`)`", "LSQB": "`[`", "RSQB": "`]`", "COMMA": "a comma", "COLON": "`:`",
    "ASSIGN": "`=`", "_IN": "`in`", "_FOR": "`for`", "_AS": "`as`", "_FROM": "`from`", "LOCALLY": "`locally`",
    "PLUS": "an operator", "LE": "`<=`, `>=` or `==`",
}  # fmt: skip
"""Tokens in words; those that stand for a group (all operators, all relations) stand for the group."""

EXPRESSION_STARTS = frozenset(("NAME", "NUMBER", "LPAR"))
STATEMENT_WORDS = ("layer", "dim", "param", "var", "let", "extern", "minimize", "maximize", "solve", "output", "option")


def explain(lark: Lark, source: Source, text: str, error: UnexpectedInput) -> Diagnostic:
    """The diagnostic of a syntax error. ``text`` is the source with earlier broken statements blanked out."""
    if not isinstance(error, UnexpectedToken):
        return _character(source, min(error.pos_in_stream or 0, len(text) - 1))
    token = error.token
    if token.type == "$END":
        token = Token("$END", "", start_pos=len(text))
    position = token.start_pos or 0
    block = next(((a, b) for a, b in statement_blocks(text) if position < b), (0, len(text)))
    taken = error.state.parse_conf.parse_table.states[error.state.position]
    stop = Stop(source, text, token, block, frozenset(taken))
    rules: tuple[Callable[[Stop], Diagnostic | None], ...] = (
        _foreign,
        _brackets,
        _dangling,
        *HABITS,
        *IDIOMS,
        _keyword,
    )
    for rule in rules:
        found = rule(stop)
        if found is not None:
            return found
    mistake = examples.table(lark).get(examples.key(error))
    if mistake is not None:
        return Diagnostic(mistake.code, mistake.message, Label(stop.span, mistake.label), help=mistake.help)
    return _side_by_side(stop) or _comparison(stop) or _missing_relation(stop) or _generic(stop)


def _character(source: Source, position: int) -> Diagnostic:
    """A character that begins no token."""
    character = source.text[position : position + 1]
    message, help = CHARACTERS.get(character, (f"unexpected character {character!r}", None))
    return Diagnostic("E104", message, Label(Span(source, position, position + len(character))), help=help)


def _foreign(stop: Stop) -> Diagnostic | None:
    if stop.token.type not in ("FOREIGN", "SLASHES"):
        return None
    text = str(stop.token)
    if text.startswith('"'):
        at = Label(stop.span, "begins here")
        return Diagnostic("E103", "the description does not end on its line", at, help='close it with `"`')
    if text == ".":
        return _dot(stop)
    if text in CHARACTERS:
        message, help = CHARACTERS[text]
        return Diagnostic("E104", message, Label(stop.span), help=help)
    name = unicodedata.name(text, "an unprintable character")
    letter = name.split()[-1].lower() if name.startswith("GREEK") else None
    message = f"names and signs are plain ASCII, not `{text}`" if text.isprintable() else f"unexpected {name.lower()}"
    return Diagnostic("E104", message, Label(stop.span, name.lower()), help=f"write {letter}" if letter else None)


def _dot(stop: Stop) -> Diagnostic:
    after = stop.text[stop.start + 1 : stop.start + 40]
    if stop.before.strip() == "s":
        return Diagnostic("E109", "no statement begins with `s.t.`", Label(stop.span), help="subject to")
    if after[:1].isdigit():
        return Diagnostic("E104", "a number has a digit before its point", Label(stop.span), help="0.5")
    if stop.before[-1:].isdigit():
        return Diagnostic("E104", "a number has a digit after its point", Label(stop.span), help="1.0, or 1")
    return function_of_module(stop) or Diagnostic(
        "E104", "there are no attributes or methods", Label(stop.span, "no dot here"),
        help="functions are called with their argument: sum(x); a transpose is written A'",
    )  # fmt: skip


def _brackets(stop: Stop) -> Diagnostic | None:
    """A bracket that closes nothing, closes another kind, or is never closed."""
    opened = open_brackets(stop.text, stop.start)
    text = str(stop.token)
    if text in CLOSING and not opened:
        return Diagnostic("E102", f"this `{text}` closes nothing", Label(stop.span), help="remove it")
    if not opened:
        return None
    last = opened[-1]
    at = Span(stop.source, last.position, last.position + 1)
    if text in CLOSING and last.text != CLOSING[text]:
        return Diagnostic(
            "E102", f"`{text}` cannot close `{last.text}`", Label(stop.span, f"expected `{OPENING[last.text]}`"),
            (Label(at, "opened here"),),
        )  # fmt: skip
    line_start = stop.text.rfind("\n", 0, stop.start) + 1
    on_later_line = "\n" in stop.text[at.start : stop.start]
    fresh = starts_statement(stop.text[line_start:]) or stop.token.type == "$END"
    if (on_later_line and fresh) or stop.token.type == "_NL":
        return Diagnostic(
            "E102", f"`{last.text}` is never closed", Label(at, "opened here"),
            help=f"close it with `{OPENING[last.text]}`"
        )  # fmt: skip
    return None


def _dangling(stop: Stop) -> Diagnostic | None:
    """A line that ends with an operator, whose operand a new statement takes the place of."""
    line_start = stop.text.rfind("\n", 0, stop.start) + 1
    if not starts_statement(stop.text[line_start:]):
        return None
    before = code_before(stop.text, line_start)
    sign = next((s for s in SIGNS if before.endswith(s)), None)
    if sign is None:
        return None
    at = Span(stop.source, len(before) - len(sign), len(before))
    return Diagnostic(
        "E101", f"nothing follows `{sign}`", Label(at, "the rest is missing"),
        notes=("a line that ends with an operator or a comma goes on in the next",),
    )  # fmt: skip


def _keyword(stop: Stop) -> Diagnostic | None:
    """A statement that begins with a word which is almost a keyword, or one of another language."""
    words = stop.before.split()
    if len(words) != 1 or not words[0].isidentifier() or stop.token.type not in ("NAME", "NUMBER", "STRING"):
        return None
    word = words[0]
    if word in STATEMENT_WORDS:
        return None
    start = stop.start - len(stop.before) + stop.before.index(word)
    at = Span(stop.source, start, start + len(word))
    instead = STATEMENTS.get(word.lower())
    if instead is None:
        close = get_close_matches(word.lower(), STATEMENT_WORDS, n=1, cutoff=0.6)
        instead = close[0] if close else None
    if instead is None:
        return Diagnostic(
            "E109", f"no statement begins with `{word}`", Label(at),
            notes=(f"statements begin with {', '.join(STATEMENT_WORDS)}, subject to, or are constraints",),
        )  # fmt: skip
    return Diagnostic("E109", f"no statement begins with `{word}`", Label(at), help=f"did you mean `{instead}`?")


def _side_by_side(stop: Stop) -> Diagnostic | None:
    """``2 x``: two expressions with no operator between them."""
    if "PLUS" not in stop.expected or stop.token.type not in EXPRESSION_STARTS:
        return None
    return Diagnostic(
        "E110", "an operator is missing between two expressions", Label(stop.span, "a second expression"),
        help="write `*` for a multiple, `@` for a product of matrices",
    )  # fmt: skip


def _comparison(stop: Stop) -> Diagnostic | None:
    """A relation where no constraint stands."""
    if stop.token.type not in ("LE", "GE", "EQ", "REFUSED_RELATION", "ASSIGN"):
        return None
    pair = stop.text[max(stop.start - 1, 0) : stop.start + 1]
    if pair in ("=<", "=>"):
        at = Span(stop.source, stop.start - 1, stop.start + 1)
        return Diagnostic(
            "E105", f"`{pair}` is not a relation of the language", Label(at), help=f"write `{pair[::-1]}`"
        )
    return Diagnostic(
        "E110", f"`{stop.token}` stands in constraints only", Label(stop.span, "no relation here"),
        help="constraints follow on lines of their own, after `subject to`",
    )  # fmt: skip


def _missing_relation(stop: Stop) -> Diagnostic | None:
    """A line that is an expression and nothing more."""
    if stop.token.type != "_NL" or "LE" not in stop.expected:
        return None
    help = "a constraint has a relation: E <= E, E >= E, E == E, or X in psd"
    if stop.before.lstrip().startswith("-"):
        help = "to continue the line above, end that line with the operator; " + help
    return Diagnostic("E110", "this line has no relation", Label(stop.span, "expected `<=`, `>=` or `==`"), help=help)


def _generic(stop: Stop) -> Diagnostic:
    """What stands here and what could."""
    words = ["an expression"] if stop.expected >= EXPRESSION_STARTS else []
    skipped = EXPRESSION_STARTS | {"MINUS", "LSQB"} if words else frozenset[str]()
    words += [WORDS[t] for t in sorted(stop.expected - skipped) if t in WORDS]
    found = {"_NL": "the end of the line", "$END": "the end of the file"}.get(stop.token.type, f"`{stop.token}`")
    expected = " or ".join(words) if len(words) < 3 else ", ".join(words[:-1]) + " or " + words[-1]
    label = f"expected {expected}" if words and len(words) <= 4 else ""
    return Diagnostic("E101", f"unexpected {found}", Label(stop.span, label))
