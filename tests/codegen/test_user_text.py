"""Descriptions that a user writes are text in the emitted module, and never code."""

from __future__ import annotations

import ast
import sys
import types
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

import declarative as dl
from declarative.codegen.standalone import standalone
from declarative.compiler import stages

PIECES = [
    '"', "'", '"""', "'''", "\\", "\\\\", "\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\0",
    "{{ 7 * 7 }}", "{% raw %}", "{#", "#}", "${x}", "%s", "{0}", "\\N{DASH}", "\\x", "\\u12", "\\U", "#",
    "# type: ignore",
    "\u202e", "\ufeff", "\U000e0001", "\U0001f600", "é", "(", ")", "[", "]", "{", "}", ",", "; import os", "pass",
    "\timport os", "    import os", "x" * 130, ", ".join("abcdefgh"), "\ud800", "coding: latin-1", "",
]  # fmt: skip
texts = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=12)), max_size=6).map("".join)


def emitted(title: str, of_x: str, of_y: str, of_w: str) -> str:
    x, w, n = dl.param("x", "n", doc=of_x), dl.param("w", "n", learned=True, doc=of_w), "n"
    y = dl.var("y", n, doc=of_y)
    floor = dl.sum(y) >= 1
    layer = dl.layer("described", doc=title).minimize(dl.sum_squares(y - x) + dl.sum_squares(y - w))
    program = layer.subject_to(floor=floor).output(y, total=dl.sum(y), price=dl.dual("floor"), given=x).build()
    source = stages(program).source
    assert source is not None
    return source


def without_text(source: str) -> str:
    """The syntax tree without docstrings and without the description of a parameter."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Spec":
            node.keywords = [k for k in node.keywords if k.arg != "doc"]
    return ast.dump(tree)


PLAIN = emitted("title", "first", "second", "third")


@settings(max_examples=150, deadline=None)
@given(texts, texts, texts, texts)
@example("a", "\rimport os", "\rimport os", "\rimport os")
@example("a", "(" + ", ".join("abcdefgh") * 20 + ")", "(import os, " + "x" * 120 + ")", "'")
@example('"', '"""', '\\"', "\\")
@example('""""', "\U000e0001", "\x85import os", "\u2028import os")
def test_it_changes_no_code(title: str, of_x: str, of_y: str, of_w: str) -> None:
    source = emitted(title, of_x, of_y, of_w)
    assert without_text(source) == without_text(PLAIN)
    tree = ast.parse(source.encode())
    doc = ast.get_docstring(tree, clean=False)
    assert doc is not None
    assert doc.startswith(f"described: {title}" if title else "described")
    docs = {
        ast.literal_eval(k.value)
        for n in ast.walk(tree)
        if isinstance(n, ast.Call)
        for k in n.keywords
        if k.arg == "doc"
    }
    assert docs == {t for t in (of_x, of_w) if t}


def executed(source: str) -> dict[str, Any]:
    """The names of a module, loaded as an import would."""
    module = types.ModuleType("a_layer_of_these_tests")
    sys.modules[module.__name__] = module
    exec(compile(source, "a_layer.py", "exec"), module.__dict__)
    return module.__dict__


NAMES = (
    *(
        "print",
        "torch",
        "self",
        "Tensor",
        "Layer",
        "point",
        "math",
        "eye",
        "forward",
        "data",
    ),
    *(
        "sizes",
        "annotations",
        "np",
        "match",
        "type",
        "Spec",
        "DenseQP",
        "outputs",
        "_",
        "NamedTuple",
        "split",
        "x_",
        "len",
    ),
)


@pytest.mark.parametrize("alone", [False, True])
def test_names_of_python_and_of_the_module(alone: bool) -> None:
    """Whatever a parameter is called, the layer computes the same."""
    text = (
        "layer named\ndim n\nparam {p}[n]\nparam other[n]\nvar y[n]\n"
        "minimize sum_squares(y - {p}) + exp(sum({p})) * sum_squares(y + other)\nsubject to\n  sum(y) <= 1\noutput y\n"
    )

    def computed(name: str) -> Tensor:
        source = stages(dl.parse_program(text.format(p=name), "named.opt")).source
        assert source is not None
        space = executed(standalone(source) if alone else source)
        x = torch.linspace(-1, 1, 4, dtype=torch.float64)
        found: Tensor = space["Named"]().double()(x, x + 1)
        return found

    expected = computed("p")
    for name in NAMES[::4] if alone else NAMES:
        assert torch.equal(computed(name), expected), name


@pytest.mark.parametrize("name", ["any", "none", "tensor", "layer_", "spec", "self_", "torch", "report", "status"])
def test_names_of_layers(name: str) -> None:
    text = (
        f"layer {name}\ndim n\nparam x[n]\nvar y[n]\nminimize sum_squares(y - x)\nsubject to\n  sum(y) <= 1\n"
        "output y, x\n"
    )
    source = stages(dl.parse_program(text, "named.opt")).source
    assert source is not None
    for emitted_text in (source, standalone(source)):
        names = [n.name for n in ast.parse(emitted_text).body if isinstance(n, ast.ClassDef)]
        assert len(set(names)) == len(names)
        space = executed(emitted_text)
        kind = next(v for v in space.values() if (getattr(v, "__doc__", "") or "").startswith(f"The layer `{name}`."))
        assert torch.equal(kind()(torch.tensor([0.25, 0.5])).y, torch.tensor([0.25, 0.5]))
