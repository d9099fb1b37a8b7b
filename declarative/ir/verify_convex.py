"""Disciplined convex programming: a convex objective, convex constraints.

minimize f needs f convex, maximize f needs f concave; ``a <= b`` needs a convex and b concave, ``a == b`` both affine,
``X in psd`` X affine. Reference: Grant, Boyd and Ye, Disciplined convex programming, 2006.
"""

from __future__ import annotations

from collections.abc import Iterator

from declarative.diagnostics.diagnostic import Diagnostic
from declarative.diagnostics.span import Span
from declarative.ir.convexity import Finding, culprits, word
from declarative.ir.curvature import Curvature
from declarative.ir.expression import Call, Expression
from declarative.ir.findings import finding, span_within
from declarative.ir.program import Constraint, Program

NOT_CONVEX = {
    "==": "an equation of a curved expression has a feasible set that is not convex",
    "<=": "a convex expression can be bounded above and a concave one below; else the feasible set is not convex",
    "psd": "of a curved matrix the feasible set is not convex",
}
NOT_CONVEX[">="] = NOT_CONVEX["<="]
"""Why a relation needs the curvature that it needs."""


def is_convex_problem(program: Program) -> bool:
    """Whether the program asks for a global solution, so that convexity is required."""
    return program.objective.sense != "solve" and not program.objective.local


def objective(program: Program) -> Iterator[Diagnostic]:
    """The objective has the curvature that its sense needs."""
    body, sense = program.objective.expression, program.objective.sense
    if not is_convex_problem(program) or body is None or body.shape:
        return
    wanted = Curvature.CONCAVE if sense == "maximize" else Curvature.CONVEX
    for found in culprits(body, wanted):
        need = f"`{sense}` needs a {wanted.value} objective"
        opposite = "minimize" if sense == "maximize" else "maximize"
        notes = found.notes
        if found.expression.curvature is -wanted and body.curvature is -wanted:
            notes = (*notes, f"the whole objective is {word(body)}: `{opposite}` would be allowed")
        yield from _diagnostic("E301", need, wanted, found, notes, program.objective.at)


def constraints(program: Program) -> Iterator[Diagnostic]:
    """Every side of every constraint has the curvature that its relation needs."""
    if not is_convex_problem(program):
        return
    for constraint in program.constraints:
        for term, wanted, side in _sides(constraint):
            relation = "in psd" if constraint.relation == "psd" else constraint.relation
            article = "an" if wanted is Curvature.AFFINE else "a"
            need = f"`{relation}` needs {article} {wanted.value} {side}"
            for found in culprits(term, wanted):
                notes = found.notes
                if found.expression is term and term.curvature is not Curvature.UNKNOWN:
                    notes = (*notes, NOT_CONVEX[constraint.relation])
                yield from _diagnostic("E302", need, wanted, found, notes, constraint.at)


def _sides(constraint: Constraint) -> Iterator[tuple[Expression, Curvature, str]]:
    """Each term with what it must be; the middle of a chain is on both sides, hence affine."""
    terms = constraint.terms
    if constraint.relation in ("==", "psd"):
        names = ["left side", "right side"] if len(terms) == 2 else ["expression"] * len(terms)
        yield from ((term, Curvature.AFFINE, name) for term, name in zip(terms, names, strict=True))
        return
    ordered = terms if constraint.relation == "<=" else terms[::-1]
    smaller, larger = ("left", "right") if constraint.relation == "<=" else ("right", "left")
    yield ordered[0], Curvature.CONVEX, f"{smaller} side"
    yield from ((term, Curvature.AFFINE, "middle") for term in ordered[1:-1])
    yield ordered[-1], Curvature.CONCAVE, f"{larger} side"


def _diagnostic(
    code: str, need: str, wanted: Curvature, found: Finding, notes: tuple[str, ...], at: Span | None
) -> Iterator[Diagnostic]:
    """Nothing for a function of parameters that sees a variable, which is another rule's."""
    if isinstance(found.expression, Call) and found.expression.atom.parameters_only:
        return
    if found.wanted not in (None, wanted) and wanted is not Curvature.AFFINE:
        need = f"{need}, hence a {found.wanted.value if found.wanted else ''} term here"
    where = span_within(found.expression, at)
    code = "E303" if found.foreign else code
    yield finding(code, f"{need}, but {found.reason}", where, found.label, notes=notes, help=found.help)
