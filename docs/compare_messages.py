"""Writes diagnostics.md, what the compiler and cvxpy say of the same mistakes: ``python docs/compare_messages.py``.

Both texts are what the programs print when they are run here. A test keeps the page up to date.
"""

from __future__ import annotations

import sys
import textwrap
import warnings
from dataclasses import dataclass
from pathlib import Path

import cvxpy

from declarative.diagnostics.render import render
from declarative.frontend import check

PAGE = Path(__file__).parent / "diagnostics.md"

OPENING = f"""# What the compiler says

<!-- Written by docs/compare_messages.py. Edit that, not this file. -->

Common mistakes, what `declarative check` says of each, and what CVXPY {cvxpy.__version__} says of the same mistake in
Python. Every message has a code that `declarative explain CODE` explains, the place in the file, and where there is one
the text to write instead; all mistakes of a file are told at once. `--format json` gives the same to an editor.

CVXPY's messages come when the line runs, some only at `solve()`; Python's traceback, left out here, names the line.
"""


@dataclass(frozen=True)
class Mistake:
    """The same mistake in a program and in Python; ``remark`` says what is worth seeing."""

    title: str
    name: str
    program: str
    python: str
    remark: str = ""


MISTAKES = (
    Mistake(
        "Shapes that do not meet",
        "shapes",
        "dim m, n\nparam A[m, n]\nparam b[m]\nvar x[n]\n\nminimize sum_squares(A @ b - x)\n",
        "A, b = cp.Parameter((4, 3), name='A'), cp.Parameter(4, name='b')\nx = cp.Variable(3, name='x')\n"
        "cp.Problem(cp.Minimize(cp.sum_squares(A @ b - x)))",
    ),
    Mistake(
        "A matrix of products, meant",
        "outer_product",
        "dim n\nparam y[n]\nvar x[n]\n\nminimize sum_squares(x @ y')\n",
        "x, y = cp.Variable(3, name='x'), cp.Parameter(3, name='y')\ncp.sum_squares(x @ y.T)",
        "NumPy's rule that `.T` of a vector is the vector makes this the inner product, silently.",
    ),
    Mistake(
        "A name that is not declared",
        "unknown_name",
        "dim n = 3\nparam lasso nonneg\nvar x[n]\n\nminimize lassso * norm1(x)\n",
        "lasso, x = cp.Parameter(nonneg=True), cp.Variable(3)\ncp.Problem(cp.Minimize(lassso * cp.norm1(x)))",
    ),
    Mistake(
        "A product of variables",
        "product",
        "var x\nvar y\n\nminimize x * y\n",
        "x, y = cp.Variable(name='x'), cp.Variable(name='y')\ncp.Problem(cp.Minimize(x * y)).solve()",
    ),
    Mistake(
        "A norm written as a root of squares",
        "root_of_squares",
        "dim n = 3\nvar x[n]\n\nminimize sqrt(sum_squares(x))\n",
        "x = cp.Variable(3, name='x')\ncp.Problem(cp.Minimize(cp.sqrt(cp.sum_squares(x)))).solve()",
    ),
    Mistake(
        "Maximizing what is convex",
        "maximize_convex",
        "dim n = 3\nvar x[n]\n\nmaximize sum_squares(x)\nsubject to\n  x <= 1\n",
        "x = cp.Variable(3, name='x')\ncp.Problem(cp.Maximize(cp.sum_squares(x)), [x <= 1]).solve()",
    ),
    Mistake(
        "An equation of a curved expression",
        "curved_equation",
        "dim n = 3\nvar x[n]\n\nminimize sum(x)\nsubject to\n  size: norm2(x) == 1\n",
        "x = cp.Variable(3, name='x')\ncp.Problem(cp.Minimize(cp.sum(x)), [cp.norm2(x) == 1]).solve()",
    ),
    Mistake(
        "A weight whose sign is not known",
        "sign_of_weight",
        "dim n = 3\nparam w\nvar x[n]\n\nminimize w * norm1(x)\n",
        "w, x = cp.Parameter(name='w'), cp.Variable(3, name='x')\nproblem = cp.Problem(cp.Minimize(w * cp.norm1(x)))\n"
        "problem.get_problem_data(cp.CLARABEL, enforce_dpp=True)",
    ),
    Mistake(
        "A quadratic form that may be indefinite",
        "indefinite",
        "dim n\nparam Q[n, n]\nvar x[n]\n\nminimize quad_form(x, Q)\n",
        "Q, x = cp.Parameter((3, 3), name='Q'), cp.Variable(3, name='x')\ncp.Problem(cp.Minimize(cp.quad_form(x, Q)))",
        "CVXPY asks for symmetry, which is not what is missing.",
    ),
    Mistake(
        "A product of parameters",
        "product_of_parameters",
        "param a\nparam b\nvar x\n\nminimize (a * b * x - 1)^2\n",
        "a, b, x = cp.Parameter(name='a'), cp.Parameter(name='b'), cp.Variable(name='x')\n"
        "problem = cp.Problem(cp.Minimize((a * b * x - 1) ** 2))\n"
        "problem.get_problem_data(cp.CLARABEL, enforce_dpp=True)",
        "No mistake here: an expression of parameters alone is computed by torch before the solve, and differentiated "
        "by it.",
    ),
    Mistake(
        "The order of matrices, of one that is not square",
        "not_square",
        "dim m = 3, n = 2\nvar X[m, n]\n\nminimize sum_squares(X)\nsubject to\n  X in psd\n",
        "X = cp.Variable((3, 2), name='X')\ncp.Problem(cp.Minimize(cp.sum_squares(X)), [X >> 0])",
    ),
    Mistake(
        "An index past the end",
        "index_past_the_end",
        "dim T = 5\nvar x[T]\n\nminimize sum_squares(x) + x[T]\n",
        "x = cp.Variable(5, name='x')\ncp.sum_squares(x) + x[5]",
        "Known at every size: T need not have a number.",
    ),
    Mistake(
        "The dual of a constraint that is not there",
        "wrong_dual",
        "dim n = 3\nvar x[n]\n\nminimize sum_squares(x)\nsubject to\n  budget: sum(x) == 1\n"
        "output x, dual(buget) as price\n",
        "x = cp.Variable(3, name='x')\nproblem = cp.Problem(cp.Minimize(cp.sum_squares(x)), [cp.sum(x) == 1])\n"
        "problem.solve()\nproblem.constraints[1].dual_value",
        "Constraints have names here, and positions there.",
    ),
    Mistake(
        "A strict inequality",
        "strict",
        "dim n = 3\nvar x[n]\n\nminimize sum_squares(x)\nsubject to\n  x > 1\n",
        "x = cp.Variable(3, name='x')\ncp.Problem(cp.Minimize(cp.sum_squares(x)), [x > 1])",
    ),
)


def ours(mistake: Mistake) -> str:
    """What the compiler prints of the program."""
    found = check(_program(mistake), f"{mistake.name}.opt")
    return "\n\n".join(map(render, found)) or "nothing to report"


def theirs(mistake: Mistake) -> str:
    """What cvxpy raises, or that it raises nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            exec(mistake.python, {"cp": cvxpy})
        except Exception as error:
            lines = [part for line in str(error).splitlines() for part in textwrap.wrap(line, 100) or [""]]
            return "\n".join([f"{type(error).__name__}: {lines[0] if lines else ''}", *lines[1:]]).rstrip()
    return "no error"


def _program(mistake: Mistake) -> str:
    return f"# {mistake.name}.opt\nlayer {mistake.name}\n{mistake.program}"


def page() -> str:
    """The whole page."""
    parts = [OPENING]
    for mistake in MISTAKES:
        remark = f"\n{mistake.remark}\n" if mistake.remark else ""
        parts.append(
            f"## {mistake.title}\n{remark}\n"
            f"```opt\n{_program(mistake)}```\n\n"
            f"```text\n{ours(mistake)}\n```\n\n"
            f"CVXPY:\n\n```pycon\n{mistake.python}\n```\n\n```text\n{theirs(mistake)}\n```\n"
        )
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE.relative_to(Path.cwd()) if PAGE.is_relative_to(Path.cwd()) else PAGE}\n")
