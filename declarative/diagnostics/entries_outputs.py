"""E5: outputs and options."""

from __future__ import annotations

from declarative.diagnostics.entry import Entry, program

ENTRIES = (
    Entry(
        "E501",
        "an output without a name",
        "Outputs become fields of a NamedTuple. A variable, a parameter or a let brings its name; another expression "
        "and a dual are given one with `as`.",
        program("minimize sum_squares(y - x)\noutput y[0]"),
        program("minimize sum_squares(y - x)\noutput y[0] as first"),
    ),
    Entry(
        "E502",
        "two outputs of one name",
        "The fields of the result are told apart by name.",
        program("minimize sum_squares(y - x)\noutput y, y - x as y"),
        program("minimize sum_squares(y - x)\noutput y, y - x as change"),
    ),
    Entry(
        "E503",
        "the dual of an unknown constraint",
        "`dual(NAME)` stands alone as an output and takes the name of a constraint.",
        program("minimize sum_squares(y - x)\nsubject to\n  sum(y) == 1\noutput y, dual(budget) as price"),
        program("minimize sum_squares(y - x)\nsubject to\n  budget: sum(y) == 1\noutput y, dual(budget) as price"),
    ),
    Entry(
        "E504",
        "`solve` has no optimum",
        "A root problem has no objective, hence neither an optimal value nor dual variables.",
        program("solve\n  y^3 + y == x\noutput y, value", head="layer example\nparam x\nvar y from x"),
        program("solve\n  y^3 + y == x\noutput y", head="layer example\nparam x\nvar y from x"),
    ),
    Entry(
        "E505",
        "an option that does not exist or does not fit",
        "Options set the solver and never the mathematics.",
        program("minimize sum_squares(y - x)\noption tolerance = 1e-9\noption tolerance = 1e-6"),
        program("minimize sum_squares(y - x)\noption tolerance = 1e-9"),
    ),
    Entry(
        "W502",
        "an output without a variable",
        "The output is computed from parameters alone, so that the layer passes on what its caller has.",
        program("minimize sum_squares(y - x)\noutput y, sum(x) as total"),
        program("minimize sum_squares(y - x)\noutput y, sum(y) as total"),
    ),
)
