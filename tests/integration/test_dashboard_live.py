"""A stop on the page: the simulator, the position manager, the dashboard and a browser, all as real processes."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from ib_insync import Stock
from playwright.async_api import async_playwright, expect
from tests.integration.browser import NETWORK_CHANGED, launch_options
from tests.integration.test_killed_in_the_middle import Manager
from tests.integration.trading_gateway import DEADLINE, person, trade, trading_gateway

import position_manager

pytestmark = pytest.mark.asyncio

CONFIG = """\
mode: paper
poll_seconds: 1
gateway: {port: %s}
defaults: {stop: {price: 395}, target: {price: 440}, breakeven: {after_percent: 5}}
quotes: {confirm_seconds: 0.3, opening_grace_seconds: 0}
orders: {step_seconds: 1.5, steps: 3, max_spread_percent: 30, outside_rth: true}
caps: {quantity: 10000, notional: 1000000}
"""
MILLISECONDS = 1000 * DEADLINE


@asynccontextmanager
async def dashboard(manager: Manager) -> AsyncIterator[str]:
    """The dashboard of this manager alone; its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dashboard", "--port", "0", "--config", str(manager.root / "pm.yml")),
        *("--state", str(manager.root / "state"), "--runtime", str(manager.root / "run")),
        env={**os.environ, "PYTHONPATH": str(Path(position_manager.__file__).parents[1])},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE):
            address = (await process.stdout.readline()).decode().strip()
        assert address.startswith("http://127.0.0.1:"), address
        yield address
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def test_a_stop_approaches_fires_climbs_its_ladder_and_closes(tmp_path: Path) -> None:
    async with trading_gateway(tmp_path) as gateway, person(gateway) as by_hand, async_playwright() as playwright:
        manager = Manager(tmp_path, gateway.port)
        (tmp_path / "pm.yml").write_text(CONFIG % gateway.port)
        for name in ("state", "run"):
            (tmp_path / name).mkdir()
        await gateway.command("set-price", "MSFT", "bid=409.90", "ask=410.00", "last=410.00")
        stock = Stock("MSFT", "SMART", "USD")
        await by_hand.qualifyContractsAsync(stock)
        # Beside the 50 that the simulator starts with.
        await trade(by_hand, stock, 10)
        browser = await playwright.chromium.launch(**launch_options())
        try:
            await manager.start()
            await manager.prints("position manager running")
            async with dashboard(manager) as address:
                page = await browser.new_page()
                errors: list[str] = []
                page.on("pageerror", lambda error: errors.append(str(error)))
                page.on(
                    "console",
                    lambda line: (
                        errors.append(line.text) if line.type == "error" and NETWORK_CHANGED not in line.text else None
                    ),
                )
                await page.goto(address)
                await page.evaluate("window.marked = true")
                msft = page.get_by_role("article", name="MSFT", exact=True)
                sign = msft.locator(".sign").first
                # A quote of its own for a manager and a browser that were slow to start.
                await gateway.command("set-price", "MSFT", "bid=409.91", "ask=410.01")
                await expect(sign).to_have_text("Guarded", timeout=MILLISECONDS)
                await expect(msft).to_contain_text("Stop 395.00")
                await expect(msft).to_contain_text("Target 440.00")

                await gateway.command("set-price", "MSFT", "bid=396.50", "ask=396.60")
                await expect(sign).to_have_text("Guarded, near its stop", timeout=MILLISECONDS)
                await expect(msft).to_contain_text("396.50")

                # A wide spread, so that the far side is some steps away.
                for bid in ("390.00", "389.90", "389.80"):
                    await gateway.command("set-price", "MSFT", f"bid={bid}", "ask=393.00")
                    await expect(msft).to_contain_text(re.compile(f"Closing|{bid}"), timeout=MILLISECONDS)
                await expect(sign).to_have_text("Closing", timeout=MILLISECONDS)
                rungs = msft.get_by_role("list", name="Prices of the close of MSFT").get_by_role("listitem")
                await expect(rungs.nth(1)).to_be_visible(timeout=MILLISECONDS)

                await expect(msft).to_have_count(0, timeout=MILLISECONDS)
                newest = page.locator("#orders-position-manager tbody tr").first
                await expect(newest).to_contain_text(re.compile("SELL 60 MSFT.*60 at .*Filled"))
                assert await page.evaluate("window.marked") is True
                assert errors == []
        finally:
            await browser.close()
            await manager.kill()
