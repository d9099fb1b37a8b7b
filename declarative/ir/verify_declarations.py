"""Declarations: names that Python can carry, attributes that do not contradict, sizes that a call determines."""

from __future__ import annotations

import keyword
from collections.abc import Iterator

from declarative.diagnostics.diagnostic import Diagnostic
from declarative.diagnostics.span import Span
from declarative.ir.expression import Nested, Parameter, Symbol, Variable, flat
from declarative.ir.findings import finding
from declarative.ir.program import Program
from declarative.ir.shape import Shape, Size, show

CONFLICTS = (("nonneg", "nonpos"), ("psd", "nsd"))
MATRIX = ("psd", "nsd", "symmetric", "diag")
TAKEN = frozenset(
    """
    T_destination add_module adjoint apply auxiliary bfloat16 bind blocks buffers call_super_init check_inputs children
    compile cpu cuda data declared diagnose dimensions double duals dump_patches equalities equations eval extern
    externs extra_repr fixed_sizes float forward get_buffer get_extra_state get_parameter get_submodule gradient
    half inequalities ipu load_state_dict max_iterations modules monitor mtia named_buffers named_children named_modules
    named_parameters objective on_failure outputs parameters parameters_of_call parameters_of_layer
    parametrizations point_type primal ranks register_backward_hook register_buffer register_forward_hook
    register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook
    register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module register_parameter
    register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule settings
    share_memory sizes smooth solution solve solver source specialised state_dict to to_empty tolerance train training
    type unconstrained variables warm_start xpu zero_grad
    """.split()  # noqa: SIM905
)
"""What an emitted module's own attributes are called; a learned parameter, a constant or an extern becomes one."""


def without_keyword(name: str) -> str:
    """A name in place of a word of Python: ``lam`` for ``lambda``, ``if_`` for ``if``."""
    return name[:3] if len(name) > 4 and not keyword.iskeyword(name[:3]) else f"{name}_"


def names(program: Program) -> Iterator[Diagnostic]:
    """Every name once, and none that the emitted Python cannot carry."""
    declared: dict[str, Span | None] = {}
    groups = (program.dimensions, program.parameters, program.variables, program.externs, program.lets)
    symbols = [(symbol.name, symbol.at) for group in groups for symbol in group]
    for name, at in symbols:
        if name in declared:
            yield finding(
                "E202", f"`{name}` is declared twice", at, "declared again here",
                secondary=[(declared[name], "first declared here")], help="rename one of the two",
            )  # fmt: skip
        declared[name] = at
    seen: set[str] = set()
    for constraint in program.constraints:
        if constraint.name in seen:
            yield finding("E202", f"two constraints are named `{constraint.name}`", constraint.at, help="rename one")
        seen |= {constraint.name} if constraint.name else set()
    output_names = [(output.name, output.at) for output in program.outputs]
    constraint_names = [(c.name, c.at) for c in program.constraints if c.name]
    for name, at in (*symbols, *output_names, *constraint_names, (program.name, None)):
        if keyword.iskeyword(name):
            yield finding(
                "E205", f"`{name}` is a word of Python, which the emitted module is written in", at,
                help=f"choose another name, for instance {without_keyword(name)}",
            )  # fmt: skip
    owned = [p for p in program.parameters if p.binding != "call"]
    for name, at in (*((p.name, p.at) for p in owned), *((e.name, e.at) for e in program.externs)):
        if name in TAKEN:
            yield finding(
                "E205", f"`{name}` is already an attribute of every layer", at,
                help=f"choose another name, for instance {name}_",
            )  # fmt: skip


def attributes(program: Program) -> Iterator[Diagnostic]:
    """Attributes that agree with each other, with the shape and with the binding."""
    for symbol in (*program.parameters, *program.variables):
        given = symbol.attributes
        for first, second in CONFLICTS:
            if {first, second} <= given:
                yield finding(
                    "E210", f"`{symbol.name}` cannot be both `{first}` and `{second}`, unless it is zero", symbol.at,
                    help="keep one",
                )  # fmt: skip
        matrix = next((a for a in MATRIX if a in given), None)
        if matrix and not (len(symbol.shape) == 2 and symbol.shape[0] == symbol.shape[1]):
            yield finding(
                "E210", f"`{matrix}` needs a square matrix, but `{symbol.name}` is {show(symbol.shape)}", symbol.at,
                _not_square(symbol.shape),
            )  # fmt: skip
        if isinstance(symbol, Parameter):
            yield from _learned(symbol)


def _not_square(shape: Shape) -> str:
    if len(shape) == 2:
        return f"{shape[0]} is not {shape[1]}"
    return "this is a vector" if shape else "this is a scalar"


def _learned(parameter: Parameter) -> Iterator[Diagnostic]:
    """A learned parameter is kept true to one attribute of sign and one of form at most."""
    if parameter.binding == "learned" and parameter.value is not None:
        yield finding("E211", f"`{parameter.name}` is learned, so it has no value in the program", parameter.at)
    given = parameter.attributes
    if parameter.binding == "learned" and {"nonneg", "nonpos"} & given and {"psd", "nsd", "symmetric"} & given:
        sign = next(iter({"nonneg", "nonpos"} & given))
        form = next(a for a in ("psd", "nsd", "symmetric") if a in given)
        yield finding(
            "E210", f"a learned parameter cannot be kept both `{sign}` and `{form}`", parameter.at,
            help="keep the attribute that the convexity of the problem needs",
        )  # fmt: skip


def constants(program: Program) -> Iterator[Diagnostic]:
    """A value written in the program has the attributes that it was declared with."""
    for parameter in program.parameters:
        if parameter.value is None:
            continue
        broken = _broken(parameter.value, parameter)
        if broken:
            yield finding(
                "E211", f"the value of `{parameter.name}` is not {broken}, as declared", parameter.at,
                help=f"correct the value, or remove `{broken}`",
            )  # fmt: skip


def _broken(value: Nested, symbol: Symbol) -> str | None:
    """The first attribute that a value does not have; definiteness is left to the call."""
    numbers = list(flat(value))
    if "nonneg" in symbol.attributes and min(numbers) < 0:
        return "nonneg"
    if "nonpos" in symbol.attributes and max(numbers) > 0:
        return "nonpos"
    if not isinstance(value, tuple) or not isinstance(value[0], tuple):
        return None
    rows = [row for row in value if isinstance(row, tuple)]
    if any(len(row) != len(rows) for row in rows):
        return None
    if "diag" in symbol.attributes and any(v for i, row in enumerate(rows) for j, v in enumerate(row) if i != j):
        return "diag"
    for attribute in ("symmetric", "psd", "nsd"):
        if attribute in symbol.attributes and tuple(zip(*rows, strict=True)) != tuple(rows):
            return "symmetric" if attribute == "symmetric" else attribute
    return None


def dimensions(program: Program) -> Iterator[Diagnostic]:
    """Every dim in use follows from the shapes of parameters, or has a default."""
    known = determined(program)
    used = _used_in_shapes(program)
    for dimension in program.dimensions:
        if dimension.name in known or dimension.name not in used:
            continue
        where = next((s for s in (*program.parameters, *program.variables) if dimension.name in _names(s.shape)), None)
        yield finding(
            "E207", f"nothing determines the dimension `{dimension.name}`", dimension.at, "not determined",
            secondary=[(where.at if where else None, "needed here")],
            notes=["sizes are read from the shapes of parameters, each of which can fix one dimension"],
            help=f"give it a default, dim {dimension.name} = 10, or fix it with --dim {dimension.name}=10",
        )  # fmt: skip


def determined(program: Program) -> frozenset[str]:
    """Names of the dims that have a default or follow from parameters' shapes, one unknown at a time."""
    known = {d.name for d in program.dimensions if d.default is not None}
    sizes = [size for parameter in program.parameters for size in parameter.shape]
    while True:
        added = {n for size in sizes for n in size.names - known if len(size.names - known) == 1}
        if not added:
            return frozenset(known)
        known |= added


def _used_in_shapes(program: Program) -> frozenset[str]:
    symbols: tuple[Parameter | Variable, ...] = (*program.parameters, *program.variables)
    shapes = [s.shape for s in symbols]
    shapes += [shape for e in program.externs for _, shape in (*e.inputs, e.output)]
    return frozenset(name for shape in shapes for name in _names(shape))


def _names(shape: tuple[Size, ...]) -> frozenset[str]:
    return frozenset(name for size in shape for name in size.names)
