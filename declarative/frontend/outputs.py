"""Outputs and options."""

from __future__ import annotations

from collections.abc import Sequence

from declarative.diagnostics.span import Span
from declarative.frontend import syntax
from declarative.frontend.declarations import Declarations
from declarative.frontend.expressions import whole
from declarative.frontend.scope import RESERVED, Scope
from declarative.ir.expression import Expression, Let, Symbol
from declarative.ir.program import Constraint, Dual, OptimalValue, Output


def elaborate(
    file: syntax.File, scope: Scope, declared: Declarations, constraints: Sequence[Constraint]
) -> tuple[Output, ...]:
    """The outputs in order; every variable where the program names none."""
    items = [item for s in file.statements if isinstance(s, syntax.OutputStatement) for item in s.items]
    if not items:
        return tuple(Output(v.name, v, at=v.span) for v in declared.variables)
    outputs: list[Output] = []
    for item in items:
        output = _output(item, file, scope)
        if output is not None:
            outputs.append(output)
    return tuple(outputs)


def _output(item: syntax.OutputItem, file: syntax.File, scope: Scope) -> Output | None:
    value: Expression | Dual | OptimalValue | None
    if isinstance(item.value, syntax.Application) and item.value.function.text == "dual":
        value = _dual(item.value, file, scope)
    elif isinstance(item.value, syntax.Name) and item.value.text == "value":
        value = OptimalValue()
    else:
        value = whole(item.value, scope, {})
    name = item.name.text if item.name else _own_name(value)
    if value is None:
        return None
    if name is None:
        scope.report(
            "E501", f"the output `{item.value.span.text}` needs a name", item.span, "becomes a field of the result",
            help=f"{item.value.span.text} as {_suggestion(value)}",
        )  # fmt: skip
        return None
    if item.name and name in RESERVED and name != "value":
        scope.report(
            "E205", f"`{name}` is a word of the language and cannot name an output", item.name.span,
            help=f"as {name}_",
        )  # fmt: skip
    return Output(name, value, at=item.span)


def _own_name(value: Expression | Dual | OptimalValue | None) -> str | None:
    if isinstance(value, OptimalValue):
        return "value"
    return value.name if isinstance(value, Symbol | Let) else None


def _suggestion(value: Expression | Dual | OptimalValue) -> str:
    return f"dual_{value.constraint}" if isinstance(value, Dual) else "result"


def _dual(node: syntax.Application, file: syntax.File, scope: Scope) -> Dual | None:
    named = (s.name.text for s in file.statements if isinstance(s, syntax.ConstraintStatement) and s.name)
    names = list(dict.fromkeys(named))
    if len(node.arguments) != 1 or not isinstance(node.arguments[0], syntax.Name):
        scope.report(
            "E503", "`dual` takes the name of one constraint", node.span,
            help=f"dual({names[0]})" if names else "name the constraint: budget: sum(x) <= 1",
        )  # fmt: skip
        return None
    name = node.arguments[0].text
    if name in names:
        return Dual(name)
    close = scope.close(name, names)
    if close:
        help = f"did you mean `{close}`?"
    elif names:
        help = f"the named constraints are {', '.join(names)}"
    else:
        help = f"name the constraint where it stands: {name}: ..."
    what = " (it is a variable)" if name in scope.names and scope.names[name].kind == "var" else ""
    scope.report("E503", f"no constraint is named `{name}`{what}", node.arguments[0].span, help=help)
    return None


def options(file: syntax.File, scope: Scope) -> tuple[tuple[str, float | str | bool], ...]:
    """Options in order; ``true`` and ``false`` are truth values."""
    found: dict[str, float | str | bool] = {}
    for statement in file.statements:
        if isinstance(statement, syntax.OptionStatement):
            name = statement.name
            if name.text in found:
                scope.report("E505", f"the option `{name.text}` is set twice", name.span, help="keep one")
            value = statement.value
            found[name.text] = {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value
    return tuple(found.items())


def option_places(file: syntax.File) -> tuple[tuple[str, Span], ...]:
    """Where each option is set."""
    return tuple((s.name.text, s.name.span) for s in file.statements if isinstance(s, syntax.OptionStatement))
