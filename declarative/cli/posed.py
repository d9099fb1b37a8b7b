"""A program with data: the layer and the arguments of one call, made from ``--param``, ``--extern`` and ``--dim``."""

from __future__ import annotations

import importlib
import os
import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from declarative.cli.arguments import named
from declarative.cli.programs import load, unknown_name
from declarative.cli.terminal import Terminal
from declarative.cli.values import read_value
from declarative.compiler import Compilation, specialising, stages
from declarative.compiler import load as load_source
from declarative.diagnostics.diagnostic import Diagnostic, DiagnosticError, Label
from declarative.ir.expression import Parameter
from declarative.ir.program import Program
from declarative.ir.shape import show
from declarative.runtime.errors import InputError
from declarative.runtime.layer import Layer
from declarative.runtime.parametrizations import DRAWN, initial_words
from declarative.runtime.sizes import parse


@dataclass(frozen=True)
class Posed:
    """``layer(**arguments)`` is the solve. ``sizes`` are the dimensions that the data determine."""

    program: Program
    compilation: Compilation
    layer: Layer
    arguments: Mapping[str, Tensor]
    sizes: Mapping[str, int]
    batch: torch.Size


def pose(arguments: Namespace, terminal: Terminal) -> Posed:
    """Read the program and its data. Raises `DiagnosticError` with everything that does not fit."""
    sizes = named(arguments.dim, "--dim")
    program = load(arguments.file, sizes, terminal)
    torch.manual_seed(arguments.seed)
    dtype = getattr(torch, arguments.dtype)
    values = _values(program, named(arguments.param, "--param"), dtype)
    externs = _externs(program, named(arguments.extern, "--extern"), dtype)
    compilation = stages(program, sizes)
    source = compilation.source
    kind = specialising(compilation, sizes) if source is None else load_source(source, compilation.class_name)
    call = {p.name: values[p.name] for p in program.parameters if p.binding == "call"}
    owned = {p.name: values[p.name] for p in program.parameters if p.binding != "call" and p.name in values}
    try:
        found = {d.name: n for d in program.dimensions if (n := _determined(program, values, sizes).get(d.name))}
        layer = kind(**owned, **externs, **found, check_inputs=True).to(dtype)
        bound = layer.bind(**call)
    except InputError as error:
        raise _misfit(program, str(error)) from None
    _tell_initial(program, owned, arguments.seed, terminal)
    return Posed(program, compilation, layer, call, {**found, **bound.sizes}, bound.batch)


def _tell_initial(program: Program, owned: Mapping[str, Tensor], seed: int, terminal: Terminal) -> None:
    """Say which learned parameters have no value and what stands for it: the solution is one of that value."""
    for p in program.parameters:
        if p.binding == "learned" and p.name not in owned:
            value = initial_words(frozenset(p.attributes))
            drawn = f" (seed {seed}; another with --seed)" if value == DRAWN else ""
            example = f"{p.name}.npy" if p.shape else "0.1"
            terminal.line(f"learned `{p.name}` has no value: {value}{drawn}; give it with --param {p.name}={example}")


def _values(program: Program, given: Mapping[str, str], dtype: torch.dtype) -> dict[str, Tensor]:
    """A tensor for each ``--param``; everything that is unknown, missing or unreadable is told at once."""
    parameters = {p.name: p for p in program.parameters}
    findings = [unknown_name("E702", "parameter", "--param", n, list(parameters)) for n in given if n not in parameters]
    needed = [p for p in program.parameters if p.binding == "call" or (p.binding == "constant" and p.value is None)]
    findings += [_missing(p) for p in needed if p.name not in given]
    values = {}
    for name, text in given.items():
        if name in parameters:
            try:
                values[name] = torch.from_numpy(read_value(name, text, parameters[name].rank)).to(dtype)
            except DiagnosticError as error:
                findings += error.diagnostics
    if findings:
        raise DiagnosticError(findings)
    return values


def _missing(parameter: Parameter) -> Diagnostic:
    shape = show(parameter.shape)
    sizes = (
        f"a value of shape {shape}, with any batch dimensions before it"
        if parameter.shape
        else "a number, or a batch of them"
    )
    example = f"--param {parameter.name}={f'{parameter.name}.npy' if parameter.shape else '0.1'}"
    return Diagnostic(
        "E701",
        f"the {'constant' if parameter.binding == 'constant' else 'parameter'} `{parameter.name}` has no value",
        Label(parameter.at, "declared here") if parameter.at else None,
        notes=(f"expected {sizes}",),
        help=f"give it: {example}",
    )


def _determined(program: Program, values: Mapping[str, Tensor], fixed: Mapping[str, int]) -> dict[str, int]:
    """The dimensions that the values' shapes determine; a shape that disagrees is the layer's to tell."""
    sizes = dict(fixed)
    for _ in program.dimensions:
        for parameter in program.parameters:
            if parameter.name not in values or values[parameter.name].dim() < parameter.rank:
                continue
            shape = values[parameter.name].shape
            for size, length in zip(parameter.shape, shape[len(shape) - parameter.rank :], strict=True):
                solved = parse(str(size)).solve_for(length, sizes)
                if solved is not None:
                    sizes[solved[0]] = solved[1]
    return sizes


def _externs(program: Program, given: Mapping[str, str], dtype: torch.dtype) -> dict[str, nn.Module]:
    names = [e.name for e in program.externs]
    findings = [unknown_name("E702", "extern", "--extern", name, names) for name in given if name not in names]
    findings += [
        Diagnostic(
            "E701",
            f"the extern `{e.name}` has no module",
            Label(e.at, "declared here") if e.at else None,
            help=f"name one: --extern {e.name}=package.module:attribute",
        )
        for e in program.externs
        if e.name not in given
    ]
    modules = {}
    for name, text in given.items():
        if name in names:
            try:
                modules[name] = _module(name, text).to(dtype).eval()
            except DiagnosticError as error:
                findings += error.diagnostics
    if findings:
        raise DiagnosticError(findings)
    return modules


def _module(name: str, text: str) -> nn.Module:
    """The torch module that ``package.module:attribute`` names, made by a call where it is a class or a function."""
    where, sign, attribute = text.partition(":")
    if not sign or not where or not attribute:
        raise _no_extern(name, f"expected package.module:attribute, found `{text}`")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(where)
        for part in attribute.split("."):
            found = getattr(found, part)
        made = found if isinstance(found, nn.Module) else found() if callable(found) else found
    except Exception as error:
        # The user's own code runs here, and may raise anything.
        raise _no_extern(name, f"`{text}` raised {type(error).__name__}: {error}") from None
    if not isinstance(made, nn.Module):
        raise _no_extern(name, f"`{text}` is a {type(made).__name__}; expected a torch module")
    return made


def _no_extern(name: str, reason: str) -> DiagnosticError:
    return DiagnosticError([Diagnostic("E706", f"cannot load the extern `{name}`: {reason}")])


def _misfit(program: Program, message: str) -> DiagnosticError:
    """What the layer says of its arguments, pointing at the declaration of the first one that it names."""
    text = message.partition(": ")[2] or message
    declared = [
        (text.find(f"`{p.name}"), p) for p in program.parameters if f"`{p.name}`" in text or f"`{p.name}[" in text
    ]
    at = min(declared, key=lambda pair: pair[0])[1].at if declared else None
    return DiagnosticError([Diagnostic("E704", text, Label(at, "declared here") if at else None)])
