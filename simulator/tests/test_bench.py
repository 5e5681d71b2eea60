"""The benchmark runs and reports what it measured, with tiny numbers."""

from __future__ import annotations

import pytest
from bench.simulator import Sizes, describe, measure, report

pytestmark = pytest.mark.asyncio


async def test_a_tiny_run_measures_everything() -> None:
    sizes = Sizes(connects=2, clients=(1, 2), seconds=0.6, orders=2, working=(1, 3), traders=(2,), equal=4)
    results = await measure(sizes)
    assert results.connects > 0
    assert results.idle_memory > 1
    assert [row.clients for row in results.streams] == [1, 2]
    assert all(row.ticks > 0 for row in results.streams)
    for row in results.round_trips:
        assert len(row.opened) == len(row.filled) == 2
        # An order is acknowledged before it reaches the market, 50 ms later.
        assert all(0 < opened < filled for opened, filled in zip(row.opened, row.filled, strict=True))
        assert min(row.filled) >= 0.05
    [together] = results.traders
    assert together.clients == 2
    assert together.orders > 0
    assert len(together.opened) >= 2
    assert results.equal > 1
    page = report(results, sizes, "2026-11-23")
    assert [line.split("|")[1].strip() for line in page.splitlines() if line[:3] in ("| 1", "| 2", "| 3")] == list(
        "12132"
    )


async def test_percentiles_are_by_nearest_rank() -> None:
    assert describe([number / 1000 for number in range(100, 0, -1)]) == "50.5 / 99.0"
