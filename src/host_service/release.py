"""The release of the project that is installed."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "ib-gateway-ansible"


@cache
def release() -> str:
    """Its version."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "(not installed: run from its source)"
