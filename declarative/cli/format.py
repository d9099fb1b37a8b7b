"""``declarative format``: programs in their canonical layout, in place, or (``--check``) which of them are not."""

from __future__ import annotations

from argparse import Namespace

from declarative.cli.atomic import replace_file
from declarative.cli.terminal import Terminal
from declarative.diagnostics.diagnostic import DiagnosticError
from declarative.frontend.format import format_text
from declarative.frontend.read import read_text


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Format every file; exit code 1 if one cannot be read or, with ``--check``, would change. Broken files stay."""
    failed = 0
    for file in arguments.files:
        try:
            failed += _format(file, arguments.check, terminal)
        except DiagnosticError as error:
            terminal.report(error.diagnostics)
            failed += 1
    return int(failed > 0)


def _format(file: str, check: bool, terminal: Terminal) -> bool:
    """Whether the file fails the check."""
    text = read_text(file)
    formatted = format_text(text, file)
    if formatted == text:
        return False
    if check:
        terminal.line((file, "bold"), ": would be formatted")
        return True
    replace_file(file, formatted.encode("utf-8"))
    terminal.line((file, "bold"), ": formatted")
    return False
