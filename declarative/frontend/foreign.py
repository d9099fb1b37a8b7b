"""Words that users bring from other languages, and what this one says instead."""

from __future__ import annotations

FOREIGN_FUNCTIONS: dict[str, tuple[str | None, str]] = {
    "relu": (
        "relu has a kink at 0, where it has no derivative",
        "in a convex problem write pos(x); under `locally` and `solve` write softplus(x), which is smooth",
    ),
    "norm": (None, "say which: norm1(x), norm2(x), norm_inf(x), norm_fro(X) or norm_nuc(X)"),
    "norm_2": (None, "norm2(x)"),
    "norm_1": (None, "norm1(x)"),
    "l1": (None, "norm1(x)"),
    "l2": (None, "norm2(x)"),
    "linf": (None, "norm_inf(x)"),
    "normNuc": (None, "norm_nuc(X)"),
    "dot": (None, "x' @ y"),
    "inner": (None, "x' @ y"),
    "matmul": (None, "A @ B"),
    "multiply": (None, "x * y"),
    "mul": (None, "x * y"),
    "add": (None, "x + y"),
    "div": (None, "x / y"),
    "neg": (None, "-x"),
    "transpose": (None, "A'"),
    "pow": (None, "x^p"),
    "logsumexp": (None, "log_sum_exp(x)"),
    "lse": (None, "log_sum_exp(x)"),
    "entropy": (None, "sum(entr(x)), where entr(x) is -x * log(x) entry by entry"),
    "KL": (None, "sum(kl_div(x, y)) or sum(rel_entr(x, y))"),
    "kl": (None, "sum(kl_div(x, y)) or sum(rel_entr(x, y))"),
    "ln": (None, "log(x)"),
    "relative_entropy": (None, "sum(rel_entr(x, y))"),
    "quadform": (None, "quad_form(x, P)"),
    "sumsq": (None, "sum_squares(x)"),
    "sum_sq": (None, "sum_squares(x)"),
    "sq": (None, "square(x)"),
    "logdet": (None, "log_det(X)"),
    "tr": (None, "trace(X)"),
    "hstack": (None, "concat(x, y) joins vectors"),
    "cat": (None, "concat(x, y)"),
    "stack": (None, "vstack(x, y)"),
    "logistic_loss": (None, "logistic(x)"),
    "prod": ("a product of variables has no curvature", "geo_mean(x), or exp(sum(log(x)))"),
    "softmax": (
        "softmax is the solution of a problem, not a term of one",
        "maximize c' @ y + sum(entr(y)) subject to sum(y) == 1 has y = softmax(c)",
    ),
    "clip": (
        "clipping is neither convex nor concave; to bound a variable, write the constraint lo <= x <= hi",
        "minimum(x, hi) is concave, maximum(x, lo) convex",
    ),
    "clamp": (
        "clamping is neither convex nor concave; to bound a variable, write the constraint lo <= x <= hi",
        "minimum(x, hi) is concave, maximum(x, lo) convex",
    ),
    "where": (
        "a choice by a condition has no curvature",
        "maximum(x, y), minimum(x, y) or pos(x); a choice by the data is made in torch and given as a param",
    ),
    "sum_entries": (None, "sum(x)"),
    "vec": ("functions of all entries take matrices: sum(X), sum_squares(X)", "reshape(X, m*n) for m x n entries"),
    "flatten": ("functions of all entries take matrices: sum(X), sum_squares(X)", "reshape(X, m*n) for m x n entries"),
    "range": ("ranges are written with both ends", "for t in 0..n-1"),
    "len": ("sizes are dims, which have names", "use the dim itself, for instance 1/n"),
    "size": ("sizes are dims, which have names", "use the dim itself, for instance 1/n"),
    "eye": ("the identity is seldom needed", "diag(X), trace(X), or a scalar multiple: sum_squares(x) is x' I x"),
    "identity": ("the identity is seldom needed", "diag(X), trace(X), or a scalar multiple: sum_squares(x) is x' I x"),
    "ones": ("a scalar fits every shape", "sum(x) == 1, x <= 1"),
    "zeros": ("a scalar fits every shape", "x == 0"),
}
"""Function -> (why it is missing or None, what to write)."""

RELATIONS = {
    "=": ("E105", "`=` gives a name or a value; an equation is written with `==`", "=="),
    "<": ("E105", "a strict inequality has no meaning for a solver, whose solutions may lie on the boundary", "<="),
    ">": ("E105", "a strict inequality has no meaning for a solver, whose solutions may lie on the boundary", ">="),
    "!=": ("E105", "`!=` is not a constraint that a solver can keep: it leaves the feasible set open", None),
}
"""Relation that parses and is refused -> (code, why, what to write)."""

ALIASES = {
    "var": "variable variables",
    "param": "parameter parameters params data input inputs",
    "dim": "dimension dims size set",
    "minimize": "min minimise argmin",
    "maximize": "max maximise argmax",
    "subject to": "constraints such st s subject with",
    "let": "where define def",
    "extern": "module external function",
    "output": "return returns outputs",
    "option": "set_option options",
    "solve": "find root",
    "layer": "problem model",
    "param NAME constant": "const constant",
}
"""Keyword -> words that stand in its place in other languages."""

STATEMENTS = {word: keyword for keyword, words in ALIASES.items() for word in words.split()}
"""First words of statements elsewhere -> the keyword here."""

CHARACTERS: dict[str, tuple[str, str | None]] = {
    ";": ("statements end with the line, without `;`", "remove it"),
    "{": ("there are no braces", "index a constraint with `for t in a..b` at its end, a sum inside its parentheses"),
    "}": ("there are no braces", "remove it"),
    "//": ("a comment begins with `#`, and division is `/`", "# ..."),
    "%": ("a comment begins with `#`", "# ..."),
    "!": ("there is no `!`", "an equation is `==`; unequal cannot be a constraint"),
    "&": ("constraints are not joined with `&`", "write each on a line of its own"),
    "|": (
        "there is no `|`",
        "abs(x) is the absolute value, norm2(x) the norm; constraints stand on lines of their own",
    ),
    "~": ("there is no `~`", None),
    "$": ("there is no `$`", "remove it"),
    "?": ("there is no `?`", None),
    "\\": ("a line is continued by ending it with an operator or a comma, without a backslash", "remove it"),
    "`": ("there is no backquote", "a transpose is written with an apostrophe: A'"),
    "≤": ("relations are plain ASCII", "<="),
    "≥": ("relations are plain ASCII", ">="),
    "≠": ("`≠` is not a constraint that a solver can keep", None),
    "·": ("products are plain ASCII", "* for a multiple, @ for a product of matrices"),
    "×": ("products are plain ASCII", "* for a multiple, @ for a product of matrices"),
    "−": ("this is not the minus sign of the keyboard", "-"),
    "–": ("this is not the minus sign of the keyboard", "-"),
    "²": ("powers are plain ASCII", "x^2"),
    "ᵀ": ("the transpose is plain ASCII", "A'"),
    "′": ("the transpose is plain ASCII", "A'"),
    "’": ("the transpose is plain ASCII", "A'"),
    "“": ("a description stands in straight quotes", '"..."'),
    "”": ("a description stands in straight quotes", '"..."'),
    "∈": ("relations are plain ASCII", "in"),
    "…": ("a range is written with two points", "0..n-1"),
    "√": ("functions have names", "sqrt(x)"),
    "∑": ("functions have names", "sum(x), or sum(x[t] for t in 0..T-1)"),
    "⪰": ("the cone order is written with `in`", "X in psd"),
    "≽": ("the cone order is written with `in`", "X in psd"),
}
"""Characters of other languages -> (what is wrong, what to write)."""

ATTRIBUTE_ALIASES = {
    "positive": "nonneg", "pos": "nonneg", "nonnegative": "nonneg", "negative": "nonpos", "nonpositive": "nonpos",
    "semidefinite": "psd", "pd": "psd", "diagonal": "diag", "trainable": "learned", "learnable": "learned",
    "const": "constant", "fixed": "constant", "buffer": "constant", "hermitian": "symmetric",
}  # fmt: skip
"""Attributes elsewhere -> the attribute here."""
