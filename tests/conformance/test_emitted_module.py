"""The file that a program becomes: it needs the runtime only, is the same every time, and is the layer that ran."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import declarative as dl
from tests.conformance.cases import CASES, NAMES, PROGRAMS, Case, compiled

SIZES = {
    "portfolio": {"n": 4, "f": 2},
    "low_rank": {"m": 3, "n": 2},
    "nearest_correlation": {"n": 3},
}
"""Sizes of the programs that are emitted per size."""

ROOT = Path(__file__).parents[2]

SCRIPT = """
import sys
import torch
sys.path.insert(0, {folder!r})
torch.set_num_threads(1)
import {module}
loaded = torch.load({data!r}, weights_only=False)
layer = {module}.{kind}(**loaded["keywords"]).double()
data = {{name: value.requires_grad_() for name, value in loaded["data"].items()}}
outputs = layer(**data)
outputs = (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)
sum(o.sum() for o in outputs).backward()
unwanted = [m for m in ("cvxpy", "lark", "jinja2", "rich", "declarative.frontend.parser") if m in sys.modules]
assert not unwanted, unwanted
torch.save([o.detach() for o in outputs], {result!r})
"""


def source(name: str) -> str:
    return dl.compile(PROGRAMS / f"{name}.opt", **SIZES.get(name, {})).source()


@pytest.mark.parametrize(
    "case",
    [c if c.name in ("optnet_qp", "portfolio") else pytest.param(c, marks=pytest.mark.slow) for c in CASES],
    ids=NAMES,
)
def test_a_written_module_runs_without_the_compiler(case: Case, tmp_path: Path) -> None:
    """In a fresh interpreter, neither importing it nor solving nor differentiating loads cvxpy or lark."""
    (tmp_path / f"{case.name}_layer.py").write_text(source(case.name), "utf-8")
    keywords = case.keywords()
    data = case.data(1)
    torch.save({"data": data, "keywords": keywords}, tmp_path / "data.pt")
    script = SCRIPT.format(
        folder=str(tmp_path),
        module=f"{case.name}_layer",
        kind=compiled(case.name).__name__,
        data=str(tmp_path / "data.pt"),
        result=str(tmp_path / "result.pt"),
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = torch.load(tmp_path / "result.pt")
    expected = case.named(case.layer()(**data)).values()
    for value, other in zip(found, expected, strict=True):
        torch.testing.assert_close(value, other.detach(), rtol=1e-9, atol=1e-9)


def test_importing_the_package_loads_no_solver_interface() -> None:
    """The compiler's own import stays light too: cvxpy is loaded by the programs that need it."""
    script = "import sys, declarative.runtime; assert not {'cvxpy', 'lark', 'rich', 'jinja2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


@pytest.mark.parametrize("name", NAMES)
def test_same_program_same_bytes(name: str) -> None:
    assert source(name) == source(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_same_bytes_under_another_hash_seed(name: str) -> None:
    """Nothing in the emitted text hangs on the order of a set."""
    arguments = ", ".join(f"{k}={v}" for k, v in SIZES.get(name, {}).items())
    call = f"dl.compile({str(PROGRAMS / name) + '.opt'!r}, {arguments})"
    script = f"import sys, declarative as dl; sys.stdout.write({call}.source())"
    seen = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert seen == {source(name).encode()}


@pytest.mark.parametrize("name", SIZES)
def test_a_class_without_sizes_says_which_it_needs(name: str) -> None:
    with pytest.raises(LookupError, match="|".join(f"{k}=" for k in SIZES[name])):
        compiled(name).source()


@pytest.mark.parametrize("name", SIZES)
def test_a_class_of_fixed_sizes_equals_the_one_that_takes_them_from_the_call(name: str) -> None:
    case = next(c for c in CASES if c.name == name)
    fixed = dl.compile(case.path, **SIZES[name])(**case.keywords()).double()
    data = case.data(2, (3,))
    for value, other in zip(case.named(fixed(**data)).values(), case.named(case.layer()(**data)).values(), strict=True):
        torch.testing.assert_close(value, other, rtol=0, atol=0)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_docstrings_carry_the_problem(case: Case) -> None:
    text = source(case.name)
    assert text.startswith(f'"""{case.name}: ')
    for word in (*case.draws, "Structure:", "Gradient:", "sha256"):
        assert word in text
    assert "Edit the source, not this file." in text
    assert compiled(case.name).__doc__
