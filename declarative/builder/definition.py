"""A layer defined in Python: objective, constraints and outputs, put together to the program that a text would give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, final

from declarative.builder.place import failure, here
from declarative.builder.scope import Scope, check_name, join
from declarative.builder.term import Condition, as_term
from declarative.builder.wording import in_python
from declarative.diagnostics.diagnostic import Diagnostic, DiagnosticError, Label
from declarative.diagnostics.span import Span
from declarative.ir.expression import Expression, Extern, Let, Parameter, Symbol, Variable
from declarative.ir.program import Constraint, Dimension, Dual, Objective, OptimalValue, Output, Program, Sense
from declarative.ir.verify import verify

value = OptimalValue()
"""The optimal value, as an output: ``.output(y, cost=value)``."""


def dual(constraint: str) -> Dual:
    """The dual of a named constraint, as an output: ``.output(y, price=dual("budget"))``."""
    return Dual(constraint)


def layer(name: str, doc: str | None = None) -> LayerDefinition:
    """Begin the definition of a layer; every method returns a new definition."""
    check_name(name, "layer")
    return LayerDefinition(name, doc, at=here())


@final
@dataclass(frozen=True)
class LayerDefinition:
    """A layer in the making, and what `compile` takes: ``layer("softmax").maximize(...).subject_to(...).output(y)``."""

    name: str
    doc: str | None = None
    objective: Objective | None = None
    constraints: tuple[Constraint, ...] = ()
    outputs: tuple[Output, ...] = ()
    options: tuple[tuple[str, float | str | bool], ...] = ()
    scope: Scope = field(default_factory=dict, repr=False)
    at: Span | None = field(default=None, compare=False, repr=False)

    def minimize(self, expression: Any, *, local: bool = False) -> LayerDefinition:
        """Minimise a scalar expression, which must be convex; ``local``: any smooth one, to a stationary point."""
        return self._aim("minimize", expression, local)

    def maximize(self, expression: Any, *, local: bool = False) -> LayerDefinition:
        """Maximise a scalar expression, which must be concave; ``local``: any smooth one, to a stationary point."""
        return self._aim("maximize", expression, local)

    def minimize_locally(self, expression: Any) -> LayerDefinition:
        """Minimise a smooth expression from the variables' starts, to the stationary point they lead to."""
        return self._aim("minimize", expression, True)

    def maximize_locally(self, expression: Any) -> LayerDefinition:
        """Maximise a smooth expression from the variables' starts, to the stationary point they lead to."""
        return self._aim("maximize", expression, True)

    def solve(self, *equations: Condition, **named: Condition) -> LayerDefinition:
        """Find the variables from as many equations."""
        return self._with_objective(Objective("solve", at=here()), {}).subject_to(*equations, **named)

    def subject_to(self, *conditions: Condition, **named: Condition) -> LayerDefinition:
        """Add constraints; a keyword is the constraint's name."""
        constraints, scopes = list(self.constraints), [self.scope]
        pairs: list[tuple[str | None, Any]] = [(None, condition) for condition in conditions]
        for name, condition in [*pairs, *named.items()]:
            if not isinstance(condition, Condition):
                raise _no_condition(name, condition)
            if name is not None:
                check_name(name, "constraint")
                self._check_new(name, constraints, condition)
            constraints.append(replace(condition.constraint, name=name))
            scopes.append(condition.scope)
        return replace(self, constraints=tuple(constraints), scope=join(*scopes))

    def output(self, *values: Any, **named: Any) -> LayerDefinition:
        """Add fields of the result, in order: variables and lets by their own names, anything by a keyword.

        Without outputs a layer returns all its variables.
        """
        outputs, scopes = list(self.outputs), [self.scope]
        unnamed: list[tuple[str | None, Any]] = [(None, item) for item in values]
        for name, item in [*unnamed, *named.items()]:
            content: Expression | Dual | OptimalValue
            if isinstance(item, Dual | OptimalValue):
                content = item
            else:
                term = as_term(item)
                content = term.expression
                scopes.append(term.scope)
            field_name = name or _own_name(content)
            if field_name is None:
                raise failure("E501", "an output needs a name", help=".output(result=...)")
            outputs.append(Output(field_name, content, at=here()))
        return replace(self, outputs=tuple(outputs), scope=join(*scopes))

    def option(self, **options: float | str | bool) -> LayerDefinition:
        """Set options of the solver."""
        merged = {**dict(self.options), **{k: float(v) if type(v) is int else v for k, v in options.items()}}
        return replace(self, options=tuple(merged.items()))

    @cached_property
    def program(self) -> Program:
        """The program, verified; raises `DiagnosticError` with everything that is wrong with it."""
        return self.build()

    def build(self, sizes: Mapping[str, int] | None = None) -> Program:
        """The program with some dimensions fixed, in place of their defaults; raises as `program` does."""
        if self.objective is None:
            raise failure(
                "E108",
                "the program has no objective",
                at=self.at,
                help="add .minimize(...), .maximize(...) or .solve(...)",
            )
        errors = self._unknown_duals()
        if errors:
            raise DiagnosticError(errors)
        program = self._assembled(self.objective, sizes or {})
        errors = [in_python(found) for found in verify(program) if found.severity == "error"]
        if errors:
            raise DiagnosticError(errors)
        return program

    def _assembled(self, objective: Objective, sizes: Mapping[str, int]) -> Program:
        declared = sorted(self.scope.values(), key=lambda declaration: declaration.order)
        nodes = [declaration.node for declaration in declared]
        variables = tuple(node for node in nodes if isinstance(node, Variable))
        return Program(
            name=self.name,
            doc=self.doc,
            dimensions=tuple(
                replace(node, default=sizes.get(node.name, node.default))
                for node in nodes
                if isinstance(node, Dimension)
            ),
            parameters=tuple(node for node in nodes if isinstance(node, Parameter)),
            variables=variables,
            starts=tuple((d.node.name, d.start) for d in declared if d.start is not None),
            lets=tuple(node for node in nodes if isinstance(node, Let)),
            externs=tuple(node for node in nodes if isinstance(node, Extern)),
            objective=objective,
            constraints=self.constraints,
            outputs=self.outputs or tuple(Output(v.name, v, at=v.at) for v in variables),
            options=self.options,
            source=self.at.source if self.at else None,
        )

    def _aim(self, sense: Sense, expression: Any, local: bool) -> LayerDefinition:
        term = as_term(expression)
        return self._with_objective(Objective(sense, local, term.expression, at=here()), term.scope)

    def _with_objective(self, objective: Objective, scope: Scope) -> LayerDefinition:
        if self.objective is not None:
            raise failure("E108", "a layer has one objective, and this one has it already")
        return replace(self, objective=objective, scope=join(self.scope, scope))

    def _check_new(self, name: str, constraints: list[Constraint], condition: Condition) -> None:
        for known in constraints:
            if known.name == name:
                first = (Label(known.at, "the first is here"),) if known.at else ()
                raise failure(
                    "E202",
                    f"two constraints are named `{name}`",
                    at=condition.constraint.at,
                    secondary=first,
                    help="rename one of them",
                )

    def _unknown_duals(self) -> list[Diagnostic]:
        names = [constraint.name for constraint in self.constraints if constraint.name]
        errors = []
        for output in self.outputs:
            if isinstance(output.value, Dual) and output.value.constraint not in names:
                wanted = output.value.constraint
                help = f"the named constraints are {', '.join(names)}" if names else f"subject_to({wanted}=...)"
                label = Label(output.at) if output.at else None
                errors.append(Diagnostic("E503", f"no constraint is named `{wanted}`", label, help=help))
        return errors


def _own_name(content: Expression | Dual | OptimalValue) -> str | None:
    if isinstance(content, OptimalValue):
        return "value"
    return content.name if isinstance(content, Symbol | Let) else None


def _no_condition(name: str | None, given: Any) -> DiagnosticError:
    which = f"`{name}`" if name else "one of the conditions"
    if isinstance(given, list | tuple):
        help = None if name else "subject_to(*conditions)"
        return failure("E110", f"{which} is a {type(given).__name__}, and conditions are given one by one", help=help)
    what = "always holds or never" if isinstance(given, bool) else "is not a constraint"
    return failure("E110", f"{which} {what}: no expression is compared")
