"""Numbers for a program's dimensions, checked: every one given, none unknown, and no subscript outside its array."""

from __future__ import annotations

from collections.abc import Mapping

from declarative.diagnostics.diagnostic import Diagnostic, DiagnosticError, Label
from declarative.diagnostics.span import Span
from declarative.ir.expression import At, Subscript
from declarative.ir.program import Program
from declarative.ir.shape import Shape

LARGEST = 1_000_000
"""Entries of all variables and parameters together beyond which the conic form is refused: its sparse maps are written
into the module, and would be larger than any matrix-free method needs."""


def resolve_sizes(program: Program, sizes: Mapping[str, int]) -> dict[str, int]:
    """``sizes`` with the defaults of the dimensions that it leaves out. `DiagnosticError` E601, E602 or E603."""
    known = {dimension.name: dimension for dimension in program.dimensions}
    findings = [_unknown(name, tuple(known)) for name in sizes if name not in known]
    values: dict[str, int] = {}
    for name, dimension in known.items():
        value = sizes.get(name, dimension.default)
        label = Label(dimension.at, "declared here") if dimension.at else None
        if value is None:
            findings.append(
                Diagnostic(
                    "E601",
                    f"the size of `{name}` must be known to bring `{program.name}` to conic form",
                    label,
                    help=f"fix it: --dim {name}=10, or `dim {name} = 10`",
                )
            )
        elif value < 1:
            findings.append(Diagnostic("E602", f"expected a size of at least 1 for `{name}`, found {value}", label))
        else:
            values[name] = value
    if not findings:
        findings = _too_large(program, values)
    if findings:
        raise DiagnosticError(findings)
    return values


def check_bounds(shape: Shape, subscripts: tuple[Subscript, ...], span: Span | None) -> None:
    """`DiagnosticError` E604 for a subscript outside its array; an empty range may lie anywhere."""
    for axis, subscript in enumerate(subscripts):
        length = shape[axis].evaluate({})
        if isinstance(subscript, At):
            ends = [subscript.index.evaluate({})]
        else:
            ends = [subscript.first.evaluate({}), subscript.last.evaluate({})]
            if ends[0] > ends[1]:
                continue
        for end in ends:
            if not 0 <= end < length:
                raise DiagnosticError(
                    [
                        Diagnostic(
                            "E604",
                            f"subscript {end} is outside 0..{length - 1} at these sizes",
                            Label(span, f"dimension {axis} has {length} entries") if span else None,
                        )
                    ]
                )


def _unknown(name: str, known: tuple[str, ...]) -> Diagnostic:
    names = ", ".join(f"`{other}`" for other in known) or "none"
    return Diagnostic("E602", f"there is no dimension `{name}`; the dimensions are {names}")


def _too_large(program: Program, values: Mapping[str, int]) -> list[Diagnostic]:
    findings = []
    total = 0
    for symbol in (*program.parameters, *program.variables):
        entries = 1
        for size in symbol.shape:
            length = size.evaluate(values)
            if length < 0:
                label = Label(symbol.at, f"this size is {length}") if symbol.at else None
                findings.append(Diagnostic("E602", f"`{symbol.name}` has a negative size: {size} is {length}", label))
            entries *= max(length, 0)
        total += entries
    if total > LARGEST:
        findings.append(
            Diagnostic(
                "E603",
                f"`{program.name}` is too large for the conic form: {total:,} entries of variables and parameters",
                notes=(f"the limit is {LARGEST:,}, because the maps from parameters to coefficients are stored",),
            )
        )
    return findings
