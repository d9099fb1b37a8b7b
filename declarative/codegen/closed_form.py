"""Emission of closed forms: the statements of the structure as the method ``solution``."""

from __future__ import annotations

from declarative.codegen.module_plan import Method, Solver, Writer
from declarative.structures.structure import Match

POINTS = {("x", "eq"): "EqualityPoint", ("x", "eq", "bounds"): "BoundedPoint"}
"""The runtime's point type for each set of fields that closed forms have."""


def plan(match: Match, writer: Writer, variable: str) -> Solver:
    """The solver part of a module whose structure has a closed form."""
    printer = writer.printer()
    closed = match.closed_form(printer)
    assert closed is not None
    kind = POINTS[closed.fields]
    writer.used |= {kind, *closed.uses}
    ending = f"return {kind}({', '.join(f'{f}={name}' for f, name in zip(closed.fields, closed.point, strict=True))})"
    method = Method("solution", writer.arguments, kind, closed.doc, writer.body(printer, [*closed.lines, ending]))
    return Solver((method,), kind, {variable: "point.x"}, dict(closed.duals))
