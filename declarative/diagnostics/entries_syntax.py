"""E1: syntax."""

from __future__ import annotations

from declarative.diagnostics.entry import Entry, program

RIGHT = program("minimize sum_squares(y - x)")

ENTRIES = (
    Entry(
        "E101",
        "something else was expected here",
        "The text before this place is the beginning of a statement, but no statement goes on like this.",
        program("minimize sum_squares(y -)"),
        RIGHT,
    ),
    Entry(
        "E102",
        "a bracket without its partner",
        "Every bracket is closed by one of its own kind. A newline does not end a statement inside brackets, so an "
        "open one swallows the following lines; the message points at where it was opened.",
        program("minimize sum_squares(y - x\noutput y"),
        program("minimize sum_squares(y - x)\noutput y"),
    ),
    Entry(
        "E103",
        "a description without its end",
        "A description stands in double quotes on one line.",
        'layer example "a projection\ndim n\nparam x[n]\nvar y[n]\nminimize sum_squares(y - x)\n',
        'layer example "a projection"\ndim n\nparam x[n]\nvar y[n]\nminimize sum_squares(y - x)\n',
    ),
    Entry(
        "E104",
        "a character that the language does not use",
        "Programs are plain ASCII without `;`, braces or backslashes. A newline ends a statement, `#` begins a "
        "comment.",
        program("minimize sum_squares(y - x);"),
        RIGHT,
    ),
    Entry(
        "E105",
        "a sign of another language",
        "A power is `x^2`, a transpose `A'`, an equation `==`. Inequalities are `<=` and `>=`: a strict one has no "
        "solution at its boundary, where solvers end, and `!=` leaves a set that is neither closed nor convex.",
        program("minimize sum((y - x)**2)"),
        program("minimize sum((y - x)^2)"),
    ),
    Entry(
        "E106",
        "a slice instead of a range",
        "`a..b` includes both ends, everywhere; Python's `a:b`, which leaves out its end, does not exist. Subscripts "
        "left out at the end are taken whole: row t of X is `X[t]`.",
        program("minimize sum_squares(y - x)\nsubject to\n  y[0:2] >= 0"),
        program("minimize sum_squares(y - x)\nsubject to\n  y[0..1] >= 0"),
    ),
    Entry(
        "E107",
        "nested too deeply",
        "An expression has at most 120 levels; a chain of operators counts one for each. Longer sums are written "
        "with an index, `sum(x[t] for t in a..b)`, and parts are named with `let`.",
    ),
    Entry(
        "E108",
        "a statement out of order",
        "A program states the layer's name, its declarations, one objective, the constraints under `subject to`, the "
        "outputs and the options, in this order. The equations of `solve` follow it directly.",
        program("minimize sum_squares(y - x)\ny >= 0"),
        program("minimize sum_squares(y - x)\nsubject to\n  y >= 0"),
    ),
    Entry(
        "E109",
        "an unknown keyword",
        "A statement begins with a keyword, or is a constraint.",
        "layer example\ndim n\nparameter x[n]\nvar y[n]\nminimize sum_squares(y - x)\n",
        RIGHT,
    ),
    Entry(
        "E110",
        "a form that the language does not have",
        "The construction is known from other languages or looks plausible, and is written in another way here; the "
        "message says how.",
        program("minimize 2 sum_squares(y - x)"),
        program("minimize 2 * sum_squares(y - x)"),
    ),
)
