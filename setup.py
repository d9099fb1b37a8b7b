"""Builds the compiled kernels; everything else about the package is in pyproject.toml.

One shared library holds the kernels of several instruction sets and chooses among them when it is loaded. Each source
file is compiled with the flags of its own set, which an `Extension` by itself cannot say. Where there is no compiler,
or it fails, the package installs without them and torch serves instead.
"""

from __future__ import annotations

import os
import platform
import runpy
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NATIVE = Path("declarative/runtime/native")
SOURCES = NATIVE / "src"
COMMON = [
    "-std=c++17",
    "-O3",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-Wno-psabi",
]
# GCC 12 takes what its own header of intrinsics leaves undefined for a mistake, hundreds of times.
QUIET = ["-Wno-uninitialized", "-Wno-maybe-uninitialized"]
X86 = {
    "isa_avx512": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", *QUIET],
    "isa_avx2": ["-mavx2", "-mfma"],
}


def sources() -> list[Path]:
    """The files to compile for this processor."""
    names = ["engine", "threads", "isa_baseline"]
    if platform.machine().lower() in ("x86_64", "amd64", "i686"):
        names += X86
    return [SOURCES / f"{name}.cpp" for name in names]


class BuildKernels(build_ext):
    """Compiles every source with the flags of its instruction set, as many at once as processors, and links them."""

    def build_extension(self, ext: Extension) -> None:
        fingerprint = runpy.run_path(str(NATIVE / "fingerprint.py"))["fingerprint"]()
        macros = [("DECLARATIVE_SOURCES", f'"{fingerprint}"')]
        Path(self.build_temp, SOURCES).mkdir(parents=True, exist_ok=True)  # as they would race to make it

        def compiled(source: Path) -> Any:
            flags = [*COMMON, *X86.get(source.stem, [])]
            return self.compiler.compile(
                [str(source)], output_dir=self.build_temp, macros=macros, extra_postargs=flags, depends=ext.depends
            )

        with ThreadPoolExecutor(os.cpu_count()) as several:
            objects = [name for names in several.map(compiled, sources()) for name in names]
        ext.sources, ext.extra_objects = [], objects
        super().build_extension(ext)


if __name__ == "__main__":
    setup(
        ext_modules=[
            Extension(
                "declarative.runtime.native._engine",
                sources=[],
                depends=[str(header) for header in sorted(SOURCES.glob("*.hpp"))],
                language="c++",
                extra_link_args=["-pthread"] if platform.system() != "Windows" else [],
                optional=True,
            )
        ],
        cmdclass={"build_ext": BuildKernels},
    )
