"""The drill: over the gateway simulator and its real socket, over the simulated broker, and with a broken engine."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from ib_insync import ExecutionFilter, Stock
from tests.integration.trading_gateway import ACCOUNT, TradingGateway, order, person, resting, trading_gateway

from position_manager.brokers.ib_broker import IbBroker
from position_manager.clock import SystemClock
from position_manager.config.schema import Config, Mode
from position_manager.drill.bench import DrillError
from position_manager.drill.cases import CASES, SIM_CASES, Case, Moment, Tripwire
from position_manager.drill.command import Options, run
from position_manager.drill.drill import Conditions, Report, one_by_one
from position_manager.drill.fence import Fence, FenceError, Field
from position_manager.drill.gateway import Wish, opened
from position_manager.journal.reader import JournalReader
from position_manager.journal.records import OrderToSend
from position_manager.model import Instrument, Kind
from position_manager.orders.evidence import Patience
from position_manager.orders.intents import Side
from position_manager.paths import Paths

SHORT = Patience(passes=2, span=timedelta(milliseconds=100))
WISH = Wish("SPY", option=False, account=None, client_id=7900)
NAMED = {case.name: case for case in CASES}


def paths(directory: Path, config: str) -> Paths:
    found = Paths(directory / "pm.yml", directory / "state", directory / "run")
    found.config.write_text(config)
    found.state.mkdir()
    return found


async def drilled(
    gateway: TradingGateway, directory: Path, cases: tuple[Case, ...], *, patience: Patience = SHORT, **more: Any
) -> Report:
    config = Config.model_validate({"mode": "paper", "gateway": {"port": gateway.port}})
    on = Conditions(SystemClock(), directory / "HALT", patience)
    own = directory / "drill"
    own.mkdir()
    async with opened(config, more.pop("wish", WISH), clock=on.clock, settle=timedelta()) as bench:
        return await one_by_one(cases, bench, own, on, more.pop("progress", lambda *_: None))


@pytest.mark.asyncio
async def test_every_case_is_closed_once_and_nothing_else_is_touched(tmp_path: Path) -> None:
    async with trading_gateway(tmp_path) as gateway, person(gateway) as by_hand:
        before = {p.contract.symbol: p.position for p in await by_hand.reqPositionsAsync()}
        (apple,) = await by_hand.qualifyContractsAsync(Stock("AAPL", "SMART", "USD"))
        await resting(by_hand, apple, "BUY", 1, 1.0)
        report = await drilled(gateway, tmp_path, CASES)
        assert [outcome.faults for outcome in report.outcomes] == [()] * len(CASES)
        assert report.passed
        fills = await by_hand.reqExecutionsAsync(ExecutionFilter(symbol="SPY"))
        sold = [fill.execution for fill in fills if fill.execution.side == "SLD"]
        assert [one.shares for one in sold] == [1] * len(CASES)
        assert len({one.orderRef for one in sold}) == len(CASES)
        held = {p.contract.symbol: p.position for p in await by_hand.reqPositionsAsync() if p.position}
        assert held == before
        assert "AAPL" in held
        assert [t.order.clientId for t in await by_hand.reqAllOpenOrdersAsync()] == [7]
        ends = {o.case.moment: [text.split(" → ")[-1] for text in o.seen] for o in report.outcomes}
        for moment in (Moment.WRITTEN, Moment.LEFT, Moment.HALF_SENT):
            assert ends[moment] == ["LOST", "FILLED"], moment
        for moment in (Moment.ARRIVED, Moment.HALF_ACKNOWLEDGED, Moment.ACKNOWLEDGED):
            assert ends[moment] == ["FILLED"], moment
        acknowledged = next(o for o in report.outcomes if o.case.moment is Moment.ACKNOWLEDGED)
        assert "WORKING → UNKNOWN" in acknowledged.seen[0], "its acknowledgement was reported, its fill was not"


@pytest.mark.asyncio
async def test_an_option_is_closed_once(tmp_path: Path) -> None:
    async with trading_gateway(tmp_path) as gateway:
        wish = Wish("SPY", option=True, account=None, client_id=7900)
        report = await drilled(gateway, tmp_path, (NAMED["before-its-fill"],), wish=wish)
        assert report.passed, report
        assert report.outcomes[0].label.endswith("C")


class Twice(IbBroker):
    """A broken one: every order leaves twice."""

    def send(self, order: OrderToSend, instrument: Instrument, *, tif: str, outside_rth: bool) -> None:
        again = OrderToSend(**{**vars(order), "order_id": order.order_id + 1, "oca_group": ""})
        for one in (order, again):
            super().send(one, instrument, tif=tif, outside_rth=outside_rth)


@pytest.mark.asyncio
async def test_an_engine_that_sends_twice_fails_and_what_is_left_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with trading_gateway(tmp_path) as gateway:
        where = paths(tmp_path, f"mode: paper\ngateway: {{port: {gateway.port}}}\n")
        options = Options(Mode.PAPER, WISH, as_json=True, patience=SHORT, create_broker=Twice)
        assert await asyncio.to_thread(run, where, options) == 1
        said = json.loads(capsys.readouterr().out)
        assert not said["passed"]
        (first,) = said["cases"]  # nothing more is bought after a failure
        assert "2 closed, 1 bought" in first["faults"]
        assert "the position is -1, not 0" in first["faults"]
        assert "buy 1 SPY in TWS" in said["left"]
        assert ACCOUNT not in said["left"]
        with JournalReader(Path(said["kept"]) / first["name"] / "journal.db") as kept:
            assert not kept.empty, "what the failure can be found with is kept"


@pytest.mark.asyncio
async def test_a_drill_that_is_interrupted_reports_what_it_holds(tmp_path: Path) -> None:
    async with trading_gateway(tmp_path) as gateway:

        def interrupt(_case: Case, text: str, _seconds: float) -> None:
            if "UNKNOWN" in text:
                running.cancel()

        case = NAMED["before-it-arrives"]
        running = asyncio.create_task(
            drilled(gateway, tmp_path, (case,), patience=Patience(), progress=interrupt)
        )  # fmt: skip
        report = await running
        assert report.stopped == "interrupted in before-it-arrives"
        assert report.left is not None
        assert "holds 1 SPY" in report.left
        assert "sell 1 SPY in TWS" in report.left


class NextMonth(SystemClock):
    """A time for which no hours are reported yet."""

    def now(self) -> datetime:
        return super().now() + timedelta(days=31)


@pytest.mark.asyncio
async def test_it_does_not_start_where_it_could_do_harm(tmp_path: Path) -> None:
    async with trading_gateway(tmp_path) as gateway, person(gateway) as by_hand:
        config = Config.model_validate({"mode": "paper", "gateway": {"port": gateway.port}})
        ruled = Config.model_validate({"mode": "paper", "defaults": {"stop": {"percent_of_premium": 50}}})

        async def refused(**more: Any) -> str:
            wish = Wish(more.pop("symbol", "TSLA"), option=False, account=None, client_id=more.pop("client_id", 7900))
            with pytest.raises(DrillError) as error:
                async with opened(more.pop("config", config), wish, clock=more.pop("clock", SystemClock()), **more):
                    pass
            return str(error.value)

        live = {"mode": "live", "live_confirmed": True, "expected_accounts": ["U1234567"]}
        for mode in (live, {"mode": "shadow"}):
            assert "paper accounts only" in await refused(config=Config.model_validate(mode))
        assert "Client ids 98 to 100" in await refused(client_id=98)
        assert "would guard TSLA (defaults.stop)" in await refused(rules=ruled)
        assert "market of TSLA is closed" in await refused(clock=NextMonth())
        assert "holds 100 AAPL already" in await refused(symbol="AAPL")
        (spy,) = await by_hand.qualifyContractsAsync(Stock("SPY", "SMART", "USD"))
        await resting(by_hand, spy, "BUY", 1, 1.0)
        assert "open orders in SPY" in await refused(symbol="SPY")
        assert "knows no NOSUCH" in await refused(symbol="NOSUCH")
        assert await by_hand.reqExecutionsAsync(ExecutionFilter()) == [], "nothing was bought"


@pytest.mark.asyncio
async def test_a_live_account_is_refused(tmp_path: Path) -> None:
    async with trading_gateway(tmp_path, "--accounts", "U1234567") as gateway:
        with pytest.raises(DrillError, match=r"U1\*+67"):
            await drilled(gateway, tmp_path, CASES)


def test_the_simulated_broker_is_drilled_without_a_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = Paths(tmp_path / "no.yml", tmp_path / "state", tmp_path / "run")
    assert run(nowhere, Options(Mode.SIM, WISH, as_json=True, patience=SHORT)) == 0
    said = json.loads(capsys.readouterr().out)
    assert [case["name"] for case in said["cases"]] == [case.name for case in SIM_CASES]
    assert {case["name"]: len(case["orders"]) for case in said["cases"]} == {
        "before-it-arrives": 2,
        "before-its-acknowledgement": 1,
        "before-its-fill": 1,
        "killed-before-sending": 2,
        "killed-before-its-acknowledgement": 1,
    }
    assert said["kept"] is None


def test_a_halt_of_the_instance_holds_for_its_drill(tmp_path: Path) -> None:
    where = paths(tmp_path, "mode: paper\n")
    where.kill_switch.touch()
    with pytest.raises(DrillError, match="kill switch"):
        run(where, Options(Mode.PAPER, WISH))


def test_the_fence_lets_only_the_close_of_what_was_bought_through() -> None:
    config = Config.model_validate({"mode": "paper"})
    tripwire = Tripwire(Moment.LEFT, lambda: None)
    fence = Fence(IbBroker(config, SystemClock()), Field(ACCOUNT, 5, Decimal(1)), {3}, tripwire)
    contract = Instrument(5, "SPY", Kind.STOCK)
    for wrong in (order(6, Side.SELL, 1, "1", 1), order(5, Side.BUY, 1, "1", 1), order(5, Side.SELL, 2, "1", 1)):
        with pytest.raises(FenceError):
            fence.send(wrong, contract, tif="DAY", outside_rth=False)
    with pytest.raises(FenceError):
        fence.cancel(4)
