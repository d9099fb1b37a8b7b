"""Emission of closed forms: the statements of the structure as ``solution``, the problem that it solves as ``data``."""

from __future__ import annotations

from dataclasses import replace

from declarative.canonical.quadratic import QuadraticForm
from declarative.codegen import quadratic_program, smooth
from declarative.codegen.module_plan import Method, Solver, Writer, size_text, stack
from declarative.ir.expression import Variable
from declarative.ir.program import Dual
from declarative.structures.structure import Match

DOC = "The problem that `solution` solves; `solve` and `diagnose` judge it by this, `forward` does without."
PRIMAL = "The variable, which is all that `forward` reads, and what is finite where it and the parameters are."

POINTS = {
    ("x",): "PrimalPoint",
    ("x", "row", "bounds"): "RowPoint",
    ("x", "psd"): "SemidefinitePoint",
    ("x", "bounds"): "BoxPoint",
    ("x", "ineq"): "InequalityPoint",
    ("x", "eq"): "EqualityPoint",
    ("x", "eq", "bounds"): "BoundedPoint",
    ("x", "eq", "ineq"): "LocalPoint",
    ("x", "eq", "ineq", "bounds"): "QPPoint",
}
"""The runtime's point type for each set of fields that closed forms have."""


def plan(match: Match, writer: Writer, variable: Variable) -> Solver:
    """The solver part of a module whose structure has a closed form."""
    printer = writer.printer()
    closed = match.closed_form(printer)
    assert closed is not None
    kind = POINTS[closed.fields]
    writer.used |= {kind, *closed.uses}
    ending = f"return {kind}({', '.join(f'{f}={name}' for f, name in zip(closed.fields, closed.point, strict=True))})"
    solution = Method("solution", writer.arguments, kind, closed.doc, writer.body(printer, [*closed.lines, ending]))
    if match.stated_as is not None:
        solver = _as_quadratic_program(match.stated_as, writer, solution, kind)
        reads_duals = any(isinstance(output.value, Dual) for output in writer.program.outputs)
        # A parameter that drops out of the closed form is looked at by `forward`, which `primal` would not let it.
        reads_all = closed.primal_reads >= {parameter.name for parameter in writer.program.parameters}
        if closed.primal and reads_all and not reads_duals:
            printer = writer.printer()
            lines = match.closed_form(printer).primal  # type: ignore[union-attr]
            primal = Method("primal", writer.arguments, "tuple[Tensor, Tensor]", PRIMAL, writer.body(printer, lines))
            solver = replace(solver, methods=(solver.methods[0], primal, *solver.methods[1:]))
        return solver
    if match.stated_locally:
        solver = smooth.plan(writer)
        stated = solver.methods[0]
        return replace(solver, methods=(solution, replace(stated, doc=DOC), *solver.methods[1:]))
    stating = writer.printer()
    problem = match.problem(stating)
    assert problem is not None
    writer.used |= {problem.kind, *problem.uses}
    data = Method("data", writer.arguments, problem.kind, DOC, writer.body(stating, problem.lines))
    blocks = tuple((name, part, tuple(map(size_text, shape))) for name, part, shape in problem.rows)
    sources, readings = stack("x", [(writer.names[variable.name], variable.shape)], writer)
    duals = dict(closed.duals)
    for name, part in duals.items():
        if part == "psd":  # a matrix of the variable's shape
            found, more = stack("psd", [("Z", variable.shape)], writer)
            duals[name], readings = found["Z"], readings + more
    return Solver(
        (solution, data), kind, {variable.name: sources[writer.names[variable.name]]}, duals, readings, blocks
    )


def _as_quadratic_program(form: QuadraticForm, writer: Writer, solution: Method, kind: str) -> Solver:
    """The rest of the module as that of the quadratic program: its data, and how variables and duals are read off."""
    solver = quadratic_program.plan(form, writer)
    (data,) = solver.methods
    if kind != "QPPoint":
        writer.used.discard("QPPoint")
    return replace(solver, methods=(solution, replace(data, doc=DOC)), point_type=kind)
