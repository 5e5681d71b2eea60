"""Four API clients, one of them in two versions and in text too, each in its own environment and process, against the
program.

What they show is what it did. The programs are in simulator/clients; scripts/clients creates the environments.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from simulator.tests.test_alone import program, ready

pytestmark = pytest.mark.asyncio

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "simulator/clients"
MADE = ROOT / ".sandbox/clients"
HALF_PAST_THREE = "2026-11-23T20:30:00+00:00"
DEADLINE = 60.0

INSYNC = [sys.executable, str(CLIENTS / "insync_family/program.py"), "ib_insync"]
COMMANDS = {
    "ib_insync": INSYNC,
    "ib_async": [str(MADE / "ib_async/bin/python"), str(CLIENTS / "insync_family/program.py"), "ib_async"],
    "ibapi": [str(MADE / "ibapi/bin/python"), str(CLIENTS / "ibapi/program.py")],
    "ibapi 10.50": [str(MADE / "ibapi_stable/bin/python"), str(CLIENTS / "ibapi/program.py")],
    "ibapi in text": [str(MADE / "ibapi/bin/python"), str(CLIENTS / "ibapi/program.py")],
    "stoqey": ["node", str(CLIENTS / "stoqey/program.js")],
}
VERSIONS = {"ib_insync": 176, "ib_async": 178, "ibapi": 213, "ibapi 10.50": 213, "ibapi in text": 178, "stoqey": 178}
"""The server version that each of them agrees on."""


LONG_DAYS = pytest.mark.parametrize("day", ["ib_insync", "ib_async"], indirect=True)
"""Of the clients that try everything."""


@dataclass(frozen=True)
class Day:
    """What a client showed of its day, and the journal of the same day."""

    seen: Mapping[str, Any]
    journal: str

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.journal.splitlines()]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]

    @property
    def ended(self) -> int:
        """How many orders came to their end."""
        last = {each["order_id"]: each["status"] for each in self.of("OrderStatusChanged")}
        return sum(status in ("Filled", "Cancelled", "Inactive") for status in last.values())

    @property
    def realized(self) -> float:
        """The profit in the commission reports."""
        return sum(float(each["realized_pnl"] or 0) for each in self.of("CommissionCharged"))


async def trade(command: list[str], journal: Path, newest: int = 213) -> Day:
    """Run a client's trading day against a simulator of its own, which offers a server version."""
    day = ("--clock", "held", "--clock-start", HALF_PAST_THREE, "--trading-hours", "exchange", "--seed", "5")
    options = (*day, "--server-version", str(newest))
    async with program(*options, "--journal-file", str(journal)) as (
        process,
        port,
        control,
    ):
        await ready(process)
        client = await asyncio.create_subprocess_exec(
            *command,
            str(port),
            str(control),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "NODE_PATH": str(MADE / "stoqey/node_modules")},
        )
        try:
            out, err = await asyncio.wait_for(client.communicate(), DEADLINE)
        finally:
            if client.returncode is None:
                client.kill()
                await client.wait()
        assert client.returncode == 0, err.decode()
        process.terminate()
        await process.wait()
    return Day(json.loads(out), await asyncio.to_thread(journal.read_text))


@pytest.fixture(params=COMMANDS, scope="module")
def day(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Day:
    name = request.param
    newest = 178 if name.endswith("in text") else 213
    day = asyncio.run(trade(COMMANDS[name], tmp_path_factory.mktemp("day") / "journal", newest))
    assert day.seen["version"] == VERSIONS[name]
    return day


async def test_what_a_client_asks_is_answered(day: Day) -> None:
    seen = day.seen
    assert seen["accounts"] == ["DU1234567"]
    assert seen["positions"] == {"265598": 100, "272093": 50}
    assert (seen["stock"], seen["ambiguous"]) == (265598, 2)
    assert seen["chain"]["expirations"] > 8
    assert seen["chain"]["strikes"] > 20
    assert all(seen["greeks"])
    assert seen["bars"] in (73, [73, True])  # from the opening to half past three, in bars of five minutes
    assert seen["head"] == "2021"


async def test_orders_end_as_the_journal_shows(day: Day) -> None:
    last = {str(each["order_id"]): each for each in day.of("OrderStatusChanged")}
    assert len(last) >= 8
    assert {each["status"] for each in last.values()} >= {"Filled", "Cancelled"}
    shown = {
        order_id: (facts["status"], float(facts["filled"]), float(facts["average"]))
        for order_id, facts in day.seen["orders"].items()
    }
    assert shown == {
        order_id: (each["status"], float(each["filled"]), float(each["average_fill_price"]))
        for order_id, each in last.items()
    }


async def test_executions_and_commissions_are_those_of_the_journal(day: Day) -> None:
    fills = day.of("OrderFilled")
    assert len(fills) >= 5
    assert day.seen["executions"] == {
        each["exec_id"]: {
            "perm_id": each["perm_id"],
            "side": each["side"],
            "shares": float(each["shares"]),
            "price": float(each["price"]),
            "cumulative": float(each["cumulative_quantity"]),
        }
        for each in fills
    }
    commissions = {each["exec_id"]: float(each["commission"]) for each in day.of("CommissionCharged")}
    assert day.seen["commissions"] == commissions


async def test_refusals_reach_the_client_by_their_codes(day: Day) -> None:
    reported = [(each["order_id"], each["code"]) for each in day.of("OrderError")]
    assert {110, 202} <= {code for _, code in reported}
    received = [(order_id, code) for order_id, code in day.seen["errors"] if order_id > 0]
    assert sorted(received) == sorted(reported)


async def test_the_impact_of_an_order_is_that_of_the_journal(day: Day) -> None:
    [preview] = day.of("OrderPreviewed")
    assert day.seen["impact"] == [float(preview["initial_margin_after"]), float(preview["equity_with_loan_after"])]


async def test_a_second_session_finds_what_the_first_left(day: Day) -> None:
    if "again" in day.seen:
        again = day.seen["again"]
        assert (again["same_executions"], again["same_commissions"], again["found"]) == (True, True, 1)
        assert again["completed"] == day.ended - 1  # the order that was found ended afterwards
        assert again["realized"] == pytest.approx(day.realized)
    else:
        assert day.seen["found"] == ["Submitted"]
        assert set(day.seen["fills_again"]) < set(day.seen["executions"])


@LONG_DAYS
async def test_an_order_larger_than_the_quote_fills_in_parts(day: Day) -> None:
    [large] = {each["order_id"] for each in day.of("OrderStatusChanged") if each["quantity"] == "1000"}
    parts = [float(each["shares"]) for each in day.of("OrderFilled") if each["order_id"] == large]
    assert len(parts) > 1
    assert sum(parts) == 1000
    assert day.seen["orders"][str(large)]["filled"] == 1000


@LONG_DAYS
async def test_what_the_day_leaves_is_that_of_the_journal(day: Day) -> None:
    seen, last = day.seen, day.of("PositionChanged")[-1]
    assert seen["pnl"] == {"realized": pytest.approx(day.realized), "position": float(last["position"])}
    assert seen["completed"] == day.ended
    assert (seen["portfolio"], seen["cash"]) == (seen["positions"], ["100000.00"])
    assert (seen["symbols"], seen["probe"]) == (["AAPL"], True)
    assert seen["option"] == "AAPL  261211C00185000"
    assert seen["summary"] == ["BuyingPower", "NetLiquidation"]


async def test_two_runs_with_one_seed_have_identical_journals(tmp_path: Path) -> None:
    first = await trade(INSYNC, tmp_path / "first")
    second = await trade(INSYNC, tmp_path / "second")
    assert first.journal == second.journal
    assert len(first.journal.splitlines()) > 100
