"""Program files as commands want them: read, verified, their warnings told."""

from __future__ import annotations

from collections.abc import Mapping

from declarative.cli.arguments import suggestion
from declarative.cli.terminal import Terminal
from declarative.diagnostics.diagnostic import Diagnostic, DiagnosticError, Label
from declarative.frontend import analyse
from declarative.frontend.read import read_text
from declarative.ir.program import Program
from declarative.structures import Match
from declarative.structures.cone_program import ConeProgramMatch


def load(file: str, sizes: Mapping[str, int], terminal: Terminal) -> Program:
    """The program of a file; warnings go to stderr. Raises `DiagnosticError` with every error of the program."""
    program, found = analyse(read_text(file), file, sizes)
    if program is None:
        raise DiagnosticError(found)
    terminal.report(found)
    refuse_unknown_sizes(program, sizes)
    return program


def refuse_unknown_sizes(program: Program, sizes: Mapping[str, int]) -> None:
    """Raise `DiagnosticError` E602 where a size is given for a dimension that the program does not have."""
    known = [d.name for d in program.dimensions]
    unknown = [unknown_name("E602", "dimension", "--dim", name, known) for name in sizes if name not in known]
    if unknown:
        raise DiagnosticError(unknown)


def require_sizes(program: Program, match: Match, sizes: Mapping[str, int], file: str) -> None:
    """Raise `DiagnosticError` E601, which names the flags to write, where a cone program has an open dimension."""
    if not isinstance(match, ConeProgramMatch):
        return
    missing = [d for d in program.dimensions if d.default is None and d.name not in sizes]
    if not missing:
        return
    names = " and ".join(f"`{d.name}`" for d in missing)
    labels = [Label(d.at, "open") for d in missing if d.at is not None]
    flags = " ".join(f"--dim {d.name}=10" for d in missing)
    raise DiagnosticError(
        [
            Diagnostic(
                "E601",
                f"`{program.name}` is a cone program, which compiles at fixed sizes, and {names} "
                f"{'is' if len(missing) == 1 else 'are'} open",
                labels[0] if labels else None,
                tuple(labels[1:]),
                notes=(
                    "closed forms and quadratic programs compile for any size; from Python the first call fixes it",
                ),
                help=f"name the sizes: declarative compile {file} {flags}",
            )
        ]
    )


def unknown_name(code: str, kind: str, option: str, name: str, known: list[str]) -> Diagnostic:
    """A name given with ``--param``, ``--extern`` or ``--dim`` that the program does not declare (E702, E602)."""
    declared = f"the program declares {', '.join(f'`{k}`' for k in known)}" if known else f"the program has no {kind}"
    help = suggestion(name, known) or None
    return Diagnostic(code, f"no {kind} `{name}` for `{option} {name}=...`", notes=(declared,), help=help)
