"""Imports of libraries without a dependency that they load for a part that nobody here uses."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def spared(name: str) -> Iterator[None]:
    """While the context lasts, imports of a module that is not loaded find an empty one; its submodules are missing.
    Elsewhere in the process the module is as it was."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = ModuleType(name)
    try:
        yield
    finally:
        del sys.modules[name]
