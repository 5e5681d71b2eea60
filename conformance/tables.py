"""The rows of each controller, by flow."""

from __future__ import annotations

from conformance.expected import IBC, Row
from conformance.expected_ibcontroller import IBCONTROLLER

__all__ = ["TABLES"]

TABLES: dict[str, dict[str, Row]] = {"ibc": IBC, "ibcontroller": IBCONTROLLER}
