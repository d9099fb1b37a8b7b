"""``declarative explain FILE``: what it says of each sample program, and that its KKT system is one.

The stationarity that is printed is checked as mathematics: read back with the language's own operators, it vanishes at
the solution and its multipliers.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import declarative as dl
from declarative.canonical.normalise import normalise
from declarative.canonical.quadratic import QuadraticForm
from declarative.cli.kkt import equations, system_of
from declarative.compiler import read
from declarative.structures import STRUCTURES, canonicalise

NAMES = {
    "budget_softmax": "budget_softmax",
    "circle": "root",
    "elastic_net": "dense_qp",
    "low_rank": "",
    "mpc": "dense_qp",
    "nearest_correlation": "cone_program",
    "optnet_qp": "dense_qp",
    "portfolio": "cone_program",
    "savi": "smooth_local",
    "softmax": "softmax",
    "sparsemax": "simplex_projection",
}


def section(text: str, title: str) -> str:
    """The lines under a heading, blanks folded."""
    after = text.split(f"\n{title}", 1)[1].split("\n", 1)[1]
    return re.split(r"\n\n(?=\S)", after)[0]


@pytest.mark.parametrize("width", ["60", "80", "120"])
@pytest.mark.parametrize("name", NAMES)
def test_every_sample_program_is_explained(run, monkeypatch, name, width):
    monkeypatch.setenv("COLUMNS", width)
    ran = run("explain", f"{name}.opt")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"{name}: ")
    (chosen,) = [line.split()[1] for line in section(ran.out, "Structure").splitlines() if line.startswith("  ->")]
    assert chosen == NAMES[name] or not NAMES[name]
    assert "Backward" in ran.out
    assert f"declarative diagnose {name}.opt" in " ".join(ran.out.split())
    assert not [line for line in ran.out.splitlines() if line != line.rstrip()]
    if name != "mpc":
        assert max(map(len, ran.out.splitlines())) <= int(width) + (20 if width == "60" else 0)


def test_reasons_have_a_place(run):
    structure = section(run("explain", "portfolio.opt").out, "Structure")
    folded = " ".join(structure.split())
    assert "no dense_qp `norm2` is neither quadratic nor piecewise linear (12:11" in folded
    for s in STRUCTURES:
        assert s.name in structure


def test_curvature_of_terms_and_constraints(run):
    problem = section(run("explain", "portfolio.opt").out, "Problem")
    assert re.search(r"maximize +mu @ w +affine", problem)
    assert re.search(r"risk: norm2\(.*\) <= sigma_max +convex <= constant", problem)
    problem = section(run("explain", "softmax.opt").out, "Problem")
    assert re.search(r"\+ sum\(entr\(y\)\) +concave", problem)
    assert "smooth == constant" in section(run("explain", "circle.opt").out, "Problem")


def test_normal_form_names_sides_and_added_variables(run):
    folded = " ".join(section(run("explain", "mpc.opt").out, "Normal form").split())
    assert "limits (lower side): -u_max - u[t] <= 0 for t in 0..T-1" in folded
    assert "minimise -(x @ y) + -sum(entr(y))" in " ".join(
        section(run("explain", "softmax.opt").out, "Normal form").split()
    )
    assert "adds t_abs (n,)" in " ".join(section(run("explain", "elastic_net.opt").out, "Normal form").split())


def test_kkt_system_of_a_quadratic_program(run):
    system = section(run("explain", "optnet_qp.opt").out, "KKT system")
    assert re.search(r"grad_z L +Q @ z \+ q \+ A' @ nu_eq \+ G' @ lambda_ineq = 0 +\(n,\)", system)
    assert re.search(r"nu_eq +A @ z - b = 0 +\(p,\)", system)
    assert "lambda_ineq * (G @ z - h) = 0, lambda_ineq >= 0, G @ z - h <= 0" in system


def test_cones_are_told_where_the_sizes_are(run):
    assert "known once the sizes are: --dim n=10 --dim f=10" in run("explain", "portfolio.opt").out
    out = run("explain", "portfolio.opt", "--dim", "n=3", "--dim", "f=1").out
    assert "zero 1, nonneg 7, soc 5" in out  # the budget; two sides of the box and sigma; norm2 of 1 + 3 entries


def test_backward_of_closed_forms_is_their_jacobian(run):
    assert "dy/dl = diag(y) - y y', symmetric, with l = x" in run("explain", "softmax.opt").out
    assert "dy/dv = diag(s) - s s' / |S|, symmetric, with v = x" in run("explain", "sparsemax.opt").out


PROBLEMS = {
    "tilted": (
        "dim m, n\nparam A[m, n]\nparam b[m]\nparam c[n]\nparam rho nonneg\nvar w[n]\nvar s\n"
        "minimize sum_squares(A @ w - b) + rho * sum_squares(w - c) + 3 * s^2 + c @ w - s\n"
        "subject to\n  tie: sum(w) + 2 * s == 1\n  room: A @ w <= b + 5\n",
        {"A": (4, 3), "b": (4,), "c": (3,), "rho": ()},
    ),
    "weighed": (
        "dim n\nparam Q[n, n] psd\nparam x[n]\nvar y[n] nonneg\nmaximize x @ y - quad_form(y - x, Q)\n"
        "subject to\n  box: y <= 0.4\n",
        {"Q": (3, 3), "x": (3,)},
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_printed_stationarity_vanishes_at_the_solution(folder, name):
    text, shapes = PROBLEMS[name]
    (folder / "p.opt").write_text(f"layer p\n{text}")
    rng = np.random.default_rng(1)
    data = {k: rng.normal(size=shape) for k, shape in shapes.items()}
    data |= {k: abs(v) for k, v in data.items() if k == "rho"} | {k: v @ v.T for k, v in data.items() if k == "Q"}
    program = read("p.opt")
    solution = dl.compile("p.opt")().solve(**{k: torch.as_tensor(v, dtype=torch.float64) for k, v in data.items()})
    form = canonicalise(program).quadratic
    assert isinstance(form, QuadraticForm)
    outputs = solution.outputs if isinstance(solution.outputs, tuple) else (solution.outputs,)
    names = {o.name: value.numpy() for o, value in zip(program.outputs, outputs, strict=True)}
    names |= data | {f"nu_{k}": v.numpy() for k, v in solution.duals.items()}
    names |= {f"lambda_{k}": v.numpy() for k, v in solution.duals.items()}
    n = next(len(names[v.name]) for v in program.variables if v.rank)
    if name == "weighed":  # the multiplier of the attribute is what stationarity leaves at zero entries
        names["lambda_y"] = np.zeros(n)
    checked = 0
    for label, equation, _ in equations(system_of(form)):
        if label.startswith("grad_"):
            body = equation.removesuffix(" = 0")
            assert "grad_" not in body
            python = re.sub(r"([A-Za-z_]\w*)'", r"\1.T", body).replace("^", "**")
            value = eval(python, {**names, "n": n, "ones": np.ones, "zeros": np.zeros, "sum": np.sum})
            free = np.ones_like(value, dtype=bool) if name == "tilted" else names["y"] > 1e-9
            np.testing.assert_allclose(np.asarray(value)[free], 0, atol=1e-7)
            assert np.all(np.asarray(value) >= -1e-7) or name == "tilted"
            checked += 1
    assert checked == len(program.variables)


def test_multipliers_have_different_names(folder):
    (folder / "p.opt").write_text(
        "layer p\ndim n\nparam x[n]\nvar y[n] nonneg\nvar z[n] nonpos\n"
        "minimize sum_squares(y - x) + sum_squares(z - x)\nsubject to\n  box: -1 <= y - z <= 3\n  sum(y) == 2\n"
    )
    rows = system_of(normalise(read("p.opt"))).rows
    assert [r.multiplier for r in rows] == ["lambda_box_lower", "lambda_box_upper", "nu_c1", "lambda_y", "lambda_z"]
