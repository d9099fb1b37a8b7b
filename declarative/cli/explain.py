"""``declarative explain``: how a program is read, recognised, solved and differentiated; or what a code means."""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from declarative.canonical.mismatch import Mismatch
from declarative.canonical.normalise import NormalForm, normalise
from declarative.canonical.quadratic import QuadraticForm
from declarative.cli.arguments import UsageError, named, suggestion
from declarative.cli.atomic import replace_file
from declarative.cli.kkt import equations, jacobian, term_text, unknowns
from declarative.cli.latex_backward import backward
from declarative.cli.latex_page import page
from declarative.cli.optimality import system_of, tidy
from declarative.cli.programs import load
from declarative.cli.terminal import Terminal
from declarative.diagnostics.catalogue import CATALOGUE
from declarative.diagnostics.span import Span
from declarative.ir.curvature import Curvature
from declarative.ir.expression import Call, Expression
from declarative.ir.program import Constraint, Program
from declarative.ir.shape import show as show_shape
from declarative.ir.show import show, show_ranges
from declarative.ir.traverse import without_lets
from declarative.structures import STRUCTURES, Canonical, Match, Recognition, canonicalise, recognise
from declarative.structures.cone_program import ConeProgramMatch
from declarative.structures.dense_qp import DenseQPMatch

Cells = tuple[str, ...]


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Explain a file, or a code where there is no such file."""
    target = arguments.target
    if arguments.output is not None:
        _refuse_output(target, arguments)
    if re.fullmatch(r"[A-Za-z]\d{1,4}", target) and not Path(target).exists():
        _code(target.upper(), terminal)
        return 0
    sizes = named(arguments.dim, "--dim")
    if arguments.latex:
        _latex(load(target, sizes, terminal), arguments.output, terminal)
        return 0
    _program(load(target, sizes, terminal), sizes, target, terminal)
    return 0


def _code(code: str, terminal: Terminal) -> None:
    entry = CATALOGUE.get(code)
    if entry is None:
        group = ", ".join(c for c in CATALOGUE if c[:2] == code[:2])
        help = suggestion(code, list(CATALOGUE)) or "codes are written like E203"
        raise UsageError(f"no code `{code}`", f"{help}{f' (this group has {group})' if group else ''}")
    terminal.heading(f"{entry.code}: {entry.title}")
    terminal.line("")
    terminal.paragraph(entry.explanation, indent=0)
    for word, program in (("wrong", entry.wrong), ("right", entry.right)):
        if program:
            terminal.line("\n", (word, "red" if word == "wrong" else "green"), "\n")
            for line in program.strip().splitlines():
                terminal.line(f"    {line}")


def _refuse_output(target: str, arguments: Namespace) -> None:
    if not arguments.latex:
        raise UsageError("`-o` of `explain` is the file of `--latex`", "add `--latex`")
    place = Path(os.path.realpath(arguments.output))
    if arguments.output != "-" and place == Path(os.path.realpath(target)) and place.is_file():
        raise UsageError(f"the page would overwrite its source `{target}`", "name another file with `-o OUT.tex`")


def _latex(program: Program, output: str | None, terminal: Terminal) -> None:
    """The page, to a file or to stdout."""
    canonical = canonicalise(program)
    match = next(m for _, m in recognise(canonical) if isinstance(m, Match))
    text = page(program, canonical.normal, system_of(_form(canonical, match)), backward(match))
    if output is None or output == "-":
        terminal.out.file.write(text)
        return
    replace_file(output, text.encode())
    terminal.line(output)


def _form(canonical: Canonical, match: Match) -> NormalForm | QuadraticForm:
    """What the optimality system is stated of."""
    return match.form if isinstance(match, DenseQPMatch) else canonical.normal or normalise(canonical.program)


def _program(program: Program, sizes: Mapping[str, int], file: str, terminal: Terminal) -> None:
    canonical = canonicalise(program)
    recognition = recognise(canonical)
    match = next(m for _, m in recognition if isinstance(m, Match))
    terminal.heading(f"{program.name}: {program.doc}" if program.doc else program.name)
    _section("Problem", _problem(program), terminal, ("cyan", "", "dim"))
    if canonical.normal is not None:
        _section("Normal form", _normal_form(canonical), terminal, ("cyan",))
    _section("Structure", _structures(recognition), terminal, ("", "bold"))
    system = system_of(_form(canonical, match))
    root = program.objective.sense == "solve"
    title = "Equations, F(w; theta) = 0" if root else "KKT system, F(w; theta) = 0"
    rows = equations(system)
    if root:
        rows = [("F", text, shape) for label, text, shape in rows if label.startswith("nu_")]
    _section(title, rows, terminal, ("cyan", "", "dim"))
    primal = ", ".join(f"{v.name} {show_shape(v.shape)}" for v in system.variables)
    terminal.line("")
    terminal.rows([("w", primal if root else unknowns(system))], ("cyan",))
    _section("Jacobian, dF/dw, block by block", jacobian(system, root=root), terminal, ("cyan", "cyan"))
    if isinstance(match, ConeProgramMatch):
        _section("Cone form", list(_cone(program, match, sizes)), terminal, ("cyan",))
    closed = match.closed_form(show) is not None
    _section("Backward", [(line,) for line in match.derivative(show)], terminal)
    terminal.line("")
    where = "F has an invertible Jacobian" if root else "LICQ, strict complementarity and second-order sufficiency hold"
    measured = f"`declarative diagnose {file} --param ...` measures that for given data."
    terminal.paragraph(
        f"{'The solution has a closed form. ' if closed else ''}This is the derivative where {where}; {measured}"
    )


def _section(title: str, rows: Sequence[Cells], terminal: Terminal, styles: Cells = ()) -> None:
    terminal.line("")
    terminal.heading(title)
    terminal.rows(rows or [("none",)], styles)


# The problem, with its curvature


def _problem(program: Program) -> list[Cells]:
    objective = program.objective
    rows: list[Cells] = []
    if objective.expression is not None:
        verb = f"{objective.sense}{' locally' if objective.local else ''}"
        for position, (sign, term) in enumerate(_summands(objective.expression, "+")):
            text = f"{sign} {show(term)}" if position or sign == "-" else show(term)
            rows.append(("" if position else verb, text, _word(term, program)))
    first = "solve" if objective.sense == "solve" else "subject to"
    for position, constraint in enumerate(program.constraints):
        name = f"{constraint.name}: " if constraint.name else ""
        rows.append(("" if position else first, f"{name}{_constraint(constraint)}", _rule(constraint, program)))
    for variable in program.variables:
        for attribute in sorted(variable.attributes):
            rows.append(("" if rows and program.constraints else first, f"{variable.name} {attribute}", "attribute"))
    rows += [("let", f"{let.name} = {show(let.body)}", _word(let.body, program)) for let in program.lets]
    return rows


def _summands(e: Expression, sign: str) -> Iterator[tuple[str, Expression]]:
    """The terms of a sum, as written."""
    if isinstance(e, Call) and e.atom.name == "add":
        yield from _summands(e.args[0], sign)
        yield from _summands(e.args[1], sign)
    elif isinstance(e, Call) and e.atom.name == "neg":
        yield from _summands(e.args[0], "-" if sign == "+" else "+")
    else:
        yield sign, e


def _word(e: Expression, program: Program) -> str:
    if (program.objective.local or program.objective.sense == "solve") and not e.curvature.is_affine:
        return "smooth"
    return {Curvature.CONSTANT: "of parameters alone"}.get(e.curvature, e.curvature.value)


def _constraint(constraint: Constraint) -> str:
    if constraint.relation == "psd":
        text = f"{show(constraint.terms[0])} in psd"
    else:
        text = f" {constraint.relation} ".join(map(show, constraint.terms))
    return f"{text}  for {show_ranges(constraint.indices)}" if constraint.indices else text


def _rule(constraint: Constraint, program: Program) -> str:
    words = [t.curvature.value if _word(t, program) != "smooth" else "smooth" for t in constraint.terms]
    return f"{words[0]} in psd" if constraint.relation == "psd" else f" {constraint.relation} ".join(words)


# What the compiler makes of it


def _normal_form(canonical: Canonical) -> list[Cells]:
    normal = canonical.normal
    assert normal is not None
    rows: list[Cells] = [("minimise" if i == 0 else "+", term_text(t)) for i, t in enumerate(normal.terms)]
    signs = {"==": "== 0", "<=": "<= 0", "psd": "in psd"}
    for position, c in enumerate(normal.constraints):
        family = f"  for {show_ranges(c.ranges)}" if c.ranges else ""
        side = f" ({c.side} side)" if c.side != "only" and c.origin is not None else ""
        name = f"{c.origin}{side}: " if c.origin else ""
        text = f"{name}{show(tidy(without_lets(c.expression)))} {signs[c.relation]}{family}"
        rows.append(("subject to" if position == 0 else "", text))
    form = canonical.quadratic
    if isinstance(form, QuadraticForm):
        for v in form.variables[len(normal.variables) :]:
            rows.append(("adds", f"{v.name} {show_shape(v.shape)}, which bounds a piecewise-linear function"))
    return rows


def _structures(recognition: Recognition) -> list[Cells]:
    rows: list[Cells] = []
    for structure, answer in recognition:
        if isinstance(answer, Match):
            rows.append(("->", structure.name, answer.summary(show)))
        else:
            rows.append(("no", structure.name, f"{answer.reason}{_place(answer)}"))
    rest = ", ".join(s.name for s in STRUCTURES[len(recognition) :])
    return [*rows, ("", "...", f"not asked any more: {rest}")] if rest else rows


def _place(answer: Mismatch) -> str:
    span: Span | None = answer.span
    return "" if span is None else f" ({span.line}:{span.column}, `{' '.join(span.text.split())}`)"


def _cone(program: Program, match: ConeProgramMatch, sizes: Mapping[str, int]) -> Iterator[Cells]:
    yield "minimise", "1/2 x' P x + q' x"
    yield "subject to", "A x + s = b, s in K, with the dual z in K*"
    yield "F", "P x + q + A' z = 0, A x + s - b = 0, s - proj_K(s - z) = 0"
    known = {d.name: sizes.get(d.name, d.default) for d in program.dimensions}
    open_sizes = [name for name, value in known.items() if value is None]
    if open_sizes:
        yield "K", f"known once the sizes are: --dim {' --dim '.join(f'{n}=10' for n in open_sizes)}"
        return
    from declarative.canonical.cone_program import cone_form

    form = cone_form(program, sizes)
    cones = ", ".join(f"{kind} {value}" for kind, value in form.cones)
    yield "K", f"{cones}; x has {form.n} entries, s and z have {form.m}"
