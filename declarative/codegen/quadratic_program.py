"""Emission of dense quadratic programs: P, q, A, b, G, h and bounds as an expert would assemble them.

Blocks with readable coefficients are printed as matrix algebra. An expression without them (a matrix variable under a
product, a subscript, an indexed family) is printed as a function of the variables; `linear_rows` reads its matrix off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from declarative.canonical.algebra import ONE, call, is_zero, minus, number, times
from declarative.canonical.coefficients import TWO, Coefficients, of_linear, of_square, row_blocks, total
from declarative.canonical.linear_map import as_matrix
from declarative.canonical.normalise import Affine, Squares
from declarative.canonical.quadratic import Bound, QuadraticForm, Rows
from declarative.codegen.module_plan import Method, Solver, Writer, tuple_text
from declarative.codegen.print_torch import PRODUCT, TorchPrinter
from declarative.codegen.quadratic_reading import reading
from declarative.ir.expression import Expression, IndexRange, Variable
from declarative.ir.matrices import Full, Identity
from declarative.ir.shape import Shape, Size
from declarative.ir.traverse import free_sizes, symbols

_ONE_SIZE = Size(1)


@dataclass
class _Body:
    """The method ``data`` as it is written: statements, and the fields of the program."""

    form: QuadraticForm
    writer: Writer
    printer: TorchPrinter
    lines: list[str] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    @property
    def like(self) -> str:
        return f"like={self.writer.like}"

    @property
    def single(self) -> Variable | None:
        """The only variable, if it is a vector or a scalar."""
        (first, *rest) = self.form.variables
        return first if not rest and first.rank <= 1 else None

    def use(self, *names: str) -> None:
        self.writer.used |= set(names)

    def name(self, wanted: str) -> str:
        """A local name that nothing else has."""
        name, suffix = wanted, 2
        while name in self.taken or name in self.writer.names.values():
            name, suffix = f"{wanted}_{suffix}", suffix + 1
        self.taken.add(name)
        return name

    def sizes(self) -> str:
        return tuple_text([self.printer.count(v.shape) for v in self.form.variables])


def plan(form: QuadraticForm, writer: Writer) -> Solver:
    """The solver part of a module for a dense quadratic program."""
    body = _Body(
        form, writer, writer.printer(), taken={"P", "q", "A", "b", "G", "h", "lower", "upper", "shapes", "sizes"}
    )
    _objective(body)
    _rows(body, form.equalities, "A", "b")
    _rows(body, form.inequalities, "G", "h")
    _bounds(body, form.lower, "lower", "-math.inf")
    _bounds(body, form.upper, "upper", "math.inf")
    writer.used |= {"DenseQP", "QPPoint"}
    text = "\n".join([*body.lines, *body.fields.values()])
    head = []
    if "shapes" in text.replace(".shapes", ""):
        head.append(f"shapes = {tuple_text([body.printer.shape(v.shape) for v in form.variables])}")
    if "sizes" in text.replace("self.sizes", ""):
        head.append(f"sizes = {body.sizes()}")
    lines = head + body.lines
    ending = f"return DenseQP({', '.join(f'{k}={v}' for k, v in body.fields.items())})"
    doc = "The quadratic program of one call, as a differentiable function of the parameters."
    method = Method("data", writer.arguments, "DenseQP", doc, writer.body(body.printer, [*lines, ending]))
    return reading(form, writer, method)


# The objective


def _objective(body: _Body) -> None:
    order = body.form.variables
    squares = [(s, of_square(s, order)) for s in body.form.squares]
    linear = [(a, of_linear(a)) for a in body.form.linear]
    known = total([c for _, c in (*squares, *linear) if c is not None])
    if body.single is not None:
        hessian, gradient = _single_blocks(body, body.single, known)
    else:
        hessian, gradient = _tables(body, known)
    for square, coefficients in squares:
        if coefficients is None:
            _square_rows(body, square, hessian, gradient)
    for affine, coefficients in linear:
        if coefficients is None:
            _linear_row(body, affine, gradient)
    zeros = body.printer.count(order[0].shape) if len(order) == 1 else "sum(sizes)"
    if not hessian or not gradient:
        body.use("full")
    body.fields["P"] = _named_sum(body, "P", hessian, f"full(({zeros}, {zeros}), 0, {body.like})")
    body.fields["q"] = _named_sum(body, "q", gradient, f"full(({zeros},), 0, {body.like})")


def _named_sum(body: _Body, name: str, parts: list[str], zero: str) -> str:
    if len(parts) <= 1 and len(parts[0] if parts else zero) < 60:
        return parts[0] if parts else zero
    if name in body.writer.names.values():  # the user's own A is read by the lines below
        name = body.name(name)
    body.lines.append(f"{name} = {' + '.join(parts) if parts else zero}")
    return name


def _single_blocks(body: _Body, v: Variable, known: Coefficients) -> tuple[list[str], list[str]]:
    hessian = [_block(body, known.hessian[key], v.rank, v.rank) for key in known.hessian]
    gradient = [_entries(body, g, v.shape) for g in known.gradient.values()]
    return hessian, gradient


def _tables(body: _Body, known: Coefficients) -> tuple[list[str], list[str]]:
    """P and q of several variables: a table of blocks, None where zero."""
    order = body.form.variables
    hessian: list[str] = []
    gradient: list[str] = []
    if known.hessian:
        table = []
        for i, row in enumerate(order):
            line = []
            for j, column in enumerate(order):
                key = (row.name, column.name) if i <= j else (column.name, row.name)
                block = known.hessian.get(key)
                text = (
                    "None"
                    if block is None
                    else _block(body, block, *((row.rank, column.rank) if i <= j else (column.rank, row.rank)))
                )
                line.append(text if i <= j or block is None else f"({text}).mT")
            table.append(f"[{', '.join(line)}]")
        body.use("block_matrix")
        hessian.append(f"block_matrix([{', '.join(table)}], sizes, sizes, {body.like})")
    if known.gradient:
        parts = []
        for position, v in enumerate(order):
            g = known.gradient.get(v.name)
            parts.append(f"({'0.0' if g is None else _entries(body, g, v.shape)}, sizes[{position}])")
        body.use("block_vector")
        gradient.append(f"block_vector([{', '.join(parts)}], {body.like})")
    return hessian, gradient


def _block(body: _Body, block: Expression, row_rank: int, column_rank: int) -> str:
    """A block as (*batch, rows, columns): scalars and vectors between scalars get the missing dimensions."""
    if row_rank == column_rank == 1:
        return body.printer(block)
    if number(block) is not None:
        block = call("mul", block, Full(1.0, ()))
        body.use("full")
        return f"full((1, 1), {body.printer(block.args[0])}, {body.like})"  # type: ignore[attr-defined]
    lift = {(0, 0): "None, None", (0, 1): "None, :", (1, 0): ":, None"}[row_rank, column_rank]
    return f"{body.printer.text(block).atomic}[..., {lift}]"


def _entries(body: _Body, e: Expression, shape: Shape) -> str:
    """A coefficient or offset of a vector or scalar as (*batch, entries)."""
    if shape:
        return body.printer(e)
    value = number(e)
    if value is not None or isinstance(e, Full):
        body.use("full")
        return body.printer(Full(value if value is not None else 0.0, (_ONE_SIZE,)))
    if not symbols(e):  # made of sizes: a number of Python
        body.use("full")
        return f"full((1,), {body.printer(e)}, {body.like})"
    return f"{body.printer.text(e).atomic}[..., None]"


def _square_rows(body: _Body, square: Squares, hessian: list[str], gradient: list[str]) -> None:
    """A square without readable coefficients: its rows J x + c by evaluation, 2 w J'WJ and 2 w J'Wc."""
    bound = {r.name for r in square.ranges}
    J, c = _evaluated(body, "cost", square.inner, square.ranges)
    weight, metric = square.weight, square.metric
    if bound & (free_sizes(weight) | (free_sizes(metric) if metric is not None else frozenset())):
        WJ = _per_member(body, square, J)
        factor = "2 * "
    else:
        WJ = J if metric is None else f"weighted({J}, {body.printer(metric)})"
        factor = _factor(body, times(TWO, weight), 2)
    if WJ != J:
        body.use("weighted")
        name = body.name("WJ")
        body.lines.append(f"{name} = {WJ}")
        WJ = name
    hessian.append(f"{factor}({J}.mT @ {WJ})")
    body.use("matvec")
    vector = factor if factor == "2 * " else _factor(body, times(TWO, weight), 1)
    gradient.append(f"{vector}matvec({WJ}.mT, {c})")


def _per_member(body: _Body, square: Squares, J: str) -> str:
    """Metric and weight that change along the family: one block for each member."""
    inner = square.inner
    size = inner.shape[0] if inner.rank == 1 else _ONE_SIZE
    metric = square.metric if square.metric is not None else Identity(size)
    member = body.printer(times(square.weight, metric))
    body.use("stack")
    shape = body.printer.shape((size, size))
    like = body.writer.like
    stacked = f"stack([{member} {body.printer.loops(square.ranges)}], {shape}, beside={like}, rank={like}.dim())"
    return f"weighted({J}, {stacked}, per_block=True)"


def _linear_row(body: _Body, affine: Affine, gradient: list[str]) -> None:
    row, _ = _evaluated(body, "cost", affine.expression, affine.ranges, summed_by=affine.weight)
    inside = bool({r.name for r in affine.ranges} & free_sizes(affine.weight))
    factor = "" if inside else _factor(body, affine.weight, 1)
    gradient.append(f"{factor}{row}.sum(-2)")


def _factor(body: _Body, weight: Expression, rank: int) -> str:
    if weight == ONE:
        return ""
    return f"{body.printer.text(weight).lifted(rank, PRODUCT)} * "


# Constraints


def _rows(body: _Body, rows: Sequence[Rows], matrix: str, right: str) -> None:
    if not rows:
        return
    matrices, offsets = [], []
    readable = [row_blocks(r.expression) if not r.ranges else None for r in rows]
    for row, parts in zip(rows, readable, strict=True):
        if parts is None:
            J, c = _evaluated(body, row.origin or "bounded", row.expression, row.ranges)
            matrices.append(J)
            offsets.append(f"-{c}")
            continue
        rank = row.expression.rank
        blocks = []
        for v in body.form.variables:
            m = parts.of(v)
            blocks.append("None" if m is None else _block(body, as_matrix(m), rank, v.rank))
        if body.single is not None:
            matrices.append(blocks[0])
        else:
            body.use("block_matrix")
            count = body.printer.count(row.expression.shape)
            matrices.append(f"block_matrix([[{', '.join(blocks)}]], ({count},), sizes, {body.like})")
        offsets.append(_entries(body, minus(parts.offset), row.expression.shape))
    if len(rows) > 1:
        body.use("block_rows", "block_vector")
        counts = [body.printer.count(r.full_shape) for r in rows]
        pairs = ", ".join(f"({o}, {n})" for o, n in zip(offsets, counts, strict=True))
        matrices, offsets = [f"block_rows({', '.join(matrices)})"], [f"block_vector([{pairs}], {body.like})"]
    body.fields[matrix] = _named_sum(body, matrix, matrices, "")
    body.fields[right] = _named_sum(body, right, offsets, "")


def _bounds(body: _Body, bounds: Sequence[Bound], name: str, absent: str) -> None:
    if not bounds:
        return
    by_variable = {b.variable.name: b.value for b in bounds}
    if body.single is not None:
        body.fields[name] = _named_sum(body, name, [_bound(body, by_variable[body.single.name], body.single)], "")
        return
    parts = []
    for position, v in enumerate(body.form.variables):
        value = by_variable.get(v.name)
        text = absent if value is None else _bound(body, value, v)
        parts.append(f"({text}, sizes[{position}])")
    if any(absent in p for p in parts):
        body.use("math")
    body.use("block_vector")
    body.fields[name] = _named_sum(body, name, [f"block_vector([{', '.join(parts)}], {body.like})"], "")


def _bound(body: _Body, value: Expression, v: Variable) -> str:
    """A bound as (*batch, entries of the variable); it may have the variable's trailing dimensions only."""
    if is_zero(value):
        return body.printer(Full(0.0, (v.shape[0],))) if v.rank == 1 else _filled(body, Full(0.0, ()), v)
    if value.shape == v.shape:
        return (
            _entries(body, value, v.shape) if v.rank <= 1 else f"{body.printer.text(value).atomic}.flatten({-v.rank})"
        )
    return _filled(body, value, v)


def _filled(body: _Body, value: Expression, v: Variable) -> str:
    """A scalar or a value of the trailing dimensions, for every slice of the variable."""
    scalar = value
    if value.rank and isinstance(value.children[1:2] and value.children[1], Full):
        scalar = value.children[0] if not value.children[0].rank else value
    count = body.printer.count(v.shape)
    if scalar.rank == 0:
        if not symbols(scalar):
            body.use("full")
            return f"full(({count},), {body.printer(scalar)}, {body.like})"
        body.use("fill")
        return f"fill({body.printer(scalar)}, {count})"
    lead = ", ".join(body.printer.size(s) for s in v.shape[: v.rank - value.rank])
    body.use("tile")
    return f"tile({body.printer(value)}, ({lead},), rank={value.rank})"


# Evaluation on a basis


def _evaluated(
    body: _Body, wanted: str, e: Expression, ranges: tuple[IndexRange, ...], summed_by: Expression | None = None
) -> tuple[str, str]:
    """Print an affine expression (over an indexed family) as a local function; names of its matrix and offset."""
    function = body.name(wanted)
    arguments = [body.writer.names.get(v.name, v.name) for v in body.form.variables]
    weight = summed_by if summed_by is not None and {r.name for r in ranges} & free_sizes(summed_by) else None
    value = body.printer(times(weight, e) if weight is not None else e)
    rank = e.rank
    if ranges:
        body.use("stack")
        first = body.form.variables[0]
        shape = body.printer.shape(e.shape)
        loops = body.printer.loops(ranges)
        value = f"stack([{value} {loops}], {shape}, beside={arguments[0]}, rank={first.rank})"
        rank += 1
    body.use("linear_rows")
    body.lines += [
        "",
        f"def {function}({', '.join(f'{a}: Tensor' for a in arguments)}) -> Tensor:",
        f"    return {value}",
        "",
    ]
    J, c = body.name(f"J_{function}"), body.name(f"c_{function}")
    body.lines.append(f"{J}, {c} = linear_rows({function}, shapes, {rank}, {body.like})")
    return J, c
