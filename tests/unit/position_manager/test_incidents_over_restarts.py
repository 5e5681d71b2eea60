"""Incidents that a killed run has reported: the next run ends them, so that the next one of the kind is sent again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.unit.position_manager.engine_world import CONFIG, Manager, short_puts

from notifications.dedupe import Verdict
from notifications.outbox import Outbox
from position_manager.brokers.broker import CodeReceived

LOST = CodeReceived(1100, "Connectivity between IB and Trader Workstation has been lost.")
FARM = CodeReceived(2103, "Market data farm connection is broken:usfarm")
QUOTES = CodeReceived(10197, "No market data during competing live session", 0, 42)
ENDED_AT_START = {
    *("connection", "connection/page/login", "farm/usfarm", "quotes/42", "journal", "halt", "rival"),
    *("unprotected/DU1234567 contract 42/no quote", "account-unprotected/DU1234567/drawdown"),
}
"""Keys of incidents that a run can report."""
SHADOW = {**CONFIG, "mode": "shadow"}


@pytest.mark.parametrize(
    ("event", "kind", "end"),
    [
        (LOST, "connection_lost", "connection_back"),
        (FARM, "farm_down", "farm_unknown"),
        (QUOTES, "quotes_suspended", "quotes_unknown"),
    ],
)
def test_the_next_incident_after_a_killed_run_is_sent(tmp_path: Path, event: CodeReceived, kind: str, end: str) -> None:
    async def story() -> list[str]:
        at, reported = short_puts(), []
        for seed in range(2):
            manager = Manager(at, tmp_path, seed=seed)
            await manager.start()
            await at.clock.advance(5)
            at.emit(event)
            await at.clock.advance(5)
            reported += manager.reported
            await manager.kill()
        with Outbox(tmp_path / "outbox.db", lambda: 0.0) as outbox:
            return [each.kind for each in reported if outbox.put(each, ["x"]) is Verdict.SEND]

    sent = [each for each in asyncio.run(story()) if each in (kind, end)]
    assert sent == [kind, end, kind]


@pytest.mark.parametrize(("config", "left"), [(CONFIG, set()), (SHADOW, {"rival"})])
def test_a_start_ends_all_that_is_over(tmp_path: Path, config: Mapping[str, object], left: set[str]) -> None:
    """Shadow cannot see other managers."""

    async def story() -> None:
        at = short_puts()
        at.incidents |= ENDED_AT_START
        manager = Manager(at, tmp_path, config)
        await manager.start()
        await at.clock.advance(10)
        assert at.incidents == left
        await manager.end()

    asyncio.run(story())


def test_a_halt_that_lasts_is_not_reported_as_ended(tmp_path: Path) -> None:
    async def story() -> None:
        at = short_puts()
        at.incidents.add("halt")
        (tmp_path / "HALT").touch()
        manager = Manager(at, tmp_path)
        await manager.start()
        await at.clock.advance(10)
        assert "resumed" not in manager.kinds
        (tmp_path / "HALT").unlink()
        await at.clock.advance(10)
        assert manager.kinds.count("resumed") == 1
        await manager.end()

    asyncio.run(story())


def test_a_start_without_an_incident_before_it_reports_and_logs_no_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        at = short_puts()
        manager = Manager(at, tmp_path)
        await manager.start()
        await at.clock.advance(10)
        assert [message.title for message in manager.reported if message.recovery_of] == []
        await manager.end()

    with caplog.at_level(logging.INFO):
        asyncio.run(story())
    assert "Connected to" in caplog.text
    assert not {"again", "unknown", "Resumed"} & set(caplog.text.replace(":", " ").split())
