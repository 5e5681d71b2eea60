"""The metrics of the real services, scraped over HTTP while a fault happens: each that is about it moves."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import requests
from tests.integration.supervised import (
    ATTEMPT,
    DONE,
    LISTEN,
    LOGIN,
    NORMAL,
    START,
    STAY,
    WRONG_PASSWORD,
    Gateway,
    MakeGateway,
    prints,
    script,
)
from tests.integration.test_position_manager_service import FIRES, GUARDED, Manager
from tests.integration.test_supervisor_waits import ASK_AGAIN
from tests.scraping import Series, chosen, labelled, scraped, value

from gateway_simulator.api.behaviour import ApiBehaviour, ConnectMode
from gateway_simulator.api.server import ApiServer
from gateway_simulator.trading.sample import sample_brokerage

SECONDS = 30.0

Condition = Callable[[Series], object]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def until(port: int, condition: Condition) -> Series:
    """The first scrape that meets a condition. The service collects its metrics once a second."""
    end = time.monotonic() + SECONDS
    found: Series = {}
    while time.monotonic() < end:
        try:
            found = scraped(port)
        except requests.ConnectionError:
            time.sleep(0.1)
            continue
        if condition(found):
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {SECONDS:g} s; last: {sorted(found.items(), key=str)}")


def one(name: str, number: float, **labels: str) -> Condition:
    return lambda found: value(found, name, **labels) == number


def state(name: str, label: str, wanted: str) -> Condition:
    return lambda found: chosen(found, name, label) == [wanted]


def above_zero(found: Series, name: str, label: str) -> dict[str, float]:
    return {text: number for text, number in labelled(found, name, label).items() if number}


# ----- gateway-watch


@asynccontextmanager
async def api(behaviour: ApiBehaviour) -> AsyncIterator[ApiServer]:
    server = ApiServer(sample_brokerage(), behaviour)
    await server.start("127.0.0.1", 0)
    try:
        yield server
    finally:
        await server.stop()


def started(make: MakeGateway, port: int, api_port: int) -> tuple[Gateway, subprocess.Popen[str]]:
    gateway = make(
        metrics_port=port,
        unanswering_minutes=1000,
        apis=[{"mode": "paper", "host": "127.0.0.1", "port": api_port, "native_port": 4002}],
    )
    gateway.create(NORMAL)
    return gateway, gateway.start(probe_seconds=0.3)


@pytest.mark.asyncio
async def test_a_gateway_through_a_lost_connection_a_silent_api_and_a_kill(make: MakeGateway) -> None:
    behaviour, port = ApiBehaviour(), free_port()
    async with api(behaviour) as server:
        gateway, process = await asyncio.to_thread(started, make, port, server.port)
        reached = one("gateway_watch_tier_ok", 1, tier="answering")
        connected = state("gateway_watch_ibkr_link", "state", "connected")
        found = await asyncio.to_thread(until, port, lambda found: reached(found) and connected(found))
        tiers = dict.fromkeys(("listening", "answering", "verified", "connected"), 1)
        assert labelled(found, "gateway_watch_tier_ok", "tier") == tiers
        assert chosen(found, "gateway_watch_login_state", "state") == ["ready"]
        assert value(found, "gateway_watch_ready") == 1
        assert 0 < (value(found, "gateway_watch_start_duration_seconds") or 0) < 60
        assert 0 < (value(found, "gateway_watch_probe_duration_seconds", mode="paper") or 0) < 2
        assert above_zero(found, "gateway_watch_logins_total", "session") == {"full": 1}
        assert above_zero(found, "gateway_watch_restarts_total", "reason") == {}
        assert (value(found, "process_open_fds") or 0) > 3

        server.lose_connection()
        found = await asyncio.to_thread(until, port, state("gateway_watch_ibkr_link", "state", "lost"))
        assert value(found, "gateway_watch_ibkr_link_losses_total") == 1
        assert value(found, "gateway_watch_tier_ok", tier="connected") == 0
        assert chosen(found, "gateway_watch_login_state", "state") == ["link_lost"]
        server.restore_connection(data_lost=False)
        await asyncio.to_thread(until, port, connected)

        behaviour.connect = ConnectMode.SILENT
        found = await asyncio.to_thread(until, port, one("gateway_watch_tier_ok", 0, tier="answering"))
        assert (value(found, "gateway_watch_probe_failures") or 0) >= 1
        # The session that was opened before still answers.
        assert value(found, "gateway_watch_tier_ok", tier="verified") == 1
        behaviour.connect = ApiBehaviour().connect
        await asyncio.to_thread(until, port, one("gateway_watch_probe_failures", 0))

        process.kill()
        process.wait(10)
        await asyncio.to_thread(gateway.create, NORMAL)
        process = await asyncio.to_thread(gateway.start)
        found = await asyncio.to_thread(until, port, one("gateway_watch_ready", 1))
        assert above_zero(found, "gateway_watch_restarts_total", "reason") == {"killed": 1}
        assert value(found, "gateway_watch_ibkr_link_losses_total") == 1
        assert above_zero(found, "gateway_watch_logins_total", "session") == {"full": 2}
        status, _ = await asyncio.to_thread(gateway.terminate, process)
    assert status == 0


def test_refused_logins_and_an_approval_that_nobody_gives(make: MakeGateway) -> None:
    port = free_port()
    gateway = make(metrics_port=port, twofa_pushes_per_hour=2, max_bad_logins=3)
    refused = script(prints(START, *LOGIN, *ATTEMPT, *WRONG_PASSWORD), STAY)
    assert gateway.run(refused)[0] == 1
    never = "\n".join([prints(START, *LOGIN), ASK_AGAIN, "sleep 2", ASK_AGAIN, STAY])
    again = f"if test -e /tmp/again; then\n{prints(START, *LOGIN, *ATTEMPT, *DONE)}\n{LISTEN}\n{STAY}\nfi"
    gateway.create(script(again, "touch /tmp/again", never))
    process = gateway.start()
    found = until(port, one("gateway_watch_approval_requests_total", 1))
    assert above_zero(found, "gateway_watch_login_refusals_total", "cause")["bad_credentials"] == 1
    assert above_zero(found, "gateway_watch_restarts_total", "reason") == {"bad_credentials": 1}
    assert value(found, "gateway_watch_breaker_refusals") == 1
    assert value(found, "gateway_watch_breaker_open") == 0

    found = until(port, state("gateway_watch_login_hold", "kind", "approval"))
    assert value(found, "gateway_watch_approval_awaited") == value(found, "gateway_watch_needs_person") == 1
    assert value(found, "gateway_watch_approval_requests_total") == 2
    assert value(found, "gateway_watch_approvals_missed_total") == 2
    found = until(port, state("gateway_watch_login_state", "state", "waiting"))
    assert value(found, "gateway_watch_ready") == 0

    assert gateway.finish(gateway.start(["-m", "gateway_watch.cli", "approve-now"]))[0] == 0
    found = until(port, one("gateway_watch_ready", 1))
    assert value(found, "gateway_watch_approval_awaited") == 0
    assert above_zero(found, "gateway_watch_restarts_total", "reason") == {
        "bad_credentials": 1,
        "login_held_approval": 1,
    }
    assert value(found, "gateway_watch_breaker_refusals") == 0
    assert gateway.terminate(process)[0] == 0


def test_a_breaker_that_opens_is_seen_until_its_process_ends(make: MakeGateway) -> None:
    port = free_port()
    gateway = make(metrics_port=port, max_bad_logins=1)
    stays = "trap 'sleep 3; exit 0' TERM"
    gateway.create("\n".join([stays, prints(START, *LOGIN, *ATTEMPT, *WRONG_PASSWORD), STAY]))
    process = gateway.start()
    found = until(port, one("gateway_watch_breaker_open", 1))
    assert value(found, "gateway_watch_needs_person") == 1
    assert gateway.finish(process)[0] == 78
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5)


def test_scrapers_that_hang_do_not_delay_the_supervisor(make: MakeGateway) -> None:
    port = free_port()
    gateway = make(metrics_port=port)
    gateway.create(NORMAL)
    process = gateway.start()
    until(port, one("gateway_watch_ready", 1))
    silent = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(30)]
    for client in silent:
        client.sendall(b"GET /metrics")
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert gateway.finish(process)[0] == 0
    assert time.monotonic() - begun < 20
    for client in silent:
        client.close()


# ----- position manager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.end()


def test_a_manager_through_a_halt_and_a_stop(manager: Manager) -> None:
    port = free_port()
    manager.write(f"{GUARDED}metrics: {{port: {port}}}\n")
    manager.ready()
    found = until(port, one("position_manager_units", 1, verdict="guarded"))
    assert value(found, "position_manager_ready") == value(found, "position_manager_positions") == 1
    assert value(found, "position_manager_unprotected_for_seconds") == 0
    size = value(found, "position_manager_journal_size_bytes") or 0
    assert size > 0 and (value(found, "position_manager_journal_write_seconds_count") or 0) > 0

    assert manager.ask("halt", "--reason", "a test").returncode == 0
    found = until(port, one("position_manager_halts", 1))
    found = until(port, one("position_manager_units", 1, verdict="unprotected"))
    found = until(port, lambda found: (value(found, "position_manager_unprotected_for_seconds") or 0) > 0)
    assert manager.ask("resume").returncode == 0
    until(port, one("position_manager_units", 1, verdict="guarded"))

    manager.write(f"{FIRES}metrics: {{port: {port}}}\n")
    assert manager.ask("reload").returncode == 0
    found = until(port, one("position_manager_positions", 0))
    assert above_zero(found, "position_manager_decisions_total", "rule") == {"stop": 1}
    outcomes = above_zero(found, "position_manager_orders_total", "outcome")
    assert outcomes["filled"] == 1 and outcomes["sent"] >= 1
    for stage in ("acknowledged", "filled"):
        assert (value(found, "position_manager_order_round_trip_seconds_count", stage=stage) or 0) >= 1
    assert 0 < (value(found, "position_manager_order_round_trip_seconds_sum", stage="filled") or 0) < 30
    assert value(found, "position_manager_profit", currency="USD") is None
    assert value(found, "position_manager_orders_last_day") == outcomes["sent"]
    loops = value(found, "position_manager_loops_total") or 0
    until(port, lambda found: (value(found, "position_manager_loops_total") or 0) > loops)
