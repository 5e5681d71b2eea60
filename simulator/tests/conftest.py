"""Fixtures of the simulator's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def nothing_undecodable(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test in which ib_insync could not read a message: it logs that and continues."""
    caplog.set_level("ERROR", logger="ib_insync")
    yield
    unread = [r.getMessage() for r in caplog.records if r.name == "ib_insync.Decoder"]
    assert not unread
