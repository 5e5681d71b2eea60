"""`orders.foreign_exits: cancel`: resting exits of others are cancelled before a close, and nothing is sent until that
is proven. With `keep`, the default, they are never touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.position_manager.engine_world import ACCOUNT, SECOND, Manager, Order, World, put
from tests.unit.position_manager.test_blocked import SHARES, holding, shown
from tests.unit.position_manager.test_engine import play

from position_manager.engine.foreign_exits import exits
from position_manager.journal.reader import JournalReader
from position_manager.model import Position
from position_manager.orders.evidence import LIVE_STATUSES, OpenOrder
from position_manager.orders.intents import Side
from position_manager.reports.explain import words

KEEP: Mapping[str, Any] = {"mode": "paper", "defaults": {"stop": {"percent_of_premium": 20}}}
CANCEL: Mapping[str, object] = {**KEEP, "orders": {"foreign_exits": "cancel"}}


def shares(*rest: tuple[Side, int]) -> tuple[World, list[Order]]:
    """Ten shares at 100, with orders of others."""
    at = holding(SHARES, 10, "100")
    return at, [at.foreign(42, side, quantity) for side, quantity in rest]


async def falls(at: World, seconds: int = 4) -> None:
    for _ in range(seconds):
        at.quote(42, "70.00", "70.02")
        await at.clock.advance(1)


def test_an_exit_of_the_user_is_cancelled_at_a_stop_and_then_the_position_is_closed(tmp_path: Path) -> None:
    at, (theirs, buys, larger) = shares((Side.SELL, 10), (Side.BUY, 5), (Side.SELL, 11))
    larger.sent = replace(larger.sent, account=SECOND)

    async def story(at: World, manager: Manager) -> None:
        assert shown(manager).verdict == "guarded", "it would not be in the way"
        await falls(at)
        assert at.foreign_cancels == [theirs]
        assert [order.quantity for order in at.received[:1]] == [10]
        (reported,) = [message for message in manager.reported if message.kind == "exit_cancelled"]
        assert "SELL 10 of a person" in reported.title
        assert "stop closes AAPL" in reported.text()
        with JournalReader(tmp_path / "journal.db") as journal:
            lines = [line for event in journal.events(instrument=(ACCOUNT, 42)) for line in words(event)]
        assert "Cancel of an exit order of another client" in lines
        assert "Exit order of another client is over" in lines
        assert not buys.over
        assert not larger.over

    play(tmp_path, at, story, CANCEL)


def test_an_exit_of_the_user_stays_when_only_a_part_is_closed(tmp_path: Path) -> None:
    """It guards the rest; cancelled for a partial target, the rest would have no stop of the user."""
    at, (theirs,) = shares((Side.SELL, 4))
    parts = {"levels": [{"percent_of_premium": 10, "close_percent": 50}]}

    async def story(at: World, manager: Manager) -> None:
        for _ in range(6):
            at.quote(42, "112.00", "112.02")
            await at.clock.advance(1)
        assert not at.foreign_cancels
        assert not theirs.over
        assert [order.quantity for order in at.received] == [5]

    play(tmp_path, at, story, {**CANCEL, "defaults": {"partial_targets": parts}})


def test_by_default_exits_of_the_user_stay(tmp_path: Path) -> None:
    at, (theirs,) = shares((Side.SELL, 4))

    async def story(at: World, manager: Manager) -> None:
        await falls(at)
        assert not at.foreign_cancels
        assert not theirs.over
        assert at.received[0].quantity == 6

    play(tmp_path, at, story, KEEP)


def test_a_cancel_that_is_not_confirmed_means_no_order(tmp_path: Path) -> None:
    """Not even for what it does not cover; once it is proven the whole is closed."""
    at, (theirs,) = shares((Side.SELL, 4))
    at.cancels_at_once = False

    async def story(at: World, manager: Manager) -> None:
        await falls(at, 60)
        assert not at.received
        assert len(at.foreign_cancels) > 1, "it is asked for again"
        unit = shown(manager)
        assert unit.verdict == "unprotected"
        assert "waits for the proven cancel of SELL 4 of a person" in unit.text
        assert manager.kinds.count("exit_cancelled") == 1
        theirs.over = "Cancelled"
        await falls(at, 4)
        assert at.received[0].quantity == 10

    play(tmp_path, at, story, CANCEL)


def test_an_order_that_vanishes_without_a_proof_is_waited_for(tmp_path: Path) -> None:
    """Neither open nor completed: it may be executed at this moment."""
    at, (theirs,) = shares((Side.SELL, 10))

    def gone(question: str) -> None:
        if question == "open orders" and theirs.over and theirs in at.orders:
            at.orders.remove(theirs)

    async def story(at: World, manager: Manager) -> None:
        at.on_ask = gone
        await falls(at, 20)
        assert at.foreign_cancels
        assert not at.received

    play(tmp_path, at, story, CANCEL)


def test_an_exit_that_leaves_room_for_a_part_stays(tmp_path: Path) -> None:
    """A partial target sells five of ten, and an exit of the user for four protects the rest."""
    at, (theirs,) = shares((Side.SELL, 4))
    levels = {"levels": [{"percent_of_premium": 10, "close_percent": 50}]}
    config = {
        **CANCEL,
        "defaults": {**KEEP["defaults"], "target": {"percent_of_premium": 50}, "partial_targets": levels},
    }

    async def story(at: World, manager: Manager) -> None:
        for _ in range(4):
            at.quote(42, "115.00", "115.02")
            await at.clock.advance(1)
        assert [order.quantity for order in at.received] == [5]
        assert not theirs.over and not at.foreign_cancels

    play(tmp_path, at, story, config)


@pytest.mark.parametrize("link", ["stays", "is lost in between"])
def test_an_order_that_is_found_nowhere_for_a_minute_is_not_waited_for_any_longer(tmp_path: Path, link: str) -> None:
    """Completed orders of another day are not listed: the position must not stay open for ever."""
    at, (theirs,) = shares((Side.SELL, 10))

    def gone(question: str) -> None:
        if question == "open orders" and theirs.over and theirs in at.orders:
            at.orders.remove(theirs)

    async def story(at: World, manager: Manager) -> None:
        at.on_ask = gone
        await falls(at, 55)
        assert at.foreign_cancels and not at.received
        if link == "is lost in between":
            assert at.port is not None
            at.port.drop()
            await falls(at, 55)
            assert manager.engine.ready and not at.received, "the absences of before do not count"
        await falls(at, 40)
        assert at.received[0].quantity == 10

    play(tmp_path, at, story, CANCEL)


def test_an_exit_that_is_filled_meanwhile_is_not_sold_twice(tmp_path: Path) -> None:
    at, (theirs,) = shares((Side.SELL, 10))
    at.cancels_at_once = False

    async def story(at: World, manager: Manager) -> None:
        await falls(at, 4)
        assert at.foreign_cancels
        at.fill(theirs, 10, "70.00")
        await falls(at, 10)
        assert at.positions[42] == 0
        assert not at.received

    play(tmp_path, at, story, CANCEL)


def test_one_that_cannot_be_cancelled_stays_and_the_rest_is_closed(tmp_path: Path) -> None:
    """Its program is connected with its client id."""
    at, (theirs,) = shares((Side.SELL, 4))
    at.fail.add("cancel of another client's order")

    async def story(at: World, manager: Manager) -> None:
        await falls(at, 6)
        assert not theirs.over
        assert at.received[0].quantity == 6
        (reported,) = [message for message in manager.reported if message.kind == "exit_not_cancelled"]
        assert "Cancel it in TWS" in reported.text()

    play(tmp_path, at, story, CANCEL)


@pytest.mark.parametrize("why", ["shadow", "halt", "larger than a cap"])
def test_nothing_is_cancelled_where_nothing_could_be_sent(tmp_path: Path, why: str) -> None:
    at, (theirs,) = shares((Side.SELL, 10))
    config = {**CANCEL, "mode": "shadow"} if why == "shadow" else CANCEL
    config = {**config, "caps": {"notional": 50}} if why == "larger than a cap" else config

    async def story(at: World, manager: Manager) -> None:
        if why == "halt":
            await falls(at, 1)
            (tmp_path / "HALT").touch()
        await falls(at, 20)
        assert not at.foreign_cancels
        assert not theirs.over
        assert not at.received

    play(tmp_path, at, story, config)


SIDES = st.sampled_from(list(Side))


@given(
    st.sampled_from([-3, -1, 2, 5]),
    st.tuples(st.sampled_from([ACCOUNT, SECOND]), st.sampled_from([42, 43]), SIDES, st.integers(0, 8)),
    st.sampled_from(["", "mine", "pm:THEIRS"]),
    st.sampled_from([0, 7, 100]),
    st.sampled_from([*sorted(LIVE_STATUSES), "Filled", "Cancelled"]),
)
def test_only_what_closes_this_position_and_no_more_is_ever_cancelled(
    quantity: int, what: tuple[str, int, Side, int], ref: str, client: int, status: str
) -> None:
    account, con_id, side, remaining = what
    order = OpenOrder(account, con_id, side, Decimal(remaining), 5, status, ref, client, 1)
    held = Position(ACCOUNT, put(42), Decimal(quantity), Decimal(1))
    closes = (account, con_id) == (ACCOUNT, 42) and side.sign * quantity < 0 and 0 < remaining <= abs(quantity)
    foreign = client != 100 and ref != "pm:THEIRS" and status in LIVE_STATUSES
    assert exits([order], held, 100) == ((order,) if closes and foreign else ())
