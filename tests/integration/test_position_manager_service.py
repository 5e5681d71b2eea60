"""The service as systemd runs it: a real process in mode sim, its sockets, its signals, and its command line."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.unit.notifications.webhook import Webhook

import position_manager
from position_manager.reports.status import Status
from position_manager.service import control
from position_manager.service.control import AskStatus

SOURCE = Path(position_manager.__file__).parents[1]
MARKET = """\
mode: sim
poll_seconds: 1
sim:
  tick_seconds: 0.1
  latency_ms: 10
  underlyings: {AAPL: {price: 190, volatility_percent: 0}}
  positions: [{symbol: AAPL, quantity: 100, average_price: 190}]
orders: {step_seconds: 0.2}
quotes: {max_age_seconds: 1}
"""
GUARDED = MARKET + "defaults: {stop: {percent_of_premium: 50}}\n"
FIRES = MARKET + "defaults: {stop: {price: 500}}\n"


def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What a condition comes to, once it is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)
    return found


class Systemd:
    """Receives a service's notifications to systemd."""

    def __init__(self, path: Path) -> None:
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.path = path
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                self.heard.append(self._socket.recv(8192).decode())
            except OSError:
                return

    def close(self) -> None:
        self._socket.close()


class Manager:
    """One instance in directories of its own; starts processes that are gone when the test is over."""

    def __init__(self, root: Path) -> None:
        self.config, self.state, self.runtime = root / "pm.yml", root / "state", root / "run"
        self.systemd = Systemd(root / "notify")
        self.log = root / "log"
        self._processes: list[subprocess.Popen[bytes]] = []

    def write(self, text: str) -> None:
        self.config.write_text(text)

    def start(self, **paths: Path) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*self._command("run", **paths)], env=self._environment(), stdout=log, stderr=subprocess.STDOUT
            )
        self._processes.append(process)
        return process

    def ready(self) -> subprocess.Popen[bytes]:
        self.systemd.heard.clear()
        process = self.start()
        until(lambda: "READY=1" in self.systemd.heard or process.poll() is not None)
        assert process.poll() is None, self.log.read_text()
        return process

    def ask(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(*command), env=self._environment(), capture_output=True, text=True, timeout=20, check=False
        )

    def status(self) -> Status:
        found = control.ask(self.runtime / "control.sock", AskStatus()).status
        assert found is not None
        return found

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def _command(self, *command: str, **paths: Path) -> list[str]:
        given = {"config": self.config, "state": self.state, "runtime": self.runtime} | paths
        options = [part for name, path in given.items() for part in (f"--{name}", str(path))]
        return [sys.executable, "-m", "position_manager.cli", command[0], *options, *command[1:]]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(SOURCE), "NOTIFY_SOCKET": str(self.systemd.path)}

    def end(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.systemd.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    made.write(GUARDED)
    yield made
    made.end()


@contextmanager
def people(path: Path) -> Iterator[tuple[Webhook, str]]:
    """A real server that messages go to, and the configuration for it."""
    with Webhook() as webhook:
        address = path / "addresses"
        address.write_text(f"json://127.0.0.1:{webhook.port}/\n")
        address.chmod(0o600)
        yield webhook, f"notifications: {{discord_url_file: {address}}}\n"


def test_a_stop_from_the_start_to_the_explanation(manager: Manager, tmp_path: Path) -> None:
    with people(tmp_path) as (webhook, notified):
        manager.write(GUARDED + notified)
        process = manager.ready()
        assert "WATCHDOG=1" in manager.systemd.heard
        assert manager.status().phase == "READY"
        until(lambda: [(unit.name, unit.verdict) for unit in manager.status().units] == [("AAPL", "guarded")])
        until(lambda: "STATUS=sim, READY, positions: 1" in manager.systemd.heard)

        manager.write(FIRES.replace("500", "five hundred") + notified)
        os.kill(process.pid, signal.SIGHUP)
        until(lambda: any(b"is refused, the old one stays" in post.body for post in webhook.taken))
        assert [unit.verdict for unit in manager.status().units] == ["guarded"]
        refused = manager.ask("reload")
        assert refused.returncode == 1 and f"{manager.config}:10: defaults.stop.price:" in refused.stderr

        manager.write(FIRES + notified)
        reloaded = manager.ask("reload")
        assert (reloaded.returncode, reloaded.stdout) == (0, f"{manager.config} is in force.\n")
        until(lambda: any(b"Closed: AAPL" in post.body for post in webhook.taken))
        assert manager.status().units == ()

        story = manager.ask("explain", "AAPL").stdout
        for part in (
            "Rule fired: stop",
            "is at or below 500",
            "pass quote: ",
            "Written down, then sent",
            "Executed: 100",
        ):
            assert part in story
        assert "Closed" in story.splitlines()[-3:][0] or "Closed" in story

        process.terminate()
        assert process.wait(20) == 0
        assert "STOPPING=1" in manager.systemd.heard
        assert any("manager stopped" in json.loads(post.body)["title"] for post in webhook.taken)
    assert not (manager.runtime / "control.sock").exists()
    assert {(path.stat().st_mode & 0o077) for path in manager.state.rglob("*")} == {0}
    assert {entry["event"] for entry in manager.entries()} >= {"PositionManager starting (poll every 1s)", "stopping"}


def test_a_price_that_is_moved_through_the_stop_closes_the_position(manager: Manager) -> None:
    manager.ready()
    unknown = manager.ask("price", "XYZ", "1")
    assert unknown.returncode == 1 and "these have: AAPL" in unknown.stderr
    assert [unit.verdict for unit in manager.status().units] == ["guarded"]
    moved = manager.ask("price", "AAPL", "90")
    assert (moved.returncode, moved.stdout.partition(" and ")[0]) == (0, "AAPL is at 90")
    until(lambda: manager.status().units == ())
    assert "is at or below 95" in manager.ask("explain", "AAPL").stdout


def test_a_killed_service_comes_back(manager: Manager) -> None:
    first = manager.ready()
    first.kill()
    first.wait()
    away = manager.ask("status")
    assert away.returncode == 1 and "NOTHING IS GUARDED" in away.stdout and "100 AAPL" in away.stdout
    manager.ready()
    assert manager.ask("status").returncode == 0


def test_a_close_by_hand_goes_through(manager: Manager) -> None:
    manager.ready()
    assert manager.ask("close", "AAPL", "--yes").stdout.startswith("AAPL is being closed")
    until(lambda: manager.status().units == ())
    assert "by hand" in manager.ask("explain", "AAPL").stdout


def test_a_halt_holds_a_rule_until_it_is_ended(manager: Manager) -> None:
    manager.write(FIRES)
    manager.state.mkdir()
    assert manager.ask("halt", "--reason", "a look first").returncode == 0
    manager.ready()
    held = until(lambda: (found := manager.status()).halts and found)
    until(lambda: any("HALTED: a look first" in text for text in manager.systemd.heard))
    assert held.orders_today == 0 and "a look first" in held.halts[0]
    assert manager.ask("resume").returncode == 0
    until(lambda: manager.status().units == ())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("mode: papr\n", "pm.yml:1: mode: "),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_configuration_that_is_none_is_for_a_person(manager: Manager, text: str | None, why: str) -> None:
    if text is None:
        manager.config.unlink()
    else:
        manager.write(text)
    assert manager.start().wait(20) == 78
    until(lambda: any(why in line for line in manager.systemd.heard))
    assert any(why in entry["event"] for entry in manager.entries())


def test_a_journal_of_another_account_is_for_a_person(manager: Manager, tmp_path: Path) -> None:
    process = manager.ready()
    process.terminate()
    process.wait()
    (manager.state / "simulated.json").unlink()
    with people(tmp_path) as (webhook, notified):
        manager.write(GUARDED.replace("sim:\n", "sim:\n  account: DU7654321\n") + notified)
        assert manager.start().wait(20) == 78
        reported = [json.loads(post.body) for post in webhook.taken]
        assert any("stays down until a person acts" in message["title"] for message in reported)
        assert all("DU7654321" not in str(message) for message in reported)
    last = [entry["event"] for entry in manager.entries() if entry["level"] == "critical"]
    assert len(last) == 1 and "it belongs to mode sim, accounts DU*****01; this is" in last[0]


def test_a_journal_that_is_held_for_a_moment_is_tried_again(manager: Manager) -> None:
    process = manager.ready()
    process.terminate()
    process.wait()
    holder = sqlite3.connect(manager.state / "journal-sim.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        assert manager.start().wait(20) == 1
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    last = [entry["event"] for entry in manager.entries() if entry["level"] == "critical"]
    assert len(last) == 1 and "another process writes to it" in last[0]
    manager.ready()


def test_two_of_one_instance_are_one_too_many(manager: Manager, tmp_path: Path) -> None:
    manager.ready()
    assert manager.start().wait(20) == 1
    assert any("another position manager listens at" in entry["event"] for entry in manager.entries())
    assert manager.start(runtime=tmp_path / "other").wait(20) == 78
    assert any("writes it. Stop that one first." in entry["event"] for entry in manager.entries())
    assert manager.ask("status").returncode == 0, "the first goes on"


def test_the_numbers_are_served_and_a_port_that_is_taken_ends_nothing(manager: Manager) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        manager.write(f"{GUARDED}metrics: {{port: {port}}}\n")
        process = manager.ready()
        assert any(f"metrics cannot be served on 127.0.0.1:{port}" in entry["event"] for entry in manager.entries())
        process.terminate()
        process.wait()
    manager.ready()
    assert "position_manager_ready 1.0" in requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text


def test_the_service_is_small(manager: Manager, tmp_path: Path) -> None:
    with people(tmp_path) as (_, notified):
        manager.write(GUARDED + notified)
        process = manager.ready()
        kilobytes = Path(f"/proc/{process.pid}/status").read_text().partition("VmRSS:")[2].split()[0]
        assert int(kilobytes) < 80 * 1024
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        assert "matplotlib" not in maps and "pandas" not in maps


def test_an_account_stop_fires_when_a_price_is_moved_and_a_person_rearms_it(manager: Manager) -> None:
    manager.write(
        GUARDED
        + "account_stops: {ask_seconds: 1, max_age_seconds: 5, confirm_seconds: 1, "
        + "daily_loss: {percent: 4, action: close}, margin_cushion: {below_percent: 10, action: notify}}\n"
    )
    assert "account_stops.daily_loss: percent 4, action close" in manager.ask("check-config").stdout
    manager.ready()
    until(lambda: manager.status().account_stops[0].day_start is not None)
    assert "daily_loss (close) guarded: the account is worth 119,000.00 USD" in manager.ask("status").stdout
    # The stop of the position itself is further away, at half of the premium.
    manager.ask("price", "AAPL", "130")
    until(lambda: manager.status().units == (), 20)
    assert "Rule fired: account daily loss" in manager.ask("explain", "AAPL").stdout
    shown = manager.ask("status")
    assert shown.returncode == 1
    assert "daily_loss (close) FIRED" in shown.stdout
    assert "rearmed at 112," in manager.ask("rearm").stdout
    assert manager.ask("status").returncode == 0
