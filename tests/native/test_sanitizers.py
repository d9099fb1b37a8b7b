"""The compiled kernels under the address, undefined-behaviour and thread sanitizers; `make sanitize` runs this file.

`calls.cpp` is linked with the kernels, compiled with a sanitizer at -O1, into a program of its own, so that no part of
Python or torch is instrumented or has to be preloaded.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
COMPILER = os.environ.get("CXX", "g++")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which(COMPILER) is None, reason="there is no C++ compiler"),
]


def build_script() -> ModuleType:
    """setup.py, for the sources and the flags of each."""
    spec = importlib.util.spec_from_file_location("build_script", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sanitized(kinds: str, folder: Path) -> Path:
    """The program, compiled and linked with ``-fsanitize=kinds``."""
    script = build_script()
    common = ["-O1", "-g", f"-fsanitize={kinds}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-pthread"]
    optimisation = [flag for flag in script.COMMON if flag != "-O3"]

    def compiled(source: Path) -> str:
        target = folder / f"{source.stem}.o"
        flags = [*optimisation, *common, *script.X86.get(source.stem, [])]
        subprocess.run([COMPILER, *flags, "-c", str(source), "-o", str(target)], check=True, cwd=ROOT)
        return str(target)

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compiled, [*script.sources(), Path(__file__).parent / "calls.cpp"]))
    program = folder / "calls"
    subprocess.run([COMPILER, *common, *objects, "-o", str(program)], check=True)
    return program


@pytest.mark.parametrize("kinds", ["address,undefined", "thread"])
def test_kernels_are_clean(kinds: str, tmp_path: Path) -> None:
    try:
        program = sanitized(kinds, tmp_path)
    except subprocess.CalledProcessError as error:
        if "-o" in error.cmd and str(tmp_path / "calls") in error.cmd:
            pytest.skip(f"the compiler has no {kinds} sanitizer")
        raise
    ran = subprocess.run([str(program)], capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stdout + ran.stderr[-5000:]
    assert "0 failures" in ran.stdout
