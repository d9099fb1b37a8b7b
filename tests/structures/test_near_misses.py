"""Near misses of every closed form: programs a little beside it, which must not match and are solved right.

Each entry is the closed form's own program and, per near miss, what it replaces there. The answers are held against the
cone program by way of cvxpy. A near miss may be another structure, even a closed form, but never the one beside it.
"""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

import declarative as dl
from declarative.canonical.normalise import normalise
from declarative.codegen.torch_module import emit
from declarative.compiler import load
from declarative.ir.program import Program
from declarative.structures import STRUCTURES, Match, canonicalise, recognise
from declarative.structures.cone_program import ConeProgramMatch

HEAD = "layer example\ndim n = 4, m = 3\n"
DATA = {
    "x": torch.tensor([[0.3, -1.0, 0.9, 0.2], [2.0, 1.5, -5.0, 0.1]], dtype=torch.float64),
    "w": torch.tensor([0.5, 1.5, 1.0, 0.7], dtype=torch.float64),
    "M": torch.tensor([[1.0, -0.4, 0.3], [0.2, -1.0, 0.8], [0.5, 0.1, -0.6]], dtype=torch.float64),
}
DECLARED = {"x": "param x[n]\n", "w": "param w[n] nonneg\n", "M": "param M[m, m]\n"}

ENTROPY = "var y[n]\nmaximize x @ y + sum(entr(y))\nsubject to\n  c: sum(y) == 1\n"
DISTANCE = "var y[n]\nminimize sum_squares(y - x)\nsubject to\n"
SIMPLEX = DISTANCE + "  c: sum(y) == 1\n  b: y >= 0\n"
TWO_ROWS = "  e: y[0] + 2 * y[1] <= 0.5\n  f: y[2] - y[3] <= 0.3\n"
WATER = "var y[n] nonneg\nmaximize sum(log(y + w))\nsubject to\n  c: sum(y) == 1\n"
PULL = "var X[m, m]\nminimize sum_squares(X - M) + norm_nuc(X)\nsubject to\n"
CONE = "var X[m, m] psd\nminimize sum_squares(X - M)\nsubject to\n"

MISSES: dict[str, tuple[str, dict[str, tuple[str, str]]]] = {
    "softmax": (
        ENTROPY,
        {
            "a weight per entry of the entropy": ("sum(entr(y))", "w @ entr(y)"),
            "a weight per entry of the sum": ("sum(y)", "w @ y"),
            "an upper bound": ("== 1\n", "== 1\n  u: y <= 0.4\n"),
            "a lower bound": ("== 1\n", "== 1\n  u: y >= 0.1\n"),
            "a sum that is bounded": ("==", "<="),
            "a quadratic term": ("+ sum(entr(y))", "+ sum(entr(y)) - sum_squares(y)"),
            "an entropy of some entries": ("entr(y)", "entr(y[0..2])"),
            "a second row": ("== 1\n", "== 1\n" + TWO_ROWS),
        },
    ),
    "budget_softmax": (
        ENTROPY + "  k: w @ y <= 0.8\n",
        {
            "a weight per entry of the entropy": ("sum(entr(y))", "w @ entr(y)"),
            "a weight per entry of the sum": ("c: sum(y)", "c: (w + 1) @ y"),
            "an upper bound": ("== 1\n", "== 1\n  u: y <= 0.4\n"),
            "no sum": ("  c: sum(y) == 1\n", ""),
            "a second budget": ("== 1\n", "== 1\n  f: y[2] - y[3] <= 0.1\n"),
            "a budget that is used up": ("<= 0.8", "== 0.8"),
        },
    ),
    "curved_row": (
        ENTROPY + "  u: y <= 0.4\n",
        {
            "a second row": ("== 1\n", "== 1\n" + TWO_ROWS),
            "a second equality": ("== 1\n", "== 1\n  e: w @ y == 0.9\n"),
            "another bound on one entry": ("== 1\n", "== 1\n  e: y[2] <= 0.1\n"),
            "a quadratic term": ("+ sum(entr(y))", "+ sum(entr(y)) - sum_squares(y)"),
            "a power beside the entropy": ("+ sum(entr(y))", "+ sum(entr(y)) - sum(y^1.5)"),
            "an entropy of a shifted argument": ("entr(y)", "entr(y + 0.1)"),
            "another variable": ("var y[n]\nmaximize ", "var y[n]\nvar z\nmaximize -square(z - y[0]) + "),
            "a rough curve": ("sum(entr(y))", "sum(sqrt(y))"),
        },
    ),
    "simplex_projection": (
        SIMPLEX,
        {
            "a weight per entry of the distance": ("sum_squares(y - x)", "w @ square(y - x)"),
            "a weight per entry of the sum": ("sum(y)", "w @ y"),
            "no bound": ("  b: y >= 0\n", ""),
            "another bound": ("y >= 0", "y >= 0.1"),
            "a bound on some entries": ("b: y >= 0", "b: y[0..2] >= 0"),
            "a bound of an index that leaves one out": ("b: y >= 0", "b: y[i] >= 0 for i in 0..n-2"),
            "a sum over an index that leaves one out": ("sum(y) == 1", "sum(y[i] for i in 1..n-1) == 1"),
            "a distance over an index that shifts": (
                "sum_squares(y - x)",
                "sum((y[i] - x[n-1-i])^2 + y[i]^2 for i in 0..n-1) + sum_squares(y[0] - y[1])",
            ),
            "an upper bound": ("y >= 0", "0 <= y <= 0.6"),
        },
    ),
    "capped_simplex": (
        SIMPLEX.replace("y >= 0", "0 <= y <= 0.6"),
        {
            "a weight per entry of the distance": ("sum_squares(y - x)", "w @ square(y - x)"),
            "a weight per entry of the sum": ("sum(y)", "w @ y"),
            "a sum that is bounded": ("==", "<="),
            "no bounds": ("  b: 0 <= y <= 0.6\n", ""),
            "a second row": ("== 1\n", "== 1\n" + TWO_ROWS),
        },
    ),
    "halfspace": (
        DISTANCE + "  c: w @ y <= 0.1\n",
        {
            "an equality": ("<=", "=="),
            "a bound": ("0.1\n", "0.1\n  b: y >= 0\n"),
            "two sides": ("w @ y <= 0.1", "0 <= w @ y <= 0.1"),
            "a second row": ("0.1\n", "0.1\n" + TWO_ROWS),
            "coupled squares": ("sum_squares(y - x)", "sum_squares(y - x) + square(sum(w * y))"),
        },
    ),
    "coupling_row": (
        DISTANCE + "  c: 0.1 <= w @ y <= 0.2\n  b: y >= 0\n",
        {
            "a second row": ("0.2\n", "0.2\n" + TWO_ROWS),
            "sides of two rows": ("c: 0.1 <= w @ y <= 0.2", "c: w @ y <= 0.2\n  d: sum(y) >= 0.1"),
            "one side and no bounds": ("0.1 <= w @ y <= 0.2\n  b: y >= 0", "w @ y <= 0.2"),
            "coupled squares": ("sum_squares(y - x)", "sum_squares(y - x) + square(sum(w * y))"),
            "an absolute value besides": ("sum_squares(y - x)", "sum_squares(y - x) + sum(abs(y - 0.1))"),
        },
    ),
    "box": (
        DISTANCE + "  b: norm_inf(y) <= 0.6\n",
        {
            "the norm of differences": ("norm_inf(y)", "norm_inf(diff(y))"),
            "the norm of some entries": ("norm_inf(y)", "norm_inf(y[0..2])"),
            "another norm": ("norm_inf", "norm2"),
            "a weight per entry of the norm": ("norm_inf(y)", "norm_inf(w * y)"),
            "an absolute value besides": ("sum_squares(y - x)", "sum_squares(y - x) + norm1(y)"),
            "a row besides": ("0.6\n", "0.6\n  c: sum(y) == 0.1\n"),
        },
    ),
    "soft_threshold": (
        "var y[n]\nminimize sum_squares(y - x) + norm1(y)\nsubject to\n  b: y <= 0.6\n",
        {
            "the norm of some entries": ("norm1(y)", "norm1(y[0..1])"),
            "the norm of differences": ("norm1(y)", "norm1(diff(y))"),
            "two absolute values": ("norm1(y)", "norm1(y) + norm1(y - 0.2)"),
            "a row": ("0.6\n", "0.6\n  c: sum(y) == 0.1\n"),
            "another loss": ("norm1(y)", "sum(huber(y, 0.2))"),
        },
    ),
    "water_filling": (
        WATER,
        {
            "a weight per entry of the sum": ("sum(y)", "w @ y"),
            "no bound": ("var y[n] nonneg", "var y[n]"),
            "an upper bound": ("== 1\n", "== 1\n  u: y <= 0.3\n"),
            "a linear term": ("sum(log(y + w))", "sum(log(y + w)) + x @ y"),
            "another concave function": ("log(", "sqrt("),
        },
    ),
    "l1_ball": (
        DISTANCE + "  c: norm1(y) <= 0.9\n",
        {
            "a bound": ("0.9\n", "0.9\n  b: y <= 0.3\n"),
            "the norm of differences": ("norm1(y)", "norm1(diff(y))"),
            "the norm of some entries": ("norm1(y)", "norm1(y[0..2])"),
            "two norms": ("norm1(y)", "norm1(y) + norm1(y - 0.1)"),
            "another norm besides": ("norm1(y)", "norm1(y) + norm_inf(y)"),
        },
    ),
    "l2_ball": (
        DISTANCE + "  c: norm2(y) <= 0.8\n",
        {
            "a weight per entry of the norm": ("norm2(y)", "norm2(w * y)"),
            "a weight per entry of the distance": ("sum_squares(y - x)", "w @ square(y - x)"),
            "a bound": ("0.8\n", "0.8\n  b: y <= 0.3\n"),
            "the norm of some entries": ("norm2(y)", "norm2(y[0..2])"),
            "a linear term in the constraint": ("norm2(y)", "norm2(y) + x @ y / 9"),
        },
    ),
    "singular_value_shrinkage": (
        PULL.removesuffix("subject to\n"),
        {
            "a bound": ("norm_nuc(X)\n", "norm_nuc(X)\nsubject to\n  b: X <= 0.3\n"),
            "a trace": ("norm_nuc(X)\n", "norm_nuc(X)\nsubject to\n  b: trace(X) == 0.1\n"),
            "the norm of a product": ("norm_nuc(X)", "norm_nuc(M @ X)"),
            "the norm of a weighted matrix": ("norm_nuc(X)", "norm_nuc(M * X)"),
            "a multiple less a matrix": ("norm_nuc(X)", "norm_nuc(w[0] * X - M)"),
            "two norms of different distances": ("norm_nuc(X)", "norm_nuc(X) + norm_nuc(X - M) / 2"),
            "a trace that is squared": ("sum_squares(X - M)", "trace((X - M)' @ (X - M)) + square(trace(X))"),
            "a trace of three factors": ("sum_squares(X - M)", "trace(X' @ X) - trace(M' @ X @ M) + X[0, 0]^2"),
            "a largest entry besides": ("norm_nuc(X)", "norm_nuc(X) + max(X)"),
            "a weighted distance": ("sum_squares(X - M)", "sum_squares(M @ (X - M)) + square(X[0, 0])"),
        },
    ),
    "semidefinite_projection": (
        CONE.removesuffix("subject to\n"),
        {
            "a trace": ("- M)\n", "- M)\nsubject to\n  c: trace(X) == 1\n"),
            "a diagonal": ("- M)\n", "- M)\nsubject to\n  c: diag(X) == 1\n"),
            "bounds": ("- M)\n", "- M)\nsubject to\n  c: X <= 0.4\n"),
            "a shifted cone": ("X[m, m] psd\n", "X[m, m] symmetric\n"),
            "an absolute value besides": ("- M)\n", "- M) + sum(abs(X)) / 3\n"),
        },
    ),
}
NOT_CLOSED = {"equality_qp", "dense_qp", "smooth_local", "root", "cone_program"}
"""Structures that are general: what is beside them is the next of them."""

PAIRS = [(structure, miss) for structure, (_, misses) in MISSES.items() for miss in misses]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def parsed(body: str) -> Program:
    declared = "".join(text for name, text in DECLARED.items() if re.search(rf"\b{name}\b", body))
    return dl.parse_program(HEAD + declared + body)


def structure_of(program: Program) -> str:
    return next(m.structure for _, m in recognise(canonicalise(program)) if isinstance(m, Match))


def test_every_closed_form_has_four() -> None:
    assert {s.name for s in STRUCTURES} == set(MISSES) | NOT_CLOSED
    assert min(len(misses) for _, misses in MISSES.values()) >= 4


@pytest.mark.parametrize(("structure", "miss"), PAIRS)
def test_a_near_miss_does_not_match_and_is_solved_right(structure: str, miss: str) -> None:
    body, misses = MISSES[structure]
    old, new = misses[miss]
    assert old in body
    assert structure_of(parsed(body)) == structure
    program = parsed(body.replace(old, new))
    assert structure_of(program) != structure
    data: dict[str, Tensor] = {p.name: DATA[p.name] for p in program.parameters}
    cone = load(emit(program, ConeProgramMatch(normalise(program)), {"n": 4, "m": 3}), "Example")()
    torch.testing.assert_close(dl.compile(program)()(**data), cone(**data), rtol=0, atol=3e-6)
