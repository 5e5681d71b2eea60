"""A stop of the whole account over the real socket: a short put and the stock, each closed once, the put first."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from ib_insync import ExecutionFilter, Option, Stock
from tests.integration.test_killed_in_the_middle import SECONDS, Manager, closed
from tests.integration.trading_gateway import an_option, person, trade, trading_gateway

import position_manager
from position_manager.journal.reader import JournalReader
from position_manager.reports.explain import explain

pytestmark = pytest.mark.asyncio

AAPL, MSFT = 265598, 272093
"""What the account holds besides."""
CONFIG = """\
mode: paper
poll_seconds: 2
gateway: {port: %s}
orders: {step_seconds: 0.2, max_spread_percent: 50}
quotes: {max_age_seconds: 2}
caps: {quantity: 1000, notional: 1000000}
account_stops:
  ask_seconds: 1
  max_age_seconds: 10
  confirm_seconds: 1
  daily_loss: {amount: 5000, action: close}
cooldown: {minutes: 30, action: close}
"""
WINGS = """\
mode: paper
poll_seconds: 2
gateway: {port: %s}
orders: {step_seconds: 0.2, max_spread_percent: 50}
quotes: {max_age_seconds: 2}
worthless_wings: {ticks: 5}
defaults: {stop: {percent_of_premium: 50}}
groups:
  spread:
    legs: [{con_id: %s, ratio: -1}, {con_id: %s, ratio: 1}]
    stop: {loss_amount: 500}
"""


async def test_a_daily_loss_closes_all_once_through_a_kill(tmp_path: Path) -> None:
    async with trading_gateway(tmp_path) as gateway, person(gateway) as by_hand:
        manager = Manager(tmp_path, gateway.port)
        (tmp_path / "pm.yml").write_text(CONFIG % gateway.port)
        for name in ("state", "run"):
            (tmp_path / name).mkdir()
        option = await an_option(by_hand)
        (stock,) = await by_hand.qualifyContractsAsync(Stock("SPY", "SMART", "USD"))
        await gateway.command("set-price", str(option.conId), "bid=9.90", "ask=10.00")
        await trade(by_hand, option, -1)
        await trade(by_hand, stock, 10)
        try:
            await manager.start()
            await manager.prints("position manager running")
            async with asyncio.timeout(SECONDS):
                while "is worth" not in await status(tmp_path):
                    continue
            await gateway.command("set-price", str(option.conId), "bid=79.90", "ask=80.00")
            await manager.prints("daily_loss has fired (close)")
            await manager.kill()
            await manager.start()
            await closed(by_hand, option.conId)
            await closed(by_hand, stock.conId)
            # Whoever opens it again is stopped by the cooldown.
            await trade(by_hand, option, -1)
            await manager.prints("opened in a cooldown of SPY")
            await closed(by_hand, option.conId)
        finally:
            await manager.kill()
        fills = [fill for fill in await by_hand.reqExecutionsAsync(ExecutionFilter()) if fill.execution.orderRef]
        assert {fill.contract.conId: sum(f.execution.shares for f in fills if f.contract == fill.contract)
                for fill in fills} == {option.conId: 2, stock.conId: 10, AAPL: 100, MSFT: 50}  # fmt: skip
        order = [fill.contract.conId for fill in fills if fill.contract.symbol == "SPY"]
        assert order[0] == option.conId, "the short one first"
        with JournalReader(manager.journal) as journal:
            assert [record.kind for record in journal.events()].count("account stop") == 1
            assert "Rule fired: cooldown" in explain(journal, f"contract:{option.conId}")
            assert "Rule fired: account daily loss" in explain(journal, f"contract:{stock.conId}")


async def test_a_worthless_wing_is_left_when_its_group_is_closed(tmp_path: Path) -> None:
    async with trading_gateway(tmp_path) as gateway, person(gateway) as by_hand:
        short = await an_option(by_hand)
        (wing,) = await by_hand.qualifyContractsAsync(
            Option("SPY", short.lastTradeDateOrContractMonth, short.strike - 5, short.right, "SMART")
        )
        await gateway.command("set-price", str(short.conId), "bid=9.90", "ask=10.00")
        await gateway.command("set-price", str(wing.conId), "bid=1.00", "ask=1.02")
        await trade(by_hand, short, -1)
        await trade(by_hand, wing, 1)
        manager = Manager(tmp_path, gateway.port)
        (tmp_path / "pm.yml").write_text(WINGS % (gateway.port, short.conId, wing.conId))
        for name in ("state", "run"):
            (tmp_path / name).mkdir()
        try:
            await manager.start()
            await manager.prints("position manager running")
            for cents in (10, 20, 30):
                await gateway.command("set-price", str(short.conId), f"bid=20.{cents}", f"ask=20.{cents + 10}")
                await gateway.command("set-price", str(wing.conId), "bid=0.01", f"ask=0.0{cents // 10 + 2}")
                await asyncio.sleep(0.6)
            await manager.prints("Left to expire: SPY")
            assert "left to expire: its worth is" in await status(tmp_path)
        finally:
            await manager.kill()
        held = {position.contract.conId: position.position for position in by_hand.positions()}
        assert (held.get(short.conId, 0), held[wing.conId]) == (0, 1)


async def status(root: Path) -> str:
    """What the command prints."""
    paths = ("--config", root / "pm.yml", "--state", root / "state", "--runtime", root / "run")
    asked = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "position_manager.cli", "status", *map(str, paths)),
        env={**os.environ, "PYTHONPATH": str(Path(position_manager.__file__).parents[1])},
        stdout=asyncio.subprocess.PIPE,
    )
    return (await asked.communicate())[0].decode()
