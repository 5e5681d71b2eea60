"""The command line, without a service and with one that listens at a real socket."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from tests.unit.position_manager import journal_samples
from tests.unit.position_manager.control_service import Service, served

import position_manager
from position_manager import cli
from position_manager.cli import main
from position_manager.halt import HaltRecord
from position_manager.orders.intents import Intent
from position_manager.paths import Paths

SOURCE = Path(position_manager.__file__).parents[1]
EXAMPLE = Path(position_manager.__file__).with_name("example.yml")


class Place:
    """The directories of an instance, and how to run commands for it."""

    def __init__(self, root: Path) -> None:
        self.config, self.state, self.runtime = root / "pm.yml", root / "state", root / "run"
        self.state.mkdir(mode=0o700)
        self.runtime.mkdir(mode=0o700)
        self.journal = self.state / "journal-paper.db"

    @property
    def options(self) -> list[str]:
        return ["--config", str(self.config), "--state", str(self.state), "--runtime", str(self.runtime)]

    def run(self, command: str, *more: str) -> int:
        return main([command, *self.options, *more])

    def served(self, command: str, *more: str, service: Service | None = None) -> int:
        return served(self.runtime / "control.sock", lambda: self.run(command, *more), service)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def day(place: Place) -> tuple[Intent, Intent, Intent]:
    return journal_samples.write(place.journal)


Capture = pytest.CaptureFixture[str]

# ----- check-config


def test_a_configuration_in_order_is_reported_rule_set_by_rule_set(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    assert main(["check-config", str(EXAMPLE)]) == 0
    first, *rules = capsys.readouterr().out.splitlines()
    assert first == f"{EXAMPLE} is in order: mode paper, client 100 at 127.0.0.1:4002."
    assert [line.partition(":")[0].strip() for line in rules] == [
        "defaults", "underlyings.SPY", "groups.SPY condor", "positions[0]", "positions[1]",
        "account_stops.daily_loss", "account_stops.drawdown", "account_stops.margin_cushion",
        "assignment_warnings", "worthless_wings", "cooldown",
    ]  # fmt: skip
    assert rules[0] == (
        "  defaults: stop percent_of_premium 50; target percent_of_premium 80; time dte 1, before_close 00:30"
    )
    assert "trailing off" in rules[2]
    assert rules[5] == "  account_stops.daily_loss: percent 5, action close"


def test_every_fault_is_reported_with_its_line(place: Place, capsys: Capture) -> None:
    place.config.write_text("mode: papr\npoll_seconds: 0\ndefaults:\n  stop: {percent: 50}\n")
    assert place.run("check-config") == 2
    lines = capsys.readouterr().err.splitlines()
    places = [line.removeprefix("position-manager: ").removeprefix(f"{place.config}:") for line in lines]
    assert [text.split(": ")[0] for text in places] == ["1", "2", "4"]
    assert {text.split(": ")[1] for text in places} >= {"mode", "poll_seconds", "defaults.stop.percent"}


def test_a_calendar_that_there_is_not_is_a_fault_with_its_line(
    place: Place, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    place.config.write_text("mode: sim\nhours:\n  fallback_calendar: XNY\n")
    assert place.run("check-config") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"position-manager: {place.config}:3: hours.fallback_calendar: XNY is no calendar")


# ----- status


def test_the_status_of_a_service_that_runs(place: Place, capsys: Capture) -> None:
    assert place.served("status") == 0
    text = capsys.readouterr().out
    assert "paper: READY since" in text and "SPY condor UNPROTECTED" in text
    assert place.served("status", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["running"] is True and found["phase"] == "READY" and len(found["units"]) == 3


def test_the_status_without_a_service(place: Place, day: object, capsys: Capture) -> None:
    assert place.run("status") == 1
    text = capsys.readouterr().out
    assert "does not run: NOTHING IS GUARDED" in text
    assert "systemctl start position-manager-live" not in text
    assert place.run("status", "--instance", "position-manager-live") == 1
    assert "systemctl start position-manager-live" in capsys.readouterr().out
    assert "  1 SPY 2026-12-18 500C in DU*****67" in text and "AAPL in DU*****67 for" in text
    assert place.run("status", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["running"] is False and [lock["label"] for lock in found["locks"]] == ["AAPL"]


def test_the_status_of_what_never_ran(place: Place, capsys: Capture) -> None:
    HaltRecord(place.state / "halt.json").write("by hand", datetime(2026, 11, 23, tzinfo=UTC))
    assert place.run("status") == 1
    # A long path is divided between lines.
    text = "".join(capsys.readouterr().out.split())
    assert f"journal{place.state / 'journal.db'}:itcannotbeopened" in text
    assert "HALTEDbyhand(toendit:position-managerresume)" in text


# ----- explain and journal


def test_an_order_is_explained(place: Place, day: tuple[Intent, ...], capsys: Capture) -> None:
    assert place.run("explain", "order:2") == 0
    assert f"intent {day[1].id}" in capsys.readouterr().out
    assert place.run("explain", "SPY", "2026-12-18", "450P") == 0
    assert "contract 101" in capsys.readouterr().out
    assert place.run("explain", "QQQ") == 1
    assert "position-manager: The journal has nothing about 'QQQ'." in capsys.readouterr().err


def test_without_a_journal_there_is_one_clear_error(place: Place, capsys: Capture) -> None:
    for command in (["explain", "1"], ["journal"]):
        assert place.run(*command) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"position-manager: journal {place.state / 'journal.db'}: it cannot be opened")
        assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "number"), [((), 20), (("--instrument", "101"), 14), (("--instrument", "AAPL"), 5)]
)
def test_events_are_shown_line_by_line(
    place: Place, day: object, options: tuple[str, ...], number: int, capsys: Capture
) -> None:
    assert place.run("journal", *options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == number and lines == sorted(lines)


def test_events_of_an_intent_as_json(place: Place, day: tuple[Intent, ...], capsys: Capture) -> None:
    assert place.run("journal", "--json", "--intent", day[2].id) == 0
    text = capsys.readouterr().out
    events = [json.loads(line) for line in text.splitlines()]
    assert [event["kind"] for event in events] == ["decided", "Sending", "locked", "Said"]
    assert events[1]["data"]["event"]["limit"] == "179.95" and events[0]["account"] == "DU*****67"
    assert journal_samples.ACCOUNT not in text


def test_a_journal_is_followed(place: Place) -> None:
    day = journal_samples.Day(place.journal)
    day.hold(journal_samples.CALL, 1)
    command = [sys.executable, "-m", "position_manager.cli", "journal", "--follow", *place.options]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        assert "The position counts as 1" in process.stdout.readline()
        day.hold(journal_samples.STOCK, 100)
        assert "AAPL: The position counts as 100" in process.stdout.readline()
        process.terminate()
    day.journal.close()


# ----- halt and resume


def test_a_halt_remains_until_it_is_ended(place: Place, capsys: Capture) -> None:
    record = HaltRecord(place.state / "halt.json")
    assert place.run("halt", "--reason", "the feed lies") == 0
    assert "Halted: the feed lies (halted by " in capsys.readouterr().out
    found = record.read()
    assert found is not None and found.reason.startswith("the feed lies (halted by ")
    assert place.run("halt", "--reason", "another") == 0
    assert "Halted: the feed lies" in capsys.readouterr().out, "the first reason stands"
    assert place.run("resume") == 0
    assert record.read() is None
    assert place.run("resume") == 0
    assert capsys.readouterr().out.splitlines() == ["The halt is ended.", "There was no halt."]


def test_resume_reports_a_kill_switch_that_is_left(place: Place, capsys: Capture) -> None:
    (place.state / "HALT").touch()
    assert place.run("resume") == 1
    assert f"To end that: rm {place.state / 'HALT'}" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_halt_by_root_can_be_read_by_the_service(place: Place) -> None:
    shutil.chown(place.state, 1234, 1234)
    assert place.run("halt") == 0
    assert (place.state / "halt.json").stat().st_uid == 1234


def test_a_state_directory_that_is_not_there(tmp_path: Path, capsys: Capture) -> None:
    assert main(["halt", "--state", str(tmp_path / "none")]) == 1
    assert "No such file or directory" in capsys.readouterr().err


# ----- close, release, reload


def answering(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))


@pytest.mark.parametrize(("answer", "status", "asked"), [("yes\n", 0, 1), ("y\n", 1, 0), ("\n", 1, 0), ("", 1, 0)])
def test_a_close_asks_first(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: Capture, answer: str, status: int, asked: int
) -> None:
    answering(monkeypatch, answer)
    service = Service()
    assert place.served("close", "AAPL", service=service) == status
    assert len(service.heard) == asked
    said = capsys.readouterr()
    assert (
        "Close 100 AAPL (now 179.98, entry 190.25) at the ladder's prices, mode paper, account DU*****67?" in said.out
    )
    assert ("nothing was done" in said.err) is not bool(asked)


@pytest.mark.parametrize("more", [("--limit", "1.20"), ("--emergency",)])
def test_a_price_of_ones_own_must_be_meant(place: Place, capsys: Capture, more: tuple[str, ...]) -> None:
    service = Service()
    assert place.served("close", "AAPL", "--yes", *more, service=service) == 2
    assert service.heard == []
    assert "--limit PRICE and --emergency go together" in capsys.readouterr().err


def test_an_emergency_price_is_handed_over(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "anna")
    service = Service()
    assert place.served("close", "SPY", "condor", "--yes", "--limit", "1.20", "--emergency", service=service) == 0
    assert service.heard == [("close", "SPY condor", "anna", Decimal("1.20"))]


@pytest.mark.parametrize("price", ["Infinity", "NaN", "cheap"])
def test_a_price_that_is_none(place: Place, capsys: Capture, price: str) -> None:
    with pytest.raises(SystemExit) as ended:
        place.run("close", "AAPL", f"--limit={price}", "--emergency")
    assert ended.value.code == 2
    assert f"{price!r} is no price" in capsys.readouterr().err


def test_a_release_and_its_refusal(place: Place, capsys: Capture) -> None:
    assert place.served("release", "AAPL") == 0
    assert capsys.readouterr().out == "AAPL is released\n"
    assert place.served("release", "unknown") == 1
    assert capsys.readouterr().err == "position-manager: Nothing in DU*****67 is called unknown.\n"


def test_a_price_of_the_simulated_market(place: Place, capsys: Capture) -> None:
    assert place.served("price", "SPY", "430.5") == 0
    assert capsys.readouterr().out == "SPY is at 430.5\n"


def test_a_reload_that_is_refused(place: Place, capsys: Capture) -> None:
    assert place.served("reload") == 1
    assert "pm.yml:3: mode: must be one of" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [("close", "AAPL", "--yes"), ("release", "AAPL"), ("reload",), ("price", "SPY", "1")]
)
def test_what_needs_the_service_reports_that_it_does_not_run(
    place: Place, capsys: Capture, command: tuple[str, ...]
) -> None:
    assert place.run(*command) == 1
    assert capsys.readouterr().err == (
        f"position-manager: the position manager does not run: nothing listens at {place.runtime}/control.sock\n"
    )


# ----- where it is


def test_the_paths_of_an_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Paths] = []

    def note(paths: Paths, _options: object) -> int:
        seen.append(paths)
        return 0

    monkeypatch.setattr(cli, "resume", note)
    run: Callable[[list[str]], int] = main
    assert run(["resume"]) == run(["resume", "--instance", "live"]) == run(["resume", "--state", "/x"]) == 0
    assert [(str(p.config), str(p.state), str(p.socket)) for p in seen] == [
        (
            "/etc/position-manager/position-manager.yml",
            "/var/lib/position-manager/position-manager",
            "/run/position-manager/position-manager/control.sock",
        ),
        (
            "/etc/position-manager/live.yml",
            "/var/lib/position-manager/live",
            "/run/position-manager/live/control.sock",
        ),
        (
            "/etc/position-manager/position-manager.yml",
            "/x",
            "/run/position-manager/position-manager/control.sock",
        ),
    ]
