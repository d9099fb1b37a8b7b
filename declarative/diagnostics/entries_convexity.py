"""E3: convexity. E4: local and root problems."""

from __future__ import annotations

from declarative.diagnostics.entry import Entry, program

SCALAR = "layer example\nparam x\nvar y from x"
START = "layer example\ndim n\nparam x[n]\nvar y[n] from x"
MATRIX = "layer example\ndim n\nparam C[n, n] symmetric\nvar X[n, n]"

ENTRIES = (
    Entry(
        "E301",
        "the objective is not convex",
        "`minimize` needs a convex objective and `maximize` a concave one, built by the composition rule: a convex "
        "function takes a convex argument where it increases, a concave one where it decreases, and an affine one "
        "always (for concave functions the other way round). The rule is sufficient, not necessary: a convex "
        "expression may have to be written with another function. `minimize locally` needs no convexity and finds a "
        "stationary point.",
        program("minimize sqrt(sum_squares(y - x))"),
        program("minimize norm2(y - x)"),
    ),
    Entry(
        "E302",
        "the constraint is not convex",
        "In `a <= b` the smaller side must be convex and the larger concave; both sides of `==` must be affine, and so "
        "must the middle of a chain and the matrix of `in psd`.",
        program("minimize sum_squares(y - x)\nsubject to\n  norm2(y) == 1"),
        program("minimize sum_squares(y - x)\nsubject to\n  norm2(y) <= 1"),
    ),
    Entry(
        "E303",
        "a function without curvature in a convex problem",
        "tanh, sin and their kind, and externs, may see variables under `minimize locally` and `solve` only. Applied "
        "to parameters alone they are allowed everywhere: torch computes them before the solve.",
        program("minimize sum_squares(y - x)\nsubject to\n  0 * sum(tanh(y)) + sum(y) <= 1"),
        program("minimize sum_squares(y - x)\nsubject to\n  sum(y) <= sum(tanh(x))"),
    ),
    Entry(
        "E304",
        "not an objective",
        "An objective is one number and depends on the variables.",
        program("minimize (y - x)^2"),
        program("minimize sum((y - x)^2)"),
    ),
    Entry(
        "E305",
        "a constraint without a variable",
        "A constraint of parameters and numbers alone cannot change the solution: it holds or it does not. What is "
        "promised of a parameter is an attribute of its declaration.",
        program("minimize sum_squares(y - x)\nsubject to\n  x >= 0"),
        "layer example\ndim n\nparam x[n] nonneg\nvar y[n]\nminimize sum_squares(y - x)\n",
    ),
    Entry(
        "E306",
        "a cone constraint on a matrix that need not be symmetric",
        "`X in psd` orders symmetric matrices. Declare the variable `symmetric`.",
        program("minimize sum_squares(X - C)\nsubject to\n  X in psd", head=MATRIX),
        program("minimize sum_squares(X - C)\nsubject to\n  X in psd", head=MATRIX + " symmetric"),
    ),
    Entry(
        "E307",
        "a variable that nothing determines",
        "The variable occurs in neither the objective nor a constraint, so that any value would do.",
        program("var z[n]\nminimize sum_squares(y - x)"),
        program("var z[n]\nminimize sum_squares(y - x) + sum_squares(z - y)"),
    ),
    Entry(
        "E308",
        "a function of parameters sees a variable",
        "inv, cholesky and det are computed by torch before the solve, so their argument cannot contain what is "
        "solved for.",
        program("minimize sum_squares(X - C) + trace(inv(X))", head=MATRIX),
        program("minimize sum_squares(X - C) + trace(inv(C) @ X)", head=MATRIX),
    ),
    Entry(
        "E401",
        "a function with kinks under `locally` or `solve`",
        "The gradient of a stationary point or a root comes from the implicit function theorem, which needs two "
        "derivatives. Write a smooth function close to the one with the kink. Of parameters alone any function is "
        "allowed.",
        program("minimize locally sum(abs(y - x))", head=START),
        program("minimize locally sum(sqrt((y - x)^2 + 1e-6))", head=START),
    ),
    Entry(
        "E404",
        "an extern that is not smooth",
        "An extern that sees a variable must be declared `smooth`, a promise of two derivatives: tanh, softplus or "
        "SiLU inside the module, and no relu.",
        program("extern f(z[n]) -> v[n]\nminimize locally sum_squares(f(y) - x)", head=START),
        program("extern f(z[n]) -> v[n] smooth\nminimize locally sum_squares(f(y) - x)", head=START),
    ),
    Entry(
        "E405",
        "equations and unknowns differ in number",
        "`solve` finds the variables from as many scalar equations; the implicit function theorem needs a square "
        "system.",
        program("solve\n  sum(y) == sum(x)", head=START),
        program("solve\n  y^3 + y == x", head=START),
    ),
    Entry(
        "E406",
        "`solve` takes equations only",
        "Inequalities, cones and attributes of variables are constraints of an optimisation problem. The start selects "
        "among several solutions of an equation.",
        program("solve\n  y^2 == x\n  y >= 0", head=SCALAR),
        program("solve\n  y^2 == x", head=SCALAR),
    ),
    Entry(
        "E407",
        "a variable without a starting point",
        "A local or root problem may have several solutions, and the start decides which is returned.",
        program("minimize locally sum_squares(tanh(y) - x)"),
        program("minimize locally sum_squares(tanh(y) - x)", head=START),
    ),
    Entry(
        "E408",
        "a starting point that does not fit",
        "A start is a scalar or has the variable's shape, and consists of parameters and numbers.",
        program("var z[n] from y\nminimize locally sum_squares(tanh(y) - x) + sum_squares(z - y)", head=START),
        program("var z[n] from x\nminimize locally sum_squares(tanh(y) - x) + sum_squares(z - y)", head=START),
    ),
    Entry(
        "E409",
        "a semidefinite constraint in a local or root problem",
        "Cones of matrices need a convex problem. Locally, a semidefinite matrix is written as a product, L @ L'.",
        "layer example\ndim n\nparam C[n, n]\nvar X[n, n] psd from C\nminimize locally sum_squares(sin(X) - C)\n",
        "layer example\ndim n\nparam C[n, n]\nvar L[n, n] from C\nminimize locally sum_squares(sin(L @ L') - C)\n",
    ),
    Entry(
        "W401",
        "a starting point without effect",
        "A convex problem is solved to its one minimum from anywhere.",
        program("minimize sum_squares(y - x)", head=START),
        program("minimize sum_squares(y - x)"),
    ),
)
