"""Broken programs with the words that each deserves, from ``grammar/mistakes``.

Every example is parsed once; the state that the parser stops in and the kind of token that stops it are the key. A
program that stops in the same state on the same kind of token has made the same mistake.

Reference: Jeffery, Generating LR syntax error messages from examples, TOPLAS 2003.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from lark import Lark, UnexpectedToken

Key = tuple[int, str]


@dataclass(frozen=True)
class Mistake:
    """The header of a file of examples."""

    name: str
    code: str
    message: str
    label: str
    help: str | None
    examples: tuple[str, ...]


@cache
def mistakes() -> tuple[Mistake, ...]:
    """All files of ``grammar/mistakes``, by name."""
    folder = files("declarative.grammar").joinpath("mistakes")
    paths = sorted((p for p in folder.iterdir() if p.name.endswith(".opt")), key=lambda p: p.name)
    return tuple(_read(path.name.removesuffix(".opt"), path.read_text(encoding="utf-8")) for path in paths)


def _read(name: str, text: str) -> Mistake:
    head, *examples = text.split("---\n")
    fields = dict(line.removeprefix("# ").split(": ", 1) for line in head.splitlines())
    return Mistake(
        name, fields["code"], fields["message"], fields.get("label", ""), fields.get("help"), tuple(examples)
    )


def key(error: UnexpectedToken) -> Key:
    """The parser's state and the kind of the token that it could not take."""
    return error.state.position, error.token.type


@cache
def table(lark: Lark) -> dict[Key, Mistake]:
    """What each combination of state and token means."""
    entries: dict[Key, Mistake] = {}
    for mistake in mistakes():
        for example in mistake.examples:
            try:
                lark.parse(example)
            except UnexpectedToken as error:
                entries.setdefault(key(error), mistake)
    return entries
