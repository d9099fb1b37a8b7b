"""E6: sizes and structure."""

from __future__ import annotations

from declarative.diagnostics.entry import Entry

ENTRIES = (
    Entry(
        "E601",
        "a size that must be known before compiling",
        "Closed forms and quadratic programs compile for any size. A problem with other cones (norms, "
        "exponentials, semidefinite matrices) is brought to conic form at fixed sizes, since its sparsity is part "
        "of the module. Give the size with `--dim n=10`, or a default with `dim n = 10`; a layer compiled from "
        "Python takes it from the first call.",
    ),
    Entry(
        "E602",
        "a size that does not fit",
        "A dimension is a whole number of at least 1, and every declared size, such as the `T-1` of `x[T-1]`, is "
        "at least 0. A size given by name belongs to a dimension of the program.",
    ),
    Entry(
        "E603",
        "a problem too large for the conic form",
        "The maps from parameters to the solver's coefficients are stored in the emitted module. Beyond a million "
        "entries of variables and parameters they would be larger than a module should be. A quadratic program "
        "has no such limit.",
    ),
    Entry(
        "E604",
        "a subscript outside its array",
        "Subscripts are 0-based, and `a..b` includes both ends, so that the last entry of `x[n]` is `x[n-1]`. At "
        "the sizes given, the index of a sum or of a constraint reaches beyond it.",
    ),
    Entry(
        "E605",
        "no conic form",
        "Only convex problems have one, and only those whose functions are representable in the zero, "
        "nonnegative, second-order, semidefinite, exponential and three-dimensional power cones. The note says "
        "what stood in the way. `minimize locally` solves any smooth problem without it.",
    ),
)
