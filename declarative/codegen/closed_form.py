"""Emission of closed forms: the statements of the structure as ``solution``, the problem that it solves as ``data``."""

from __future__ import annotations

from declarative.codegen.module_plan import Method, Solver, Writer, size_text
from declarative.structures.structure import Match, ProblemSource

POINTS = {("x", "eq"): "EqualityPoint", ("x", "eq", "bounds"): "BoundedPoint"}
"""The runtime's point type for each set of fields that closed forms have."""


def plan(match: Match, writer: Writer, variable: str) -> Solver:
    """The solver part of a module whose structure has a closed form."""
    printer, stating = writer.printer(), writer.printer()
    closed, problem = match.closed_form(printer), match.problem(stating)
    assert closed is not None
    assert problem is not None
    kind = POINTS[closed.fields]
    writer.used |= {kind, problem.kind, *closed.uses, *problem.uses}
    ending = f"return {kind}({', '.join(f'{f}={name}' for f, name in zip(closed.fields, closed.point, strict=True))})"
    solution = Method("solution", writer.arguments, kind, closed.doc, writer.body(printer, [*closed.lines, ending]))
    data = _data(problem, writer, writer.body(stating, problem.lines))
    blocks = tuple((name, part, tuple(map(size_text, shape))) for name, part, shape in problem.rows)
    return Solver((solution, data), kind, {variable: "point.x"}, dict(closed.duals), blocks=blocks)


def _data(problem: ProblemSource, writer: Writer, lines: tuple[str, ...]) -> Method:
    doc = "The problem that `solution` solves, by which `solve` and `diagnose` judge it; the forward pass does without."
    return Method("data", writer.arguments, problem.kind, doc, lines)
