"""What the names of a program stand for, and the diagnostics found so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal, final

from declarative.atoms import ATOMS, OPERATORS
from declarative.diagnostics.diagnostic import Diagnostic, Label
from declarative.diagnostics.span import Span
from declarative.frontend import syntax
from declarative.ir.expression import Extern, IndexRange, Let, Symbol

Kind = Literal["dim", "param", "var", "let", "extern"]

KEYWORDS = (
    *("layer", "dim", "param", "var", "let", "extern", "minimize", "maximize", "locally", "solve", "subject", "to"),
    *("output", "option", "from", "as", "in", "for"),
)
RESERVED = (*KEYWORDS, "value", "dual")
"""Words of the language, which no declaration may take."""

FUNCTIONS = tuple(name for name in ATOMS if name not in OPERATORS or name == "power")
"""What a program may call by name."""


@dataclass(frozen=True)
class Entry:
    """One declared name. ``value`` is None for a dim, and for a declaration whose own mistake has been told."""

    kind: Kind
    span: Span
    value: Symbol | Let | Extern | None = None


Indices = dict[str, IndexRange]
"""The indices that enclosing ``for`` clauses bind, by name."""


@final
@dataclass
class Scope:
    """Filled declaration by declaration while a program is elaborated."""

    names: dict[str, Entry] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    extents: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Depth and size of the expression that each let names."""

    def report(
        self,
        code: str,
        message: str,
        span: Span,
        label: str = "",
        *,
        secondary: Iterable[Label] = (),
        notes: Iterable[str] = (),
        help: str | None = None,
    ) -> None:
        """Add a diagnostic, once."""
        diagnostic = Diagnostic(code, message, Label(span, label), tuple(secondary), tuple(notes), help)
        if diagnostic not in self.diagnostics:
            self.diagnostics.append(diagnostic)

    def declare(self, name: syntax.Identifier, entry: Entry) -> None:
        """Enter a name, or report that it is taken."""
        if name.text in RESERVED:
            self.report(
                "E205", f"`{name.text}` is a word of the language and cannot name a {WORDS[entry.kind]}", name.span,
                help=f"choose another name, for instance {name.text}_",
            )  # fmt: skip
        earlier = self.names.get(name.text)
        if earlier is not None:
            self.report(
                "E202", f"`{name.text}` is declared twice", name.span, "declared again here",
                secondary=[Label(earlier.span, f"first declared here, as a {WORDS[earlier.kind]}")],
                help="rename one of the two" if earlier.kind != entry.kind else "remove one, or rename it",
            )  # fmt: skip
            return
        self.names[name.text] = entry

    def close(self, name: str, candidates: Iterable[str]) -> str | None:
        """The candidate that a misspelt name was most probably meant to be."""
        candidates = list(candidates)
        same = [c for c in candidates if c.lower() == name.lower()]
        cutoff = 0.6 if len(name) <= 6 else 0.7
        matches = same or get_close_matches(name, candidates, n=1, cutoff=cutoff)
        return matches[0] if matches else None


WORDS = {"dim": "dimension", "param": "parameter", "var": "variable", "let": "let", "extern": "extern"}
