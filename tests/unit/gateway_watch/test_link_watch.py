"""The held API session against the real simulator's API: what is reported, notified and restarted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.gateway_watch.instance_files import DOCUMENT

from gateway_simulator.api.behaviour import ApiBehaviour, ConnectMode
from gateway_simulator.api.server import ApiServer
from gateway_simulator.trading.sample import sample_brokerage
from gateway_watch import instance as instances
from gateway_watch import tiers
from gateway_watch.decision import RETRY, Answers
from gateway_watch.feed import Feed
from gateway_watch.instance import Instance, parse
from gateway_watch.link_watch import LinkNews, LinkWatch
from host_service import gateway_login
from host_service.gateway_login import GatewayLogin
from notifications.message import Message

pytestmark = pytest.mark.asyncio

START = datetime(2026, 11, 25, 18, 0, tzinfo=UTC)  # Wednesday 13:00 New York
MINUTE = timedelta(minutes=1)


class World:
    """A simulator's API, a watch that holds a session with it, and a clock of their own."""

    def __init__(self, tmp_path: Path, server: ApiServer, feed: Feed[LinkNews], **settings: object) -> None:
        self.server = server
        self.feed = feed
        self.now = START
        self.said: list[str] = []
        self.messages: list[Message] = []
        apis = [{"mode": "paper", "host": "127.0.0.1", "port": server.port, "native_port": 4002}]
        document = DOCUMENT | {"state_dir": str(tmp_path), "apis": apis} | settings
        self.instance: Instance = parse(document, tmp_path / "instance.json")
        self.runtime = tmp_path / "run" / "ib-gateway"
        self.runtime.mkdir(parents=True, exist_ok=True)
        self.watch = self.again()

    def again(self) -> LinkWatch:
        self.watch = LinkWatch(
            self.instance, self.said.append, self.messages.append, self.runtime, lambda: self.now, self._sleep
        )
        return self.watch

    async def _sleep(self, _: float) -> None:
        """Wait no longer than the event loop needs: what is waited for is the server's answer."""
        await asyncio.sleep(0.01)

    def hold(self) -> None:
        self.feed.add(self.watch.sessions(self.instance.apis[0]))

    async def until(self, wanted: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not wanted():
                await self.feed.next(1)

    async def becomes(self, state: str) -> None:
        await self.until(lambda: self.watch.report().state == state)

    def titles(self) -> list[str]:
        return [message.title.removeprefix("ib-gateway: ") for message in self.messages]


@asynccontextmanager
async def world(tmp_path: Path, behaviour: ApiBehaviour | None = None, **settings: object) -> AsyncIterator[World]:
    server = ApiServer(sample_brokerage(), behaviour or ApiBehaviour())
    await server.start("127.0.0.1", 0)
    feed: Feed[LinkNews] = Feed()
    try:
        async with feed:
            yield World(tmp_path, server, feed, **settings)
    finally:
        await server.stop()


async def test_an_outage_is_reported_notified_and_over(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        it.hold()
        await it.becomes("connected")
        assert it.watch.judge(tries=False, planned=False) is None
        assert it.server.clients == [9100]
        it.server.lose_connection()
        await it.becomes("lost")
        assert it.watch.connected("paper") is False
        assert it.watch.report().since == START
        for minutes in (0, 0.5, 1, 2, 60):
            it.now = START + minutes * MINUTE
            assert it.watch.judge(tries=False, planned=False) is None
        assert it.titles() == ["not connected to IBKR since 13:00 (America/New_York)"]
        it.server.restore_connection(data_lost=False)
        await it.becomes("connected")
        it.watch.judge(tries=False, planned=False)
        assert it.titles()[1:] == ["connected to IBKR again"]
        assert it.messages[1].recovery_of == "ibkr_link"


async def test_a_restart_comes_once_and_over_restarts_of_the_watch_too(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        it.server.lose_connection()
        for expected in (True, False):
            it.again()
            it.hold()
            await it.becomes("lost")
            it.watch.judge(tries=False, planned=False)
            it.now += 121 * MINUTE
            it.watch.judge(tries=False, planned=False)
            # While its windows show that it tries, nothing is restarted.
            assert it.watch.judge(tries=True, planned=False) is None
            end = it.watch.judge(tries=False, planned=False)
            assert (end is not None) is expected
            if end is not None:
                assert (end.status, end.reason.cause, end.open_breaker) == (RETRY, "ibkr_link_lost", False)
            await it.watch.close()
        it.again()
        it.hold()
        it.server.restore_connection(data_lost=False)
        await it.becomes("connected")
        it.watch.judge(tries=False, planned=False)
        assert not (tmp_path / "link-restart.json").exists()


async def test_another_gateway_that_is_connected_shows_that_ibkr_is_up(tmp_path: Path) -> None:
    other = tmp_path / "run" / "ib-gateway-live"
    other.mkdir(parents=True)
    async with world(tmp_path) as it:
        gateway_login.write(other, GatewayLogin("ready", False, "ready"))
        it.server.lose_connection()
        it.hold()
        await it.becomes("lost")
        it.watch.judge(tries=False, planned=False)
        it.now += 16 * MINUTE
        it.watch.judge(tries=False, planned=False)
        assert it.watch.judge(tries=False, planned=False) is None
        it.server.restore_connection(data_lost=False)
        await it.becomes("connected")
        gateway_login.write(other, GatewayLogin("ready", False, "ready", it.watch.report()))
        it.server.lose_connection()
        await it.becomes("lost")
        it.now += 16 * MINUTE
        end = it.watch.judge(tries=False, planned=False)
        assert end is not None
        assert "another gateway on this host is connected" in end.reason.text


async def test_windows_that_show_a_reconnect_are_an_outage_without_a_session(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        it.watch.judge(tries=True, planned=False)
        it.now += 2 * MINUTE
        it.watch.judge(tries=True, planned=False)
    assert it.titles() == ["not connected to IBKR since 13:00 (America/New_York)"]


async def test_a_session_that_works_spares_a_gateway_that_answers_no_new_one(tmp_path: Path) -> None:
    behaviour = ApiBehaviour()
    async with world(tmp_path, behaviour) as it:
        it.hold()
        await it.becomes("connected")
        behaviour.connect = ConnectMode.SILENT
        hanging = Answers(failures=5, detail="silent")
        assert it.watch.spares(Answers(failures=4, detail="silent"), 5) is False
        assert it.watch.spares(hanging, 5) is True
        assert it.watch.spares(hanging, 5) is True
        assert it.titles() == ["new connections to the API get no answer"]
        assert "Thu 02:00 EST" in it.messages[0].text()
        it.watch.spares(Answers(), 5)
        assert it.titles()[1:] == ["the API answers new connections again"]
        await it.server.disconnect_clients()
        await it.until(lambda: not it.watch.held)
        assert it.watch.spares(hanging, 5) is False


async def test_a_session_that_breaks_is_opened_again_and_closed_for_good(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        it.hold()
        await it.becomes("connected")
        await it.server.disconnect_clients()
        await it.becomes("unknown")
        await it.becomes("connected")
        await it.watch.close()
        await it.becomes("unknown")
        # Its client id is free again.
        it.again()
        it.hold()
        await it.becomes("connected")


async def test_a_taken_client_id_is_named_once_with_its_setting(tmp_path: Path) -> None:
    async with world(tmp_path, ApiBehaviour(client_ids_in_use={9100})) as it:
        it.hold()
        await it.until(lambda: sum(entry.event == "error" for entry in it.server.journal) >= 2)
        assert sum("ib_gateway_watch_client_id" in text for text in it.said) == 1
        assert it.watch.connected("paper") is None


async def test_without_a_session_an_outage_that_windows_show_ends_with_them(tmp_path: Path) -> None:
    async with world(tmp_path, ApiBehaviour(client_ids_in_use={9100})) as it:
        it.hold()
        await it.until(lambda: any("ib_gateway_watch_client_id" in text for text in it.said))
        it.watch.judge(tries=True, planned=False)
        it.now += MINUTE / 3
        it.watch.judge(tries=False, planned=False)
        it.now += 20 * MINUTE
        # Nobody is notified of a link that came back at once.
        it.watch.judge(tries=False, planned=False)
        assert it.titles() == []
        it.watch.judge(tries=True, planned=False)
        it.now += 2 * MINUTE
        it.watch.judge(tries=True, planned=False)
        it.watch.judge(tries=False, planned=False)
    assert it.titles() == ["not connected to IBKR since 13:20 (America/New_York)", "connected to IBKR again"]


async def test_a_damaged_memory_of_a_restart_allows_none(tmp_path: Path) -> None:
    (tmp_path / "link-restart.json").write_text("{")
    async with world(tmp_path) as it:
        it.server.lose_connection()
        it.hold()
        await it.becomes("lost")
        for _ in range(4):
            assert it.watch.judge(tries=False, planned=False) is None
            it.now += 121 * MINUTE
        assert "cannot be read" in it.said[0]


async def test_the_fourth_tier_is_what_the_watch_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instances, "RUN_ROOT", tmp_path / "run")
    async with world(tmp_path) as it:
        assert tiers.connected(it.instance).ok is None
        found: list[tiers.Tier] = []
        it.hold()
        for state in ("connected", "lost"):
            if state == "lost":
                it.server.lose_connection()
            await it.becomes(state)
            gateway_login.write(it.runtime, GatewayLogin("ready", False, "ready", it.watch.report()))
            found.append(tiers.connected(it.instance))
    assert [(tier.name, tier.ok, tier.cause) for tier in found] == [
        ("connected", True, None),
        ("connected", False, "ibkr_link_lost"),
    ]
    assert "since 2026-11-25 18:00:00 UTC" in found[1].text
    assert (await tiers.await_connected(it.instance, 0.0)).ok is False
