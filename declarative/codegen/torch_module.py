"""From a program and its match to the source of a torch module, the same bytes for the same input."""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from declarative.codegen import closed_form, quadratic_program, smooth
from declarative.codegen.layout import layout
from declarative.codegen.module_plan import (
    Assignment,
    Field,
    Method,
    ModulePlan,
    Solver,
    Writer,
    quoted,
    size_text,
    tuple_text,
)
from declarative.codegen.names import class_name
from declarative.codegen.optimal_value import at_the_edge
from declarative.codegen.print_torch import TorchPrinter
from declarative.ir.expression import Extern, Parameter
from declarative.ir.program import Dual, OptimalValue, Output, Program
from declarative.ir.shape import Shape
from declarative.ir.show import show, show_ranges
from declarative.runtime.binding import Spec
from declarative.structures.cone_program import ConeProgramMatch
from declarative.structures.dense_qp import DenseQPMatch
from declarative.structures.equality_qp import EqualityQPMatch
from declarative.structures.smooth import LocalMatch, RootMatch
from declarative.structures.structure import Match

VERSION = "0.1"
LINE = 120


def emit(program: Program, match: Match, sizes: Mapping[str, int] | None = None) -> str:
    """The source of the module. ``sizes`` fixes dimensions; a cone program needs all of them."""
    return render(plan(program, match, sizes or {}))


def plan(program: Program, match: Match, sizes: Mapping[str, int]) -> ModulePlan:
    """Decide everything about the module."""
    writer = Writer(program, match.local_names)
    solver = _solver(program, match, writer, sizes)
    name = class_name(program.name)
    fields = tuple(Field(o.name, _field_comment(o, program)) for o in program.outputs)
    methods = (*solver.methods, *_outputs(writer, solver, name))
    writer.used |= {"Layer", "Spec"} if program.parameters else {"Layer"}
    attributes = _attributes(writer, solver, sizes)
    texts = [line for m in methods for line in m.lines]
    return ModulePlan(
        name,
        _header(program, match, writer, sizes),
        _class_doc(program, writer),
        tuple(sorted(writer.used - {"torch", "math"})),
        any("torch." in t for t in texts),
        solver.constants,
        fields if len(fields) > 1 else (),
        attributes,
        methods,
    )


def _solver(program: Program, match: Match, writer: Writer, sizes: Mapping[str, int]) -> Solver:
    match match:
        case DenseQPMatch(form=form) | EqualityQPMatch(form=form):
            return quadratic_program.plan(form, writer)
        case LocalMatch() | RootMatch():
            return smooth.plan(writer)
        case ConeProgramMatch():
            # These import scipy and cvxpy, which no other structure needs.
            from declarative.canonical.cone_program import cone_form
            from declarative.codegen import cone

            return cone.plan(cone_form(program, sizes), writer)
    return closed_form.plan(match, writer, program.variables[0])


# Attributes


def _attributes(writer: Writer, solver: Solver, sizes: Mapping[str, int]) -> tuple[Assignment, ...]:
    program = writer.program
    found = []
    if writer.call:
        found.append(Assignment("parameters_of_call", _specs(writer.call)))
    if writer.owned:
        found.append(Assignment("parameters_of_layer", _specs(writer.owned)))
    if writer.call and writer.owned:
        found.append(Assignment("declared", tuple_text([quoted(p.name) for p in program.parameters])))
    open_sizes = {d.name: sizes.get(d.name, d.default) for d in program.dimensions}
    if open_sizes:
        found.append(Assignment("dimensions", _dictionary({k: repr(v) for k, v in open_sizes.items()})))
    fixed = {k: v for k, v in sizes.items() if k in open_sizes}
    if fixed:
        found.append(Assignment("fixed_sizes", _dictionary({k: repr(v) for k, v in fixed.items()})))
    if program.externs:
        found.append(Assignment("externs", _dictionary({e.name: quoted(_signature(e)) for e in program.externs})))
    if solver.blocks:
        writer.used.add("Block")
        found.append(Assignment("blocks", tuple_text([_block(*block) for block in solver.blocks])))
    if program.options:
        found.append(Assignment("settings", _dictionary({k: _setting(k, v) for k, v in program.options})))
    found.append(Assignment("point_type", solver.point_type))
    return (*found, *solver.attributes)


def shell(program: Program, sizes: Mapping[str, int]) -> dict[str, Any]:
    """The class attributes that do not depend on sizes, as values: for a class that is specialised at each call."""
    writer = Writer(program)
    empty = Solver((), "None", {}, {})
    source = {a.name: a.source for a in _attributes(writer, empty, sizes)}
    return {name: eval(text, {"Spec": Spec}) for name, text in source.items()}


def _block(name: str, kind: str, sizes: tuple[str, ...]) -> str:
    shape = f", {tuple_text([quoted(s) for s in sizes])}" if sizes else ""
    return f"Block({quoted(name)}, {quoted(kind)}{shape})"


def _setting(name: str, value: float | str | bool) -> str:
    if isinstance(value, str):
        return quoted(value)
    return repr(int(value) if name == "max_iterations" else value)


def _signature(extern: Extern) -> str:
    """``z[k] -> xhat[d]``, without the module's own name."""
    inputs = ", ".join(map(_port, extern.inputs))
    return f"{inputs} -> {_port(extern.output)}"


def _port(port: tuple[str, Shape]) -> str:
    name, shape = port
    return f"{name}[{', '.join(map(size_text, shape))}]" if shape else name


def _dictionary(entries: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{quoted(k)}: {v}" for k, v in entries.items()) + "}"


def _specs(parameters: tuple[Parameter, ...]) -> str:
    return tuple_text([_spec(p) for p in parameters])


def _spec(p: Parameter) -> str:
    parts = [quoted(p.name), *(quoted(size_text(s)) for s in p.shape)]
    if p.attributes:
        parts.append(f"attributes={quoted(' '.join(sorted(p.attributes)))}")
    if p.binding != "call":
        parts.append(f"binding={quoted(p.binding)}")
    if p.value is not None:
        parts.append(f"value={p.value!r}")
    if p.doc:
        parts.append(f"doc={quoted(p.doc)}")
    return f"Spec({', '.join(parts)})"


# Outputs and duals


def _field_comment(output: Output, program: Program) -> str:
    match output.value:
        case Dual(constraint=name):
            return f"dual of {name}"
        case OptimalValue():
            return "(*batch), the objective at the solution"
        case value:
            symbol = getattr(value, "doc", None)
            return _shape(value.shape) + (f", {symbol}" if symbol else "")


def _shape(shape: Shape) -> str:
    return f"({', '.join(('*batch', *(size_text(s) for s in shape)))})"


def _outputs(writer: Writer, solver: Solver, name: str) -> list[Method]:
    program, printer = writer.program, writer.printer()
    # A variable prints as the source that reads it.
    names = {**writer.names, **solver.variables}
    printer = TorchPrinter(names, writer.like, used=writer.used, symbols=printer.symbols, sizes=printer.sizes)
    expressions = [o.value for o in program.outputs if not isinstance(o.value, Dual | OptimalValue)]
    objective = program.objective.expression
    on_edge = False
    if objective is not None and any(isinstance(o.value, OptimalValue) for o in program.outputs):
        opened = at_the_edge(objective)
        objective, on_edge = (objective, False) if opened is None else (opened, True)
        expressions.append(objective)
    inner, lets = writer.lets(printer, expressions)
    texts = []
    for output in program.outputs:
        match output.value:
            case Dual(constraint=constraint):
                texts.append(solver.duals[constraint])
            case OptimalValue():
                assert objective is not None
                texts.append(replace(inner, at_edge=on_edge)(objective))
            case value:
                texts.append(inner(value))
    if len(texts) == 1:
        ending, returns = texts[0], "Tensor"
    else:
        pairs = ", ".join(f"{o.name}={t}" for o, t in zip(program.outputs, texts, strict=True))
        ending, returns = f"{name}Output({pairs})", f"{name}Output"
    doc = "What the layer returns, read off the solution."
    methods = [_reading_method(writer, solver, printer, "outputs", returns, doc, [*lets, f"return {ending}"])]
    if solver.duals:
        pairs = ", ".join(f"{quoted(k)}: {v}" for k, v in solver.duals.items())
        doc = "The multiplier of each constraint, by name."
        dual_printer = writer.printer()
        line = f"return {{{pairs}}}"
        methods.append(_reading_method(writer, solver, dual_printer, "duals", "dict[str, Tensor]", doc, [line]))
    return methods


def _reading_method(
    writer: Writer, solver: Solver, printer: TorchPrinter, name: str, returns: str, doc: str, lines: list[str]
) -> Method:
    text = "\n".join(lines)
    statements = [s for r in solver.readings if (s := r.statement(printer, text)) is not None]
    body = writer.body(printer, [*statements, *lines])
    used = any(re.search(rf"\b{argument}\b", line) for argument in writer.arguments for line in body)
    arguments = writer.arguments if used else ("*parameters",)
    return Method(name, (f"point: {solver.point_type}", *arguments), returns, doc, body)


# Text


def _header(program: Program, match: Match, writer: Writer, sizes: Mapping[str, int]) -> tuple[str, ...]:
    title = f"{program.name}: {program.doc}" if program.doc else program.name
    summary = match.summary(show)
    at = ", ".join(f"{k} = {v}" for k, v in sizes.items())
    where = f"at {at}" if sizes else "any sizes"
    gradient = (
        "closed form, differentiated by autograd."
        if match.closed_form(show) is not None
        else f"implicit, through the KKT system of the solution (see `{class_name(program.name)}.diagnose`)."
        if program.objective.sense != "solve"
        else f"implicit, through the equations at the solution (see `{class_name(program.name)}.diagnose`)."
    )
    return (
        title,
        "",
        *_problem(program),
        "",
        *textwrap.wrap(
            f"Structure: {match.structure}, {summary}; {where}.", LINE, break_long_words=False, break_on_hyphens=False
        ),
        f"Gradient: {gradient}",
        _written(program),
    )


def _problem(program: Program) -> list[str]:
    """The problem as the program states it, indented."""
    objective = program.objective
    lines = []
    for let in program.lets:
        lines.append(f"    let         {let.name} = {show(let.body)}")
    if objective.expression is not None:
        verb = f"{objective.sense}{' locally' if objective.local else ''}"
        lines.append(f"    {verb:<12}{'' if len(verb) < 12 else ' '}{show(objective.expression)}")
    for position, c in enumerate(program.constraints):
        relation = f" {c.relation} "
        text = f"{show(c.terms[0])} in psd" if c.relation == "psd" else relation.join(show(t) for t in c.terms)
        name = f"{c.name}: " if c.name else ""
        family = f"  for {show_ranges(c.indices)}" if c.indices else ""
        front = ("solve" if objective.sense == "solve" else "subject to") if position == 0 else ""
        lines.append(f"    {front:<12}{name}{text}{family}")
    for variable in program.variables:
        rules = {"nonneg": ">= 0", "nonpos": "<= 0", "psd": "in psd", "nsd": "in nsd"}
        facts = [f"{variable.name} {rules.get(a, f'is {a}')}" for a in sorted(variable.attributes)]
        lines += [f"    {'subject to' if not program.constraints else '':<12}{fact}" for fact in facts]
    return lines


def _written(program: Program) -> str:
    source = program.source
    if source is None:
        return f"Written by declarative {VERSION}. Edit the source, not this file."
    digest = hashlib.sha256(source.text.encode()).hexdigest()[:8]
    name = re.split(r"[\\/]", source.name)[-1]
    return f"Written by declarative {VERSION} from {name} (sha256 {digest}). Edit the source, not this file."


def _class_doc(program: Program, writer: Writer) -> tuple[str, ...]:
    signature = ", ".join(f"{p.name} {_shape(p.shape)}" for p in writer.call) or "no parameters"
    returned = ", ".join(o.name for o in program.outputs)
    title = program.doc or f"The layer `{program.name}`."
    lines = [title, "", *textwrap.wrap(f"Call: {signature} -> {returned}.", 100, subsequent_indent="    ")]
    for p in writer.owned:
        facts = [", ".join(size_text(s) for s in p.shape) or "scalar", *sorted(p.attributes)]
        lines.append(f"{p.binding.capitalize()}: {p.name} ({'; '.join(facts)}){f', {p.doc}' if p.doc else ''}.")
    for extern in program.externs:
        inputs = ", ".join(f"{n} {_shape(s)}" for n, s in extern.inputs)
        lines.append(f"Extern: {extern.name}, a module {inputs} -> {extern.output[0]} {_shape(extern.output[1])}.")
    return tuple(lines)


# Rendering


def render(decided: ModulePlan) -> str:
    """The template filled in, wrapped to the line length."""
    text = _template().render(plan=decided, math=any("math." in line for m in decided.methods for line in m.lines))
    return layout(text)


@cache
def _template() -> Template:
    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["doc"] = escape
    environment.filters["comment"] = comment
    source = resources.files("declarative.codegen").joinpath("templates/module.py.jinja").read_text("utf-8")
    return environment.from_string(source)


def escape(text: str) -> str:
    """User text as the inside of a docstring: nothing in it can end the string or hide an escape."""
    text = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    text = "".join(c if c == "\n" else _printed(c) for c in text)
    return text[:-1] + '\\"' if text.endswith('"') else text


def comment(text: str) -> str:
    """User text as the rest of a comment: nothing in it can end the line."""
    return "".join(" " if c == "\n" else _printed(c) for c in text)


def _printed(character: str) -> str:
    """A character, or its escape where it would not be seen: Python also ends a line at a carriage return."""
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
