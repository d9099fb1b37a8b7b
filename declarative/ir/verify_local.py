"""Local and root problems: smooth functions, a start for every variable, as many equations as unknowns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from declarative.diagnostics.diagnostic import Diagnostic
from declarative.ir.convexity import quote, show_declaration
from declarative.ir.expression import Call, Expression, ExternCall
from declarative.ir.findings import finding
from declarative.ir.program import Constraint, Program
from declarative.ir.shape import Shape, Size, show
from declarative.ir.show import show as show_expression
from declarative.ir.traverse import walk
from declarative.ir.verify_convex import is_convex_problem

SMOOTH = {
    "abs": "sqrt(x^2 + 1e-6)",
    "pos": "softplus(x)",
    "max": "log_sum_exp(k * x) / k with a large k",
    "min": "-log_sum_exp(-k * x) / k with a large k",
    "maximum": "x + softplus(y - x)",
    "minimum": "x - softplus(x - y)",
    "norm1": "sum(sqrt(x^2 + 1e-6))",
    "norm2": "sum_squares(x), or sqrt(sum_squares(x) + 1e-6)",
    "norm_fro": "sum_squares(X), or sqrt(sum_squares(X) + 1e-6)",
    "norm_inf": "log_sum_exp(concat(k * x, -k * x)) / k with a large k",
    "huber": "sqrt(x^2 + 1) - 1",
    "tv": "sum(sqrt(diff(x)^2 + 1e-6))",
}
"""Smooth stand-ins for functions with kinks."""


def smoothness(program: Program) -> Iterator[Diagnostic]:
    """No function with a kink, and no extern that does not promise derivatives, sees a variable."""
    if is_convex_problem(program):
        return
    mode = "solve" if program.objective.sense == "solve" else f"{program.objective.sense} locally"
    bodies = [program.objective.expression, *(term for c in program.constraints for term in c.terms)]
    for body in bodies:
        for node in walk(body) if body is not None else ():
            if node.is_constant:
                continue
            if isinstance(node, Call) and not node.atom.smooth:
                name = node.atom.name
                stand_in = _stand_in(node)
                yield finding(
                    "E401", f"`{mode}` needs smooth functions, but `{name}` has kinks", node.span,
                    "not differentiable everywhere", notes=["the implicit function theorem needs two derivatives"],
                    help=f"a smooth function close to it: {stand_in}" if stand_in else None,
                )  # fmt: skip
            elif isinstance(node, ExternCall) and not node.extern.smooth:
                extern = node.extern
                yield finding(
                    "E404", f"the extern `{extern.name}` is not declared smooth", node.span, "applied to a variable",
                    secondary=[(extern.at, "declared here")],
                    notes=["`smooth` promises two derivatives: tanh or softplus inside the module, and no relu"],
                    help="add `smooth` to its declaration, if it is",
                )  # fmt: skip


def _stand_in(call: Call) -> str | None:
    """The smooth stand-in of a call, of the call's own arguments."""
    names = ("X",) if call.args[0].rank == 2 and call.atom.name == "norm_fro" else ("x", "y")
    written = {name: show_expression(arg) for name, arg in zip(names, call.args, strict=False)}

    def argument(match: re.Match[str]) -> str:
        text = written.get(match[0], match[0])
        alone = match.string[match.start() - 1] == "(" and match.string[match.end()] in "),"
        return text if alone or re.fullmatch(r"\w+(\[[^\]]*\])?|\w+\([^()]*\)", text) else f"({text})"

    template = SMOOTH.get(call.atom.name)
    return None if template is None else re.sub(r"\b[xyX]\b", argument, f" {template} ").strip()


def starts(program: Program) -> Iterator[Diagnostic]:
    """Every variable of a local or root problem has a starting point, of its shape and of parameters alone."""
    given = dict(program.starts)
    convex = is_convex_problem(program)
    for variable in program.variables:
        start = given.get(variable.name)
        if start is None:
            if not convex:
                yield finding(
                    "E407", f"the variable `{variable.name}` needs a starting point", variable.at, "no `from`",
                    notes=["the start decides which of several solutions the layer returns"],
                    help=f"var {show_declaration(variable)} from 0, or from a parameter",
                )  # fmt: skip
            continue
        if convex:
            yield finding(
                "W401", f"the start of `{variable.name}` has no effect: a convex problem has one minimum", start.span,
                "not used", help="remove `from`, or write `minimize locally`",
            )  # fmt: skip
        elif not start.is_constant:
            yield finding(
                "E408", f"the start of `{variable.name}` must not contain variables", start.span,
                f"{quote(start)} is solved for", help="start from parameters and numbers",
            )  # fmt: skip
        elif start.shape and start.shape != variable.shape:
            yield finding(
                "E408", f"the start of `{variable.name}` must be {show(variable.shape)}, not {show(start.shape)}",
                start.span, f"this is {show(start.shape)}", secondary=[(variable.at, show(variable.shape))],
            )  # fmt: skip


def cones(program: Program) -> Iterator[Diagnostic]:
    """Semidefinite constraints belong to convex problems."""
    if is_convex_problem(program):
        return
    message = "semidefinite constraints need a convex problem"
    for variable in program.variables:
        cone = next((a for a in ("psd", "nsd") if a in variable.attributes), None)
        if cone:
            yield finding("E409", message, variable.at, f"`{cone}`", help="write X = L @ L' with a variable L")
    for constraint in program.constraints:
        if constraint.relation == "psd":
            yield finding("E409", message, constraint.at, help="write X = L @ L' with a variable L")


def equations(program: Program) -> Iterator[Diagnostic]:
    """A root problem consists of equations, as many as unknowns."""
    if program.objective.sense != "solve":
        return
    inequalities = [c for c in program.constraints if c.relation != "=="]
    for constraint in inequalities:
        relation = "in psd" if constraint.relation == "psd" else constraint.relation
        yield finding(
            "E406", f"`solve` takes equations only, not `{relation}`", constraint.at, "not an equation",
            help="for a problem with inequalities write `minimize locally`",
        )  # fmt: skip
    attributes = [v for v in program.variables if v.attributes]
    for variable in attributes:
        names = ", ".join(f"`{a}`" for a in sorted(variable.attributes))
        yield finding(
            "E406", f"`solve` takes equations only, but `{variable.name}` is declared {names}", variable.at,
            "an attribute of a var is a constraint", help="remove the attribute; the start selects the solution",
        )  # fmt: skip
    if inequalities or attributes:
        return
    unknowns = _total(_count(variable.shape) for variable in program.variables)
    given = _total(_equations(c) for c in program.constraints)
    if unknowns != given:
        yield finding(
            "E405", f"`solve` needs as many equations as unknowns, but {_show(given)} meets {_show(unknowns)}",
            program.objective.at, f"{_plural(given, 'equation')} for {_plural(unknowns, 'unknown')}",
            secondary=[
                *((v.at, _plural(_count(v.shape), "unknown")) for v in program.variables),
                *((c.at, _plural(_equations(c), "equation")) for c in program.constraints),
            ],
        )  # fmt: skip


Polynomial = Counter[tuple[str, ...]]
"""A count as a polynomial of the dims: monomial (names, sorted) -> coefficient."""


def _count(shape: Iterable[Size]) -> Polynomial:
    """Number of entries of a shape."""
    result: Polynomial = Counter({(): 1})
    for size in shape:
        factor = [((), size.constant), *(((name,), c) for name, c in size.terms)]
        product: Polynomial = Counter()
        for monomial, coefficient in result.items():
            for names, c in factor:
                product[tuple(sorted((*monomial, *names)))] += coefficient * c
        result = product
    return _total([result])


def _total(counts: Iterable[Polynomial]) -> Polynomial:
    total: Polynomial = Counter()
    for count in counts:
        for monomial, coefficient in count.items():
            total[monomial] += coefficient
    return Counter({m: c for m, c in total.items() if c})


def _equations(constraint: Constraint) -> Polynomial:
    """Number of scalar equations: entries of the wider side, times the ranges, times the links of a chain."""
    shape = _joined(constraint.terms)
    count = _count((*shape, *(bounds.length for bounds in constraint.indices)))
    return Counter({m: c * (len(constraint.terms) - 1) for m, c in count.items()})


def _joined(terms: tuple[Expression, ...]) -> Shape:
    return next((term.shape for term in terms if term.shape), ())


def _show(count: Polynomial) -> str:
    text = ""
    for monomial, coefficient in sorted(count.items(), key=lambda item: (-len(item[0]), item[0])):
        factors = [str(abs(coefficient))] if abs(coefficient) != 1 or not monomial else []
        text += (" - " if coefficient < 0 else " + ") + "*".join([*factors, *monomial])
    return text.removeprefix(" + ").strip() or "0"


def _plural(count: Polynomial, noun: str) -> str:
    return f"{_show(count)} {noun}{'' if count == {(): 1} else 's'}"
