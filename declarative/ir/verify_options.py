"""Options: settings of the emitted layer, with values that it can take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from declarative.diagnostics.diagnostic import Diagnostic
from declarative.diagnostics.span import Span
from declarative.ir.findings import finding
from declarative.ir.program import OPTIONS, Program

FAILURES = ("raise", "nan")
ALIASES = {"eps": "tolerance", "atol": "tolerance", "maxiter": "max_iterations", "iterations": "max_iterations"}
"""What other solvers call an option."""


def options(program: Program) -> Iterator[Diagnostic]:
    """Every option exists and has a value of its kind."""
    return option_findings(program.options, program.option_places)


def option_findings(
    options: Sequence[tuple[str, float | str | bool]], option_places: Sequence[tuple[str, Span]]
) -> Iterator[Diagnostic]:
    """The same of options that may belong to no program, for it has errors."""
    places = dict(option_places)
    for name, value in options:
        at = places.get(name)
        if name not in OPTIONS:
            meant = _meant(name)
            help = f"did you mean `{meant}`?" if meant else f"the options are {', '.join(OPTIONS)}"
            yield finding("E505", f"there is no option `{name}`", at, help=help)
            continue
        wanted = _wanted(name, value)
        if wanted is not None:
            yield finding("E505", f"`{name}` must be {wanted}, not {_written(value)}", at)


def _meant(name: str) -> str | None:
    """The option that an abbreviation, another solver's name or a misspelling stands for."""
    abbreviated = [option for option in OPTIONS if len(name) > 2 and option.startswith(name)]
    known = [ALIASES[name.lower()]] if name.lower() in ALIASES else []
    return next(iter(known + abbreviated + get_close_matches(name, OPTIONS, n=1)), None)


def _wanted(name: str, value: float | str | bool) -> str | None:
    """What the option takes, if the value is not that."""
    number = isinstance(value, float | int) and not isinstance(value, bool)
    match name:
        case "on_failure":
            return None if value in FAILURES else "`raise` or `nan`"
        case "check_inputs":
            return None if isinstance(value, bool) else "`true` or `false`"
        case "tolerance":
            return None if number and float(value) > 0 else "a positive number"
    return None if number and float(value) >= 1 and float(value) % 1 == 0 else "a whole number from 1"


def _written(value: float | str | bool) -> str:
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    return f"`{value:g}`" if isinstance(value, float | int) else f"`{value}`"
