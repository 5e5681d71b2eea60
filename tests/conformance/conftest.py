"""Which flows are run with the real controllers."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """All flows take some minutes; the usual choice has one of each kind."""
    parser.addoption(
        "--conformance-full", action="store_true", help="run every flow with the real login controllers, not a choice"
    )
