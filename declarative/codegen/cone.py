"""Emission of cone programs: the sparse affine maps as named constants, the parameters' path in plain torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from declarative.canonical.cone_program import ConeForm, Recovered, SparseMap
from declarative.codegen.module_plan import Assignment, Method, Reading, Solver, Writer, quoted, tuple_text
from declarative.codegen.print_torch import TorchPrinter
from declarative.ir.expression import Expression


def plan(form: ConeForm, writer: Writer) -> Solver:
    """The solver part of a module for a cone program at fixed sizes."""
    writer.used |= {"AffineMap", "ConePattern", "ConeProgram", "ConePoint"}
    used = set(writer.names.values())
    constants = [
        Assignment("PATTERN", _pattern(form), "Where P and A have entries, and the cones of the rows of A."),
        Assignment("P_OF_THETA", _map(form.P), "The data as affine maps of theta, the parameters end to end."),
        Assignment("Q_OF_THETA", _map(form.q)),
        Assignment("A_OF_THETA", _map(form.A)),
        Assignment("B_OF_THETA", _map(form.b)),
    ]
    variables, readings, more = _recovered(writer, form.variables, "x", "", used)
    constants += more
    own = (Assignment("variables", tuple_text([constant.name for constant in more])),) if more else ()
    duals, dual_readings, more = _recovered(writer, form.duals, "z", "dual_", used)
    constants += more
    blocks = tuple((d.name, "cone", tuple(map(str, d.shape))) for d in form.duals)
    blocks += tuple((v.name, "variable", tuple(map(str, v.shape))) for v in form.variables)
    return Solver(
        (_data(form, writer),), "ConePoint", variables, duals, readings + dual_readings, blocks, tuple(constants), own
    )


def _data(form: ConeForm, writer: Writer) -> Method:
    printer = writer.printer()
    if form.theta:
        texts = [_flat(printer, entry.expression, len(entry.shape), writer) for entry in form.theta]
    else:
        writer.used.add("full")
        texts = [f"full((0,), 0, like={writer.like})"]
    lines = ["theta = (", *(f"    {t}," for t in texts), ")"]
    lines += [
        "return ConeProgram(",
        "    PATTERN,",
        *(f"    {k}={k.upper()}_OF_THETA(*theta)," for k in ("P", "q", "A", "b")),
        ")",
    ]
    doc = "The cone program of one call, as a differentiable function of the parameters."
    return Method("data", writer.arguments, "ConeProgram", doc, writer.body(printer, lines))


def _flat(printer: TorchPrinter, expression: Expression, rank: int, writer: Writer) -> str:
    text = printer.text(expression)
    if text.is_number:
        writer.used.add("tensor")
        return f"tensor([{text.source}], like={writer.like})"
    if rank == 0:
        return f"{text.atomic}[..., None]"
    return text.source if rank == 1 else f"{text.atomic}.flatten({-rank})"


def _recovered(
    writer: Writer, entries: Sequence[Recovered], part: str, prefix: str, used: set[str]
) -> tuple[dict[str, str], tuple[Reading, ...], list[Assignment]]:
    """A name for each variable or dual, read off the point by a constant map."""
    sources: dict[str, str] = {}
    readings: list[Reading] = []
    constants: list[Assignment] = []
    for entry in entries:
        name = prefix + writer.names.get(entry.name, entry.name)
        while prefix and name in used:
            name += "_"
        constant = f"{name.upper()}_OF_{part.upper()}"
        while any(constant == other.name for other in constants):  # x and X are two variables
            constant += "_"
        comment = "" if constants else ("Variables as maps of x." if part == "x" else "Multipliers as maps of z.")
        constants.append(Assignment(constant, _map(entry.map), comment))
        text = f"{constant}(point.{part})"
        if not entry.shape:
            text += "[..., 0]"
        elif len(entry.shape) > 1:
            text += f".unflatten(-1, {entry.shape})"
        sources[entry.name] = name
        readings.append(Reading((name,), _constantly(text)))
    return sources, tuple(readings), constants


def _constantly(text: str) -> Callable[[TorchPrinter], str]:
    return lambda printer: text


def _pattern(form: ConeForm) -> str:
    cones = tuple_text([f"({quoted(kind)}, {size!r})" for kind, size in form.cones])
    return (
        f"ConePattern(n={form.n}, m={form.m}, P_rows={form.P_rows}, P_columns={form.P_columns}, "
        f"A_rows={form.A_rows}, A_columns={form.A_columns}, cones={cones})"
    )


def _map(m: SparseMap) -> str:
    rows, columns, coefficients = m.entries
    text = f"AffineMap({m.rows}, {m.columns}"
    if rows:
        text += f", entries=({rows}, {columns}, {tuple_text([_number(c) for c in coefficients])})"
    if m.constant:
        text += f", constant={{{', '.join(f'{row}: {_number(value)}' for row, value in m.constant)}}}"
    return text + ")"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
