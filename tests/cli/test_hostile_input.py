"""Broken and malicious input ends in a clear error, soon and in bounded memory, and leaves nothing behind."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from declarative.cli import array_files
from declarative.cli.values import read_value
from declarative.diagnostics.diagnostic import DiagnosticError


class Booby:
    """Unpickling makes a file."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def npy(shape: object, body: bytes = b"", descr: str = "<f8") -> bytes:
    """An .npy file with a header of our own."""
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]


SOUND = archive(x=npy((3,), np.ones(3).tobytes()))
FILES = {
    "claims_terabytes.npy": (npy((10**12,)), "is too large: 7.45e+03 GiB, of at most 2"),
    "overflows.npy": (npy((2**62, 4)), "is too large"),
    "negative.npy": (npy((-5,)), "is damaged"),
    "short.npy": (npy((10**6,), b"abc"), "its header claims 8000000 bytes, of which there are 3"),
    "half_precision.npy": (npy((2**28 + 1,), b"", "<f2"), "is too large"),
    "code_in_header.npy": (npy("__import__('os').mkdir('unpickled')"), "is damaged"),
    "parentheses.npy": (b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535, "is damaged"),
    "junk.npy": (b"\x93NUMPY" + bytes(range(256)), "is damaged"),
    "empty.npy": (b"", "is not an .npy file"),
    "pickle.npy": (pickle.dumps(Booby()), "is not an .npy file"),
    "objects.npy": (npy((1,), pickle.dumps(Booby()), "|O"), "holds pickled Python objects, which are never loaded"),
    "complex.npy": (npy((1,), b"\0" * 16, "<c16"), "its entries are complex"),
    "dates.npy": (npy((1,), b"\0" * 8, "<M8[D]"), "its entries are datetime64[D]"),
    "objects.npz": (archive(x=npy((1,), pickle.dumps(Booby()), "|O")), "holds pickled Python objects"),
    "pickle.npz": (archive(x=pickle.dumps(Booby())), "`x` of"),
    "flipped.npz": (flipped(SOUND, 70), "is damaged"),
    "cut.npz": (SOUND[:-30], "is not an .npz file"),
    "outside.npz": (archive(**{"../../x": npy((1,), b"\0" * 8)}), "has no array `x`; it holds `../../x`"),
    "deep.json": (b"[" * 100_000 + b"]" * 100_000, "holds lists nested too deeply"),
    "nested.json": (b"[" * 40 + b"]" * 40, "nested more than 32 deep"),
    "ragged.json": (b"[[1, 2], [3]]", "its rows differ in length"),
    "digits.json": (b"[" + b"9" * 10_000 + b"]", "holds a number that is too large"),
    "large.json": (b"[1" + b"0" * 400 + b"]", "is too large"),
    "twice.json": (b'{"x": [1], "x": [2]}', "it has two entries `x`"),
    "null.json": (b"[1, null]", "expected numbers, found null"),
    "zero_byte.json": (b"[1,\0 2]", "is not a .json file"),
    "binary.json": (bytes(range(255, 0, -1)), "it is not UTF-8 text"),
    "text.json": (json.dumps(["x" * 5000]).encode(), "expected numbers, found the text"),
    "binary.csv": (bytes(range(255, 0, -1)), "it is not UTF-8 text"),
    "cell.csv": (b"1" * 200_000, "field larger than field limit"),
    "zero_byte.csv": (b"1,2\0\n", "is not a number"),
    "quotes.csv": (b'"1,2\n' * 1000, "is not a number"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_data(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content, reason = FILES[name]
    Path(name).write_bytes(content)
    with pytest.raises(DiagnosticError) as caught:
        read_value("x", name, 1)
    [diagnostic] = caught.value.diagnostics
    assert diagnostic.code == "E703"
    assert reason in diagnostic.message
    assert len(diagnostic.message) < 400
    assert not Path("unpickled").exists()


def test_an_archive_that_expands_is_refused_by_what_its_directory_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three thousand bytes of zeros compress to almost nothing; nothing is expanded to find out."""
    (tmp_path / "bomb.npz").write_bytes(archive(x=npy((375,), bytes(3000))))
    monkeypatch.setattr(array_files, "LARGEST", 2000)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("a member was opened"))
    with pytest.raises(DiagnosticError, match=r"`x` of .* is too large"):
        read_value("x", str(tmp_path / "bomb.npz"), 1)


@pytest.mark.parametrize("kind", [".npy", ".npz", ".csv", ".json"])
def test_what_is_no_regular_file_is_not_opened(kind: str, tmp_path: Path) -> None:
    """A pipe would wait for ever, and a device never end."""
    os.mkfifo(tmp_path / f"pipe{kind}")
    (tmp_path / f"zeros{kind}").symlink_to("/dev/zero")
    (tmp_path / f"folder{kind}").mkdir()
    for name in ("pipe", "zeros", "folder"):
        with pytest.raises(DiagnosticError, match="and not a file"):
            read_value("x", str(tmp_path / f"{name}{kind}"), 1)


@pytest.mark.parametrize(
    "text", ["[" * 5000, "[" + "9" * 5000 + "]", "a" * 5000, '["' + "a" * 5000 + '"]', "{}", "true"], ids=range(6)
)
def test_literals_that_are_no_data(text: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        read_value("x", text, 1)
    assert len(caught.value.diagnostics[0].message) < 300


def test_byte_order_marks_are_no_data(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"\xef\xbb\xbf[1, 2]")
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbf1,2\r\n")
    for name in ("x.json", "x.csv"):
        assert read_value("x", str(tmp_path / name), 1).tolist() == [1, 2]


# Programs

LAYER = "layer hostile\nparam x[3]\nvar y[3]\nminimize sum_squares(y - x)\noutput y\n"
PROGRAMS = {
    "long range": (
        LAYER.replace("sum_squares(y - x)", "sum(exp(2 * y[1]) for t in 1..1000000000) + sum_squares(y - x)"),
        "error[E603]: `hostile` is too large for the conic form: written out, this has 2,000,000,",
    ),
    "ranges in ranges": (
        LAYER.replace("minimize", "minimize sum(exp(y[i]) for i in 0..1, j in i..9999, k in 0..9999) +"),
        "written out, this has",
    ),
    "wide cone": (
        LAYER.replace("hostile", "hostile\ndim n = 1000000000").replace("[3]", "[n]").replace("ze", "ze sum(exp(y)) +"),
        "error[E603]: `hostile` is too large for the conic form: 2,000,000,000 entries",
    ),
    "infinite size": (LAYER.replace("hostile", f"hostile\ndim n = {'9' * 5000}"), "error[E206]: the size of a dim"),
    "infinite shape": (LAYER.replace("x[3]", f"x[{'9' * 400}]"), "error[E206]: a size must be a whole number"),
    "power": (LAYER.replace("minimize", "minimize sum((y + 1)^1e308) +"), "error[E605]"),
    "too long": ("#" + "x" * 10_000_000, "error[E003]"),
    "long sum": ("layer long\nvar y\nminimize y" + "+y" * 90_000, "error[E107]"),
    "parentheses": ("layer deep\nvar y\nminimize " + "(" * 10_000 + "y" + ")" * 10_000, "error[E107]"),
    "cycle of lets": ("layer cycle\nvar y\nlet a = b + y\nlet b = a + y\nminimize a\n", "unknown name `b`"),
    "confusable": (LAYER.replace("x[3]", "\u0445[3]"), "error[E104]"),
}  # fmt: skip

SCRIPT = """
import json, os, resource, sys
from declarative.cli import main
import declarative.cli.compile, declarative.canonical.cone_program, declarative.codegen.cone, cvxpy
extra = 1 << 30
used = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (used + extra, used + extra))
for name in json.load(open("names.json")):
    sys.stderr.write(f"<<<{name}>>>")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    code = main(["compile", name])
    spent = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
    sys.stderr.write(f"exit {code}" + (" too slow" if spent > 30 else ""))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_programs_end_in_an_error_within_a_gigabyte(tmp_path: Path) -> None:
    for name, (text, _) in PROGRAMS.items():
        (tmp_path / f"{name}.opt").write_text(text, "utf-8")
    (tmp_path / "names.json").write_text(json.dumps([f"{name}.opt" for name in PROGRAMS]))
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    told = dict(part.split(".opt>>>", 1) for part in ran.stderr.split("<<<")[1:])
    for name, (_, expected) in PROGRAMS.items():
        assert expected in told[name]
        assert told[name].endswith("exit 1"), told[name][-300:]
        assert "internal error" not in told[name]
    assert not list(tmp_path.glob("*.py"))


def test_line_ends_and_marks_of_other_systems_mean_the_same(run, folder: Path) -> None:
    for name, text in (
        ("unix", LAYER),
        ("dos", "\ufeff" + LAYER.replace("\n", "\r\n")),
        ("mac", LAYER.replace("\n", "\r")),
    ):
        (folder / f"{name}.opt").write_bytes(text.encode())
        assert run("compile", f"{name}.opt").code == 0
    bodies = {
        (folder / f"{n}.py").read_text().partition("Written by")[2].partition("\n")[2] for n in ("unix", "dos", "mac")
    }
    assert len(bodies) == 1


def test_a_program_without_end_is_not_read(run) -> None:
    ran = run("check", "/dev/zero")
    assert ran.code == 1
    assert "error[E003]: `/dev/zero` has more than the 200,000 characters" in ran.err


def test_sizes_and_names_on_the_command_line(run, folder: Path) -> None:
    (folder / "loop.py").symlink_to("loop.py")
    for words, code, text in (
        (["compile", "softmax.opt", "--dim", f"n={'9' * 5000}"], 2, "the size of `n` is too large: it has 5000 digits"),
        (["compile", "softmax.opt", "-o", ""], 2, "`-o` is empty"),
        (["compile", "softmax.opt", "-o", "/dev/full"], 1, "cannot write `/dev/full`: no space left on device"),
        (["compile", "softmax.opt", "-o", "../" * 50 + "none/x.py"], 1, "no folder"),
        (["compile", "softmax.opt", "-o", "x" * 300 + ".py"], 1, "file name too long"),
        (["compile", "softmax.opt", "-o", "loop.py"], 1, "error[E004]: cannot write `loop.py`: too many levels"),
        (["explain", "softmax.opt", "--latex", "-o", "loop.py"], 1, "error[E004]: cannot write `loop.py`: too many"),
        (["compile", "softmax.opt", "-o", "."], 1, "error[E004]: `.` is a directory, not a file"),
        (["solve", "softmax.opt", "--param", "x=[1]", "-o", "none/x.npz"], 1, "error[E004]"),
        (["solve", "softmax.opt"], 1, "error[E701]: the parameter `x` has no value"),
        (["diagnose", "softmax.opt", "--param", "z=1", "--param", "x=[1]"], 1, "error[E702]: no parameter `z`"),
    ):
        ran = run(*words)
        assert ran.code == code, ran.err
        assert text in ran.err
        assert "internal error" not in ran.err
    assert not list(folder.glob(".*.tmp"))


def test_data_that_pose_a_problem_larger_than_the_memory(run, folder: Path) -> None:
    """A quadratic program of a million variables is a matrix of eight terabytes."""
    np.save(folder / "A.npy", np.zeros((1, 1_000_000)))
    ran = run("solve", "elastic_net.opt", "--param", "A=A.npy", "--param", "b=[1]")
    assert ran.code == 1
    assert "error[E707]: there is not enough memory: 7.45e+03 GiB were asked for" in ran.err


# The process


def opened_for_a_reader(pipe: Path) -> int:
    """The end to write to of a pipe, as soon as somebody reads it."""
    for _ in range(600):
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.1)
    pytest.fail("nobody reads")


def test_an_interrupt_ends_with_130_and_no_traceback(folder: Path) -> None:
    os.mkfifo(folder / "waits.opt")
    command = [sys.executable, "-m", "declarative", "check", "waits.opt"]
    process = subprocess.Popen(
        command,
        cwd=folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # What a shell starts in the background ignores interrupts, and hands that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    writer = opened_for_a_reader(folder / "waits.opt")
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    os.close(writer)
    assert process.returncode == 130
    assert told.strip() == "interrupted"


def test_a_reader_that_leaves_early(folder: Path) -> None:
    (folder / "many.opt").write_text((folder / "mpc.opt").read_text())
    command = f"{sys.executable} -m declarative explain many.opt | head -n 1; echo ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=True)
    assert "Traceback" not in ran.stderr
    assert "internal error" not in ran.stderr
    assert "Exception ignored" not in ran.stderr


@pytest.mark.parametrize("columns", ["1", "0", "-3", "many"])
def test_a_plain_locale_and_an_odd_width(columns: str, folder: Path) -> None:
    """Without UTF-8 and without a terminal, what cannot be printed is replaced and the numbers are there."""
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "COLUMNS": columns}
    command = [sys.executable, "-m", "declarative", "solve", "softmax.opt", "--param", "x=[0, 0]"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr
    assert b"Traceback" not in ran.stderr
    assert b"0" in ran.stdout
    assert ran.stdout.isascii()
