"""What a help says to write can be had by a click: the edit is offered, and the diagnostic goes."""

from __future__ import annotations

import pytest

from declarative.diagnostics.span import Source
from declarative.lsp.document import Document
from declarative.lsp.fixes import fixes

HEAD = "layer l\ndim n\nparam c[n]\nvar x[n]\nvar X[n, n] symmetric\n\nminimize sum_squares(x - c) + sum_squares(X)\n"
LOCAL = "layer l\ndim n\nparam c[n]\nvar x[n] from c\n\nminimize locally "
EACH = "for i in 0..n-1"
ROOTS = "sqrt(sum_squares(X)) + sqrt(sum_squares(x))"
FIXES = {
    "cone order": (HEAD + "subject to\n  c: X >> 0\n", "X >> 0", "X in psd"),
    "negative cone": (HEAD + "subject to\n  c: X in nsd\n", "X in nsd", "-(X) in psd"),
    "sign as cone": (HEAD + "subject to\n  x in nonneg\n", "x in nonneg", "x >= 0"),
    "named output": (HEAD + "output x, r = x - c, X\n", "r = x - c", "x - c as r"),
    "outputs in parentheses": (HEAD + "output (x, X)\n", "output (x, X)", "output x, X"),
    "comma": (HEAD + "output x X\n", "output x X", "output x, X"),
    "header": (HEAD + "st\n  x >= 0\n", "st\n", "subject to\n"),
    "header with points": (HEAD + "s.t.\n  x >= 0\n", "s.t.", "subject to"),
    "objective as call": ("layer l\nvar x\nMinimize(x^2)\n", "Minimize(x^2)", "minimize x^2"),
    "leading for": (HEAD + "subject to\n  for i in 0..n-1: x[i] >= 0\n", f"{EACH}: x[i] >= 0", f"x[i] >= 0 {EACH}"),
    "range": (HEAD + "subject to\n  x[i] >= 0 for i in range(n)\n", "range(n)", "0..n-1"),
    "equals in range": (HEAD + "subject to\n  x[i] >= 0 for i = 0..n-1\n", "i = 0", "i in 0"),
    "size as range": (HEAD + "subject to\n  x[i] >= 0 for i in n\n", "i in n", "i in 0..n-1"),
    "indexed name": (
        HEAD + "subject to\n  o[i in 0..n-1]: x[i] >= 0\n",
        "[i in 0..n-1]: x[i] >= 0",
        f": x[i] >= 0 {EACH}",
    ),
    "unbound index": (HEAD + "subject to\n  x[i] >= 0\n", "x[i] >= 0", "x[i] >= 0 for i in 0..n-1"),
    "both bounds": (HEAD + "subject to\n  x >= 0, x <= 1\n", "x >= 0, x <= 1", "0 <= x <= 1"),
    "slice": (HEAD + "subject to\n  X[:, 0] == c\n", "X[:", "X[0..n-1"),
    "last entry": (HEAD + "subject to\n  x[-1] == 0\n", "x[-1]", "x[n-1]"),
    "other name": (HEAD.replace("sum_squares(X)", "l1(x - c) + norm_nuc(X)"), "l1(", "norm1("),
    "module": (HEAD.replace("sum_squares(X)", "cp.norm_nuc(X)"), "cp.", ""),
    "option": (HEAD + "option eps = 1e-6\n", "eps", "tolerance"),
    "kink": (LOCAL + "sum(abs(x - c))\n", "abs(x - c)", "sqrt((x - c)^2 + 1e-6)"),
    "no start": (LOCAL.replace(" from c", "") + "sum((x - c)^2)\n", "var x[n]", "var x[n] from 0"),
    "not convex": (LOCAL.replace(" locally", "") + "sum((x^2 - c)^2)\n", "minimize", "minimize locally"),
    "useless start": (LOCAL.replace(" locally", "") + "sum((x - c)^2)\n", " from c", ""),
    "scalar": (HEAD.replace("sum_squares(X)", "X"), " + X", " + sum(X)"),
    "root of squares": (HEAD.replace("sum_squares(X)", ROOTS), "sqrt(sum_squares(x))", "norm2(x)"),
    "taken name": ("layer l\nparam forward learned\nvar x\n\nminimize (x - forward)^2\n", "forward", "forward_"),
    "default": ("layer l\ndim n\nvar x[n]\n\nminimize sum_squares(x)\n", "dim n", "dim n = 10"),
    "operator": ("layer l\nparam c\nvar x\n\nminimize (c x - 1)^2\n", "c x", "c * x"),
    "header missing": (HEAD + "  x >= 0\n", "  x >= 0", "subject to\n  x >= 0"),
    "header too early": (HEAD.replace("\nminimize", "\nminimise"), "minimise", "minimize"),
    "description": ("layer l 'd'\nvar x\n\nminimize x^2\n", "'d'", '"d"'),
    "points of numbers": ("layer l\nvar x\n\nminimize .5 * x^2\n", " .5", " 0.5"),
    "comment": ("layer l // why\nvar x\n\nminimize x^2\n", "//", "#"),
    "relation": (HEAD + "subject to\n  x ≥ 0\n", "≥", ">="),
}  # fmt: skip


@pytest.mark.parametrize("name", FIXES)
def test_what_a_help_says_to_write_is_a_quick_fix(name: str) -> None:
    text, wrong, right = FIXES[name]
    document = Document(Source("l.opt", text))
    applied = [fix.applied() for found in document.diagnostics for fix in fixes(document, found)]
    assert text.replace(wrong, right) in applied
