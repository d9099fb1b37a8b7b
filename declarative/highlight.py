"""Colours for programs: the language's words by kind, and a Pygments lexer made of them.

Sphinx, Jupyter, rich and everything else that uses Pygments finds the lexer by its name ``opt`` or by the file name.
"""

from __future__ import annotations

from typing import Any, ClassVar, final

from pygments.lexer import RegexLexer, default, words
from pygments.token import Comment, Error, Keyword, Name, Number, Operator, Punctuation, String, Whitespace

from declarative.frontend.declarations import BINDINGS
from declarative.frontend.scope import FUNCTIONS
from declarative.ir.expression import ATTRIBUTES
from declarative.ir.words import KEYWORDS, RESERVED

DECLARATIONS = ("layer", "dim", "param", "var", "let", "extern")
"""Words that declare a name."""

CLAUSES = tuple(word for word in KEYWORDS if word not in DECLARATIONS)
"""All other keywords."""

PROPERTIES = (*ATTRIBUTES, *BINDINGS, "smooth")
"""What may follow a declared name."""

RESULTS = tuple(word for word in RESERVED if word not in KEYWORDS)
"""What only an output may name."""

OPERATORS = r"<=|>=|==|->|\.\.|[-+*/@^'=]"


def _words(names: tuple[str, ...], suffix: str = r"\b") -> words:
    return words(names, prefix=r"\b", suffix=suffix)


@final
class OptLexer(RegexLexer):
    """Programs of the ``.opt`` language."""

    name = "opt"
    aliases: ClassVar = ["opt", "declarative"]
    filenames: ClassVar = ["*.opt"]

    tokens: ClassVar[dict[str, list[Any]]] = {
        "root": [
            (r"\n|[^\S\n]+", Whitespace),
            (r"#[^\n]*", Comment.Single),
            (r'"[^"\n]*"', String.Doc),
            (r"(?<![\w\[])[A-Za-z_]\w*(?=[ \t]*:)", Name.Label),
            (r"layer\b", Keyword.Declaration, "layer"),
            (_words(DECLARATIONS), Keyword.Declaration),
            (_words(CLAUSES), Keyword),
            (_words(PROPERTIES, r"\b(?![ \t]*\()"), Keyword.Type),
            (_words(RESULTS), Name.Builtin.Pseudo),
            (_words(FUNCTIONS, r"(?=[ \t]*\()"), Name.Function),
            (r"[A-Za-z_]\w*", Name),
            (r"\d+(\.\d+)?([eE][-+]?\d+)?", Number),
            (OPERATORS, Operator),
            (r"[()\[\],:]", Punctuation),
            (r".", Error),
        ],
        "layer": [(r"[^\S\n]+", Whitespace), (r"\w+", Name.Class, "#pop"), default("#pop")],
    }
