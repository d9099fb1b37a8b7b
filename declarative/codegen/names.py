"""Python names for the user's names: what a program calls `lambda` or `torch` needs another name in Python."""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Iterable, Mapping

from declarative.ir.program import Program

RESERVED = frozenset(
    {
        "self", "torch", "point", "Tensor", "Layer", "Spec", "NamedTuple", "annotations", "like",
        "eye", "full", "fill", "matvec", "dot", "tensor", "split", "block_matrix", "block_rows", "block_vector",
        "linear_rows", "gram", "concatenate", "total", "gather_terms", "DenseQP", "KKTPoint", "math",
        "symmetric_sum", "flatten", "z", "sizes", "shapes",
    }
)  # fmt: skip


def python_names(program: Program, kept: Iterable[str] = ()) -> Mapping[str, str]:
    """A Python identifier for each parameter, variable, let, dimension and extern of a program, most unchanged.

    ``kept`` are names that the emitted text uses for itself.
    """
    names = [d.name for d in program.dimensions]
    names += [p.name for p in program.parameters] + [v.name for v in program.variables]
    names += [let.name for let in program.lets] + [e.name for e in program.externs]
    kept = RESERVED | set(kept)
    used = set(names) | kept
    chosen: dict[str, str] = {}
    for name in names:
        python = name
        if not name.isidentifier() or keyword.iskeyword(name) or name in kept or hasattr(builtins, name):
            python = f"{name}_"
            while python in used:
                python += "_"
            used.add(python)
        chosen[name] = python
    return chosen


def class_name(name: str) -> str:
    """``elastic_net`` -> ``ElasticNet``."""
    camel = "".join(part[:1].upper() + part[1:] for part in name.split("_") if part)
    return f"{camel}Layer" if keyword.iskeyword(camel) or camel in RESERVED or hasattr(builtins, camel) else camel
