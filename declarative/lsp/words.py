"""What hovering over a word of the language says."""

from __future__ import annotations

KEYWORDS: dict[str, str] = {
    "layer": 'Names the layer: `layer softmax "What it computes."`. The class has this name in CamelCase.',
    "dim": "Declares sizes: `dim n, T = 20`. They are taken from the arguments of a call, or fixed with `--dim n=10`.",
    "param": "Declares a parameter of the problem, an argument of `forward` unless it is `learned` or `constant`.",
    "var": "Declares a variable, which the layer solves for. An attribute of a variable is a constraint.",
    "let": "Names an expression: `let r = A @ x - b`. It is evaluated once in the emitted code.",
    "extern": "Declares a torch module given to the constructor: `extern f(z[k]) -> y[d] smooth`.",
    "minimize": "The objective, which must be convex; `minimize locally` takes any smooth one.",
    "maximize": "The objective, which must be concave; `maximize locally` takes any smooth one.",
    "locally": "Any smooth objective and constraints. The solution is a stationary point of the branch of the start.",
    "solve": "Finds the variables from as many equations, which follow.",
    "subject": "The constraints follow, one a line: `[name:] E <= E [for t in a..b]`.",
    "to": "The constraints follow, one a line: `[name:] E <= E [for t in a..b]`.",
    "output": "What the layer returns, in this order: `output y, dual(budget) as price, value as cost`.",
    "option": "A setting of the solver: `option tolerance = 1e-8`. Never mathematics.",
    "from": "The starting point of a variable of a local or root problem, an expression of parameters.",
    "as": "Names an output.",
    "in": "The range of an index, `for t in 0..T-1`, both ends included, or a cone: `X in psd`.",
    "for": "Runs an index over a range: `x[t] <= 1 for t in 0..T-1`, `sum(x[t] for t in 0..T-1)`.",
    "value": "The optimal value, in the sense that the objective was written.",
    "dual": "`dual(name)`: the multiplier of a constraint. That of an inequality is nonnegative.",
}

ATTRIBUTES: dict[str, str] = {
    "nonneg": "Every entry is at least 0.",
    "nonpos": "Every entry is at most 0.",
    "psd": "A symmetric positive semidefinite matrix.",
    "nsd": "A symmetric negative semidefinite matrix.",
    "symmetric": "A symmetric matrix.",
    "diag": "A diagonal matrix.",
    "learned": "Owned by the layer as an `nn.Parameter`, parametrised so that its other attributes stay true.",
    "constant": "Owned by the layer as a buffer: given to the constructor, or inline with `= ...`.",
    "smooth": "Twice differentiable, so that it may stand in a local or root problem.",
}

OPTIONS: dict[str, str] = {
    "on_failure": '`"raise"` an error where an instance has no solution, or return `"nan"` for it.',
    "check_inputs": "Verify at each call what the attributes of parameters promise.",
    "tolerance": "The relative KKT residual at which the solver stops.",
    "max_iterations": "The most iterations that the solver takes.",
}
