"""The compiled library, loaded once, and the calls into it.

It is a plain shared library with a C interface: it links against nothing of torch, and ctypes releases the interpreter
lock while it runs. A call is one array of 64-bit integers, laid out as the structures of ``src/call.hpp``. Where the
package was installed without a compiler the library is absent, and everything is served by torch; so it is where the
library was built from other sources than those beside it, since the layouts of a call may differ.
"""

from __future__ import annotations

import ctypes
import functools
import struct
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from declarative.runtime.native.fingerprint import fingerprint


@functools.cache
def library() -> ctypes.CDLL | None:
    """The library, or None, with one warning, where it was not built, cannot be loaded or is of other sources."""
    folder = Path(__file__).parent
    found = sorted(folder.glob("_engine*.so")) + sorted(folder.glob("_engine*.pyd"))
    try:
        loaded = ctypes.CDLL(str(found[-1])) if found else None
    except OSError:
        loaded = None
    if loaded is None:
        _torch_serves("are not installed", "install a C++ compiler and reinstall to build them")
        return None
    if _built_from(loaded) != (fingerprint() or _built_from(loaded)):
        _torch_serves("were built from other sources than these", "reinstall (`pip install -e .`) to build them again")
        return None
    loaded.declarative_instructions.restype = ctypes.c_char_p
    return loaded


def _built_from(loaded: ctypes.CDLL) -> str | None:
    """The fingerprint of the sources that a library was built from, None where it does not say."""
    try:
        function = loaded.declarative_sources
    except AttributeError:
        return None
    function.restype = ctypes.c_char_p
    told: bytes = function()
    return told.decode()


def _torch_serves(why: str, remedy: str) -> None:
    warnings.warn(
        f"the compiled kernels {why}, torch serves in their place, more slowly; {remedy}", RuntimeWarning, stacklevel=3
    )


def instructions() -> str | None:
    """The instruction set in use (``avx512``, ``avx2`` or ``baseline``), None without the library."""
    loaded = library()
    return None if loaded is None else loaded.declarative_instructions().decode()


def limit_instructions(level: int) -> None:
    """Use AVX-512 (2), at most AVX2 (1) or the baseline (0), where the processor has it; for comparison and tests."""
    loaded = library()
    if loaded is not None:
        loaded.declarative_limit_instructions(ctypes.c_int(level))


def serves(tensors: Sequence[Tensor]) -> bool:
    """Whether the library may be called on these tensors: real data in float32 or float64, in the CPU's memory."""
    if torch.compiler.is_compiling() or tensors[0].dtype not in (torch.float64, torch.float32):
        return False
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor
    for t in tensors:
        if type(t) not in (Tensor, torch.nn.Parameter) or not t.is_cpu or wrapped(t):
            return False
    return library() is not None


OUT_OF_MEMORY = 1


def call(name: str, fields: Sequence[int]) -> bool:
    """Call ``declarative_<name>`` of a library that is there; whether it left instances to other means. Raises
    MemoryError where it ran out of memory."""
    told = _function(name)(_integers(len(fields)).pack(*fields))
    if told == OUT_OF_MEMORY:
        raise MemoryError(f"the compiled kernel `{name}` ran out of memory")
    return told != 0


@functools.cache
def _function(name: str) -> Callable[[bytes], int]:
    function: Callable[[bytes], int] = getattr(library(), f"declarative_{name}")
    return function


@functools.cache
def _integers(count: int) -> struct.Struct:
    return struct.Struct(f"{count}q")
