"""The operators of torch that graphs of layers are made of, there as soon as this package and torch are imported.

``torch.export.load`` finds an operator in a graph by its name, and knows no module that would register it; the import
of this package has to, and must not import torch for those who only check or format programs. So where torch is not
there yet, its import is followed by the registration.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def register() -> None:
    """Register the operators now where torch is imported, and otherwise when it is."""
    if "torch" in sys.modules:
        import_module("declarative.runtime.graph")
    else:
        sys.meta_path.insert(0, _Torch())


class _Torch(MetaPathFinder):
    """Finds torch as the others do, once, and registers the operators at the end of its import."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        loader: Any = None if spec is None else spec.loader
        if loader is not None:
            run = loader.exec_module

            def run_and_register(module: ModuleType) -> None:
                run(module)
                if "declarative.runtime" not in sys.modules:  # which is importing torch, and registers them itself
                    register()

            loader.exec_module = run_and_register
        return spec
