"""Sizes and indices: whole-number affine expressions of dimensions and of the indices in scope."""

from __future__ import annotations

import re

from declarative.frontend import syntax
from declarative.frontend.limits import LARGEST_SIZE, shortened
from declarative.frontend.lines import SIGNS, open_brackets
from declarative.frontend.scope import WORDS, Indices, Scope
from declarative.ir.expression import IndexRange
from declarative.ir.shape import Shape, Size

RULE = "a size is built from dims and whole numbers with `+`, `-` and `*` by a whole number"


def size(node: syntax.Expression, scope: Scope, indices: Indices, subscript: str | None = None) -> Size | None:
    """The size that an expression means; None if it means none, which has then been reported.

    ``subscript``: the last index of the dimension that it is a subscript of, for what an unbound index is answered.
    """
    match node:
        case syntax.Number(span, value):
            if value > LARGEST_SIZE or not value.is_integer():
                scope.report("E206", f"a size must be a whole number, not {shortened(span.text)}", span, notes=[RULE])
                return None
            return Size(int(value))
        case syntax.Name():
            return _named(node, scope, indices, subscript)
        case syntax.Negation(operand=operand):
            inner = size(operand, scope, indices, subscript and "b")
            return None if inner is None else -inner
        case syntax.Binary(operator=operator, left=left, right=right) if operator in "+-*":
            end = subscript and "b"
            first, second = size(left, scope, indices, end), size(right, scope, indices, end)
            if first is None or second is None:
                return None
            if operator != "*":
                return first + second if operator == "+" else first - second
            if first.is_number or second.is_number:
                return first * second.constant if second.is_number else second * first.constant
    scope.report("E206", f"`{node.span.text}` is not a size", node.span, "not allowed here", notes=[RULE])
    return None


def _named(node: syntax.Name, scope: Scope, indices: Indices, subscript: str | None) -> Size | None:
    name = node.text
    entry = scope.names.get(name)
    if name in indices:
        scope.used.add(name)
        return Size.of(name)
    if entry is None:
        known = [n for n, e in scope.names.items() if e.kind == "dim"] + list(indices)
        close = scope.close(name, known)
        if subscript is not None and not close:
            help = _bound_at_end(node, subscript)
            scope.report("E201", f"unknown index `{name}`", node.span, "not bound by a `for`", help=help)
            return None
        help = f"did you mean `{close}`?" if close else f"declare it above: dim {name}"
        scope.report("E201", f"unknown dimension `{name}`", node.span, "not declared", help=help)
        return None
    scope.used.add(name)
    if entry.kind == "dim":
        return Size.of(name)
    scope.report("E206", f"`{name}` is a {WORDS[entry.kind]}, and a size is made of dims", node.span, notes=[RULE])
    return None


def _bound_at_end(node: syntax.Name, last: str) -> str:
    """The constraint of a line with its index bound; in words where the line is not one whole constraint."""
    span = node.span
    ends = f"for {node.text} in {'a' if last == 'b' else 0}..{last}"
    line = span.source.lines[span.line - 1].split("#", 1)[0].strip()
    bare = not re.search(r"\b(for|minimize|maximize|let|output|from)\b", line)
    whole = re.search(r"\S\s*[<>=]=\s*\S", line) and not line.endswith(SIGNS) and not open_brackets(line, len(line))
    if bare and whole:
        return f"{line} {ends}"
    return f"bind it at the end of a constraint or inside of a sum: {ends}"


def shape(nodes: tuple[syntax.Expression, ...], scope: Scope) -> Shape | None:
    """A declared shape: scalar, vector or matrix."""
    sizes = [size(node, scope, {}) for node in nodes]
    if len(sizes) > 2:
        scope.report(
            "E213", f"a shape has at most two sizes, not {len(sizes)}", nodes[2].span.join(nodes[-1].span), "too many",
            notes=["batch dimensions are never written: the leading dimensions of the tensors are the batch"],
        )  # fmt: skip
        return None
    for node, value in zip(nodes, sizes, strict=True):
        if value is not None and value.is_number and value.constant < 1:
            scope.report("E206", f"a size must be at least 1, not {value.constant}", node.span)
            return None
    return None if any(s is None for s in sizes) else tuple(s for s in sizes if s is not None)


def ranges(bindings: tuple[syntax.Binding, ...], scope: Scope, indices: Indices) -> Indices | None:
    """The indices that a ``for`` clause adds, each seeing the ones before it."""
    added: Indices = {}
    failed = False
    for binding in bindings:
        name = binding.index.text
        first = size(binding.first, scope, indices | added)
        last = size(binding.last, scope, indices | added)
        if name in scope.names or name in indices or name in added:
            what = f"a {WORDS[scope.names[name].kind]}" if name in scope.names else "an index"
            scope.report(
                "E202", f"the index `{name}` is already {what}", binding.index.span, help="choose another letter"
            )
            failed = True
        if first is None or last is None:
            failed = True
            continue
        length = last - first + 1
        if length.is_number and length.constant < 1:
            scope.report(
                "E208", f"the range {first}..{last} is empty", binding.first.span.join(binding.last.span),
                notes=["`a..b` includes both ends"],
            )  # fmt: skip
            failed = True
        added[name] = IndexRange(name, first, last)
    return None if failed else added


def extreme(value: Size, indices: Indices, upper: bool) -> Size:
    """The largest (or smallest) value that a size takes as its indices run; inner indices are replaced first."""
    for name in reversed(indices):
        coefficient = dict(value.terms).get(name, 0)
        end = indices[name].last if (coefficient > 0) == upper else indices[name].first
        value = value.substitute({name: end})
    return value


def is_positive(value: Size) -> bool:
    """Whether a size is at least 1 for all dimensions >= 1."""
    lowest = value.constant + sum(c for _, c in value.terms)
    return all(c >= 0 for _, c in value.terms) and lowest >= 1
