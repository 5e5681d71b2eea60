"""Files of the project that no package holds, loaded in the test's process: modules, plugins and scripts."""

from __future__ import annotations

import re
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

from ansible import module_utils

ROOT = Path(__file__).parents[1]


def provide_module_utils() -> None:
    """Make the project's module_utils importable as Ansible does: as ansible.module_utils.NAME."""
    ours = str(ROOT / "module_utils")
    if ours not in module_utils.__path__:
        module_utils.__path__.append(ours)


def load(path: str) -> ModuleType:
    """The file of this path in the project as a Python module."""
    provide_module_utils()
    name = "loaded_" + re.sub(r"\W", "_", path)
    spec = spec_from_loader(name, SourceFileLoader(name, str(ROOT / path)))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
