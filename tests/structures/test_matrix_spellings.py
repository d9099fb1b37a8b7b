"""Spellings of singular-value shrinkage: scalars within the norm, transposes, traces of products; one solution all.

The base spelling is held against the cone program; the others have its structure, its solution and its gradients.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import declarative as dl
from declarative.canonical.normalise import normalise
from declarative.codegen.torch_module import emit
from declarative.compiler import load
from declarative.ir.program import Program
from declarative.structures import Match, canonicalise, recognise
from declarative.structures.cone_program import ConeProgramMatch

HEAD = "layer shrink\ndim m = 3, n = 4\nparam X[m, n]\nparam C[m, n]\nparam rho nonneg\nvar Y[m, n]\n"
DISTANCE = (
    "1/2 * sum_squares(Y - X)",
    "0.5 * trace((Y - X)' @ (Y - X))",
    "trace((X - Y) @ (X - Y)') / 2",
    "0.5 * trace((Y' - X') @ (Y - X))",
    "(trace(Y' @ Y) / 2 - trace(X' @ Y))",
    "(0.5 * trace(Y' @ Y - 2 * X' @ Y) + 1)",
    "0.5 * trace(Y' @ Y - Y' @ X - X' @ Y + X' @ X)",
    "(norm_fro(Y)^2 / 2 - trace(Y @ X'))",
    "(sum_squares(Y') / 2 - trace(X @ Y'))",
    "0.5 * sum_squares(Y' - X')",
    "0.5 * norm_fro((Y - X)')^2",
)
NORM = (
    "rho * norm_nuc(Y)",
    "norm_nuc(rho * Y)",
    "norm_nuc(Y * rho)",
    "norm_nuc(-rho * Y)",
    "norm_nuc(rho * (2 * Y)) / 2",
    "norm_nuc(rho * Y')",
    "rho * norm_nuc((-Y)')",
    "(norm_nuc(rho * Y) / 4 + 3 * rho * norm_nuc(Y) / 4)",
    "norm_nuc(Y / (1 / rho))",
)
FROM = (
    "rho * norm_nuc(Y - C)",
    "norm_nuc(rho * (Y - C))",
    "norm_nuc(rho * Y - rho * C)",
    "norm_nuc(rho * (C' - Y'))",
    "(norm_nuc(rho * (Y - C)) / 2 + rho * norm_nuc(C - Y) / 2)",
)
OBJECTIVES = {
    "to zero": [f"{d} + {NORM[0]}" for d in DISTANCE[1:]] + [f"{norm} + {DISTANCE[0]}" for norm in NORM[1:]],
    "to a matrix": [f"{DISTANCE[1]} + {norm}" for norm in FROM[1:]],
}
BASE = {"to zero": f"{DISTANCE[0]} + {NORM[0]}", "to a matrix": f"{DISTANCE[0]} + {FROM[0]}"}
SPELLINGS = [(kind, objective) for kind, objectives in OBJECTIVES.items() for objective in objectives]
X, C = torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
RHO = torch.tensor([0.9, 0.4], dtype=torch.float64)


def program_of(objective: str) -> Program:
    return dl.parse_program(f"{HEAD}minimize {objective}\noutput Y, value as v\n")


def structure_of(program: Program) -> str:
    return next(m.structure for _, m in recognise(canonicalise(program)) if isinstance(m, Match))


def solved(layer: dl.Layer) -> list[Tensor]:
    """The solution and its gradients."""
    leaves = {name: t.clone().requires_grad_() for name, t in (("X", X), ("C", C), ("rho", RHO))}
    Y = layer(**leaves).Y
    weights = torch.linspace(-1, 2, Y.numel(), dtype=Y.dtype).reshape(Y.shape)
    found = torch.autograd.grad((Y * weights).sum(), list(leaves.values()), allow_unused=True)
    return [Y.detach(), *(torch.zeros_like(t) if g is None else g for g, t in zip(found, (X, C, RHO), strict=True))]


@pytest.mark.parametrize("kind", BASE)
def test_the_base_spelling_is_the_cone_programs(kind: str) -> None:
    program = program_of(BASE[kind])
    cone = load(emit(program, ConeProgramMatch(normalise(program)), {"m": 3, "n": 4}), "Shrink")()
    torch.testing.assert_close(solved(dl.compile(program)()), solved(cone), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("kind", "objective"), SPELLINGS)
def test_a_spelling_is_the_same_program(kind: str, objective: str) -> None:
    program = program_of(objective)
    assert structure_of(program) == structure_of(program_of(BASE[kind])) == "singular_value_shrinkage"
    expected = solved(dl.compile(program_of(BASE[kind]))())
    torch.testing.assert_close(solved(dl.compile(program)()), expected, rtol=0, atol=1e-10)


def test_a_scalar_of_unknown_sign_counts_by_its_size() -> None:
    signed = HEAD.replace("rho nonneg", "rho")
    program = dl.parse_program(f"{signed}minimize {DISTANCE[0]} + norm_nuc(rho * Y) + 0 * sum(C)\n")
    assert structure_of(program) == "singular_value_shrinkage"
    expected = dl.compile(program_of(BASE["to zero"]))()(X, C, RHO).Y
    torch.testing.assert_close(dl.compile(program)()(X, C, -RHO), expected, rtol=0, atol=1e-12)


WAYS = {
    "cone program": "{} + norm2(Y[0])",
    "quadratic program": "{} + max(Y)",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_trace_of_a_gram_matrix_is_a_square_on_every_way(way: str) -> None:
    def solution(square: str, ball: str) -> Tensor:
        objective = WAYS[way].format(square) + " + rho * sum(X)"
        bounded = f"subject to\n  ball: {ball} <= 3\n" if way == "cone program" else "subject to\n  sum(Y) == 1\n"
        return dl.compile(dl.parse_program(f"{HEAD}minimize {objective}\n{bounded}"))()(X, C, RHO)

    found = solution("trace((Y - C)' @ (Y - C))", "trace(Y @ Y')")
    torch.testing.assert_close(found, solution("sum_squares(Y - C)", "norm_fro(Y)^2"), rtol=0, atol=1e-8)


@pytest.mark.parametrize("wrong", ["trace(Y @ (X - Y)')", "sum(Y' @ Y)", "-trace(Y @ Y')"])
def test_other_products_have_no_curvature(wrong: str) -> None:
    with pytest.raises(dl.DiagnosticError, match="convex objective"):
        program_of(f"{wrong} + {DISTANCE[0]}")
