"""Emission of local problems and systems of equations: the functions themselves, which the runtime differentiates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from declarative.atoms import ATOMS
from declarative.codegen.module_plan import Method, Solver, Writer, size_text, stack, tuple_text
from declarative.codegen.print_torch import TorchPrinter
from declarative.ir.expression import Call, Constant, Expression, Variable
from declarative.ir.matrices import Full
from declarative.ir.program import Constraint, Program
from declarative.ir.shape import Shape


def plan(writer: Writer) -> Solver:
    """The solver part of a module for ``minimize locally`` or ``solve``; the statement of a smooth convex problem."""
    program = writer.program
    local = program.objective.sense != "solve"
    methods = []
    if local and program.objective.expression is not None:
        methods.append(_objective(writer, program.objective.expression, program.objective.sense == "maximize"))
    fixed_point = not local and _as_fixed_point(program)
    constraints = fixed_point or program.constraints
    equalities, inequalities = _split(constraints, writer)
    if not local:
        methods.append(_stacked(writer, "equations", "The residuals of the equations, zero at a solution.", equalities))
    else:
        if equalities:
            methods.append(_stacked(writer, "equalities", "Residuals of the equality constraints.", equalities))
        if inequalities:
            methods.append(_stacked(writer, "inequalities", "Nonpositive where the inequalities hold.", inequalities))
    methods.insert(0, _data(writer, "local_problem" if local else "root_problem", bool(fixed_point)))
    kind = "LocalPoint" if local else "RootPoint"
    writer.used.add(kind)
    variables, readings = stack("x", [(writer.names[v.name], v.shape) for v in program.variables], writer)
    variables = {v.name: variables[writer.names[v.name]] for v in program.variables}
    duals: dict[str, str] = {}
    blocks: list[tuple[str, str, tuple[str, ...]]] = []
    if local:
        for part, prefix, rows in (("eq", "nu", equalities), ("ineq", "lam", inequalities)):
            pieces = [(f"{prefix}_{name}" + (f"_{side}" if side != "only" else ""), e.shape) for name, side, e in rows]
            sources, more = stack(part, pieces, writer)
            readings += more
            for (name, side, e), (piece, _) in zip(rows, pieces, strict=True):
                blocks.append((name, part, tuple(map(size_text, e.shape))))
                if side == "attribute":
                    continue
                if side == "upper":
                    duals[name] = f"{sources[piece]} - {duals[name]}"
                else:
                    duals[name] = sources[piece]
    return Solver(tuple(methods), kind, variables, duals, readings, tuple(blocks))


Row = tuple[str, str, Expression]
"""Constraint, which side of it, and the residual."""


def _split(constraints: Sequence[Constraint], writer: Writer) -> tuple[list[Row], list[Row]]:
    equalities: list[Row] = []
    inequalities: list[Row] = []
    for position, constraint in enumerate(constraints):
        name = writer.program.constraint_name(position)
        terms = constraint.terms[::-1] if constraint.relation == ">=" else constraint.terms
        sides = ("only",) if len(terms) == 2 else ("lower", "upper")
        for side, low, high in zip(sides, terms[:-1], terms[1:], strict=True):
            gap = Call(ATOMS["add"], (low, Call(ATOMS["neg"], (high,))))
            into = equalities if constraint.relation == "==" else inequalities
            into.append((name, side, gap))
    for variable in writer.program.variables:
        sign = {"nonneg": Call(ATOMS["neg"], (variable,)), "nonpos": variable}
        inequalities += [(variable.name, "attribute", e) for a, e in sign.items() if a in variable.attributes]
    return equalities, inequalities


def _arguments(writer: Writer) -> tuple[str, ...]:
    variables = [writer.names[v.name] for v in writer.program.variables]
    return (*variables, *(writer.names[p.name] for p in writer.program.parameters))


def _objective(writer: Writer, expression: Expression, negate: bool) -> Method:
    printer, lines = writer.lets(writer.printer(), [expression])
    text = printer(expression)
    lines.append(f"return -({text})" if negate else f"return {text}")
    arguments = _arguments(writer)
    doc = "The objective, to be minimised; one number per instance."
    return Method("objective", arguments, "Tensor", doc, writer.body(printer, lines, bound=arguments))


def _stacked(writer: Writer, name: str, doc: str, rows: Sequence[Row]) -> Method:
    printer, lines = writer.lets(writer.printer(), [e for _, _, e in rows])
    writer.used.add("concatenate")
    pieces = ", ".join(f"({printer(e)}, {e.rank})" for _, _, e in rows)
    lines.append(f"return concatenate({pieces})")
    arguments = _arguments(writer)
    return Method(name, arguments, "Tensor", doc, writer.body(printer, lines, bound=arguments))


def _start(start: Expression, shape: Shape, printer: TorchPrinter, writer: Writer) -> str:
    """Source of a starting point as a tensor of the variable's shape: a number or scalar is that of every entry."""
    text = printer.text(start)
    if text.is_number and not text.shape:
        writer.used.add("full")
        return f"full({printer.shape(shape)}, {text.source}, like={writer.like})"
    return printer(Call(ATOMS["mul"], (start, Full(1.0, shape)))) if shape and not start.rank else text.source


def _as_fixed_point(program: Program) -> tuple[Constraint, ...]:
    """The equations as ``x == g(x)``, one for each variable in order of declaration; empty where they are not."""
    found: dict[str, Constraint] = {}
    for constraint in program.constraints:
        sides = constraint.terms if len(constraint.terms) == 2 and not constraint.indices else ()
        for side, other in (sides, sides[::-1]) if sides else ():
            if isinstance(side, Variable) and side.shape == other.shape and side.name not in found:
                found[side.name] = replace(constraint, terms=(side, other))
                break
        else:
            return ()
    return tuple(found[v.name] for v in program.variables) if len(found) == len(program.variables) else ()


def _data(writer: Writer, function: str, fixed_point: bool) -> Method:
    program, printer = writer.program, writer.printer()
    starts = dict(program.starts)
    writer.used.add(function)
    shapes = tuple_text([printer.shape(v.shape) for v in program.variables])
    texts = [_start(starts.get(v.name, Constant(0.0)), v.shape, printer, writer) for v in program.variables]
    parameters = [writer.names[p.name] if p.binding == "call" else f"self.{p.name}" for p in program.parameters]
    lines = [
        f"return {function}(",
        "    self,",
        f"    start={tuple_text(texts)},",
        f"    shapes={shapes},",
        f"    parameters={tuple_text(parameters) if parameters else '()'},",
        *(["    fixed_point=True,"] if fixed_point else []),
        ")",
    ]
    kind = "LocalProblem" if function == "local_problem" else "RootProblem"
    writer.used.add(kind)
    doc = "The problem of one call: the functions below at these parameters, and where the search starts."
    return Method("data", writer.arguments, kind, doc, writer.body(printer, lines))
