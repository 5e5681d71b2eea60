"""What holds for every test."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

# The accounts of tests are invented, and the same in all of them: two runs on a machine must not see each other.
os.environ.setdefault("POSITION_MANAGER_CLAIM_SCOPE", f"tests of process {os.getpid()}")


@pytest.fixture(autouse=True)
def own_umask() -> Iterator[None]:
    """A command that is run in the test's own process may set the mask for new files: it is of that command alone."""
    before = os.umask(0o022)
    yield
    os.umask(before)


LIBRARIES = ("urllib3", "apprise")


@pytest.fixture(autouse=True)
def loggers_as_before() -> Iterator[None]:
    """A target of notifications silences the loggers of the libraries beneath it, as they would log its address."""
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    loggers += [
        found
        for name, found in logging.root.manager.loggerDict.items()
        if isinstance(found, logging.Logger) and name.startswith(LIBRARIES)
    ]
    before = [(each, each.level, each.propagate) for each in loggers]
    yield
    for each, level, propagate in before:
        each.setLevel(level)
        each.propagate = propagate
