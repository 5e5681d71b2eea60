"""What the service does beside the engine, over minutes that pass as fast as a test lets them."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.unit.notifications.webhook import Webhook
from tests.unit.position_manager.engine_world import BEGIN, ManualClock, PortBroker, World, put, settle
from tests.unit.position_manager.test_heartbeat import Listener, listener

import position_manager
from host_service.notify import Notifier
from notifications.delivery import targets_of
from notifications.service import Notifications
from position_manager.config.schema import Config
from position_manager.model import Hours
from position_manager.paths import Paths
from position_manager.refused import RefusedError
from position_manager.reports.day_book import file_of, read
from position_manager.service.control import AskPrice, ask
from position_manager.service.service import Service

__all__ = ["listener"]

CLOSE = BEGIN + timedelta(minutes=5)
SHORT_DAY = (Hours(BEGIN - timedelta(hours=1), CLOSE),)


class Run:
    """The service over a broker in memory, with one short put of which the market closes soon."""

    def __init__(self, path: Path, webhook: Webhook, **more: Any) -> None:
        self.paths = Paths(path / "pm.yml", path, path)
        self.clock = ManualClock(BEGIN)
        self.world = World(self.clock)
        self.world.hold(replace(put(1), liquid_hours=SHORT_DAY), -2)
        self.broker = PortBroker(self.world)
        self._webhook = webhook
        self._config = Config.model_validate({"mode": "paper", "defaults": {"stop": {"percent_of_premium": 50}}} | more)

    async def minutes(self, count: int) -> None:
        """So many minutes pass, with a quote every few seconds."""
        for _ in range(count * 12):
            self.world.quote(1, "2.70", "2.80")
            await self.clock.advance(5)

    def during(self, happens: Callable[[], Awaitable[object]]) -> int:
        """Run it until something has happened; its exit status."""
        people = Notifications(self.paths.outbox, targets_of([f"json://127.0.0.1:{self._webhook.port}/"]))
        service = Service(self.paths, self._config, self.broker, people, Notifier(None), self.clock, None)

        async def run() -> int:
            running = asyncio.create_task(service.run())
            await settle()
            await happens()
            os.kill(os.getpid(), signal.SIGTERM)
            return await running

        people.start()
        try:
            return asyncio.run(run())
        finally:
            people.stop(10)

    def summaries(self) -> list[dict[str, Any]]:
        posts = [json.loads(post.body) for post in self._webhook.taken]
        return [post for post in posts if "[paper] 2026-11-23:" in post["title"]]


@pytest.fixture(autouse=True)
def found_by_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(position_manager.__file__).parents[1]))


def test_a_day_is_summed_up_once_when_its_session_is_over(tmp_path: Path) -> None:
    with Webhook() as webhook:
        run = Run(tmp_path, webhook)

        async def day() -> None:
            await run.minutes(4)
            assert not run.summaries()
            await run.minutes(3)
            await asyncio.to_thread(webhook.wait, lambda: bool(run.summaries()), 30)
            await run.minutes(3)

        assert run.during(day) == 0
        # A restart in the evening does not report it again.
        run.broker = PortBroker(run.world)
        assert run.during(lambda: run.minutes(3)) == 0
        (reported,) = run.summaries()
    assert "At present prices: -60.00 USD" in reported["message"] and "-2 SPY 2026-12-21 450P" in reported["message"]
    assert [attachment["filename"] for attachment in reported["attachments"]] == ["2026-11-23.png"]
    samples = read(file_of(run.paths.days, BEGIN.date()))
    assert [sample.told for sample in samples] == [False] * (len(samples) - 1) + [True]
    assert {sample.close for sample in samples} == {CLOSE} and len(samples) >= 5


def test_the_heartbeat_ends_with_the_quotes(tmp_path: Path, listener: Listener) -> None:
    address = tmp_path / "address"
    address.write_text(listener.url)
    address.chmod(0o600)
    with Webhook() as webhook:
        run = Run(tmp_path, webhook, heartbeat={"url_file": str(address), "every_seconds": 10})

        async def asked(count: int) -> None:
            async with asyncio.timeout(10):
                while len(listener.paths) < count:
                    await run.minutes(1)

        async def day() -> None:
            await asked(2)
            before = len(listener.paths)
            # The broker lives, and sends no price.
            run.world.fail.add("time")
            await run.clock.advance(60)
            silent = len(listener.paths)
            await run.clock.advance(60)
            assert len(listener.paths) == silent <= before + 2

        assert run.during(day) == 0


def test_an_address_of_the_heartbeat_that_is_none_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Webhook() as webhook:
        run = Run(tmp_path, webhook, heartbeat={"url_file": str(tmp_path / "none")})
        assert run.during(lambda: run.minutes(1)) == 0
    assert "there is no heartbeat: " in caplog.text


def test_the_prices_of_a_real_market_cannot_be_moved(tmp_path: Path) -> None:
    with Webhook() as webhook:
        run = Run(tmp_path, webhook)

        async def move() -> None:
            with pytest.raises(
                RefusedError, match="Mode paper has the prices of a real market: only those of mode sim"
            ):
                await asyncio.to_thread(ask, run.paths.socket, AskPrice(symbol="SPY", price=Decimal(430)))

        assert run.during(move) == 0


def test_the_collector_leaves_alone_what_was_there_when_it_was_ready_and_only_while_it_runs(tmp_path: Path) -> None:
    with Webhook() as webhook:
        run = Run(tmp_path, webhook)
        frozen = []

        async def ready() -> None:
            await run.minutes(1)
            frozen.append(gc.get_freeze_count())

        assert run.during(ready) == 0
    assert frozen[0] > 10_000
    assert gc.get_freeze_count() < frozen[0] / 10


class Graph:
    """Something that refers to itself, as what a session consists of does: only the collector finds it."""

    def __init__(self) -> None:
        self.itself = self


def test_what_a_session_has_created_is_gone_after_its_end(tmp_path: Path) -> None:
    with Webhook() as webhook:
        run = Run(tmp_path, webhook)
        graphs = [Graph()]

        async def sessions() -> None:
            for _ in range(2):
                run.world.up = True
                await run.minutes(4)
                left = weakref.ref(graphs.pop())
                gc.collect()
                assert left() is not None, "the collector does not go through it during a session"
                run.world.up = False
                run.broker.drop()
                await run.minutes(1)
                assert left() is None
                graphs.append(Graph())

        assert run.during(sessions) == 0
