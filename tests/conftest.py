"""What holds for every test."""

from __future__ import annotations

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
