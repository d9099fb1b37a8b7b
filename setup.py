"""Builds the compiled kernels; everything else about the package is in pyproject.toml.

One shared library holds the kernels of several instruction sets and chooses among them when it is loaded. Each source
file is compiled with the flags of its own set, which an `Extension` by itself cannot say. Where there is no compiler,
or it fails, the package installs without them and torch serves instead.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCES = Path("declarative/runtime/native/src")
COMMON = [
    "-std=c++17",
    "-O3",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-Wno-psabi",
]
X86 = {
    "isa_avx512": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma"],
    "isa_avx2": ["-mavx2", "-mfma"],
}


def sources() -> list[Path]:
    """The files to compile for this processor."""
    names = ["engine", "threads", "isa_baseline"]
    if platform.machine().lower() in ("x86_64", "amd64", "i686"):
        names += X86
    return [SOURCES / f"{name}.cpp" for name in names]


class BuildKernels(build_ext):
    """Compiles every source with the flags of its instruction set and links them into one library."""

    def build_extension(self, ext: Extension) -> None:
        objects: list[str] = []
        for source in sources():
            flags = [*COMMON, *X86.get(source.stem, [])]
            compiled: Any = self.compiler.compile(
                [str(source)], output_dir=self.build_temp, extra_postargs=flags, depends=ext.depends
            )
            objects += compiled
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
