"""The metrics of a gateway: what each event of a run and each file changes in them."""

from __future__ import annotations

import asyncio
import re
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.scraping import chosen, labelled, value
from tests.unit.gateway_watch.instance_files import DOCUMENT
from tests.unit.gateway_watch.scraped_gateway import CAUSES, NOON, Gateway, start

from gateway_watch import breaker, counter_file, decision, engine, gatekeeper, session, soft_restart, systemd_unit
from gateway_watch.breaker import Breaker, BreakerFile
from gateway_watch.clock_error import ClockError
from gateway_watch.container_run import CreateError
from gateway_watch.instance import InstanceError, parse
from gateway_watch.login import LoginState
from gateway_watch.login_gate import Gate, Hold, HoldKind
from gateway_watch.metrics import specs
from gateway_watch.metrics.recorder import FILE, Recorder
from gateway_watch.metrics.serving import clock_watched, recorded
from gateway_watch.session import Session
from gateway_watch.soft_restart import Kind, Outcome, Request
from host_service.backup_record import Good, Record
from notifications.message import Message, Severity
from notifications.outbox import Outbox

NIGHT = datetime(2026, 11, 26, 4, 50, tzinfo=UTC)
"""23:50 in New York, in IBKR's nightly reset."""

SHOWN_OF_RUN = {
    *("gateway_watch_ready", "gateway_watch_tier_ok"),
    *("gateway_watch_probe_failures", "gateway_watch_probe_duration_seconds"),
}


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)


def test_a_gateway_that_has_not_started_yet_has_no_state_and_every_counter_at_zero(gateway: Gateway) -> None:
    found = gateway.scrape()
    assert chosen(found, "gateway_watch_login_state", "state") == []
    assert value(found, "gateway_watch_ready") == 0
    assert labelled(found, "gateway_watch_tier_ok", "tier") == {"listening": 0}
    assert chosen(found, "gateway_watch_ibkr_link", "state") == ["unknown"]
    counters = {name for name, _ in found if name.startswith("gateway_watch_") and name.endswith("_total")}
    assert counters == {*specs.STORED, specs.SOFT_RESTARTS}
    assert {number for (name, _), number in found.items() if name in counters} == {0}
    assert value(found, specs.LOGIN_REFUSALS, cause="bad_credentials") == 0
    assert value(found, specs.RESTARTS, reason="twofa_missed") == 0


def test_the_release_and_the_gateway_are_shown(gateway: Gateway) -> None:
    (labels,) = [dict(labels) for name, labels in gateway.scrape() if name == "gateway_watch_info"]
    assert labels["trading_mode"] == "paper" and labels["login_controller"] == "ibc"
    assert labels["image"] == "ghcr.io/gnzsnz/ib-gateway:10.50.1f" and labels["version"] and labels["python"]


def test_a_start_until_it_is_ready(gateway: Gateway) -> None:
    start(gateway)
    found = gateway.scrape()
    assert labelled(found, "gateway_watch_tier_ok", "tier") == dict.fromkeys(specs.TIERS, 1)
    assert value(found, "gateway_watch_ready") == 1
    assert chosen(found, "gateway_watch_login_state", "state") == ["ready"]
    assert chosen(found, "gateway_watch_ibkr_link", "state") == ["connected"]
    assert value(found, "gateway_watch_start_duration_seconds") == 42
    assert value(found, "gateway_watch_probe_duration_seconds", mode="paper") == 0.012
    assert labelled(found, specs.LOGINS, "session") == {"full": 1, "kept": 0}


def test_a_restart_within_the_container_counts_as_a_login_with_its_session_kept(gateway: Gateway) -> None:
    start(gateway)
    gateway.seconds += 9000
    gateway.recorder.on_ready(full=False)
    found = gateway.scrape()
    assert labelled(found, specs.LOGINS, "session") == {"full": 1, "kept": 1}
    assert value(found, "gateway_watch_start_duration_seconds") == 42


def test_the_state_of_the_login_has_its_time(gateway: Gateway) -> None:
    gateway.publish("logging_in")
    gateway.now += timedelta(minutes=1)
    gateway.publish("awaiting_2fa", person=True)
    gateway.now += timedelta(minutes=1)
    gateway.publish("awaiting_2fa", person=True)
    found = gateway.scrape()
    since = value(found, "gateway_watch_login_state_since_timestamp_seconds")
    assert since == (NOON + timedelta(minutes=1)).timestamp()
    assert value(found, "gateway_watch_needs_person") == value(found, "gateway_watch_approval_awaited") == 1


@pytest.mark.parametrize("state", [*LoginState, "waiting"])
def test_each_state_is_one_of_the_label(gateway: Gateway, state: str) -> None:
    gateway.publish(str(state))
    assert chosen(gateway.scrape(), "gateway_watch_login_state", "state") == [state]


def test_a_dialog_that_codes_answer_awaits_nobody(gateway: Gateway) -> None:
    gateway.publish("awaiting_2fa", person=False)
    gateway.change(LoginState.AWAITING_2FA, approvable=False)
    gateway.change(LoginState.READY)
    found = gateway.scrape()
    assert value(found, "gateway_watch_approval_awaited") == value(found, specs.APPROVAL_REQUESTS) == 0
    assert value(found, specs.APPROVALS_GIVEN) == 0


def approvals(gateway: Gateway) -> tuple[float | None, ...]:
    found = gateway.scrape()
    return tuple(
        value(found, name) for name in (specs.APPROVAL_REQUESTS, specs.APPROVALS_GIVEN, specs.APPROVALS_MISSED)
    )


def test_an_approval_that_was_missed_and_one_that_was_given(gateway: Gateway) -> None:
    gateway.recorder.on_start()
    gateway.change(LoginState.AWAITING_2FA)
    gateway.change(LoginState.AWAITING_2FA)
    assert approvals(gateway) == (1, 0, 0)
    gateway.change(LoginState.RELOGIN_WAIT, "twofa_missed")
    assert approvals(gateway) == (1, 0, 1)
    gateway.change(LoginState.LOGGING_IN, attempt=2)
    gateway.change(LoginState.AWAITING_2FA, attempt=2)
    gateway.change(LoginState.LOGGING_IN, attempt=2)
    gateway.change(LoginState.LOGGED_IN, attempt=2)
    gateway.change(LoginState.READY, attempt=2)
    assert approvals(gateway) == (2, 1, 1)


def test_two_logins_have_approvals_of_their_own(gateway: Gateway) -> None:
    gateway.change(LoginState.AWAITING_2FA, mode="live")
    gateway.change(LoginState.READY, mode="paper")
    assert approvals(gateway) == (1, 0, 0)
    gateway.change(LoginState.READY, mode="live")
    assert approvals(gateway) == (1, 1, 0)


def test_a_run_that_is_stopped_answers_no_request(gateway: Gateway) -> None:
    gateway.recorder.on_start()
    gateway.change(LoginState.AWAITING_2FA)
    gateway.recorder.on_end(specs.STOPPED)
    gateway.recorder.on_start()
    gateway.change(LoginState.READY)
    assert approvals(gateway) == (1, 0, 0)


def test_a_refused_attempt_counts_once_and_a_warning_never(gateway: Gateway) -> None:
    gateway.recorder.on_start()
    gateway.change(LoginState.FAILED, "bad_credentials")
    gateway.change(LoginState.FAILED, "bad_credentials")
    gateway.change(LoginState.FAILED, "bad_credentials", attempt=2)
    warning = next(cause for cause in CAUSES.values() if cause.next_step == "goes_on")
    gateway.change(LoginState.READY, warning.id)
    refusals = {
        cause: count for cause, count in labelled(gateway.scrape(), specs.LOGIN_REFUSALS, "cause").items() if count
    }
    assert refusals == {"bad_credentials": 2}


def restarts(gateway: Gateway) -> dict[str, float]:
    found = labelled(gateway.scrape(), specs.RESTARTS, "reason")
    return {reason: count for reason, count in found.items() if count}


def test_a_restart_counts_under_the_reason_of_the_end_before_it(gateway: Gateway) -> None:
    gateway.recorder.on_start()
    assert restarts(gateway) == {}
    gateway.recorder.on_end("bad_credentials")
    gateway.recorder.on_end(specs.STOPPED)
    assert restarts(gateway) == {}
    gateway.next_process().on_start()
    assert restarts(gateway) == {"bad_credentials": 1}
    gateway.next_process().on_start()
    assert restarts(gateway) == {"bad_credentials": 1, specs.KILLED: 1}


def test_what_ends_before_the_container_starts_is_no_run(gateway: Gateway) -> None:
    gateway.recorder.on_end(specs.STOPPED)
    gateway.recorder.on_start()
    assert restarts(gateway) == {}


def test_the_end_of_a_run_takes_its_tiers_with_it(gateway: Gateway) -> None:
    start(gateway)
    gateway.recorder.on_end("api_unanswering")
    found = gateway.scrape()
    assert value(found, "gateway_watch_ready") == 0
    assert value(found, "gateway_watch_tier_ok", tier="listening") == 0
    assert value(found, "gateway_watch_tier_ok", tier="verified") is None
    assert value(found, "gateway_watch_probe_duration_seconds", mode="paper") is None
    gateway.recorder.on_health(listening=True, ready=True)
    gateway.recorder.on_session(held=True)
    gateway.recorder.on_probe({"paper": 0.012}, 1)
    late = gateway.scrape()
    assert {series: late[series] for series in late if series[0] in SHOWN_OF_RUN} == {
        series: found[series] for series in found if series[0] in SHOWN_OF_RUN
    }, "late news of a container that is being stopped"


def test_probes_without_an_answer(gateway: Gateway) -> None:
    gateway.recorder.on_start()
    gateway.recorder.on_probe({}, 2)
    found = gateway.scrape()
    assert value(found, "gateway_watch_tier_ok", tier="answering") == 0
    assert value(found, "gateway_watch_probe_failures") == 2


def test_a_lost_connection_counts_once(gateway: Gateway) -> None:
    for link in ("connected", "lost", "lost", "connected", "unknown", "lost"):
        gateway.publish("ready", link)
    found = gateway.scrape()
    assert value(found, specs.LINK_LOSSES) == 2
    assert chosen(found, "gateway_watch_ibkr_link", "state") == ["lost"]
    assert value(found, "gateway_watch_tier_ok", tier="connected") == 0


def test_counters_outlive_the_process(gateway: Gateway) -> None:
    gateway.change(LoginState.AWAITING_2FA)
    gateway.recorder.on_ready(full=True)
    gateway.next_process()
    assert approvals(gateway) == (1, 0, 0)
    assert gateway.value(specs.LOGINS, session="full") == 1


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"counts": 1}',
        '{"counts": {"x": {"y": "z"}}, "last_run": ""}',
        '{"counts": {"a": []}}',
        '{"counts": {"a": {"b": Infinity}}, "last_run": ""}',
    ],
)
def test_a_damaged_file_of_counters_starts_at_zero(gateway: Gateway, content: str) -> None:
    (gateway.directory / FILE).write_text(content)
    gateway.next_process().on_start()
    assert restarts(gateway) == {} and gateway.value(specs.APPROVAL_REQUESTS) == 0


def test_counters_that_cannot_be_stored_are_logged_and_counted(tmp_path: Path) -> None:
    log: list[str] = []
    recorder = Recorder(tmp_path / "missing" / FILE, log.append)
    recorder.on_ready(full=True)
    assert recorder.view.counts[specs.LOGINS] == {"full": 1}
    assert log[0].startswith("gateway-watch: the counters of the metrics could not be stored: ")


def test_the_breaker(gateway: Gateway) -> None:
    file = BreakerFile(gateway.instance.breaker_file, "ib-gateway")
    assert (gateway.value("gateway_watch_breaker_open"), gateway.value("gateway_watch_breaker_refusals")) == (0, 0)
    refused = Breaker().after_refusal("bad_credentials", NOON).after_refusal("bad_credentials", NOON)
    file.write(refused.opened("bad_credentials", "text", "remedy", NOON))
    assert (gateway.value("gateway_watch_breaker_open"), gateway.value("gateway_watch_breaker_refusals")) == (1, 2)
    gateway.instance.breaker_file.write_text("damaged")
    assert (gateway.value("gateway_watch_breaker_open"), gateway.value("gateway_watch_breaker_refusals")) == (1, None)


@pytest.mark.parametrize(
    ("kind", "awaited"), [(HoldKind.APPROVAL, 1), (HoldKind.QUIET_HOURS, 0), (HoldKind.YIELDED, 0)]
)
def test_a_hold_and_whether_a_person_is_awaited(gateway: Gateway, kind: HoldKind, awaited: float) -> None:
    gatekeeper.write_gate(gatekeeper.gate_file(gateway.instance), Gate((NOON,), Hold(kind, NOON, None)))
    found = gateway.scrape()
    assert chosen(found, "gateway_watch_login_hold", "kind") == [kind.value]
    assert value(found, "gateway_watch_approval_awaited") == awaited


def test_the_planned_moments(gateway: Gateway) -> None:
    session.write(gateway.instance.session_file, Session(since=NOON - timedelta(days=1), twofa=True, last_restart=NOON))
    found = gateway.scrape()
    calendar = gateway.instance.calendar
    planned = {kind: calendar.next(kind, NOON) for kind in specs.PLANNED}
    assert labelled(found, "gateway_watch_next_restart_timestamp_seconds", "kind") == {
        kind.value: moment.timestamp() for kind, moment in planned.items() if moment is not None
    }
    due = calendar.next_full_login(NOON).timestamp()
    assert value(found, "gateway_watch_next_approval_timestamp_seconds") == due
    assert value(found, "gateway_watch_session_end_timestamp_seconds") == calendar.next_session_end(NOON).timestamp()
    assert value(found, "gateway_watch_session_start_timestamp_seconds") == (NOON - timedelta(days=1)).timestamp()
    assert value(found, "gateway_watch_last_ready_timestamp_seconds") == NOON.timestamp()


def test_no_approval_is_due_where_none_is_needed_and_no_restart_where_none_is_planned(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, auto_restart_time="", cold_restart_time="")
    session.write(gateway.instance.session_file, Session(since=NOON, twofa=False, last_restart=NOON))
    found = gateway.scrape()
    assert value(found, "gateway_watch_next_approval_timestamp_seconds") is None
    assert labelled(found, "gateway_watch_next_restart_timestamp_seconds", "kind") == {}


def test_an_outage_is_expected_at_night_near_a_restart_and_during_a_requested_one(gateway: Gateway) -> None:
    def expected() -> float | None:
        return gateway.value("gateway_watch_expected_outage")

    assert expected() == 0
    soft_restart.write_request(
        soft_restart.request_file(gateway.directory), Request(Kind.RESTART, NOON, NOON + timedelta(minutes=5))
    )
    assert expected() == 1
    gateway.now = NIGHT
    assert expected() == 1
    gateway.now = datetime(2026, 11, 26, 7, 1, tzinfo=UTC)
    assert expected() == 1
    gateway.now = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
    assert expected() == 0


def test_the_end_of_the_image_s_support_is_shown_long_before_it_is_reported(tmp_path: Path) -> None:
    assert Gateway(tmp_path).value("gateway_watch_image_support_end_timestamp_seconds") is None
    old = Gateway(tmp_path, image="ghcr.io/gnzsnz/ib-gateway:10.45.1j")
    ends = datetime(2026, 12, 15, tzinfo=UTC)
    old.now = ends - timedelta(days=200)
    assert old.value("gateway_watch_image_support_end_timestamp_seconds") == ends.timestamp()
    other = Gateway(tmp_path, image="busybox")
    assert other.value("gateway_watch_image_support_end_timestamp_seconds") is None


def test_outcomes_of_soft_restarts(gateway: Gateway) -> None:
    file = soft_restart.outcomes_file(gateway.directory)
    for outcome in (Outcome.KEPT, Outcome.KEPT, Outcome.REFUSED):
        counter_file.count_one(file, soft_restart.OUTCOMES, outcome.value)
    found = labelled(gateway.scrape(), specs.SOFT_RESTARTS, "outcome")
    assert found == {outcome.value: 0 for outcome in Outcome} | {"kept": 2, "refused": 1}


def test_notifications_and_those_that_wait(gateway: Gateway) -> None:
    gateway.notified = {"sent": 3, "retried": 2, "failed": 1, "lost": 0}
    assert gateway.value("gateway_watch_notifications_pending") == 0
    with Outbox(gateway.instance.outbox_file, lambda: 0.0) as outbox:
        for number in range(3):
            outbox.put(Message("kind", Severity.ALERT, f"title {number}", NOON), ["one", "two"])
        delivery = outbox.claim("one", "owner")
        assert delivery is not None and outbox.sent(delivery, "owner")
        found = gateway.scrape()
    assert value(found, "gateway_watch_notifications_pending") == 5
    assert labelled(found, "gateway_watch_notifications_total", "result") == gateway.notified


def test_the_clock_s_error(gateway: Gateway) -> None:
    assert gateway.value("gateway_watch_clock_error_seconds") is None
    gateway.recorder.on_clock(ClockError(-0.25))
    assert gateway.value("gateway_watch_clock_error_seconds") == -0.25
    gateway.recorder.on_clock(ClockError(None, "chronyc cannot be run"))
    assert gateway.value("gateway_watch_clock_error_seconds") is None


def test_the_backups_of_the_host(gateway: Gateway) -> None:
    def backups() -> dict[str, float]:
        return {name: number for (name, _), number in gateway.scrape().items() if name.startswith("host_backup_")}

    assert backups() == {"host_backup_configured": 0, "host_backup_last_attempt_failed": 0}
    (gateway.directory / "backup.json").write_text("{}")
    good = Good(NOON - timedelta(hours=3), "host.age", 4096, ())
    Record(NOON, "no space left", good).write(gateway.directory / "last.json")
    assert backups() == {
        "host_backup_configured": 1,
        "host_backup_last_attempt_failed": 1,
        "host_backup_last_success_timestamp_seconds": good.at.timestamp(),
        "host_backup_size_bytes": 4096,
    }


def damage_the_outbox(gateway: Gateway) -> None:
    gateway.instance.outbox_file.write_text("no database")


def damage_the_record(gateway: Gateway) -> None:
    (gateway.directory / "last.json").write_text("[]")


def damage_the_session(gateway: Gateway) -> None:
    gateway.instance.session_file.mkdir()


@pytest.mark.parametrize(
    ("damage", "missing"),
    [
        (damage_the_outbox, "gateway_watch_notifications_pending"),
        (damage_the_record, "host_backup_last_attempt_failed"),
        (damage_the_session, "gateway_watch_session_end_timestamp_seconds"),
    ],
)
def test_a_file_that_cannot_be_read_takes_only_its_own_samples(
    gateway: Gateway, damage: Callable[[Gateway], None], missing: str
) -> None:
    before = {name for name, _ in gateway.scrape()}
    damage(gateway)
    after = {name for name, _ in gateway.scrape()}
    assert missing in before - after
    assert {"gateway_watch_ready", "gateway_watch_breaker_open", "process_open_fds"} <= after


def test_every_reason_for_an_end_is_known_in_advance() -> None:
    """A counter that first appears with the value 1 shows no increase to those who watch it."""
    reasons = {decision.ORDERS_REFUSED, CreateError.kind, systemd_unit.UnitError.kind}
    reasons |= {error.kind for error in vars(engine).values() if isinstance(getattr(error, "kind", None), str)}
    sources = Path(decision.__file__).parent.glob("*.py")
    reasons |= {found for source in sources for found in re.findall(r"""Reason\(\s*"(\w+)\"""", source.read_text())}
    reasons |= {f"login_held_{kind.value}" for kind in HoldKind}
    assert {"exited", "start_failed", "api_unanswering"} <= reasons
    assert reasons - set(specs.REASONS) <= {systemd_unit.UnitError.kind}
    assert breaker.BAD_LOGIN in CAUSES


def test_the_number_of_series_is_bounded(gateway: Gateway) -> None:
    gateway.recorder = Recorder()
    for number in range(500):
        gateway.recorder.on_start()
        gateway.recorder.on_end(f"cause {number}")
    assert len(gateway.scrape()) < 250


def test_no_sample_holds_an_account(gateway: Gateway) -> None:
    assert gateway.instance.expected_accounts == ("DU1234567",)
    assert "DU1234567" not in repr(gateway.scrape())


def test_a_port_that_is_taken_ends_nothing(gateway: Gateway, tmp_path: Path) -> None:
    document = DOCUMENT | {"state_dir": str(tmp_path)}
    log: list[str] = []
    with recorded(parse(document | {"metrics_port": 0}, Path("i")), dict, log.append):
        assert log == []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with recorded(parse(document | {"metrics_port": port}, Path("i")), dict, log.append) as recorder:
            recorder.on_ready(full=True)
    assert len(log) == 1 and f"metrics cannot be served on 127.0.0.1:{port}: Address already in use" in log[0]


def test_the_clock_is_measured_again_and_again() -> None:
    recorder = Recorder()
    errors = iter([ClockError(1.0), ClockError(2.0)])

    async def watch() -> None:
        again = asyncio.Event()

        async def read() -> ClockError:
            return next(errors)

        async def sleep(seconds: float) -> None:
            assert seconds == 60
            if recorder.view.clock == ClockError(2.0):
                again.set()
                await asyncio.Event().wait()

        async with clock_watched(recorder, read=read, sleep=sleep):
            await asyncio.wait_for(again.wait(), 5)

    asyncio.run(watch())


@pytest.mark.parametrize("error", [ProcessLookupError(3, "No such process"), RuntimeError("a fault")])
def test_a_clock_that_cannot_be_measured_does_not_change_how_the_gateway_ends(error: Exception) -> None:
    recorder = Recorder()
    asked = asyncio.Event()

    async def read() -> ClockError:
        asked.set()
        raise error

    async def run() -> int:
        async with clock_watched(recorder, read=read):
            await asyncio.wait_for(asked.wait(), 5)
            await asyncio.sleep(0)
            return 78

    assert asyncio.run(run()) == 78


def test_the_clock_is_measured_again_after_a_measurement_that_failed() -> None:
    recorder = Recorder()
    answers: Iterator[ClockError | OSError] = iter([ProcessLookupError(3, "No such process"), ClockError(2.0)])
    done = asyncio.Event()

    async def read() -> ClockError:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(_seconds: float) -> None:
        if recorder.view.clock == ClockError(2.0):
            done.set()
            await asyncio.Event().wait()
        assert recorder.view.clock is not None and recorder.view.clock.offset is None

    async def run() -> None:
        async with clock_watched(recorder, read=read, sleep=sleep):
            await asyncio.wait_for(done.wait(), 5)

    asyncio.run(run())


@pytest.mark.parametrize("port", [-1, True, "9402", 70000])
def test_a_wrong_port_is_named(port: Any) -> None:
    with pytest.raises(InstanceError, match="metrics_port: must be a"):
        parse(DOCUMENT | {"metrics_port": port}, Path("instance.json"))


def test_the_file_of_an_earlier_release_has_no_metrics() -> None:
    assert parse(DOCUMENT, Path("instance.json")).metrics_port == 0
    assert parse(DOCUMENT | {"metrics_port": 9402}, Path("instance.json")).metrics_port == 9402


def test_an_outbox_that_is_being_written_is_read(gateway: Gateway) -> None:
    file = gateway.instance.outbox_file
    with Outbox(file, lambda: 0.0), closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert gateway.value("gateway_watch_notifications_pending") == 0
