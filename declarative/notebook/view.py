"""A layer as a page: the problem, its structure and gradient, the parameters and what the layer returns.

Everything is read off the class and its module: a layer that was imported from an emitted file has the same view.
"""

from __future__ import annotations

import re
import sys
from html import escape
from typing import TYPE_CHECKING, Any

from declarative.notebook.page import Page, code_html, prose

if TYPE_CHECKING:
    from declarative.runtime.binding import Spec
    from declarative.runtime.layer import Layer


def class_html(cls: type) -> str | None:
    """The view of a layer's class; None for any other class."""
    runtime = sys.modules.get("declarative.runtime.layer")
    if runtime is None or not issubclass(cls, runtime.Layer) or cls is runtime.Layer:
        return None
    return Page(class_body(cls), cls.__name__)._repr_html_()


def instance_html(layer: Layer) -> str:
    """The view of a layer: its class's, then its sizes, its own tensors and its settings."""
    facts = [f"{name} = {size}" for name, size in layer.sizes.items()]
    facts += [
        f"{spec.name}: {spec.binding}, {tuple(getattr(layer, spec.name).shape)}" for spec in layer.parameters_of_layer
    ]
    facts += [f"{name} = {getattr(layer, name)!r}" for name in ("on_failure", "tolerance", "max_iterations")]
    body = class_body(type(layer)) + f"<div><b>This instance</b>: {escape(', '.join(facts))}</div>"
    return Page(body, type(layer).__name__)._repr_html_()


def class_body(cls: type[Layer], *, problem: bool = True) -> str:
    """The view without its frame; ``problem`` says whether the problem itself is shown."""
    parts = [f"<div><b>{escape(cls.__name__)}</b>{_dash(_first_sentence(cls))}</div>"]
    module = _module_doc(cls)
    statement = "\n".join(line.strip() if i == 0 else line[4:] for i, line in enumerate(_indented(module)))
    if problem and statement:
        parts.append(code_html(statement))
    for head, text in re.findall(r"^(Structure|Gradient): (.*(?:\n(?!\w+:|Written|$).*)*)", module, re.MULTILINE):
        parts.append(f"<div><b>{head}</b>: {prose(' '.join(text.split()))}</div>")
    if "specialised" in vars(cls):
        parts.append("<div><b>Sizes</b>: taken from each call; the module is emitted once for each of them.</div>")
    parts.append(_parameters(cls))
    parts += [f"<div><b>{head}</b>: {escape(text)}</div>" for head, text in _results(cls)]
    return "".join(parts)


def _dash(text: str) -> str:
    return f" – {escape(text)}" if text else ""


def _module_doc(cls: type[Layer]) -> str:
    module = sys.modules.get(cls.__module__)
    return (module.__doc__ or "") if module is not None and "Structure:" in (module.__doc__ or "") else ""


def _first_sentence(cls: type[Layer]) -> str:
    return " ".join((cls.__doc__ or "").strip().split("\n\n")[0].split())


def _indented(text: str) -> list[str]:
    """The problem in a module's docstring, which is what is indented in it."""
    return [line for line in text.splitlines() if line.startswith("    ")]


def _results(cls: type[Layer]) -> list[tuple[str, str]]:
    """What the layer returns, and its externs, as the class's docstring has them; the parameters have their table."""
    text = " ".join((cls.__doc__ or "").split())
    found = re.findall(r"\b(Call|Learned|Constant|Extern): (.*?)\.(?= (?:Call|Learned|Constant|Extern): |$)", text)
    returned = [("Returns", line.rsplit("-> ", 1)[-1]) for head, line in found if head == "Call"]
    return returned + [(head, line) for head, line in found if head == "Extern"]


def _parameters(cls: type[Layer]) -> str:
    """One row a parameter, in order of declaration."""
    specs = [*cls.parameters_of_call, *cls.parameters_of_layer]
    order: dict[str, Any] = {name: i for i, name in enumerate(cls.declared)}
    rows = [_row(spec) for spec in sorted(specs, key=lambda s: order.get(s.name, -1))]
    head = "".join(f"<th>{title}</th>" for title in ("parameter", "shape", "", "description"))
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>" if rows else ""


def _row(spec: Spec) -> str:
    words = " ".join([*([] if spec.binding == "call" else [spec.binding]), *sorted(spec.attributes)])
    shape = spec.shape_text if spec.binding == "call" else f"({', '.join(spec.sizes)})" if spec.sizes else "scalar"
    cells = (f"<code>{escape(spec.name)}</code>", escape(shape), escape(words), escape(spec.doc or ""))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
