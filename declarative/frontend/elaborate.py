"""Syntax tree to program: every name resolved, every shape known, every mistake of the stage reported."""

from __future__ import annotations

from collections.abc import Mapping

from declarative.diagnostics.diagnostic import Diagnostic
from declarative.diagnostics.span import Source
from declarative.frontend import declarations, order, outputs, syntax
from declarative.frontend.constraints import constraint
from declarative.frontend.expressions import whole
from declarative.frontend.scope import Scope
from declarative.ir.program import Constraint, Objective, Program, Sense
from declarative.ir.verify_options import option_findings


def elaborate(
    file: syntax.File, source: Source, sizes: Mapping[str, int] | None = None
) -> tuple[Program | None, list[Diagnostic]]:
    """The program, or None with the errors; warnings come in both cases. ``sizes`` replace defaults of dims."""
    scope = Scope()
    order.check(file, scope)
    declared = declarations.elaborate(file, scope, sizes or {})
    objective = _objective(file, scope)
    constraints = _constraints(file, scope)
    results = outputs.elaborate(file, scope, declared, constraints)
    options = outputs.options(file, scope)
    found = sorted(scope.diagnostics, key=_place)
    if objective is None or any(d.severity == "error" for d in found):
        settings = option_findings(options, outputs.option_places(file))  # what a program itself would be asked for
        return None, sorted([*found, *settings], key=_place)
    head = next(s for s in file.statements if isinstance(s, syntax.LayerHead))
    program = Program(
        name=head.name.text,
        doc=head.doc,
        dimensions=declared.dimensions,
        parameters=declared.parameters,
        variables=declared.variables,
        starts=declared.starts,
        lets=declared.lets,
        externs=declared.externs,
        objective=objective,
        constraints=constraints,
        outputs=results,
        options=options,
        source=source,
        option_places=outputs.option_places(file),
    )
    return program, found


def _place(diagnostic: Diagnostic) -> int:
    return diagnostic.primary.span.start if diagnostic.primary else 0


def _objective(file: syntax.File, scope: Scope) -> Objective | None:
    for statement in file.statements:
        if isinstance(statement, syntax.ObjectiveStatement):
            if statement.expression is None:
                return Objective("solve", at=statement.span)
            body = whole(statement.expression, scope, {})
            sense: Sense = "maximize" if statement.sense == "maximize" else "minimize"
            return None if body is None else Objective(sense, statement.local, body, at=statement.span)
    return None


def _constraints(file: syntax.File, scope: Scope) -> tuple[Constraint, ...]:
    statements = [s for s in file.statements if isinstance(s, syntax.ConstraintStatement)]
    found = [constraint(statement, scope, statements) for statement in statements]
    return tuple(c for c in found if c is not None)
