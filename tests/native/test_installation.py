"""The package installed as a user installs it: from a wheel, editable, without a compiler, and what then serves.

Every environment is fresh and takes torch and the other dependencies from the one that runs the tests: nothing is
downloaded.
"""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import venv
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HAS_COMPILER = shutil.which("c++") is not None or shutil.which("g++") is not None

SOLVE = """
import pathlib, sys, warnings
import torch, declarative
from declarative.runtime.native import library
from declarative.runtime.quadratic import DenseQP
from declarative.runtime.solvers.native_interior_point import NativeInteriorPoint
assert pathlib.Path(declarative.__file__).is_relative_to(sys.argv[1]), declarative.__file__
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(3):
        q = torch.tensor([-1.0, 2.0], dtype=torch.float64)
        solved = NativeInteriorPoint().solve(DenseQP(P=torch.eye(2).double(), q=q, upper=q * 0 + 0.5))
assert solved.status == 0
assert torch.equal(solved.point[0], torch.tensor([0.5, -2.0]).double())
said = [w for w in caught if "compiled kernels are not installed" in str(w.message)]
print(library.instructions(), len(said))
"""

PROGRAM = """
layer projection
dim n
param x[n]
var y[n] nonneg

minimize sum_squares(y - x)
subject to
  simplex: sum(y) == 1
"""

COMPILE = """
import sys
from declarative.compiler import read, stages
from declarative.structures import Match
print(next(s.name for s, answer in stages(read(sys.argv[1])).recognition if isinstance(answer, Match)))
"""


def environment(folder: Path) -> Path:
    """The interpreter of a new environment that sees the packages of this one, but not this project."""
    venv.create(folder, with_pip=False, symlinks=True)
    packages = next((folder / "lib").glob("python*")) / "site-packages"
    for number, path in enumerate(site.getsitepackages()):
        links = packages / f"shared{number}"
        links.mkdir()
        for entry in Path(path).iterdir():
            if not entry.name.startswith(("__editable__", "declarative")) and not entry.name.endswith(".pth"):
                (links / entry.name).symlink_to(entry)
        (packages / f"shared{number}.pth").write_text(f"{links}\n")
    return folder / "bin" / "python"


def run(python: Path, *arguments: str, **variables: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST"))}
    done = subprocess.run(
        [str(python), *arguments],
        capture_output=True,
        text=True,
        env={**clean, **variables},
        cwd=python.parent,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout.strip()


def source(folder: Path) -> Path:
    """A copy of what a build reads, so that it leaves nothing behind in the tree."""
    for name in ("declarative", "grammar"):
        ignored = shutil.ignore_patterns("__pycache__", "_engine*")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def pip(python: Path, *arguments: str, **variables: str) -> str:
    quiet = ["-q", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    return run(python, "-m", "pip", *arguments, *quiet, **variables)


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="links to the packages of the tests"),
]


def build_tools_are_there() -> bool:
    try:
        return bool(version("pip")) and int(version("setuptools").split(".")[0]) >= 77
    except PackageNotFoundError:
        return False


@pytest.mark.skipif(not HAS_COMPILER, reason="there is no C++ compiler")
@pytest.mark.skipif(not build_tools_are_there(), reason="setuptools 77 is not installed")
def test_the_wheel_holds_everything_it_needs(tmp_path: Path) -> None:
    python = environment(tmp_path / "env")
    pip(python, "wheel", str(source(tmp_path / "source")), "-w", str(tmp_path / "wheels"))
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    run(python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel))
    instructions, warnings = run(python, "-c", SOLVE, str(tmp_path / "env")).split()
    assert instructions in ("avx512", "avx2", "baseline")
    assert warnings == "0"
    (tmp_path / "projection.opt").write_text(PROGRAM)
    assert run(python, "-c", COMPILE, str(tmp_path / "projection.opt")) == "simplex_projection"


@pytest.mark.skipif(not HAS_COMPILER, reason="there is no C++ compiler")
@pytest.mark.skipif(not build_tools_are_there(), reason="setuptools 77 is not installed")
def test_an_editable_install_builds_the_kernels(tmp_path: Path) -> None:
    python = environment(tmp_path / "env")
    tree = source(tmp_path / "source")
    pip(python, "install", "-e", str(tree))
    instructions, warnings = run(python, "-c", SOLVE, str(tree)).split()
    assert instructions in ("avx512", "avx2", "baseline")
    assert warnings == "0"


@pytest.mark.skipif(not build_tools_are_there(), reason="setuptools 77 is not installed")
@pytest.mark.parametrize("editable", [True, False], ids=["editable", "wheel"])
def test_without_a_compiler_torch_serves_and_says_so_once(editable: bool, tmp_path: Path) -> None:
    python = environment(tmp_path / "env")
    tree = source(tmp_path / "source")
    pip(python, "install", *(["-e"] if editable else []), str(tree), CC="false", CXX="false")
    where = tree if editable else tmp_path / "env"
    assert run(python, "-c", SOLVE, str(where)).split() == ["None", "1"]


@pytest.mark.parametrize(
    "file",
    [
        "runtime/test_interior_point.py",
        "runtime/test_native.py",
        "runtime/test_simplex_projection.py",
        "conformance/test_failures.py",
        "conformance/test_gradients.py",
    ],
)
def test_the_same_tests_pass_without_the_kernels(file: str) -> None:
    arguments = ["-m", "pytest", "-q", "-p", "tests.native.without_kernels", "-p", "no:xdist", "-m", "not slow"]
    done = subprocess.run(
        [sys.executable, *arguments, f"tests/{file}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
