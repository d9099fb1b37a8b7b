"""``declarative check``: everything that is wrong with programs, as text or as JSON for editors."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Mapping

from declarative.cli.arguments import named
from declarative.cli.programs import refuse_unknown_sizes
from declarative.cli.terminal import Terminal
from declarative.diagnostics.diagnostic import Diagnostic, DiagnosticError
from declarative.diagnostics.render import to_json
from declarative.frontend import analyse
from declarative.frontend.read import read_text
from declarative.ir.program import Program
from declarative.structures import Match, canonicalise, recognise
from declarative.structures.cone_program import ConeProgramMatch


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Check every file; exit code 1 if any has an error."""
    sizes = named(arguments.dim, "--dim")
    found = {file: diagnose(file, sizes) for file in arguments.files}
    errors = {file: sum(d.severity == "error" for d in diagnostics) for file, (_, diagnostics) in found.items()}
    if arguments.format == "json":
        findings = [{"path": file, **to_json(d)} for file, (_, diagnostics) in found.items() for d in diagnostics]
        sys.stdout.write(json.dumps(findings, indent=2, allow_nan=False) + "\n")
        return int(any(errors.values()))
    for file, (verdict, diagnostics) in found.items():
        terminal.report(diagnostics)
        if not errors[file]:
            terminal.line((file, "bold"), ": ", ("ok", "green"), f", {verdict}")
    if any(errors.values()):
        total = sum(errors.values())
        where = f" in {sum(map(bool, errors.values()))} of {len(errors)} files" if len(errors) > 1 else ""
        terminal.err.print(f"{total} error{'' if total == 1 else 's'}{where}", soft_wrap=True)
    return int(any(errors.values()))


def diagnose(file: str, sizes: Mapping[str, int]) -> tuple[str, tuple[Diagnostic, ...]]:
    """The structure that a file's program has, and every diagnostic about it."""
    try:
        program, diagnostics = analyse(read_text(file), file, sizes)
    except DiagnosticError as error:
        return "", error.diagnostics
    if program is None:
        return "", diagnostics
    try:
        return _structure(program, sizes), diagnostics
    except DiagnosticError as error:
        return "", (*diagnostics, *error.diagnostics)


def _structure(program: Program, sizes: Mapping[str, int]) -> str:
    """The structure's name. Where a cone program has all its sizes, its conic form checks the subscripts."""
    refuse_unknown_sizes(program, sizes)
    match = next(m for _, m in recognise(canonicalise(program)) if isinstance(m, Match))
    known = {d.name for d in program.dimensions if d.default is not None} | sizes.keys()
    if isinstance(match, ConeProgramMatch) and all(d.name in known for d in program.dimensions):
        from declarative.canonical.cone_program import cone_form

        cone_form(program, sizes)
    return match.structure
