"""Where the variables and the duals of a quadratic program are read off its point.

A constraint's dual is a signed sum: a two-sided one is its upper multiplier minus its lower one, one whose rows are the
pieces of a maximum is the sum over the pieces and their entries, and a bound on a scaled variable is worth its
multiplier per factor.
"""

from __future__ import annotations

from declarative.canonical.quadratic import Bound, QuadraticForm
from declarative.codegen.module_plan import Assignment, Method, Solver, Writer, quoted, size_text, stack, tuple_text
from declarative.ir.expression import Variable


def reading(form: QuadraticForm, writer: Writer, method: Method) -> Solver:
    pieces = [(writer.names.get(v.name, v.name), v.shape) for v in form.variables]
    sources, readings = stack("x", pieces, writer)
    variables = {v.name: sources[writer.names.get(v.name, v.name)] for v in form.variables}
    blocks: list[tuple[str, str, tuple[str, ...]]] = []
    terms: dict[str, list[tuple[str, str]]] = {}
    for part, prefix, rows in (("eq", "nu", form.equalities), ("ineq", "lam", form.inequalities)):
        named = [(f"{prefix}_{r.origin or 'epigraph'}_{k}", r.full_shape) for k, r in enumerate(rows)]
        found, more = stack(part, named, writer)
        readings += more
        for row, (name, _) in zip(rows, named, strict=True):
            blocks.append((row.origin or "epigraph", part, tuple(map(size_text, row.full_shape))))
            if row.origin is not None:
                extra = row.expression.rank - len(row.shape)
                text = found[name] if not extra else f"{found[name]}.sum({-1 if extra == 1 else (-2, -1)})"
                terms.setdefault(row.origin, []).append(("-" if row.side == "lower" else "+", text))
    if form.lower or form.upper:
        found, more = stack("bounds", [(f"mu_{name}", shape) for name, shape in pieces], writer)
        readings += more
        for v in form.variables:
            blocks.append((_bound_origin(form, v), "bounds", tuple(map(size_text, v.shape))))
        for origin, signed in _bound_duals(form, writer, found).items():
            terms.setdefault(origin, []).extend(signed)
    duals = {origin: _signed_sum(parts) for origin, parts in terms.items()}
    own = len(form.normal.variables)
    shapes = [tuple_text([quoted(size_text(size)) for size in v.shape]) for v in form.variables[own:]]
    attributes = (Assignment("auxiliary", tuple_text(shapes)),) if shapes else ()
    return Solver((method,), "QPPoint", variables, duals, readings, tuple(blocks), attributes=attributes)


def _bound_origin(form: QuadraticForm, v: Variable) -> str:
    return next((b.origin for b in form.bounds if b.variable == v and b.origin), v.name)


def _bound_duals(form: QuadraticForm, writer: Writer, found: dict[str, str]) -> dict[str, list[tuple[str, str]]]:
    """Signed terms of the bounds' multipliers for the constraints that the bounds stem from."""
    terms: dict[str, list[tuple[str, str]]] = {}
    for v in form.variables:
        source = found[f"mu_{writer.names.get(v.name, v.name)}"]
        lower = next((b for b in form.lower if b.variable == v), None)
        upper = next((b for b in form.upper if b.variable == v), None)
        both = lower is not None and upper is not None
        if lower is not None and upper is not None and lower.side == "lower" and lower.origin == upper.origin:
            terms.setdefault(str(lower.origin), []).append(("+", _per_factor(source, lower)))
            continue
        if lower is not None and lower.origin:
            text = f"{source}.clamp(max=0)" if both else source
            terms.setdefault(lower.origin, []).append(("+" if lower.side == "lower" else "-", _per_factor(text, lower)))
        if upper is not None and upper.origin:
            text = f"{source}.clamp(min=0)" if both else source
            terms.setdefault(upper.origin, []).append(("-" if upper.side == "lower" else "+", _per_factor(text, upper)))
    return terms


def _per_factor(source: str, bound: Bound) -> str:
    """The multiplier of the row that a bound stems from."""
    if bound.summed:
        source = f"{source}.sum({-1 if bound.variable.rank == 1 else (-2, -1)})"
    return source if abs(bound.factor) == 1.0 else f"{source} / {abs(bound.factor)!r}"


def _signed_sum(parts: list[tuple[str, str]]) -> str:
    ordered = sorted(parts, key=lambda p: p[0] == "-")
    text = "".join(f" {sign} {source}" for sign, source in ordered).strip()
    return text[2:] if text.startswith("+ ") else "-" + text[2:]
