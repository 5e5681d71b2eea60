"""Caps name what is wrong with them, and count over rolling windows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from position_manager.orders.caps import Caps, windows


@pytest.mark.parametrize("name", ["orders_per_minute", "orders_per_day", "quantity", "notional"])
def test_a_cap_must_be_above_zero(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0; it must be more than 0"):
        Caps(**{name: 0})  # type: ignore[arg-type]  # a zero of any type is refused


def test_no_midnight_opens_a_cap_again() -> None:
    midnight = datetime(2026, 11, 23, tzinfo=UTC)
    assert windows(midnight) == (midnight - timedelta(minutes=1), midnight - timedelta(hours=24))
