"""The parts of a run beside its event loop: reports to systemd, the files that outlive it, the waits before a start."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.gateway_watch.supervised_run import NOON, Run, Systemd

from gateway_watch import decision
from gateway_watch.breaker import Breaker
from gateway_watch.decision import End, Reason
from gateway_watch.engine import Engine
from gateway_watch.gatekeeper import gate_file, write_gate
from gateway_watch.gateway_container import GatewayContainer
from gateway_watch.login_gate import Gate, Hold, HoldKind
from gateway_watch.login_record import LoginRecord
from gateway_watch.metrics.recorder import Recorder
from gateway_watch.run_end import RunEnd
from gateway_watch.run_files import RunFiles
from gateway_watch.screen_pictures import ScreenPictures
from gateway_watch.second_factor import SecondFactor
from gateway_watch.session import Session
from gateway_watch.signatures import load
from host_service import gateway_login
from host_service.gateway_login import GatewayLogin

NIGHT = datetime(2026, 11, 26, 4, 50, tzinfo=UTC)
"""23:50 in New York, in IBKR's nightly reset."""


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    receiver = Systemd(tmp_path / "notify")
    yield receiver
    receiver.close()


@pytest.fixture
def run(tmp_path: Path, systemd: Systemd) -> Run:
    return Run(tmp_path, systemd)


def test_a_status_is_logged_each_time_and_sent_when_it_changes(run: Run) -> None:
    unit = run.unit()
    for text in ("starting", "starting", "ready"):
        unit.report(text)
    assert run.log == ["gateway-watch: starting", "gateway-watch: starting", "gateway-watch: ready"]
    assert run.systemd.received() == ["STATUS=starting", "STATUS=ready"]


def test_a_beat_comes_once_in_half_the_watchdog_s_time(run: Run) -> None:
    run.environment["WATCHDOG_USEC"] = "4000000"
    unit = run.unit()
    assert [unit.beat(extend=True), unit.beat(extend=True)] == [True, False]
    assert run.systemd.received() == ["WATCHDOG=1", "EXTEND_TIMEOUT_USEC=60000000"]
    run.seconds += 2
    assert unit.beat(extend=False)
    assert run.systemd.received() == ["WATCHDOG=1"]


def test_without_a_watchdog_only_the_timeout_is_extended(run: Run) -> None:
    assert run.unit().beat(extend=True)
    assert run.systemd.received() == ["EXTEND_TIMEOUT_USEC=60000000"]


def test_a_systemd_that_does_not_listen_is_logged(run: Run) -> None:
    run.systemd.close()
    run.unit().ready()
    assert run.log[0].startswith("gateway-watch: systemd could not be notified")


def test_systemd_s_count_of_restarts_is_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asyncio.run(run.unit().restarts()) == 0
    run.restarts(monkeypatch, "7")
    assert asyncio.run(run.unit().restarts()) == 7
    run.restarts(monkeypatch, "no such unit")
    assert asyncio.run(run.unit().restarts()) == 0
    assert "did not report how often" in run.log[-1]


def test_breaker_and_session_outlive_the_run(run: Run) -> None:
    files = run.files()
    files.store_breaker(Breaker().after_refusal("bad_credentials", NOON))
    files.store_session(Session(last_cause="bad_credentials"))
    later = run.files()
    later.load_breaker()
    assert later.breaker.count("bad_credentials") == 1
    assert later.session.last_cause == "bad_credentials"


@pytest.mark.parametrize(("after", "person"), [(timedelta(days=1), False), (-timedelta(days=1), True)])
def test_codes_that_came_after_the_last_login_need_no_person_for_the_next(
    run: Run, after: timedelta, person: bool
) -> None:
    """Older ones were there at that login, and a person had to approve it all the same."""
    files = run.files()
    files.store_session(Session(since=NOON, twofa=True))
    secret = run.directory / "secrets" / "totp_secret"
    secret.write_text("")
    run.change_credentials(NOON + after, secret.name)
    assert RunFiles(replace(run.instance, totp=True), None, run.log.append).session.twofa is person
    assert run.files().session.twofa is True


def test_a_corrected_password_resets_the_breaker_also_on_disk(run: Run) -> None:
    run.files().store_breaker(Breaker().after_refusal("bad_credentials", NOON))
    run.change_credentials(NOON + timedelta(minutes=1))
    files = run.files()
    files.load_breaker()
    assert files.breaker == Breaker()
    run.change_credentials(NOON - timedelta(days=30))
    again = run.files()
    again.load_breaker()
    assert again.breaker == Breaker()
    assert "counting from zero" in run.log[0]


def test_files_that_cannot_be_written_are_logged_and_stored_in_memory(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = run.files()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("host_service.statefile.write_bytes", full)
    files.store_breaker(Breaker().after_refusal("bad_credentials", NOON))
    files.store_session(Session(last_cause="exited"))
    files.publish(GatewayLogin("ready", False, "ready"))
    assert files.breaker.count("bad_credentials") == 1
    assert files.session.last_cause == "exited"
    assert len(run.log) == 3
    assert all("No space left on device" in line for line in run.log)


def test_credentials_are_proven_by_a_login_after_their_last_change(run: Run) -> None:
    files = run.files()
    assert not files.credentials_proven()
    files.store_session(Session(last_restart=NOON))
    assert files.credentials_proven()
    run.change_credentials(NOON + timedelta(seconds=1))
    assert not files.credentials_proven()


def test_an_open_breaker_forbids_the_start_and_is_reported(run: Run) -> None:
    files = run.files()
    assert run.waiting(files).allowed()
    files.store_breaker(Breaker().opened("account_locked", "Locked.", "Unlock it.", NOON))
    assert not run.waiting(files).allowed()
    assert "Not started, because of account_locked" in run.systemd.received()[-1]
    assert [message.title for message in run.notified] == ["ib-gateway is not started"]


def test_a_damaged_breaker_forbids_the_start(run: Run) -> None:
    run.instance.breaker_file.write_text("{")
    assert not run.waiting(run.files()).allowed()
    assert str(run.instance.breaker_file) in run.log[-1]


def test_failed_starts_are_followed_by_a_pause(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    files = run.files()
    files.store_session(Session(last_cause="exited", stable_restarts=3))
    run.restarts(monkeypatch, "6")
    waiting = run.waiting(files)
    assert asyncio.run(waiting.back_off(run.pass_time))
    assert (run.seconds, waiting.restarts) == (120.0, 6)
    assert "2 starts in a row failed (last: exited); the next one comes in 20 s" in run.log[-1]


def test_a_first_start_does_not_wait(run: Run) -> None:
    assert asyncio.run(run.waiting(run.files()).back_off(run.pass_time))
    assert (run.seconds, run.log) == (100.0, [])


def test_a_stop_ends_the_pause(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.restarts(monkeypatch, "6")

    async def stopped(_: float) -> bool:
        return True

    assert not asyncio.run(run.waiting(run.files()).back_off(stopped))
    assert run.log[-1] == "gateway-watch: stopped while waiting for the next start"


@pytest.mark.parametrize("proven", [True, False])
def test_a_login_refused_in_the_maintenance_waits_for_its_end_if_the_credentials_are_proven(
    run: Run, proven: bool
) -> None:
    run.start = NIGHT
    run.change_credentials(NIGHT - timedelta(days=30))
    files = run.files()
    files.store_session(Session(last_cause="login_failed", last_restart=NIGHT - timedelta(days=1) if proven else None))
    assert asyncio.run(run.waiting(files).back_off(run.pass_time))
    assert (run.seconds > 700) == proven
    assert len(run.notified) == (1 if proven else 0)


def test_a_held_login_waits_until_the_hold_is_over(run: Run) -> None:
    hold = Hold(HoldKind.APPROVAL, NOON, NOON + timedelta(minutes=10))
    write_gate(gate_file(run.instance), Gate((), hold))
    files = run.files()
    files.store_session(Session(last_cause="login_held_approval", twofa=True))
    assert asyncio.run(run.waiting(files).await_turn(run.pass_time))
    assert run.seconds >= 700
    assert files.session == replace(Session(twofa=True), last_cause=None, stable_restarts=0)
    published = gateway_login.read(run.directory / gateway_login.NAME)
    assert published is not None
    assert published.state == "waiting"


def test_a_session_left_to_another_login_is_taken_back_after_its_time(run: Run) -> None:
    files = run.files()
    files.store_session(Session(last_cause="session_yielded"))
    assert asyncio.run(run.waiting(files).await_turn(run.pass_time))
    assert run.seconds >= 100 + 30 * 60
    assert files.session.last_cause is None
    assert [message.kind for message in run.notified] == ["login_held_yielded"]


def test_the_open_breaker_is_stored_before_anything_is_counted(run: Run) -> None:
    """A process that is killed in between must not try the refused password again."""
    instance, files, signatures = run.instance, run.files(), load("ibc")
    opened: list[bool] = []

    class Counting(Recorder):
        def on_end(self, cause: str) -> None:
            opened.append(instance.breaker_file.exists())

    recorder, say, notify = Counting(), run.log.append, run.notified.append
    factor = SecondFactor(instance, signatures.dialogs, run.environment, say, run.now, asyncio.sleep)
    end = RunEnd(
        instance,
        signatures,
        run.unit(),
        files,
        LoginRecord(instance, files, factor, say, run.now, recorder),
        ScreenPictures(replace(instance, vnc=None), run.environment, say, notify, run.now),
        GatewayContainer(instance, (), Engine(), signatures, say),
        say,
        notify,
        run.now,
        recorder,
    )
    end.decide(End(decision.EXIT_CONFIG, Reason("bad_credentials", "refused", "correct it"), open_breaker=True))
    asyncio.run(end.carry_out(()))
    assert opened == [True]
