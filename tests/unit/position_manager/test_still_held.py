"""A rule that has fired and whose position is still held: repeated notifications report what it waits for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from tests.unit.position_manager.engine_world import BEGIN, CONFIG, Manager, World, breach, short_puts
from tests.unit.position_manager.test_engine import play

from notifications.message import Message
from notifications.outbox import Outbox
from position_manager.config.schema import Config
from position_manager.model import Hours


def alerts(manager: Manager) -> list[Message]:
    return [message for message in manager.reported if message.kind == "still_held"]


def nothing_fills(_at: World) -> None:
    """It rests at the far side, for an hour."""


def the_cancel_never_comes_true(at: World) -> None:
    at.cancels_at_once = False


def it_is_inactive_without_a_201(at: World) -> None:
    at.status = "Inactive"


def the_order_vanishes(at: World) -> None:
    at.swallow = True


@pytest.mark.parametrize(
    ("hangs", "phase"),
    [
        (nothing_fills, "is WORKING"),
        (the_cancel_never_comes_true, "is CANCELLING"),
        (it_is_inactive_without_a_201, "the broker shows it as Inactive"),
        (the_order_vanishes, "is UNKNOWN"),
    ],
)
def test_it_is_alerted_about_again_and_again(tmp_path: Path, hangs: Callable[[World], None], phase: str) -> None:
    async def story(at: World, manager: Manager) -> None:
        hangs(at)
        for _ in range(90):
            at.quote(42, "3.75", "3.85")
            await at.clock.advance(1)
        assert alerts(manager) == []
        for _ in range(200):
            at.quote(42, "3.75", "3.85")
            await at.clock.advance(2)
        reported = alerts(manager)
        assert len(reported) == 4, "after 2, 4, 6 and 8 minutes"
        assert "Fired, still held: SPY 2026-12-21 450P" in reported[0].title
        assert any(phase in message.text() for message in reported), reported[0].text()
        with Outbox(tmp_path / "outbox.db", lambda: 0.0) as outbox:
            assert len({outbox.put(message, ["x"]) for message in reported}) == 1, "none is taken for a repetition"

    play(tmp_path, short_puts(), story)


def test_its_end_is_reported_and_nothing_follows(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        for _ in range(130):
            at.quote(42, "3.75", "3.85")
            await at.clock.advance(1)
        assert len(alerts(manager)) == 1
        at.fill(at.live(42)[0], 2)
        await at.clock.advance(300)
        assert len(alerts(manager)) == 1
        (over,) = [message for message in manager.reported if message.kind == "held_no_longer"]
        assert alerts(manager)[0].dedupe_key.startswith(f"{over.recovery_of}/")

    play(tmp_path, short_puts(), story)


def test_nobody_is_notified_while_the_market_is_closed(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach(at)
        await at.clock.advance(600)
        assert alerts(manager) == []

    at = short_puts()
    closes = BEGIN + timedelta(minutes=1)
    hours = Hours(BEGIN - timedelta(hours=1), closes), Hours(BEGIN + timedelta(hours=2), BEGIN + timedelta(hours=3))
    at.instruments[42] = replace(at.instruments[42], liquid_hours=hours)
    play(tmp_path, at, story)


ESCALATION = {**CONFIG, "orders": {"escalation": {"after_seconds": 60, "max_slippage_percent": 50}}}


@pytest.mark.parametrize("config", [CONFIG, ESCALATION], ids=["without", "with"])
def test_an_escalation_allows_more_after_its_time(tmp_path: Path, config: dict[str, object]) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach(at)
        for _ in range(50):
            at.quote(42, "4.98", "5.00")
            await at.clock.advance(1)
        assert max(order.limit for order in at.received) < Decimal("4.50")
        assert "escalated" not in manager.kinds
        for _ in range(40):
            at.quote(42, "4.98", "5.00")
            await at.clock.advance(1)
        goes_on = config is ESCALATION
        assert (max(order.limit for order in at.received) >= Decimal("4.98")) is goes_on
        assert manager.kinds.count("escalated") == goes_on

    play(tmp_path, short_puts(), story, config)


def test_an_escalation_must_allow_more() -> None:
    with pytest.raises(ValueError, match="must be more than max_slippage_percent"):
        Config.model_validate({"mode": "sim", "orders": {"escalation": {"max_slippage_percent": 5}}})
