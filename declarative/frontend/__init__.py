"""Text to program: parse, elaborate, verify."""

from __future__ import annotations

from collections.abc import Mapping

from declarative.diagnostics.diagnostic import Diagnostic, DiagnosticError
from declarative.diagnostics.span import Source
from declarative.frontend.elaborate import elaborate
from declarative.frontend.parser import parse
from declarative.ir.program import Program
from declarative.ir.verify import verify


def parse_program(text: str, name: str = "<text>", sizes: Mapping[str, int] | None = None) -> Program:
    """The program that a text declares.

    ``name`` is what diagnostics call the text. ``sizes`` fixes dims in place of their defaults, as
    ``--dim n=10`` does.
    Raises `DiagnosticError` with every error of the first stage that finds one.
    """
    program, diagnostics = analyse(text, name, sizes)
    errors = [d for d in diagnostics if d.severity == "error"]
    if program is None or errors:
        raise DiagnosticError(errors)
    return program


def check(text: str, name: str = "<text>", sizes: Mapping[str, int] | None = None) -> tuple[Diagnostic, ...]:
    """Every error and warning of a text, in order of place; empty if there is nothing to say."""
    return analyse(text, name, sizes)[1]


def analyse(
    text: str, name: str = "<text>", sizes: Mapping[str, int] | None = None
) -> tuple[Program | None, tuple[Diagnostic, ...]]:
    """The program if it is free of errors, and every diagnostic of the last stage that ran."""
    source = Source(name, text)
    file, found = parse(source)
    if file is None or found:
        return None, tuple(found)
    program, found = elaborate(file, source, sizes)
    if program is None:
        return None, tuple(found)
    found = found + verify(program)
    return (None if any(d.severity == "error" for d in found) else program), tuple(found)
