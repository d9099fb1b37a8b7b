"""The command line as a whole: exit codes, streams, colours, and what happens when something goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import declarative
from declarative.cli import compile as compile_command
from declarative.cli import main
from declarative.diagnostics.catalogue import CATALOGUE


def test_version(run):
    ran = run("--version")
    assert (ran.code, ran.out) == (0, f"declarative {declarative.__version__}\n")


def test_help_lists_the_commands(run):
    ran = run("--help")
    assert ran.code == 0
    for command in ("compile", "check", "explain", "solve", "diagnose"):
        assert command in ran.out
    assert run("solve", "--help").code == 0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["sovle", "softmax.opt"], "no command `sovle`\nhelp: did you mean `solve`?"),
        (["--color", "never", "compil"], "did you mean `compile`?"),
        (["softmax.opt"], "name a command first, e.g. `declarative compile softmax.opt`"),
        (["compile"], "the following arguments are required: FILE.opt"),
        (["check", "softmax.opt", "--fromat=json"], "`check` has no option `--fromat`\nhelp: did you mean `--format`?"),
        (["check", "--color", "blue", "softmax.opt"], "invalid choice: 'blue'"),
        (["explain", "E299"], "no code `E299`"),
        (["explain", "softmax.opt", "more.opt"], "`more.opt` is one word too many for `explain`"),
    ],
)
def test_wrong_usage_is_exit_code_2(run, words, text):
    ran = run(*words)
    assert (ran.code, ran.out) == (2, "")
    assert text in ran.err


# check


def test_check_writes_nothing_and_reports_every_diagnostic(run, folder):
    (folder / "broken.opt").write_text(
        "layer broken\ndim m, n\nparam A[m, n]\nparam b[m]\nvar w[n]\nminimize sum_squares(A @ b - w) + norm1(v)\n"
    )
    before = set(folder.iterdir())
    ran = run("check", "broken.opt", "softmax.opt", "sparsemax.opt")
    assert ran.code == 1
    assert ran.out.splitlines() == ["softmax.opt: ok, softmax", "sparsemax.opt: ok, simplex_projection"]
    assert "error[E201]" in ran.err
    assert "error[E203]" in ran.err
    assert "broken.opt:6:" in ran.err
    assert ran.err.endswith("2 errors in 1 of 3 files\n")
    assert set(folder.iterdir()) == before


def test_check_gives_warnings_and_passes(run, folder):
    (folder / "warned.opt").write_text((folder / "softmax.opt").read_text().replace("dim n", "dim n\nparam idle", 1))
    ran = run("check", "warned.opt")
    assert ran.code == 0
    assert "warning[W201]" in ran.err
    assert "ok" in ran.out


def test_check_finds_subscripts_that_sizes_put_outside(run, folder):
    (folder / "outside.opt").write_text(
        "layer outside\ndim n\nparam x[n]\nvar y[n]\nminimize norm2(y - x)\nsubject to\n  y[5] == 1\n"
    )
    assert run("check", "outside.opt").code == 0
    ran = run("check", "outside.opt", "--dim", "n=3")
    assert ran.code == 1
    assert "error[E604]" in ran.err


def test_check_as_json_is_the_same_data(run, folder):
    (folder / "broken.opt").write_text("layer broken\ndim n\nparam x[n]\nvar y[n]\nminimize sum_squares(y - z)\n")
    ran = run("check", "broken.opt", "none.opt", "softmax.opt", "--format", "json")
    assert (ran.code, ran.err) == (1, "")
    first, *rest = json.loads(ran.out)
    assert (first["path"], first["code"], first["severity"]) == ("broken.opt", "E201", "error")
    assert (first["primary"]["line"], first["primary"]["column"]) == (5, 26)
    assert [d["code"] for d in rest if d["path"] == "none.opt"] == ["E001"]
    assert json.loads(run("check", "softmax.opt", "--format", "json").out) == []


# Faults


def test_nobody_sees_a_traceback(run, monkeypatch):
    def fail(*_: object) -> None:
        raise ZeroDivisionError("something\nbroke")

    monkeypatch.setattr(compile_command, "stages", fail)
    ran = run("compile", "softmax.opt")
    assert ran.code == 1
    assert "internal error: ZeroDivisionError: something broke" in ran.err
    assert "please report it" in ran.err
    assert "Traceback" not in ran.err
    assert "Traceback" in run("compile", "softmax.opt", "--traceback").err
    monkeypatch.setenv("DECLARATIVE_TRACEBACK", "1")
    assert "Traceback" in run("compile", "softmax.opt").err
    monkeypatch.setenv("DECLARATIVE_TRACEBACK", "0")
    assert "Traceback" not in run("compile", "softmax.opt").err


def test_an_interruption_is_quiet(run, folder, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compile_command, "stages", interrupt)
    ran = run("compile", "softmax.opt")
    assert (ran.code, ran.err) == (130, "\ninterrupted\n")
    assert not (folder / "softmax.py").exists()


def test_a_reader_that_leaves_is_no_error(folder):
    command = [sys.executable, "-m", "declarative", "explain", "mpc.opt"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait() == 1
    assert err == ""


def test_module_and_streams_of_a_real_process(folder):
    (folder / "broken.opt").write_text("layer broken\nminimize\n")
    ran = subprocess.run(
        [sys.executable, "-m", "declarative", "check", "broken.opt", "sparsemax.opt"], capture_output=True, text=True
    )
    assert ran.returncode == 1
    assert "error[" in ran.stderr
    assert "error[" not in ran.stdout
    assert ran.stdout == "sparsemax.opt: ok, simplex_projection\n"


def test_check_and_explain_do_not_load_torch(folder):
    code = (
        "import sys; from declarative.cli import main\n"
        "assert main(['check', 'softmax.opt']) == main(['explain', 'mpc.opt']) == main(['explain', 'E203']) == 0\n"
        "print('LOADED', [m for m in sys.modules if m in ('torch', 'cvxpy', 'scipy')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.splitlines()[-1] == "LOADED []"


# Colour


def test_color(run, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    plain = run("compile", "softmax.opt")
    assert "\033[" not in plain.out  # not a terminal
    painted = run("compile", "softmax.opt", "--color", "always")
    assert "\033[" in painted.out
    assert "\033[" in run("--color", "always", "compile", "none.opt").err
    assert "\033[" in run("sovle", "--color=always").err
    assert "\033[" not in run("compile", "none.opt", "--color", "never").err


def test_no_color_is_respected_on_a_terminal(folder):
    pty = pytest.importorskip("pty")

    def shown(**environment: str) -> bytes:
        parent, child = pty.openpty()
        variables = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm"} | environment
        code = "import sys; from declarative.cli import main; sys.exit(main(['check', 'softmax.opt']))"
        subprocess.run([sys.executable, "-c", code], stdout=child, stderr=child, env=variables, check=True)
        os.close(child)
        text = os.read(parent, 65536)
        os.close(parent)
        return text

    assert b"\033[" in shown()
    assert b"\033[" not in shown(NO_COLOR="1")


def test_output_that_the_encoding_lacks_does_not_fail(folder):
    source = (folder / "softmax.opt").read_text().replace("Entropy", "Ünïcode →")
    (folder / "accents.opt").write_text(source, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "declarative", "explain", "accents.opt"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )
    assert ran.returncode == 0, ran.stderr
    assert b"?n?code ?" in ran.stdout


# explain CODE


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_every_code_is_explained(run, code):
    ran = run("explain", code.lower())
    entry = CATALOGUE[code]
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"{code}: {entry.title}")
    assert " ".join(entry.explanation.split()) in " ".join(ran.out.split())
    assert ("\nright\n" in ran.out) == bool(entry.right)


def test_a_code_next_to_it_is_suggested(run):
    ran = run("explain", "E300")
    assert ran.code == 2
    assert "did you mean `E30" in ran.err
    assert "E301, E302" in ran.err


def test_main_takes_the_words_of_the_process(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["declarative", "--version"])
    assert main() == 0
    assert "declarative" in capsys.readouterr().out
