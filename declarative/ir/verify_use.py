"""How declarations are used: shapes of constraints, a scalar objective, nothing idle, outputs that exist."""

from __future__ import annotations

from collections.abc import Iterator

from declarative.diagnostics.diagnostic import Diagnostic
from declarative.ir.convexity import operator, quote, show_declaration
from declarative.ir.expression import Call, Expression, ExternCall, Let, Symbol, Variable
from declarative.ir.findings import finding, span_within
from declarative.ir.program import Constraint, Dual, OptimalValue, Program
from declarative.ir.shape import Shape, show
from declarative.ir.show import show as text_of
from declarative.ir.traverse import free_sizes, walk, without_lets


def constraint_shapes(program: Program) -> Iterator[Diagnostic]:
    """The sides of a constraint are of one shape, scalars apart; a cone takes a square symmetric matrix."""
    for constraint in program.constraints:
        if constraint.relation == "psd":
            yield from _cone(constraint)
            continue
        shape: Shape = ()
        for term in constraint.terms:
            if shape and term.shape and term.shape != shape:
                differing = next((f"{a} is not {b}" for a, b in zip(shape, term.shape, strict=False) if a != b), "")
                if len(shape) != len(term.shape):
                    differing = "a vector is not a matrix"
                meeting = f"{show(shape)} meets {show(term.shape)}"
                yield finding(
                    "E203", f"`{constraint.relation}` needs equal shapes or a scalar, but {meeting}",
                    constraint.at, differing,
                )  # fmt: skip
                break
            shape = term.shape or shape


def _cone(constraint: Constraint) -> Iterator[Diagnostic]:
    matrix = constraint.terms[0]
    if matrix.rank != 2 or matrix.shape[0] != matrix.shape[1]:
        yield finding(
            "E203", f"`in psd` needs a square matrix, but {quote(matrix)} is {show(matrix.shape)}", matrix.span,
            f"{matrix.shape[0]} is not {matrix.shape[1]}" if matrix.rank == 2 else "this is no matrix",
        )  # fmt: skip
        return
    parts = list(_parts(without_lets(matrix)))
    for part in parts:
        mirrored = any(isinstance(p, Call) and p.atom.name == "transpose" and p.args[0] == part for p in parts)
        if isinstance(part, Symbol) and not mirrored and not part.attributes & {"symmetric", "psd", "nsd", "diag"}:
            word = "var" if isinstance(part, Variable) else "param"
            yield finding(
                "E306", f"`in psd` needs a symmetric matrix, and `{part.name}` is not declared so", part.span,
                "may be unsymmetric", help=f"{word} {show_declaration(part)} symmetric",
            )  # fmt: skip


def _parts(matrix: Expression) -> Iterator[Expression]:
    """The matrices that a matrix is a linear combination of."""
    match matrix:
        case Call(atom=atom, args=args) if atom.name in ("add", "neg"):
            for arg in args:
                yield from _parts(arg)
        case Call(atom=atom, args=(a, b)) if atom.name in ("mul", "div") and () in (a.shape, b.shape):
            yield from _parts(a if a.shape else b)
        case _:
            yield matrix


def objective(program: Program) -> Iterator[Diagnostic]:
    """The objective is a scalar with a variable in it."""
    body = program.objective.expression
    if body is None:
        return
    if body.shape:
        term = _first_with_shape(body)
        text = quote(term)
        what = "it" if term is body else f"the term {text}"
        yield finding(
            "E304", f"the objective must be a scalar, but {what} is {show(term.shape)}", span_within(term, body.span),
            f"this is {show(term.shape)}", help=f"sum it up: sum({text[1:-1]})" if text.startswith("`") else "sum(...)",
        )  # fmt: skip
    elif body.is_constant:
        yield finding(
            "E304", "the objective contains no variable", body.span, "the same whatever the solution",
            notes=["every feasible point would be a solution, and none has a derivative"],
        )  # fmt: skip


def _first_with_shape(body: Expression) -> Expression:
    """The first term of a sum that is no scalar, the body itself where all terms have shapes."""
    terms = list(_terms(body))
    with_shape = [term for term in terms if term.shape]
    return with_shape[0] if len(with_shape) < len(terms) else body


def _terms(body: Expression) -> Iterator[Expression]:
    if isinstance(body, Call) and body.atom.name in ("add", "neg"):
        for arg in body.args:
            yield from _terms(arg)
    else:
        yield body


def constraints_without_variables(program: Program) -> Iterator[Diagnostic]:
    """A constraint of parameters alone restricts nothing that is solved for."""
    for constraint in program.constraints:
        if all(term.is_constant for term in constraint.terms):
            yield finding(
                "E305", "the constraint contains no variable, so it constrains nothing", constraint.at,
                "parameters and numbers alone",
                help="a promise about a parameter is an attribute of its declaration, for instance `nonneg`",
            )  # fmt: skip


def undetermined_variables(program: Program) -> Iterator[Diagnostic]:
    """Every variable occurs in the objective or in a constraint."""
    used = {n.name for body in _problem(program) for n in walk(body) if isinstance(n, Variable)}
    for variable in program.variables:
        if variable.name not in used:
            yield finding(
                "E307", f"nothing determines the variable `{variable.name}`", variable.at,
                "in no objective and no constraint", help="use it, or remove it",
            )  # fmt: skip
    if not program.variables:
        yield finding(
            "E307", "the program declares no variable, so there is nothing to solve for", program.objective.at
        )


def outputs(program: Program) -> Iterator[Diagnostic]:
    """Outputs have different names and refer to what the problem has."""
    seen: dict[str, int] = {}
    named = {c.name for c in program.constraints if c.name}
    solve = program.objective.sense == "solve"
    for position, output in enumerate(program.outputs):
        if output.name in seen:
            yield finding(
                "E502", f"two outputs are named `{output.name}`", output.at, "named again here",
                secondary=[(program.outputs[seen[output.name]].at, "the first is here")],
                help="rename one with `as NAME`, or remove it",
            )  # fmt: skip
        seen.setdefault(output.name, position)
        if output.name.startswith("_"):
            yield finding("E205", f"an output's name cannot begin with an underscore: `{output.name}`", output.at)
        match output.value:
            case Dual() | OptimalValue() if solve:
                what = "dual variables" if isinstance(output.value, Dual) else "optimal value"
                yield finding("E504", f"`solve` has no objective, hence no {what}", output.at)
            case Dual(constraint) if constraint not in named:
                yield finding("E503", f"no constraint is named `{constraint}`", output.at)
            case Expression() as value if value.is_constant:
                yield finding(
                    "W502", f"the output `{output.name}` contains no variable", output.at,
                    "computed from parameters alone",
                )  # fmt: skip


def unused(program: Program) -> Iterator[Diagnostic]:
    """What is declared is used."""
    bodies = [*_problem(program), *(start for _, start in program.starts)]
    bodies += [output.value for output in program.outputs if isinstance(output.value, Expression)]
    nodes = [node for body in bodies for node in walk(body)]
    names = {node.name for node in nodes if isinstance(node, Symbol | Let)}
    names |= {node.extern.name for node in nodes if isinstance(node, ExternCall)}
    for kind, declared in (("parameter", program.parameters), ("let", program.lets), ("extern", program.externs)):
        for item in declared:
            if item.name not in names:
                yield finding("W201", f"the {kind} `{item.name}` is never used", item.at, help="use it, or remove it")
    sizes = {name for body in bodies for name in free_sizes(body)}
    sizes |= {n for c in program.constraints for r in c.indices for size in (r.first, r.last) for n in size.names}
    shapes = [s.shape for s in (*program.parameters, *program.variables)]
    shapes += [shape for e in program.externs for _, shape in (*e.inputs, e.output)]
    sizes |= {name for shape in shapes for size in shape for name in size.names}
    for dimension in program.dimensions:
        if dimension.name not in sizes:
            yield finding(
                "W201", f"the dimension `{dimension.name}` is never used", dimension.at, help="use it, or remove it"
            )


def unused_indices(program: Program) -> Iterator[Diagnostic]:
    """A constraint for every value of an index says something else of each."""
    for constraint in program.constraints:
        used = {name for term in constraint.terms for name in free_sizes(term)}
        for bound in constraint.indices:
            if bound.name not in used:
                yield finding(
                    "W202",
                    f"the index `{bound.name}` is not used: the constraint is the same for each of its values",
                    constraint.at,
                    help=f"leave out `for {bound.name} in ...`, or use `{bound.name}` in a subscript",
                )


def parameter_functions(program: Program) -> Iterator[Diagnostic]:
    """Functions that torch computes before the solve see no variable."""
    for body in _problem(program):
        for node in walk(body):
            if isinstance(node, Call) and node.atom.parameters_only and not node.is_constant:
                yield finding(
                    "E308", f"`{operator(node)}` takes parameters only, but a variable occurs in it", node.span,
                    "contains a variable", notes=["it is computed before the solve"], help=_instead(node),
                )  # fmt: skip


def _instead(call: Call) -> str | None:
    if call.atom.name == "det":
        return f"log_det({text_of(call.args[0])}), which is concave"
    return None


def _problem(program: Program) -> list[Expression]:
    """The objective and every term of every constraint."""
    body = program.objective.expression
    return [*([] if body is None else [body]), *(term for c in program.constraints for term in c.terms)]
