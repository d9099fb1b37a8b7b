"""Indexed spellings reach the normal form of the vector spelling, and those that mean something else do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

import declarative as dl
from declarative.canonical.algebra import terms
from declarative.canonical.normalise import Affine, NormalConstraint, NormalForm, Term, normalise

HEAD = "layer example\ndim n, m\nparam x[n]\nparam A[m, n]\nparam b[m]\nparam X[m, n]\nparam S[n, n]\n"
OBJECTIVES = [
    ("sum((y[i] - x[i])^2 for i in 0..n-1)", "sum((y - x)^2)"),
    ("sum(x[i] * y[i] for i in 0..n-1)", "sum(x * y)"),
    ("sum(-entr(y[i]) for i in 0..n-1)", "sum(-entr(y))"),
    ("sum(2 * abs(y[k] - 1) + y[k]^4 for k in 0..n-1)", "sum(2 * abs(y - 1) + y^4)"),
    ("sum((Y[i, j] - X[i, j])^2 for i in 0..m-1, j in 0..n-1)", "sum((Y - X)^2)"),
    ("sum((A[i] @ y - b[i])^2 for i in 0..m-1)", "sum((A @ y - b)^2)"),
    ("sum((sum(A[i, j] * y[j] for j in 0..n-1) - b[i])^2 for i in 0..m-1)", "sum((A @ y - b)^2)"),
]
ROWS = [
    ("y[i] >= x[i] for i in 0..n-1", "y >= x"),
    ("0 <= y[t] <= 1 for t in 0..n-1", "0 <= y <= 1"),
    ("A[i] @ y <= b[i] for i in 0..m-1", "A @ y <= b"),
    ("sum(y[j] * A[i, j] for j in 0..n-1) == b[i] for i in 0..m-1", "A @ y == b"),
    ("Y[i, j] <= X[i, j] for i in 0..m-1, j in 0..n-1", "Y <= X"),
    ("exp(y[i]) <= 2 for i in 0..n-1", "exp(y) <= 2"),
    ("sum(Y[i, j] for j in 0..n-1) == 1 for i in 0..m-1", "sum(Y[i]) == 1 for i in 0..m-1"),
]
KEPT = [
    "y[i] >= 0 for i in 0..n-2",
    "y[i+1] >= y[i] for i in 0..n-2",
    "y[n-1-i] >= x[i] for i in 0..n-1",
    "i * y[i] <= 1 for i in 0..n-1",
    "y[0] + y[i] <= 1 for i in 1..n-1",
    "Y[i, i] <= 1 for i in 0..m-1",
    "S[i, j] * y[i] <= 1 for i in 0..n-1, j in 0..n-1",
]


def normal(objective: str = "sum(y) + sum(Y)", row: str = "y >= x") -> NormalForm:
    body = f"var y[n]\nvar Y[m, n]\nminimize {objective}\nsubject to\n  c: {row}\n  d: sum(y) + sum(Y) == 0\n"
    return normalise(dl.parse_program(HEAD + body))


def without_span(term: Term) -> Term:
    return term if isinstance(term, Affine) else replace(term, span=None)


def meaning(constraint: NormalConstraint) -> tuple[object, ...]:
    collected = frozenset(terms(constraint.expression).items())
    return constraint.relation, collected, constraint.ranges, constraint.side, constraint.expression.shape


@pytest.mark.parametrize(("indexed", "whole"), OBJECTIVES)
def test_a_sum_over_an_index_is_that_of_the_vector(indexed: str, whole: str) -> None:
    found, expected = normal(objective=indexed).terms, normal(objective=whole).terms
    assert [without_span(t) for t in found] == [without_span(t) for t in expected]


@pytest.mark.parametrize(("indexed", "whole"), ROWS)
def test_rows_over_an_index_are_those_of_the_vector(indexed: str, whole: str) -> None:
    found, expected = normal(row=indexed).constraints, normal(row=whole).constraints
    assert [meaning(c) for c in found] == [meaning(c) for c in expected]


@pytest.mark.parametrize("row", KEPT)
def test_an_index_that_means_more_stays(row: str) -> None:
    constraint, *_ = normal(row=row).constraints
    assert constraint.ranges
