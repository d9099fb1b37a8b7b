"""Recognition by meaning: generated spellings of one problem have one structure and one solution; near misses do not.

A spelling scales the objective, negates it, adds a constant, expands or splits its terms, names parts of it, renames
the variable, states bounds as attributes or constraints, together or apart, and orders everything anew. A near miss
changes the mathematics a little; what it becomes must solve it as the cone program by way of cvxpy does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import declarative as dl
from declarative.canonical.normalise import normalise
from declarative.codegen.torch_module import emit
from declarative.compiler import load
from declarative.ir.program import Program
from declarative.structures import Match, canonicalise, recognise
from declarative.structures.cone_program import ConeProgramMatch

HEAD = "layer example\ndim n = 4\nparam x[n]\nparam w[n] nonneg\n"
DATA = (
    torch.tensor([[0.3, -1.0, 0.9, 0.2], [2.0, 1.5, -5.0, 0.1]], dtype=torch.float64),
    torch.tensor([0.5, 1.5, 1.0, 0.7], dtype=torch.float64),
)

DISTANCE = (
    "sum_squares({y} - x)",
    "sum_squares(x - {y})",
    "norm2({y} - x)^2",
    "sum(square({y} - x))",
    "sum(({y} - x)^2)",
    "({y} - x) @ ({y} - x)",
    "({y}' @ {y} - 2 * x' @ {y})",
    "(sum_squares({y}) - 2 * sum(x * {y}))",
    "(sum_squares({y} - x) / 4 + 3 * sum_squares({y}) / 4 - x @ {y} - x @ {y} / 2)",
    "sum(square({y}) - 2 * x * {y} + 1)",
    "n * mean(square({y} - x))",
    "sum(({y}[i] - x[i])^2 for i in 0..n-1)",
    "(sum({y}[k]^2 for k in 0..n-1) - 2 * sum(x[k] * {y}[k] for k in 0..n-1))",
)
ENTROPY = (
    "(-x @ {y} - sum(entr({y})))",
    "(sum(rel_entr({y}, 1)) - sum(x * {y}))",
    "(sum(kl_div({y}, 1)) - {y}' @ x)",
    "sum(-entr({y}) - x * {y})",
    "(-x @ {y} - sum(entr({y})) / 3 - sum(2 * entr({y})) / 3)",
    "(-x @ {y} - sum(entr({y}[i]) for i in 0..n-1))",
    "(sum(rel_entr({y}[i], 1) - x[i] * {y}[i] for i in 0..n-1) + 1)",
    "(-x @ {y} - sum(entr(2 * {y})) / 2 - log(2) * sum({y}))",
)
POWERS = (
    "(4/3 * sum(power({y}, 1.5)) - x @ {y})",
    "(sum(4 * {y}^1.5) / 3 - sum(x * {y}))",
    "sum(4/3 * {y}[i]^1.5 - x[i] * {y}[i] for i in 0..n-1)",
    "(sum(power({y}, 1.5)) - x @ {y} + sum(power(4 * {y}, 3/2)) / 24)",
)
WEIGHTED = (
    "w @ square({y} - x)",
    "sum(w * ({y} - x)^2)",
    "quad_form({y} - x, diag(w))",
    "sum_squares(sqrt(w) * ({y} - x))",
    "sum(w[j] * ({y}[j] - x[j])^2 for j in 0..n-1)",
)
SHRUNK = (
    "(1/2 * sum_squares({y} - x) + 0.4 * norm1({y}))",
    "(sum_squares({y}) / 2 + sum(0.4 * abs({y})) - x @ {y})",
    "(sum(square({y} - x)) + 0.8 * sum(abs(-{y}))) / 2",
    "sum(({y}[i] - x[i])^2 / 2 + 0.4 * abs({y}[i]) for i in 0..n-1)",
)
SUM = (
    "sum({y}) == 1",
    "1 == sum({y})",
    "2 * sum({y}) == 2",
    "sum({y}) - 1 == 0",
    "-sum({y}) == -1",
    "sum(2 * {y} - 1) == 2 - n",
    "mean({y}) == 1 / n",
    "sum({y}[i] for i in 0..n-1) == 1",
)
LOWER = ("nonneg", "{y} >= 0", "0 <= {y}", "-{y} <= 0", "3 * {y} >= 0", "{y}[i] >= 0 for i in 0..n-1", "min({y}) >= 0")
UPPER = (
    "{y} <= 0.6",
    "0.6 >= {y}",
    "-{y} >= -0.6",
    "{y} - 0.6 <= 0",
    "{y}[i] <= 0.6 for i in 0..n-1",
    "max({y}) <= 0.6",
)
WITHIN = (
    "norm_inf({y}) <= 0.6",
    "abs({y}) <= 0.6",
    "-0.6 <= {y} <= 0.6",
    "max(abs({y})) <= 0.6",
    "abs({y}[i]) <= 0.6 for i in 0..n-1",
    "2 * abs({y}) - 1 <= 0.2",
)
AT_MOST = ("sum({y}) <= 0.5", "0.5 >= sum({y})", "n * mean({y}) <= 0.5", "sum({y}[i] for i in 0..n-1) - 0.5 <= 0")
BETWEEN = (
    "0.2 <= sum({y}) <= 0.5",
    "-0.5 <= -sum({y}) <= -0.2",
    "0.5 >= sum({y}) >= 0.2",
    "0.4 <= 2 * sum({y}[i] for i in 0..n-1) <= 1",
)
SIZES = (
    "norm1({y}) <= 0.9",
    "sum(abs({y})) <= 0.9",
    "sum(abs({y}[i]) for i in 0..n-1) <= 0.9",
    "n * mean(abs(-{y})) <= 0.9",
    "2 * norm1({y}) - 1 <= 0.8",
)
BALL = (
    "norm2({y}) <= 0.8",
    "0.8 >= norm2({y})",
    "2 * norm2(-{y}) - 1.6 <= 0",
    "sum_squares({y}) <= 0.64",
    "norm2(2 * {y}) <= 1.6",
    "sum({y}[i]^2 for i in 0..n-1) <= 0.64",
)

MEANINGS = {
    "simplex_projection": (DISTANCE, (SUM, LOWER)),
    "softmax": (ENTROPY, (SUM,)),
    "softmax of a bound": (ENTROPY, (SUM, LOWER)),
    "curved_row of caps": (ENTROPY, (SUM, UPPER)),
    "curved_row of both bounds": (ENTROPY, (SUM, LOWER, UPPER)),
    "curved_row at most": (ENTROPY, (AT_MOST,)),
    "curved_row between": (ENTROPY, (BETWEEN, UPPER)),
    "curved_row of powers": (POWERS, (SUM, LOWER)),
    "coupling_row at most": (DISTANCE, (AT_MOST, LOWER)),
    "coupling_row between": (DISTANCE, (BETWEEN, LOWER)),
    "coupling_row of a slab": (WEIGHTED, (BETWEEN,)),
    "halfspace": (DISTANCE, (AT_MOST,)),
    "box of sizes": (DISTANCE, (WITHIN,)),
    "l1_ball": (DISTANCE, (SIZES,)),
    "capped_simplex": (DISTANCE, (SUM, LOWER, UPPER)),
    "coupling_row": (WEIGHTED, (SUM, LOWER)),
    "box": (WEIGHTED, (LOWER, UPPER)),
    "soft_threshold": (SHRUNK, ()),
    "l2_ball": (DISTANCE, (BALL,)),
    "equality_qp": (WEIGHTED, (SUM,)),
}
"""Per structure, its name in front, the spellings of its objective and of each of its constraints."""


@st.composite
def spellings(draw: st.DrawFn, meaning: str) -> str:
    """A program of the meaning: everything after the header."""
    objectives, constraints = MEANINGS[meaning]
    y = draw(st.sampled_from(["y", "p", "attention"]))
    attributes, rows = "", []
    for choices in constraints:
        chosen = draw(st.sampled_from(choices))
        if chosen == "nonneg":
            attributes = " nonneg"
        else:
            rows.append(chosen.format(y=y))
    low, high = f"{y} >= 0", f"{y} <= 0.6"
    if low in rows and high in rows and draw(st.booleans()):
        rows = [r for r in rows if r not in (low, high)] + [f"0 <= {y} <= 0.6"]
    rows = draw(st.permutations(rows))
    objective = draw(st.sampled_from(objectives)).format(y=y)
    named = draw(st.booleans())
    let = f"let cost = {objective}\n" if named else ""
    objective = "cost" if named else objective
    scale = draw(st.sampled_from(["", "3 * ", "0.5 * "]))
    constant = draw(st.sampled_from(["", " + 7", " - sum(x)"]))
    sense, sign = draw(st.sampled_from([("minimize", ""), ("maximize", "-")]))
    body = f"var {y}[n]{attributes}\n{let}{sense} {sign}{scale}{objective}{constant}\n"
    listed = "\n".join(f"  c{i}: {row}" for i, row in enumerate(rows))
    return body + (f"subject to\n{listed}\n" if rows else "") + f"output {y}"


def program(body: str) -> Program:
    return dl.parse_program(HEAD + body)


def structure_of(parsed: Program) -> str:
    return next(m.structure for _, m in recognise(canonicalise(parsed)) if isinstance(m, Match))


@cache
def reference(meaning: str) -> tuple[Tensor, Tensor]:
    """The solution by the cone program of the plainest spelling, and the gradient of a weighted sum of it."""
    objectives, constraints = MEANINGS[meaning]
    rows = [(c[1] if c is LOWER else c[0]).format(y="y") for c in constraints]
    body = f"var y[n]\nminimize {objectives[0].format(y='y')}\n"
    if rows:
        body += "subject to\n" + "\n".join(f"  {row}" for row in rows)
    return with_gradient(cone_layer(program(body)))


def with_gradient(layer: dl.Layer) -> tuple[Tensor, Tensor]:
    x, w = DATA[0].clone().requires_grad_(), DATA[1]
    y = layer(x, w)
    (gradient,) = torch.autograd.grad((y * torch.arange(1.0, 5.0, dtype=y.dtype)).sum(), x)
    return y.detach(), gradient


def cone_layer(parsed: Program) -> dl.Layer:
    return load(emit(parsed, ConeProgramMatch(normalise(parsed)), {"n": 4}), "Example")()


def by_cone_program(parsed: Program) -> Tensor:
    solved: Tensor = cone_layer(parsed)(*DATA)
    return solved


def holds_for_spellings(meaning: str, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(spellings(meaning))
    def holds(body: str) -> None:
        parsed = program(body)
        assert structure_of(parsed) == meaning.split()[0], body
        found, gradient = with_gradient(dl.compile(parsed)())
        expected, expected_gradient = reference(meaning)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6, msg=lambda m: f"{body}\n{m}")
        torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=2e-5, msg=lambda m: f"{body}\n{m}")

    holds()


@pytest.mark.parametrize("meaning", MEANINGS)
def test_one_meaning_is_one_structure(meaning: str) -> None:
    holds_for_spellings(meaning, 8)


@pytest.mark.slow
@pytest.mark.parametrize("meaning", MEANINGS)
def test_one_meaning_is_one_structure_in_many_spellings(meaning: str) -> None:
    holds_for_spellings(meaning, 200)


Change = Callable[[str], str]


def with_row(row: str) -> Change:
    return lambda body: body.replace("subject to\n", f"subject to\n  extra: {row}\n")


NEAR_MISSES = {
    "simplex_projection": ("minimize sum_squares(y - x)", "  c: sum(y) == 1\n  b: y >= 0"),
    "softmax": ("maximize x @ y + sum(entr(y))", "  c: sum(y) == 1"),
    "capped_simplex": ("minimize sum_squares(y - x)", "  c: sum(y) == 1\n  b: 0 <= y <= 0.6"),
    "l2_ball": ("minimize sum_squares(y - x)", "  c: norm2(y) <= 0.8"),
    "box": ("minimize sum_squares(y - x)", "  b: 0 <= y <= 0.6"),
    "soft_threshold": ("minimize sum_squares(y - x) + norm1(y)", "  b: y <= 0.6"),
}
CHANGES: dict[str, Change] = {
    "a weight per entry of the sum": lambda b: b.replace("sum(y) == 1", "w @ y == 1"),
    "a weight per entry of the distance": lambda b: b.replace("sum_squares(y - x)", "sum(w * square(y - x))"),
    "a weight per entry of the entropy": lambda b: b.replace("sum(entr(y))", "sum(w * entr(y))"),
    "a weight per entry of the norm": lambda b: b.replace("norm2(y)", "norm2(w * y)"),
    "a sum that is bounded": lambda b: b.replace("sum(y) == 1", "sum(y) <= 1"),
    "no lower bound": lambda b: b.replace("  b: y >= 0", "").replace("0 <= y <= 0.6", "y <= 0.6"),
    "another bound": lambda b: b.replace("y >= 0", "y >= 0.1"),
    "a second row": with_row("y[0] + 2 * y[1] <= 0.5"),
    "a second equality": with_row("w @ y == 0.9"),
    "a bound on one entry": with_row("y[2] <= 0.1"),
    "another variable": lambda b: (
        b.replace("var y[n]\n", "var y[n]\nvar z\n")
        .replace("minimize ", "minimize square(z - y[0]) + ")
        .replace("maximize ", "maximize -square(z - y[0]) + ")
    ),
    "coupled squares": lambda b: b.replace("sum_squares(y - x)", "sum_squares(y - x) + square(sum(w * y))"),
    "the norm of some entries": lambda b: b.replace("norm1(y)", "norm1(y[0..1])"),
}
SAME_MEANING = {
    ("capped_simplex", "no lower bound"),
    ("box", "no lower bound"),
    ("box", "a weight per entry of the distance"),
}
SAME_MEANING |= {("soft_threshold", "a weight per entry of the distance")}
"""Changes that leave the structure: it has bounds on one side, and weights."""


def body_of(structure: str) -> str:
    objective, rows = NEAR_MISSES[structure]
    return f"var y[n]\n{objective}\nsubject to\n{rows}\noutput y"


PAIRS = [(s, c) for s in NEAR_MISSES for c, change in CHANGES.items() if change(body_of(s)) != body_of(s)]


@pytest.mark.parametrize(("structure", "change"), PAIRS)
def test_a_near_miss_is_another_structure_and_solved_all_the_same(structure: str, change: str) -> None:
    parsed = program(CHANGES[change](body_of(structure)).replace("subject to\n\noutput", "output"))
    assert structure_of(program(body_of(structure))) == structure
    assert (structure_of(parsed) == structure) == ((structure, change) in SAME_MEANING)
    torch.testing.assert_close(dl.compile(parsed)()(*DATA), by_cone_program(parsed), rtol=0, atol=2e-6)


@pytest.mark.parametrize("exponent", ["1.5", "3/2", "(1 + 2) / 2"])
def test_an_exponent_may_be_computed(exponent: str) -> None:
    body = f"var y[n] nonneg\nminimize sum(power(y, {exponent})) - x @ y\nsubject to\n  sum(y) == 1\noutput y"
    assert structure_of(program(body)) == "curved_row"
