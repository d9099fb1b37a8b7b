"""Writes ``syntaxes/opt.tmLanguage.json`` from the words that the language itself is made of.

python editors/vscode/write_grammar.py
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from declarative.frontend.scope import FUNCTIONS
from declarative.highlight import CLAUSES, DECLARATIONS, PROPERTIES, RESULTS

GRAMMAR = Path(__file__).parent / "syntaxes" / "opt.tmLanguage.json"


def grammar() -> dict[str, Any]:
    """The TextMate grammar; the first pattern that matches at a position decides."""
    patterns = [
        ("comment.line.number-sign.opt", r"#.*$"),
        ("string.quoted.double.opt", r'"[^"]*"'),
        ("entity.name.tag.constraint.opt", r"^\s*[A-Za-z_]\w*(?=\s*:)"),
        ("storage.type.opt", _alternatives(DECLARATIONS)),
        ("keyword.control.opt", _alternatives(CLAUSES)),
        ("storage.modifier.opt", _alternatives(PROPERTIES, r"\b(?!\s*\()")),
        ("support.variable.opt", _alternatives(RESULTS)),
        ("support.function.opt", _alternatives(FUNCTIONS, r"\b(?=\s*\()")),
        ("entity.name.function.opt", r"\b[A-Za-z_]\w*(?=\s*\()"),
        ("constant.numeric.opt", r"\b[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?"),
        ("keyword.operator.comparison.opt", r"<=|>=|=="),
        ("keyword.operator.opt", r"->|\.\.|[-+*/@^'=]"),
        ("variable.other.opt", r"\b[A-Za-z_]\w*\b"),
        ("invalid.illegal.opt", r"[;{}!&|~$?%\\`<>]"),
    ]
    name = {
        "name": "meta.layer.opt",
        "match": r'\b(layer)\s+([A-Za-z_]\w*)(?:\s+("[^"]*"))?',
        "captures": {
            "1": {"name": "storage.type.opt"},
            "2": {"name": "entity.name.type.class.opt"},
            "3": {"name": "string.quoted.double.opt"},
        },
    }
    comment, *others = [{"name": scope, "match": match} for scope, match in patterns]
    return {
        "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
        "name": "opt",
        "scopeName": "source.opt",
        "fileTypes": ["opt"],
        "patterns": [comment, name, *others],
    }


def _alternatives(words: Iterable[str], end: str = r"\b") -> str:
    return rf"\b(?:{'|'.join(words)}){end}"


def text() -> str:
    """The file's content."""
    return json.dumps(grammar(), indent=2) + "\n"


if __name__ == "__main__":
    GRAMMAR.write_text(text(), encoding="utf-8")
