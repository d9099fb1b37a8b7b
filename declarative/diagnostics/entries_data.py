"""E7: data at run time, as the command line meets them."""

from __future__ import annotations

from declarative.diagnostics.entry import Entry

ENTRIES = (
    Entry(
        "E701",
        "a parameter without a value",
        "Solving needs a value for every parameter that the caller owns and for every constant: `--param x=x.npy`, or "
        "`--param rho=0.1` for a number. A learned parameter without one starts as it does in training.",
    ),
    Entry(
        "E702",
        "a value for something that the program does not have",
        "The name before the `=` of `--param`, `--extern` or `--dim` belongs to a declaration of the program.",
    ),
    Entry(
        "E703",
        "a value that cannot be read",
        "A value is a number, a list such as `[1, 2, 3]`, or a file: `.npy`, `.npz` (the array inside by "
        "`x.npz:key`, or by the parameter's name), `.csv` or `.json`. Arrays hold real numbers. "
        "Files of pickled objects are never loaded, since unpickling runs whatever code the file contains.",
    ),
    Entry(
        "E704",
        "a value that does not fit",
        "The trailing dimensions of a value are the declared shape, and dimensions of one name agree between all "
        "values; what leads is the batch, which broadcasts. Declared attributes, such as `nonneg`, are promises, which "
        "are verified here.",
    ),
    Entry(
        "E705",
        "an instance without a solution",
        "A batch does not fail because one instance does: the others are solved and reported. An instance is "
        "infeasible where no point satisfies its constraints, unbounded where its objective has no least value, not "
        "finite where its data hold NaN or infinity, and at its iteration limit where it is badly scaled or the limit "
        "is low (`option max_iterations = 200`).",
    ),
    Entry(
        "E706",
        "an extern that cannot be loaded or fails",
        "`--extern decode=package.module:attribute` names a torch module, or a class or function that makes one "
        "without arguments. It is imported from the current directory or the installed packages. What it raises when "
        "the layer runs it is told with the shapes that it was given; `--traceback` shows where.",
    ),
    Entry(
        "E707",
        "not enough memory",
        "A quadratic program of n variables has n by n numbers for each instance, 8 GB where n is 32,000. "
        "Closed forms need no more than their data. Solve large batches in parts, or call the layer from "
        "Python, where `float32` halves what is needed.",
    ),
)
