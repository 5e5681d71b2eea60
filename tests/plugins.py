"""Files of the project that no package holds, loaded in the test's process: modules, plugins and scripts."""

from __future__ import annotations

import re
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

from ansible import module_utils
from ansible.plugins.loader import filter_loader

ROOT = Path(__file__).parents[1]


def provide_shared_code() -> None:
    """Provide what ansible.cfg does: module_utils as ansible.module_utils.NAME, and the roles' common filters."""
    ours = str(ROOT / "module_utils")
    if ours not in module_utils.__path__:
        module_utils.__path__.append(ours)
        filter_loader.add_directory(str(ROOT / "filter_plugins"))


def load(path: str) -> ModuleType:
    """The file of this path in the project as a Python module."""
    provide_shared_code()
    name = "loaded_" + re.sub(r"\W", "_", path)
    spec = spec_from_loader(name, SourceFileLoader(name, str(ROOT / path)))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
