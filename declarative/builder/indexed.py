"""Sums and constraints over an index, two-sided constraints and the semidefinite order."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from declarative.builder.place import failure, here
from declarative.builder.scope import KINDS, Scope, join
from declarative.builder.sizes import Dim, SizeLike, as_dim
from declarative.builder.term import Condition, Term, as_term, relation
from declarative.ir.expression import IndexRange, Sum
from declarative.ir.shape import Size

Ends = tuple[SizeLike, SizeLike]


def total(body: Callable[..., Any], /, **ranges: Ends) -> Term:
    """The sum over indices: ``total(lambda t: quad_form(x[t], Q), t=(1, T))`` is ``sum(... for t in 1..T)``.

    Both ends of a range are included. ``body`` is called once, with an index for each range.
    """
    bound, indices, scope = _bind(ranges)
    term = as_term(_called("total", body, indices, "x[{}]"))
    _check_free(bound, term.scope)
    return Term(Sum(term.expression, tuple(bound.values()), at=here()), join(scope, term.scope))


def forall(body: Callable[..., Condition], /, **ranges: Ends) -> Condition:
    """A constraint for each value of its indices: ``forall(lambda t: x[t + 1] == A @ x[t], t=(0, T - 1))``.

    Both ends of a range are included. The constraint's dual has the indices as its first dimensions.
    """
    bound, indices, scope = _bind(ranges)
    condition = _called("forall", body, indices, "x[{}] <= 1")
    if not isinstance(condition, Condition):
        raise failure(
            "E110", "`forall` needs a constraint for each index", help="dl.forall(lambda t: x[t] <= 1, t=(0, T))"
        )
    _check_free(bound, condition.scope)
    ordered = tuple(bound.values()) + condition.constraint.indices
    return Condition(replace(condition.constraint, indices=ordered), join(scope, condition.scope))


def between(low: Any, middle: Any, high: Any) -> Condition:
    """The two-sided constraint ``low <= middle <= high``. Its dual is positive at ``high`` and negative at ``low``."""
    return relation("<=", low, middle, high)


def in_psd(matrix: Any) -> Condition:
    """The constraint that a symmetric matrix is positive semidefinite."""
    return relation("psd", matrix)


def _bind(ranges: dict[str, Ends]) -> tuple[dict[str, IndexRange], dict[str, Dim], Scope]:
    """Ranges by name, the indices to call the body with, and the declarations that the ends rest on."""
    if not ranges:
        raise failure("E212", "an index needs a range", help="name it and give both ends: t=(0, T - 1)")
    bound: dict[str, IndexRange] = {}
    indices: dict[str, Dim] = {}
    scope: Scope = {}
    for name, ends in ranges.items():
        if not isinstance(ends, tuple) or len(ends) != 2:
            raise failure(
                "E206", f"the range of `{name}` is a pair of sizes", help=f"{name}=(0, T - 1), both ends included"
            )
        first, last = map(as_dim, ends)
        span = IndexRange(name, first.size, last.size)
        if span.length.is_number and span.length.constant < 1:
            raise failure("E208", f"the range {first}..{last} is empty", notes=("both ends are included",))
        scope = join(scope, first.scope, last.scope)
        bound[name] = span
        indices[name] = Dim(Size.of(name), {}, {**first.ranges, **last.ranges, name: span})
    return bound, indices, scope


def _called(name: str, body: Callable[..., Any], indices: dict[str, Dim], example: str) -> Any:
    """The body at its indices; raises where it is no function of them by their names."""
    try:
        inspect.signature(body).bind(**indices)
    except (TypeError, ValueError):
        given = ", ".join(indices)
        plural = "indices" if len(indices) > 1 else "index"
        ends = ", ".join(f"{index}=(0, T)" for index in indices)
        help = f"dl.{name}(lambda {given}: {example.format(given)}, {ends})"
        raise failure("E212", f"`{name}` needs a function of the {plural} {given}, by name", help=help) from None
    return body(**indices)


def _check_free(bound: dict[str, IndexRange], scope: Scope) -> None:
    for name in bound:
        if name in scope:
            raise failure(
                "E202", f"the index `{name}` is already a {KINDS[type(scope[name].node)]}", help="choose another letter"
            )
