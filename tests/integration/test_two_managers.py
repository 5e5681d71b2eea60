"""Two managers with different client ids on one account, over the real socket: together they never cross zero.

ROUNDS sets how many positions are closed so (2 if it is not set).
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from ib_insync import ExecutionFilter
from tests.integration.test_killed_in_the_middle import CONFIG, SECONDS, Manager, closed
from tests.integration.trading_gateway import an_option, person, trade, trading_gateway

from position_manager.journal.reader import JournalReader
from position_manager.service.host_claim import SCOPE

pytestmark = pytest.mark.asyncio

ROUNDS = int(os.environ.get("ROUNDS", "2"))
ALONE = "position manager running"


def manager(root: Path, name: str, port: int, client_id: int) -> Manager:
    where = root / name
    for part in ("state", "run"):
        (where / part).mkdir(parents=True)
    made = Manager(where, port)
    (where / "pm.yml").write_text(CONFIG.replace("{port: %s}", f"{{port: {port}, client_id: {client_id}}}"))
    return made


async def test_only_one_of_two_managers_on_a_host_sends(tmp_path: Path) -> None:
    async with trading_gateway(tmp_path) as gateway, person(gateway) as by_hand:
        managers = [manager(tmp_path, f"pm{i}", gateway.port, 100 + i) for i in range(2)]
        option = await an_option(by_hand)
        try:
            for one in managers:
                await one.start()
                await one.prints(ALONE)
            # The one that waited goes on when the other is gone, and the other waits when it comes back.
            await managers[0].kill()
            await managers[1].prints("No other position manager is seen any more")
            await managers[0].start()
            await managers[0].prints("Another position manager guards this account: nothing is sent")
            await managers[0].prints(ALONE)
            for _ in range(ROUNDS):
                await gateway.command("set-price", str(option.conId), "bid=9.90", "ask=10.00")
                await trade(by_hand, option, -1)
                await asyncio.sleep(0.3)
                for cents in (10, 20):
                    await gateway.command("set-price", str(option.conId), f"bid=12.{cents}", f"ask=12.{cents + 10}")
                    await asyncio.sleep(1.05)
                await closed(by_hand, option.conId)
                await managers[1].prints("Closed: ")
            fills = await by_hand.reqExecutionsAsync(ExecutionFilter())
            bought = [one.execution for one in fills if one.execution.side == "BOT"]
            assert sum(execution.shares for execution in bought) == ROUNDS
            assert {execution.clientId for execution in bought} == {101}
            with JournalReader(managers[0].journal) as journal:
                assert not any(event.kind == "Sending" for event in journal.events())
        finally:
            for one in managers:
                await one.kill()


async def test_one_on_another_host_is_seen_by_its_orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with trading_gateway(tmp_path) as gateway, person(gateway) as by_hand:
        first, second = (manager(tmp_path, f"pm{i}", gateway.port, 100 + i) for i in range(2))
        option = await an_option(by_hand)
        await gateway.command("set-price", str(option.conId), "bid=9.90", "ask=10.00")
        await trade(by_hand, option, -1)
        try:
            await first.start()
            await first.prints(ALONE)
            for cents in (10, 20):
                await gateway.command("set-price", str(option.conId), f"bid=12.{cents}", f"ask=12.{cents + 10}")
                await asyncio.sleep(1.05)
            await first.prints("Closed: ")
            # Another host is another scope.
            monkeypatch.setenv(SCOPE, "another host")
            await second.start()
            await second.prints("Another position manager guards this account: nothing is sent")
            await trade(by_hand, option, -1)
            async with asyncio.timeout(SECONDS):
                await closed(by_hand, option.conId)
            fills = await by_hand.reqExecutionsAsync(ExecutionFilter())
            assert {one.execution.clientId for one in fills if one.execution.side == "BOT"} == {100}
        finally:
            for one in (first, second):
                await one.kill()
