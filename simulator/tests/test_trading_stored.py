"""What a gateway keeps of its trading: over its own restarts, and in files over the program's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from ib_insync import LimitOrder, MarketOrder, Stock
from simulator.tests.insync_client import Client

from gateway_simulator.clock import SystemClock
from gateway_simulator.login.lifecycle import Gateway, GatewayError, View
from gateway_simulator.login.steps import Happening, LoginState
from gateway_simulator.settings import GatewaySettings, Scenario

DEADLINE = 20.0
APPLE = Stock("AAPL", "SMART", "USD")


@asynccontextmanager
async def gateway(path: Path, **changes: str) -> AsyncIterator[tuple[Gateway, asyncio.Queue[View], list[str]]]:
    """A gateway with a held clock that has logged in."""
    scenario = Scenario()
    wanted = {"START_SECONDS": "0", "CLOCK": "held", "CLOCK_START": "2026-11-23T15:00:00", "READ_ONLY": "no"}
    for key, value in (wanted | changes).items():
        scenario = scenario.changed(key, value)
    views: asyncio.Queue[View] = asyncio.Queue()
    lines: list[str] = []
    made = Gateway(
        GatewaySettings(user="user", password="secret", settings_path=path),
        scenario,
        clock=SystemClock(),
        host="127.0.0.1",
        port=0,
        write_line=lines.append,
        show=views.put_nowait,
    )
    run = asyncio.create_task(made.run())
    try:
        await logged_in(views, run)
        yield made, views, lines
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


async def logged_in(views: asyncio.Queue[View], run: asyncio.Task[int] | None = None) -> None:
    """Wait for the login; raise what ended the gateway instead."""
    async with asyncio.timeout(DEADLINE):
        while True:
            seen = asyncio.create_task(views.get())
            await asyncio.wait([seen, *([run] if run else [])], return_when=asyncio.FIRST_COMPLETED)
            if not seen.done():
                assert run is not None
                run.result()
            if (await seen).state is LoginState.LOGGED_IN:
                return


async def trade(made: Gateway) -> None:
    """Fill one order and leave another at work."""
    async with Client() as client:
        ib = await client.connect(made.api)
        resting = ib.placeOrder(APPLE, LimitOrder("BUY", 2, 1.5, tif="GTC"))
        filled = ib.placeOrder(APPLE, MarketOrder("BUY", 10))
        await client.until(lambda: resting.orderStatus.status == filled.orderStatus.status == "Submitted")
        made.api.floor.move(5)
        await client.until(lambda: filled.orderStatus.status == "Filled")


async def assert_stored(made: Gateway) -> None:
    async with Client() as client:
        ib = await client.connect(made.api)
        assert [(t.order.lmtPrice, t.orderStatus.status) for t in ib.openTrades()] == [(1.5, "Submitted")]
        assert [f.execution.shares for f in ib.fills()] == [10]
        assert {p.contract.symbol: p.position for p in ib.positions()} == {"AAPL": 110, "MSFT": 50}
        assert ib.client.getReqId() > 2


def test_trading_goes_on_over_the_daily_restart(tmp_path: Path) -> None:
    async def scene() -> None:
        async with gateway(tmp_path) as (made, views, _):
            await trade(made)
            made.happen(Happening.DAILY_RESTART)
            await logged_in(views)
            assert made.view.run == 2
            await assert_stored(made)

    asyncio.run(scene())


def test_the_state_outlives_the_program_with_its_clock(tmp_path: Path) -> None:
    async def scene() -> None:
        async with gateway(tmp_path) as (made, _, _):
            await trade(made)
            made.api.brokerage.market.set_price("MSFT", made.api.clock.utc(), last=Decimal(123))
            left = made.api.clock.utc()
        async with gateway(tmp_path) as (made, _, _):
            assert made.api.clock.utc() == left
            assert made.api.brokerage.market.quote(272093, left).last == 123
            await assert_stored(made)
        assert (tmp_path / "simulator-state.json").stat().st_mode & 0o777 == 0o600

    asyncio.run(scene())


def test_a_price_that_is_set_is_kept_at_once(tmp_path: Path) -> None:
    async def scene() -> None:
        async with gateway(tmp_path) as (made, _, _):
            file = tmp_path / "simulator-state.json"
            before = file.read_text() if file.exists() else ""
            made.api.brokerage.market.set_price("MSFT", made.api.clock.utc(), last=Decimal(123))
            made.api.floor.tick()
            assert "123" in file.read_text() != before

    asyncio.run(scene())


def test_the_state_of_other_accounts_is_left_behind(tmp_path: Path) -> None:
    async def scene() -> None:
        async with gateway(tmp_path) as (made, _, _):
            await trade(made)
        async with gateway(tmp_path, ACCOUNTS="DU7654321") as (made, _, lines):
            assert made.api.brokerage.orders == []
            assert any(
                "is the state of DU1234567" in line and "starting with a new brokerage" in line for line in lines
            )

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("content", "changes", "reason"),
    [
        ("{", {}, "state.json"),
        (None, {"ACCOUNTS": "DU7654321"}, "is the state of DU1234567, and the gateway logs in with DU7654321"),
        (None, {"SEED": "2"}, "seed"),
    ],
)
def test_a_state_file_that_was_named_must_fit(
    content: str | None, changes: dict[str, str], reason: str, tmp_path: Path
) -> None:
    file = tmp_path / "state.json"

    async def scene() -> None:
        async with gateway(tmp_path, STATE_FILE=str(file)) as (made, _, _):
            await trade(made)
        if content is not None:
            file.write_text(content)
        with pytest.raises(GatewayError, match=reason):
            async with gateway(tmp_path, STATE_FILE=str(file), **changes):
                pass

    asyncio.run(scene())


def test_a_tape_that_is_not_there_is_reported(tmp_path: Path) -> None:
    async def scene() -> None:
        with pytest.raises(GatewayError, match=r"cannot start to trade.*none\.csv"):
            async with gateway(tmp_path, TAPE=str(tmp_path / "none.csv")):
                pass

    asyncio.run(scene())


def test_the_journal_is_written_to_its_file(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"

    async def scene() -> list[str]:
        async with gateway(tmp_path, JOURNAL_FILE=str(file)) as (made, _, _):
            await trade(made)
            return list(made.api.brokerage.journal)

    journal = asyncio.run(scene())
    assert file.read_text().splitlines() == journal
    assert sum(json.loads(line)["event"] == "OrderFilled" for line in journal) == 1


def test_a_file_that_cannot_be_written_is_reported_once_and_trading_goes_on(tmp_path: Path) -> None:
    async def scene() -> None:
        async with gateway(tmp_path, JOURNAL_FILE=str(tmp_path / "no" / "journal")) as (made, _, lines):
            await trade(made)
            assert sum("the journal is no longer written" in line for line in lines) == 1
            await assert_stored(made)

    asyncio.run(scene())
