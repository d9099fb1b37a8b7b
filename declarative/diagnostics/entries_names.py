"""E2: names, shapes, sizes and attributes."""

from __future__ import annotations

from declarative.diagnostics.entry import Entry, program

RIGHT = program("minimize sum_squares(y - x)")
REGRESSION = "layer example\ndim m, n\nparam A[m, n]\nparam b[m]\nvar w[n]"

ENTRIES = (
    Entry(
        "E201",
        "an unknown name",
        "A name is declared before it is used, with `dim`, `param`, `var`, `let` or `extern`. Case matters.",
        program("minimize sum_squares(y - X)"),
        RIGHT,
    ),
    Entry(
        "E202",
        "a name is declared twice",
        "Dims, parameters, variables, lets and externs share one set of names, so that each means one thing "
        "everywhere. Constraints have a set of their own, in which each name stands once.",
        program("param y[n]\nminimize sum_squares(y - x)"),
        RIGHT,
    ),
    Entry(
        "E203",
        "shapes do not fit",
        "The function or operator cannot take arguments of these shapes. Nothing is stretched to fit but scalars: "
        "`+` and `*` need equal shapes or a scalar, `@` equal inner sizes.",
        program("minimize sum_squares(A @ b - w)", head=REGRESSION),
        program("minimize sum_squares(A @ w - b)", head=REGRESSION),
    ),
    Entry(
        "E204",
        "an unknown function",
        "The function is none of the language's. The names are those of CVXPY. A torch module is declared as an "
        "`extern`.",
        program("minimize norm(y - x)"),
        program("minimize norm2(y - x)"),
    ),
    Entry(
        "E205",
        "a name that is taken by the language or by Python",
        "Keywords, `value` and `dual` have a meaning of their own. A word of Python, such as `lambda`, cannot be an "
        "argument of the emitted module.",
        program("param lambda nonneg\nminimize sum_squares(y - x) + lambda * norm1(y)"),
        program("param lam nonneg\nminimize sum_squares(y - x) + lam * norm1(y)"),
    ),
    Entry(
        "E206",
        "not a size",
        "Sizes, subscripts and ranges are affine whole-number expressions of dims and indices: `n`, `T+1`, `2*k-1`.",
        "layer example\nparam k\nparam x[k]\nvar y[k]\nminimize sum_squares(y - x)\n",
        "layer example\ndim k\nparam x[k]\nvar y[k]\nminimize sum_squares(y - x)\n",
    ),
    Entry(
        "E207",
        "a dimension that nothing determines",
        "Sizes are read from the shapes of the parameters at the call. A dim that occurs in no parameter's shape, or "
        "only together with another unknown one, needs a default: `dim T = 20`. `--dim T=20` fixes it from outside.",
        "layer example\ndim T\nparam x\nvar y[T]\nminimize sum_squares(y - x)\n",
        "layer example\ndim T = 20\nparam x\nvar y[T]\nminimize sum_squares(y - x)\n",
    ),
    Entry(
        "E208",
        "an index out of range",
        "Indices count from 0, so a dimension of size n ends at n-1. `a..b` includes both ends. Negative indices do "
        "not count from the end.",
        program("minimize sum_squares(y - x)\nsubject to\n  y[n] == 0"),
        program("minimize sum_squares(y - x)\nsubject to\n  y[n-1] == 0"),
    ),
    Entry(
        "E209",
        "too many subscripts",
        "A vector takes one subscript, a matrix one or two; a scalar takes none.",
        program("minimize sum_squares(y - x)\nsubject to\n  y[0, 0] == 0"),
        program("minimize sum_squares(y - x)\nsubject to\n  y[0] == 0"),
    ),
    Entry(
        "E210",
        "an attribute that does not fit",
        "Attributes are `nonneg nonpos psd nsd symmetric diag`; a param may also be `learned` or `constant`. They "
        "must not contradict each other, and `psd nsd symmetric diag` need a square matrix.",
        program("param s nonneg nonpos\nminimize s * sum_squares(y - x)"),
        program("param s nonneg\nminimize s * sum_squares(y - x)"),
    ),
    Entry(
        "E211",
        "a value that does not fit",
        "Only a `constant` has a value in the program. It is a number or a list of numbers, of the declared shape "
        "and with the declared attributes.",
        program("param c[3] constant = [1, 2]\nminimize sum_squares(y - x) + sum(c)"),
        program("param c[2] constant = [1, 2]\nminimize sum_squares(y - x) + sum(c)"),
    ),
    Entry(
        "E212",
        "a function used as a value, or a value as a function",
        "Functions and externs are called with their arguments; symbols are indexed with square brackets.",
        program("minimize sum_squares(y - x) + y(0)"),
        program("minimize sum_squares(y - x) + y[0]"),
    ),
    Entry(
        "E213",
        "too many dimensions",
        "Shapes are those of one instance: scalars, vectors and matrices. The batch is never written; it is whatever "
        "leading dimensions the tensors have at the call.",
        "layer example\ndim b, m, n\nparam X[b, m, n]\nvar Y[m, n]\nminimize sum_squares(Y - X)\n",
        "layer example\ndim m, n\nparam X[m, n]\nvar Y[m, n]\nminimize sum_squares(Y - X)\n",
    ),
    Entry(
        "W201",
        "declared and never used",
        "The parameter, let, extern or dim occurs nowhere. Often a name was misspelt where it was meant to be used.",
        program("param scale nonneg\nminimize sum_squares(y - x)"),
        RIGHT,
    ),
    Entry(
        "W202",
        "an index that the constraint does not use",
        "The constraint is repeated for every value of the index and is the same each time, with as many rows and "
        "multipliers, of which none is unique. An indexed constraint holds entry by entry: y[i] <= x[i].",
        program("minimize sum_squares(y - x)\nsubject to\n  c: y <= sum(x) for i in 0..n-1"),
        program("minimize sum_squares(y - x)\nsubject to\n  c: y[i] <= sum(x) for i in 0..n-1"),
    ),
)
