"""What holds for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def own_umask() -> Iterator[None]:
    """A command that is run in the test's own process may set the mask for new files: it is of that command alone."""
    before = os.umask(0o022)
    yield
    os.umask(before)
