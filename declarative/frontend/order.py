"""The order of statements: layer, declarations, one objective, its constraints, outputs, options."""

from __future__ import annotations

from declarative.diagnostics.diagnostic import Diagnostic, Label
from declarative.diagnostics.span import Span
from declarative.frontend import syntax
from declarative.frontend.scope import Scope

DECLARATIONS = (
    syntax.DimensionDeclaration, syntax.SymbolDeclaration, syntax.LetDeclaration, syntax.ExternDeclaration,
)  # fmt: skip
SHAPE = "a program is: layer, declarations, objective, subject to, constraints, output, option"


def check(file: syntax.File, scope: Scope) -> None:
    """Report every statement that stands where it cannot."""
    _check_head(file, scope)
    objectives = [s for s in file.statements if isinstance(s, syntax.ObjectiveStatement)]
    if file.statements and not objectives:
        scope.report(
            "E108", "the program has no objective", _end(file), "expected after this",
            help="minimize E, maximize E, minimize locally E, or solve",
        )  # fmt: skip
    if not objectives:
        return
    objective: syntax.ObjectiveStatement | None = None
    header: syntax.SubjectTo | None = None
    ended: syntax.Statement | None = None
    for statement in file.statements:
        match statement:
            case syntax.ObjectiveStatement():
                if objective is not None:
                    _second(scope, statement.span, objective.span, "a layer has one objective")
                objective = objective or statement
            case syntax.SubjectTo(span):
                if header is not None:
                    _second(scope, span, header.span, "`subject to` stands once, and all constraints follow it")
                elif objective is None:
                    scope.report("E108", "`subject to` must follow the objective", span, notes=[SHAPE])
                elif objective.sense == "solve":
                    scope.report(
                        "E108", "the equations follow `solve` directly, without `subject to`", span,
                        help="remove this line",
                    )  # fmt: skip
                header = header or statement
            case syntax.ConstraintStatement():
                _check_constraint(statement, objective, header, ended, scope)
            case syntax.OutputStatement() | syntax.OptionStatement():
                if objective is None:
                    word = "output" if isinstance(statement, syntax.OutputStatement) else "option"
                    scope.report("E108", f"`{word}` must follow the objective", statement.span, notes=[SHAPE])
                ended = ended or statement
            case syntax.LayerHead():
                pass
            case _:
                if objective is not None:
                    scope.report(
                        "E108", "declarations stand before the objective", statement.span, "declared too late",
                        secondary=[Label(objective.span, "the objective is here")], help="move this line up",
                    )  # fmt: skip


def _check_head(file: syntax.File, scope: Scope) -> None:
    heads = [s for s in file.statements if isinstance(s, syntax.LayerHead)]
    if not file.statements:
        scope.report("E108", "the file holds no program", file.span, notes=[SHAPE])
    elif not heads:
        first = file.statements[0].span
        at = Span(first.source, first.start, min(first.end, first.start + 1))
        scope.report(
            "E108", "a program begins with the layer's name", at, "expected before this", help="layer my_layer"
        )
    elif file.statements[0] is not heads[0]:
        scope.report("E108", "the `layer` line comes first", heads[0].span, help="move this line to the top")
    for head in heads[1:]:
        _second(scope, head.span, heads[0].span, "a file declares one layer")


def _check_constraint(
    statement: syntax.ConstraintStatement,
    objective: syntax.ObjectiveStatement | None,
    header: syntax.SubjectTo | None,
    ended: syntax.Statement | None,
    scope: Scope,
) -> None:
    if objective is None:
        scope.report("E108", "constraints stand after the objective", statement.span, notes=[SHAPE])
    elif objective.sense != "solve" and header is None:
        scope.report(
            "E108", "constraints stand under `subject to`", statement.span,
            help="write a line `subject to` before the first constraint",
        )  # fmt: skip
    elif ended is not None:
        scope.report(
            "E108", "constraints stand before the outputs and options", statement.span,
            secondary=[Label(ended.span, "this ends the constraints")], help="move the constraint up",
        )  # fmt: skip


def _second(scope: Scope, again: Span, first: Span, message: str) -> None:
    scope.diagnostics.append(
        Diagnostic("E108", message, Label(again, "a second one"), (Label(first, "the first is here"),))
    )


def _end(file: syntax.File) -> Span:
    """The last character that a statement covers."""
    span = file.statements[-1].span if file.statements else file.span
    return Span(span.source, max(span.end - 1, 0), span.end)
