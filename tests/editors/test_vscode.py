"""The editor extension agrees with the language: the same words, files that exist, JSON that parses."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from declarative.atoms import ATOMS, OPERATORS
from declarative.ir.expression import ATTRIBUTES
from declarative.ir.words import RESERVED

ROOT = Path(__file__).parents[2]
EXTENSION = ROOT / "editors" / "vscode"
GOOD = sorted((ROOT / "tests" / "programs" / "good").glob("*.opt"))
GRAMMAR = json.loads((EXTENSION / "syntaxes" / "opt.tmLanguage.json").read_text(encoding="utf-8"))


def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_grammar", EXTENSION / "write_grammar.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words(scope: str) -> set[str]:
    """The words that a scope of the grammar lists."""
    (pattern,) = [p["match"] for p in GRAMMAR["patterns"] if p.get("name") == scope]
    listed = re.match(r"\\b\(\?:([\w|]+)\)", pattern)
    assert listed is not None
    return set(listed[1].split("|"))


def test_the_grammar_lists_the_words_of_the_language() -> None:
    functions = {name for name in ATOMS if name not in OPERATORS} | {"power"}
    assert words("support.function.opt") == functions
    keywords = words("storage.type.opt") | words("keyword.control.opt") | words("support.variable.opt")
    assert keywords == set(RESERVED)
    assert words("storage.modifier.opt") == {*ATTRIBUTES, "learned", "constant", "smooth"}


def test_the_grammar_is_what_the_script_writes() -> None:
    module = writer()
    assert module.GRAMMAR == EXTENSION / "syntaxes" / "opt.tmLanguage.json"
    assert module.GRAMMAR.read_text(encoding="utf-8") == module.text()


def scopes(line: str) -> list[tuple[str, str]]:
    """What a line is coloured as: at each position the first pattern that matches, as TextMate does."""
    found, position = [], 0
    while position < len(line):
        for pattern in GRAMMAR["patterns"]:
            match = re.compile(pattern["match"]).match(line, position)
            if match and match[0]:
                captures = pattern.get("captures", {})
                found += [(match[int(i)], c["name"]) for i, c in captures.items() if match[int(i)]]
                found += [] if captures else [(match[0], pattern["name"])]
                position = match.end()
                break
        else:
            position += 1
    return found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('layer l "doc"', "l: entity.name.type.class, layer: storage.type"),
        ("param Q[n, n] psd", "param: storage.type, psd: storage.modifier, Q: variable.other"),
        ("minimize sum(diag(Q))  # all", "minimize: keyword.control, sum: support.function, diag: support.function"),
        ("  budget: sum(x) <= 1.5", "  budget: entity.name.tag, <=: keyword.operator, 1.5: constant.numeric"),
        ("let r = decode(z)", "let: storage.type, decode: entity.name.function"),
        ("output dual(c) as price", "output: keyword.control, dual: support.variable, as: keyword.control"),
        ("x[0..T-1] # y", "0: constant.numeric, ..: keyword.operator, # y: comment.line"),
    ],
)
def test_colours(line: str, expected: str) -> None:
    found = dict(scopes(line))
    for item in expected.split(", "):
        text, scope = item.rsplit(": ", 1)
        assert found[text].startswith(scope)


@pytest.mark.parametrize("path", GOOD, ids=lambda p: p.stem)
def test_right_programs_have_nothing_illegal(path: Path) -> None:
    for line in path.read_text(encoding="utf-8").splitlines():
        assert "invalid.illegal.opt" not in {scope for _, scope in scopes(line)}


def test_the_manifest_names_files_that_exist() -> None:
    manifest: dict[str, Any] = json.loads((EXTENSION / "package.json").read_text(encoding="utf-8"))
    contributes = manifest["contributes"]
    named = [
        manifest["main"],
        *(language["configuration"] for language in contributes["languages"]),
        *(grammar["path"] for grammar in contributes["grammars"]),
    ]
    assert all((EXTENSION / name).is_file() for name in named)
    assert contributes["grammars"][0]["scopeName"] == GRAMMAR["scopeName"]
    assert contributes["languages"][0]["extensions"] == [".opt"]
    client = (EXTENSION / manifest["main"]).read_text(encoding="utf-8")
    assert set(manifest["dependencies"]) == {
        name.split("/")[0] for name in re.findall(r'require\("([\w/-]+)"\)', client)
    } - {"vscode"}
    for command in contributes["commands"]:
        assert f'"{command["command"]}"' in client
    assert contributes["configuration"]["properties"]["declarative.command"]["default"] == ["declarative", "lsp"]


def test_the_language_configuration_is_sound() -> None:
    configuration = json.loads((EXTENSION / "language-configuration.json").read_text(encoding="utf-8"))
    assert configuration["comments"] == {"lineComment": "#"}
    rules = configuration["indentationRules"]
    assert re.match(rules["increaseIndentPattern"], "subject to")
    assert re.match(rules["increaseIndentPattern"], "solve  # equations")
    assert not re.match(rules["increaseIndentPattern"], "minimize x")
    assert re.match(rules["decreaseIndentPattern"], "output y")
