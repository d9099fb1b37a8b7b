"""``declarative compile``: the file it writes is what `dl.compile` runs, whole or not at all."""

from __future__ import annotations

import importlib.util
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import declarative as dl
from declarative.cli import atomic
from declarative.diagnostics.diagnostic import DiagnosticError


def imported(path: Path, name: str):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def test_summary_has_a_line_for_each_stage_on_stdout(run):
    ran = run("compile", "elastic_net.opt")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0] == "elastic_net.opt"
    assert [line.split()[0] for line in lines[1:]] == ["program", "normal", "structure", "module", "written"]
    assert "4 parameters (2 learned), 1 variable, 0 constraints" in lines[1]
    assert "dense_qp" in lines[3]
    assert lines[5].endswith("elastic_net.py")


@pytest.mark.parametrize("name", ["sparsemax", "optnet_qp", "circle"])
def test_written_module_solves_as_the_compiled_class(run, folder, name):
    assert run("compile", f"{name}.opt").code == 0
    written, compiled = imported(folder / f"{name}.py", dl.compile(f"{name}.opt").__name__), dl.compile(f"{name}.opt")
    torch.manual_seed(0)
    arguments = {
        "sparsemax": [torch.randn(3, 5, dtype=torch.float64)],
        "optnet_qp": [
            torch.eye(4, dtype=torch.float64) + 0.5,
            torch.randn(3, 4, dtype=torch.float64),
            torch.randn(1, 4, dtype=torch.float64),
            torch.zeros(1, dtype=torch.float64),
            torch.randn(2, 4, dtype=torch.float64),
            torch.ones(2, dtype=torch.float64),
        ],
        "circle": [torch.tensor([0.6, -0.8], dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)],
    }[name]
    ours, theirs = written()(*arguments), compiled()(*arguments)
    fields = zip(ours, theirs, strict=True) if isinstance(ours, tuple) else [(ours, theirs)]
    assert all(torch.equal(a, b) for a, b in fields)
    if name == "circle":
        assert torch.allclose(ours, torch.tensor([0.8, 0.6], dtype=torch.float64))


def test_parameters_may_have_the_names_that_quadratic_programs_use(run, folder):
    """What a parameter is called changes nothing, even A, P, G, sizes and shapes."""
    plain = (
        "layer plain\ndim m, n\nparam a1[m, n]\nparam a2[m]\nparam a3[m, n]\nparam a4[n, n] psd\nparam a5[n]\n"
        "var w[n]\nvar s\nminimize sum_squares(a1 @ w - a2) + quad_form(w - a5, a4) + 3 * s^2 - s + a5 @ w\n"
        "subject to\n  tie: sum(w) + 2 * s == 1\n  also: a1 @ w + s <= a2 + 5\n  room: a3 @ w <= 2\noutput w\n"
    )
    renamed = plain.replace("plain", "renamed")
    for old, new in {"a1": "A", "a2": "sizes", "a3": "G", "a4": "P", "a5": "shapes"}.items():
        renamed = renamed.replace(old, new)
    (folder / "plain.opt").write_text(plain)
    (folder / "renamed.opt").write_text(renamed)
    torch.manual_seed(0)
    root = torch.randn(3, 3, dtype=torch.float64)
    data = [torch.randn(4, 3), torch.randn(4), torch.randn(4, 3), root @ root.T, torch.randn(3)]
    data = [d.to(torch.float64) for d in data]
    assert torch.equal(dl.compile("plain.opt")()(*data), dl.compile("renamed.opt")()(*data))


def test_same_input_gives_the_same_bytes(run, folder):
    assert run("compile", "mpc.opt").code == 0
    first = (folder / "mpc.py").read_bytes()
    code = "import sys; from declarative.cli import main; sys.exit(main(['compile', 'mpc.opt', '-o', 'again.py']))"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONHASHSEED": "17"})
    assert (folder / "again.py").read_bytes() == first


def test_importing_a_written_module_loads_no_compiler(run, folder):
    assert run("compile", "elastic_net.opt").code == 0
    code = (
        "import sys, elastic_net; elastic_net.ElasticNet\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('cvxpy', 'lark', 'rich', 'jinja2')])\n"
        "print([m for m in sys.modules if m.startswith(('declarative.frontend', 'declarative.codegen'))])"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.split() == ["[]", "[]"]


def test_compiling_a_quadratic_program_loads_neither_cvxpy_nor_scipy(folder):
    code = (
        "import sys; from declarative.cli import main\n"
        "assert main(['compile', 'elastic_net.opt', 'softmax.opt']) == 0\n"
        "print('LOADED', [m for m in sys.modules if m in ('cvxpy', 'scipy', 'clarabel')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.splitlines()[-1] == "LOADED []"


def test_several_files_go_beside_their_sources_and_one_failure_does_not_stop_the_others(run, folder):
    (folder / "broken.opt").write_text("layer broken\nminimize\n")
    (folder / "deep").mkdir()
    (folder / "deep" / "s.opt").write_text((folder / "softmax.opt").read_text())
    ran = run("compile", "deep/s.opt", "broken.opt", "sparsemax.opt")
    assert ran.code == 1
    assert (folder / "deep" / "s.py").exists()
    assert (folder / "sparsemax.py").exists()
    assert not (folder / "broken.py").exists()
    assert "error[E1" in ran.err
    assert "1 of 3 files not compiled" in ran.err
    assert "error" not in ran.out


def test_open_sizes_of_a_cone_program_name_the_flags(run, folder):
    ran = run("compile", "portfolio.opt")
    assert ran.code == 1
    assert "error[E601]" in ran.err
    assert "declarative compile portfolio.opt --dim n=10 --dim f=10" in ran.err
    assert not (folder / "portfolio.py").exists()
    ran = run("compile", "portfolio.opt", "--dim", "n=3")
    assert "--dim f=10" in ran.err
    assert "n=10" not in ran.err


def test_cone_program_at_sizes(run, folder):
    ran = run("compile", "portfolio.opt", "--dim", "n=3", "--dim", "f=1")
    assert ran.code == 0
    assert "at n = 3, f = 1" in ran.out
    assert imported(folder / "portfolio.py", "Portfolio").fixed_sizes == {"n": 3, "f": 1}


def test_options_may_stand_between_files(run, folder):
    assert run("compile", "softmax.opt", "--dim", "n=3", "sparsemax.opt").code == 0
    assert (folder / "sparsemax.py").exists()


def test_unknown_dimension_is_named_with_a_suggestion(run):
    ran = run("compile", "mpc.opt", "--dim", "nxx=3")
    assert ran.code == 1
    assert "error[E602]: no dimension `nxx` for `--dim nxx=...`" in ran.err
    assert "did you mean `nx`?" in ran.err


def test_output_to_stdout_leaves_the_summary_to_stderr(run, folder):
    ran = run("compile", "softmax.opt", "-o", "-")
    assert ran.code == 0
    compile(ran.out, "softmax.py", "exec")
    assert ran.out.startswith('"""softmax')
    assert "structure" in ran.err
    assert not (folder / "softmax.py").exists()


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["softmax.opt", "sparsemax.opt", "-o", "x.py"], 2, "`-o` names one file, but there are several"),
        (["softmax.opt", "-o", "softmax.opt"], 2, "the module would overwrite its source `softmax.opt`"),
        (["softmax.opt", "./softmax.opt"], 2, "would both be written to `softmax.py`"),
        (["softmax.opt", "-o", "."], 1, "error[E004]: `.` is a directory, not a file"),
        (["softmax.opt", "-o", "none/x.py"], 1, "error[E004]: no folder `none` to write `x.py` to"),
        (["softmax.opt", "-o", "mpc.opt/x.py"], 1, "error[E004]: no folder `mpc.opt` to write `x.py` to"),
        (["none.opt"], 1, "error[E001]: no file `none.opt`"),
        (["."], 1, "error[E001]: `.` is a directory, not a file"),
        (["softmax.opt", "--dim", "n=0"], 2, "expected NAME=SIZE with a whole number of at least 1, found `n=0`"),
        (["softmax.opt", "--dim", "n"], 2, "found `n`"),
        (["softmax.opt", "--dim", "n=2", "--dim", "n=3"], 2, "`--dim n=...` is given twice"),
        (["softmax.opt", "--dim", "n=2", "m=3"], 2, "help: write `--dim m=3`"),
    ],
)
def test_what_cannot_be_written_is_said(run, words, code, text):
    ran = run("compile", *words)
    assert (ran.code, ran.out) == (code, "")
    assert text in ran.err


def test_file_that_is_not_text(run, folder):
    (folder / "binary.opt").write_bytes(b"layer \xff\xfe")
    ran = run("compile", "binary.opt")
    assert ran.code == 1
    assert "error[E002]: `binary.opt` is not text: byte 6 is not UTF-8" in ran.err


def test_a_file_written_by_hand_is_not_overwritten_unasked(run, folder):
    (folder / "softmax.py").write_text("mine = 1\n")
    ran = run("compile", "softmax.opt")
    assert ran.code == 1
    assert "error[E004]: `softmax.py` exists and was not written by this compiler" in ran.err
    assert (folder / "softmax.py").read_text() == "mine = 1\n"
    assert run("compile", "softmax.opt", "-o", "softmax.py").code == 0
    assert run("compile", "softmax.opt").code == 0


def test_warnings_do_not_keep_a_program_from_compiling(run, folder):
    (folder / "warned.opt").write_text((folder / "softmax.opt").read_text().replace("dim n", "dim n\nparam idle", 1))
    ran = run("compile", "warned.opt")
    assert ran.code == 0
    assert "warning[W201]: the parameter `idle` is never used" in ran.err
    assert (folder / "warned.py").exists()


# Atomic writes


@pytest.mark.parametrize("step", ["fsync", "replace", "chmod"])
def test_a_failure_in_the_middle_leaves_the_old_file(folder, monkeypatch, step):
    place = folder / "out.py"
    place.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = set(folder.iterdir())
    monkeypatch.setattr(atomic.os, step, fail)
    with pytest.raises(DiagnosticError, match="no space left on device"):
        atomic.replace_file(place, b"new")
    assert place.read_text() == "old"
    assert set(folder.iterdir()) == before


def test_an_interruption_leaves_no_temporary_file(folder, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = set(folder.iterdir())
    monkeypatch.setattr(atomic.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic.replace_file(folder / "out.py", b"new")
    assert set(folder.iterdir()) == before


def test_replacing_keeps_the_mode_and_follows_links(folder):
    place, link = folder / "out.py", folder / "link.py"
    place.write_text("old")
    place.chmod(0o640)
    link.symlink_to(place)
    atomic.replace_file(link, b"new")
    assert place.read_text() == "new"
    assert link.is_symlink()
    assert stat.S_IMODE(place.stat().st_mode) == 0o640


def test_a_new_file_has_the_mode_of_any_new_file(folder):
    atomic.replace_file(folder / "out.py", b"new")
    (folder / "other").write_text("")
    assert (folder / "out.py").stat().st_mode == (folder / "other").stat().st_mode


def test_a_device_is_written_to_and_not_replaced(run):
    assert run("compile", "softmax.opt", "-o", os.devnull).code == 0
    assert not stat.S_ISREG(os.stat(os.devnull).st_mode)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_file_that_may_not_be_written(run, folder):
    (folder / "fixed.py").write_text("old")
    (folder / "fixed.py").chmod(0o444)
    ran = run("compile", "softmax.opt", "-o", "fixed.py")
    assert ran.code == 1
    assert "error[E004]: cannot write `fixed.py`: permission denied" in ran.err


@pytest.mark.parametrize("name", ["torch", "typing"])
def test_a_module_that_would_shadow_a_package_is_not_written(run, folder, name):
    (folder / f"{name}.opt").write_text("layer l\nparam x[2]\nvar y[2]\nminimize sum_squares(y - x)\noutput y\n")
    ran = run("compile", f"{name}.opt")
    assert ran.code == 1
    assert f"would be imported in place of the package `{name}`" in ran.err
    assert not (folder / f"{name}.py").exists()
    assert run("compile", f"{name}.opt", "-o", f"{name}_layer.py").code == 0
