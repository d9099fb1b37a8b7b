"""Expressions of the syntax tree to typed expressions.

A part that is wrong is reported and becomes None; whatever holds it becomes None too, without another message.
"""

from __future__ import annotations

import keyword

from declarative.atoms import call
from declarative.diagnostics.diagnostic import Label
from declarative.diagnostics.span import Span
from declarative.frontend import sizes, syntax
from declarative.frontend.foreign import FOREIGN_FUNCTIONS
from declarative.frontend.labels import declarations
from declarative.frontend.limits import MAXIMUM_DEPTH, MAXIMUM_SIZE
from declarative.frontend.scope import FUNCTIONS, RESERVED, WORDS, Indices, Scope
from declarative.frontend.subscripts import index
from declarative.ir.atom import AtomError
from declarative.ir.expression import (
    Constant,
    Expression,
    Extern,
    ExternCall,
    IndexRange,
    Let,
    Nested,
    Parameter,
    SizeValue,
    Sum,
    Variable,
)
from declarative.ir.shape import Size, show
from declarative.ir.verify_declarations import without_keyword

OPERATIONS = {"+": "add", "*": "mul", "/": "div", "@": "matmul", "^": "power", "**": "power"}


def whole(node: syntax.Expression, scope: Scope, indices: Indices) -> Expression | None:
    """The expression of a statement, which must not be too large for the passes that descend it."""
    value = expression(node, scope, indices)
    if value is None:
        return None
    depth, size = extent(value, scope)
    if depth > MAXIMUM_DEPTH or size > MAXIMUM_SIZE:
        what = (
            f"{depth} levels, more than {MAXIMUM_DEPTH}" if depth > MAXIMUM_DEPTH else f"more than {MAXIMUM_SIZE} parts"
        )
        scope.report("E107", f"with its lets written out, this expression has {what}", node.span, "here")
        return None
    return value


def extent(value: Expression, scope: Scope) -> tuple[int, int]:
    """Depth and number of nodes, lets opened."""
    if isinstance(value, Let):
        depth, size = scope.extents[value.name]
        return depth + 1, size + 1
    below = [extent(child, scope) for child in value.children]
    return 1 + max((depth for depth, _ in below), default=0), 1 + sum(size for _, size in below)


def expression(node: syntax.Expression, scope: Scope, indices: Indices) -> Expression | None:
    """The typed expression, or None where something in it is wrong and has been reported."""
    match node:
        case syntax.Number(span, value):
            return Constant(value, at=span)
        case syntax.Name():
            return _name(node, scope, indices)
        case syntax.Literal(span=span):
            numbers = literal(node, scope)
            return None if numbers is None else Constant(numbers, at=span)
        case syntax.Negation(span, operand):
            if isinstance(operand, syntax.Number):
                return Constant(-operand.value, at=span)
            return _apply("neg", (operand,), span, scope, indices)
        case syntax.Transposition(span, operand, refused):
            if refused:
                mark = Span(span.source, span.end - 2, span.end)
                scope.report(
                    "E105", "`.T` is not how the language writes a transpose", mark, help=f"{span.text[:-2].rstrip()}'"
                )
            return _transpose(operand, span, scope, indices)
        case syntax.Binary():
            return _binary(node, scope, indices)
        case syntax.Subscripted():
            return index(expression(node.base, scope, indices), node, scope, indices)
        case syntax.Application():
            return _application(node, scope, indices)
        case syntax.IndexedApplication():
            return _indexed_sum(node, scope, indices)


def literal(node: syntax.Expression, scope: Scope) -> Nested | None:
    """Numbers written out: ``[1, 2, 3]`` or rows of them."""
    match node:
        case syntax.Number(value=value):
            return value
        case syntax.Negation(operand=syntax.Number(value=value)):
            return -value
        case syntax.Literal(span, items):
            values = [literal(item, scope) for item in items]
            if any(v is None for v in values):
                return None
            lengths = {len(v) if isinstance(v, tuple) else None for v in values}
            deep = any(isinstance(v, tuple) and isinstance(v[0], tuple) for v in values)
            if len(lengths) > 1 or deep:
                problem = "is nested more than two deep" if deep else "has rows of different lengths"
                scope.report("E211", f"the list of numbers {problem}", span)
                return None
            return tuple(v for v in values if v is not None)
    scope.report(
        "E211", f"brackets hold numbers only, not `{node.span.text}`", node.span, "not a number",
        help="join vectors with concat(a, b), rows with vstack(a, b)",
    )  # fmt: skip
    return None


def _name(node: syntax.Name, scope: Scope, indices: Indices) -> Expression | None:
    name, span = node.text, node.span
    if name in indices:
        scope.used.add(name)
        return SizeValue(Size.of(name), at=span)
    entry = scope.names.get(name)
    if entry is None:
        _unknown_name(name, span, scope, indices)
        return None
    scope.used.add(name)
    match entry.value:
        case None:
            return SizeValue(Size.of(name), at=span) if entry.kind == "dim" else None
        case Let(body=body):
            return Let(name, body, at=span)
        case Extern():
            scope.report("E212", f"the extern `{name}` must be called", span, help=f"{name}(...)")
            return None
        case Parameter() as p:
            return Parameter(p.name, p.declared, p.attributes, p.doc, span, p.binding, p.value)
        case Variable() as v:
            return Variable(v.name, v.declared, v.attributes, v.doc, span)
    return None


def _unknown_name(name: str, span: Span, scope: Scope, indices: Indices) -> None:
    close = scope.close(name, [*scope.names, *indices])
    if name in FUNCTIONS:
        return scope.report("E212", f"`{name}` is a function and needs arguments", span, help=f"{name}(...)")
    if name == "value":
        return scope.report(
            "E201", "`value` is the optimal value, which only an output may name", span, help="output value as cost"
        )
    if name in RESERVED:
        return scope.report("E205", f"`{name}` is a word of the language, not a name", span)
    help = f"did you mean `{close}`?" if close else f"declare it above: param {name}, or var {name}"
    if keyword.iskeyword(name) and not close:
        other = without_keyword(name)
        help = f"declare it above by another name, since `{name}` is a word of Python: param {other}, or var {other}"
    return scope.report("E201", f"unknown name `{name}`", span, "not declared", help=help)


def _apply(
    atom: str, operands: tuple[syntax.Expression, ...], span: Span, scope: Scope, indices: Indices
) -> Expression | None:
    """A function applied to syntax."""
    args = [expression(operand, scope, indices) for operand in operands]
    if any(arg is None for arg in args):
        return None
    return apply(atom, tuple(arg for arg in args if arg is not None), span, scope)


def apply(atom: str, args: tuple[Expression, ...], span: Span, scope: Scope) -> Expression | None:
    """A function applied to expressions; a misfit is reported with the declarations of what does not fit."""
    try:
        return call(atom, *args, at=span)
    except AtomError as error:
        culprits = args if error.argument is None else (args[error.argument],)
        at = span if error.argument is None else args[error.argument].span or span
        secondary = declarations(culprits, scope)
        scope.report("E203", error.message, at, error.label, secondary=secondary, help=error.help)
        return None


def _transpose(operand: syntax.Expression, span: Span, scope: Scope, indices: Indices) -> Expression | None:
    return _apply("transpose", (operand,), span, scope, indices)


def _binary(node: syntax.Binary, scope: Scope, indices: Indices) -> Expression | None:
    if node.operator == "**":
        before = Span(node.span.source, node.span.start, node.right.span.start)
        star = before.start + before.text.rindex("**")
        at = Span(before.source, star, star + 2)
        help = f"{before.text[: star - before.start].rstrip()}^{node.span.text[star + 2 - before.start :].lstrip()}"
        scope.report("E105", "`**` is not how the language writes a power", at, help=help)
    if node.operator == "-":
        right = expression(node.right, scope, indices)
        left = expression(node.left, scope, indices)
        negated = None if right is None else apply("neg", (right,), right.span or node.span, scope)
        return None if left is None or negated is None else apply("add", (left, negated), node.span, scope)
    if node.operator == "@" and isinstance(node.right, syntax.Transposition):
        left = expression(node.left, scope, indices)
        right = expression(node.right.operand, scope, indices)
        if left is not None and right is not None and left.rank == right.rank == 1:
            first = node.left.operand if isinstance(node.left, syntax.Transposition) else node.left
            scope.report(
                "E203", "`@` of two vectors is their inner product, and `'` of a vector is the vector itself",
                node.span, secondary=declarations((left, right), scope),
                help=f"for the matrix of all products: outer({first.span.text}, {node.right.operand.span.text})",
            )  # fmt: skip
            return None
    return _apply(OPERATIONS[node.operator], (node.left, node.right), node.span, scope, indices)


def _application(node: syntax.Application, scope: Scope, indices: Indices) -> Expression | None:
    name, at = node.function.text, node.function.span
    entry = scope.names.get(name)
    if entry is not None:
        scope.used.add(name)
        if isinstance(entry.value, Extern):
            return _extern_call(entry.value, node, scope, indices)
        for argument in node.arguments:
            expression(argument, scope, indices)
        if entry.kind != "extern":
            what = f"`{name}` is a {WORDS[entry.kind]}, not a function"
            inside = ", ".join(argument.span.text for argument in node.arguments)
            scope.report("E212", what, at, help=f"index with brackets, {name}[{inside}], or multiply with `*`")
        return None
    if name == "dual":
        scope.report(
            "E503", "`dual(...)` may only be an output by itself", node.span, help="output dual(NAME) as price"
        )
        return None
    if name not in FUNCTIONS:
        for argument in node.arguments:
            expression(argument, scope, indices)
        _unknown_function(name, at, scope)
        return None
    return _apply(name, node.arguments, node.span, scope, indices)


def _unknown_function(name: str, at: Span, scope: Scope) -> None:
    externs = [n for n, e in scope.names.items() if e.kind == "extern"]
    close = scope.close(name, [*FUNCTIONS, *externs])
    if name in FOREIGN_FUNCTIONS:
        note, help = FOREIGN_FUNCTIONS[name]
        scope.report("E204", f"there is no function `{name}`", at, notes=[note] if note else [], help=help)
        return
    help = f"did you mean `{close}`?" if close else f"a torch module is declared as: extern {name}(z[k]) -> y[d] smooth"
    scope.report("E204", f"there is no function `{name}`", at, help=help)


def _extern_call(extern: Extern, node: syntax.Application, scope: Scope, indices: Indices) -> Expression | None:
    args = [expression(argument, scope, indices) for argument in node.arguments]
    declared = [Label(scope.names[extern.name].span, "declared here")]
    if len(args) != len(extern.inputs):
        expected = ", ".join(name for name, _ in extern.inputs)
        inputs = "1 input" if len(extern.inputs) == 1 else f"{len(extern.inputs)} inputs"
        scope.report(
            "E212", f"`{extern.name}` takes {inputs} ({expected}), not {len(args)}", node.span,
            secondary=declared,
        )  # fmt: skip
        return None
    given = tuple(arg for arg in args if arg is not None)
    if len(given) < len(args):
        return None
    for arg, (name, shape) in zip(given, extern.inputs, strict=True):
        if arg.shape != shape:
            scope.report(
                "E203", f"`{extern.name}` takes {show(shape)} as `{name}`, not {show(arg.shape)}",
                arg.span or node.span, f"this is {show(arg.shape)}", secondary=declared,
            )  # fmt: skip
            return None
    return ExternCall(extern, given, at=node.span)


def _indexed_sum(node: syntax.IndexedApplication, scope: Scope, indices: Indices) -> Expression | None:
    added = sizes.ranges(node.bindings, scope, indices)
    name = node.function.text
    if name != "sum":
        known = name in FUNCTIONS or name in scope.names
        message = f"only `sum` takes a `for`, not `{name}`" if known else f"there is no function `{name}`"
        close = None if known else scope.close(name, FUNCTIONS)
        help = f"did you mean `{close}`?" if close else None
        scope.report("E212" if known else "E204", message, node.function.span, help=help)
    bound = added if added is not None else {b.index.text: _unknown_range(b) for b in node.bindings}
    body = expression(node.body, scope, indices | bound)
    if body is None or added is None or name != "sum":
        return None
    return Sum(body, tuple(added.values()), at=node.span)


def _unknown_range(binding: syntax.Binding) -> IndexRange:
    """A range that stands for one whose mistake has been told, so that its index is known inside."""
    name = binding.index.text
    return IndexRange(name, Size.of(name), Size.of(name))
