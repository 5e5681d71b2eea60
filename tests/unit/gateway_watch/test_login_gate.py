"""When the next login may be tried."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from tests.unit.gateway_watch.instance_files import DOCUMENT

from gateway_watch import gatekeeper, soft_restart
from gateway_watch.gatekeeper import Gatekeeper
from gateway_watch.instance import Instance, parse
from gateway_watch.login import Change, LoginState
from gateway_watch.login_gate import Asked, Gate, Hold, HoldKind, QuietHours, Rules, released
from gateway_watch.session import Session
from gateway_watch.signatures import load

ZONE = ZoneInfo("America/New_York")
DAY = datetime(2026, 11, 25, 18, 0, tzinfo=UTC)  # 13:00 New York
NIGHT = datetime(2026, 11, 25, 8, 0, tzinfo=UTC)  # 03:00 New York
QUIET = QuietHours(time(23), time(7), ZONE)
MORNING = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
RULES = Rules(pushes_per_hour=4, quiet=None, yields=timedelta(minutes=30))
AT_NIGHT = replace(RULES, quiet=QUIET)
MINUTE = timedelta(minutes=1)
BOTH = [
    {"mode": mode, "host": "127.0.0.1", "port": port, "native_port": port}
    for mode, port in (("live", 4001), ("paper", 4002))
]


def pushes(count: int, until: datetime = DAY) -> Gate:
    gate = Gate()
    for number in range(count):
        gate = gate.pushed(until - MINUTE * 3 * (count - number))
    return gate


def start(gate: Gate, rules: Rules, now: datetime, asked: Asked | None = None, **known: object) -> Hold | None:
    cause, twofa = known.get("last_cause"), known.get("twofa", False)
    return gate.at_start(rules, asked, now, last_cause=str(cause) if cause else None, twofa=bool(twofa))


def test_after_the_last_allowed_push_a_person_is_waited_for() -> None:
    assert pushes(3).before_next_push(RULES, None, DAY) is None
    assert pushes(4).before_next_push(RULES, None, DAY) == Hold(HoldKind.APPROVAL, DAY, None)
    assert start(pushes(4), RULES, DAY) == Hold(HoldKind.APPROVAL, DAY, None)
    assert pushes(9).before_next_push(replace(RULES, pushes_per_hour=0), None, DAY) is None


def test_an_hour_later_the_pushes_count_no_more_and_a_login_forgets_them() -> None:
    assert pushes(4).before_next_push(RULES, None, DAY + timedelta(minutes=57)) is None
    assert pushes(4).logged_in() == Gate()


def test_a_person_who_asked_gets_as_many_again() -> None:
    asked = Asked(DAY - MINUTE)
    assert pushes(4).before_next_push(RULES, asked, DAY) is None
    gate = pushes(4)
    for number in range(4):
        gate = gate.pushed(DAY + number * MINUTE)
    assert gate.before_next_push(RULES, asked, DAY + 5 * MINUTE) is not None


def test_with_quiet_hours_the_wait_ends_with_them() -> None:
    assert pushes(4).before_next_push(AT_NIGHT, None, DAY) == Hold(
        HoldKind.APPROVAL, DAY, datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
    )


def test_in_quiet_hours_a_missed_request_is_not_repeated() -> None:
    assert pushes(1, NIGHT).before_next_push(AT_NIGHT, None, NIGHT) == Hold(HoldKind.QUIET_HOURS, NIGHT, MORNING)
    # Nothing was missed: the gateway may go on.
    assert Gate().before_next_push(AT_NIGHT, None, NIGHT) is None
    # One that a person asked for is not repeated either.
    asked = Asked(NIGHT - 10 * MINUTE)
    assert pushes(1, NIGHT).before_next_push(AT_NIGHT, asked, NIGHT) is not None


def test_in_quiet_hours_a_login_that_needs_an_approval_is_not_started_unless_asked_for() -> None:
    assert start(Gate(), AT_NIGHT, NIGHT, twofa=True) == Hold(HoldKind.QUIET_HOURS, NIGHT, MORNING)
    assert start(Gate(), AT_NIGHT, NIGHT, twofa=False) is None
    assert start(Gate(), AT_NIGHT, DAY, twofa=True) is None
    assert start(Gate(), AT_NIGHT, NIGHT, Asked(NIGHT - MINUTE), twofa=True) is None
    assert start(Gate(), AT_NIGHT, NIGHT, Asked(NIGHT - timedelta(hours=2)), twofa=True) is not None


def test_a_yielded_session_is_left_alone_for_its_time() -> None:
    hold = start(Gate(), RULES, DAY, last_cause="session_yielded")
    assert hold == Hold(HoldKind.YIELDED, DAY, DAY + 30 * MINUTE)
    assert start(Gate(hold=hold), RULES, DAY + 29 * MINUTE) == hold
    assert start(Gate(hold=hold), RULES, DAY + 30 * MINUTE) is None
    assert start(Gate(), replace(RULES, yields=timedelta(0)), DAY, last_cause="session_yielded") is None
    assert start(Gate(), RULES, DAY, last_cause="server_down") is None


def test_who_asks_ends_a_hold_and_a_deploy_leaves_the_other_session_alone() -> None:
    yielded, approval = Hold(HoldKind.YIELDED, DAY, DAY + MINUTE), Hold(HoldKind.APPROVAL, DAY, None)
    assert released(approval, None, DAY + timedelta(days=9)) is None
    assert released(approval, Asked(DAY - MINUTE), DAY) is None
    assert released(approval, Asked(DAY, yielded=False), DAY) is not None
    assert released(yielded, Asked(DAY, yielded=False), DAY) is None
    assert released(yielded, Asked(DAY, yielded=True), DAY) is not None
    assert released(yielded, None, DAY + MINUTE) is not None


@pytest.mark.parametrize(
    ("span", "clock", "inside"),
    [
        (("23:00", "07:00"), "22:59", False),
        (("23:00", "07:00"), "23:00", True),
        (("23:00", "07:00"), "06:59", True),
        (("23:00", "07:00"), "07:00", False),
        (("01:00", "05:00"), "00:59", False),
        (("01:00", "05:00"), "04:59", True),
        (("01:00", "05:00"), "05:00", False),
    ],
)
def test_quiet_hours(span: tuple[str, str], clock: str, inside: bool) -> None:
    hours = QuietHours(time.fromisoformat(span[0]), time.fromisoformat(span[1]), ZONE)
    now = datetime.combine(DAY.date(), time.fromisoformat(clock), ZONE)
    assert hours.contains(now) is inside
    assert hours.next_end(now) > now
    assert not hours.contains(hours.next_end(now))


@pytest.mark.parametrize("end", ["00:59", "01:00", "01:30", "02:00", "02:30", "07:00"])
@pytest.mark.parametrize("day", [datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)])
def test_quiet_hours_never_last_longer_for_a_change_of_the_clock(day: datetime, end: str) -> None:
    hours = QuietHours(time(23), time.fromisoformat(end), ZONE)
    for minutes in range(0, 24 * 60, 10):
        now = day + timedelta(minutes=minutes)
        if not hours.contains(now):
            continue
        over = hours.next_end(now)
        # One hour more than that where the night is longer, none of the next night.
        assert now < over <= now + timedelta(hours=9), now


def instance(tmp_path: Path, **settings: object) -> Instance:
    return parse(DOCUMENT | {"state_dir": str(tmp_path)} | settings, tmp_path / "instance.json")


def change(state: LoginState, mode: str = "paper") -> Change:
    return Change(DAY, mode, state, "text")


class Keeper:
    """A gatekeeper over one state directory, with a clock of its own."""

    def __init__(self, tmp_path: Path, **settings: object) -> None:
        self.now = DAY
        self.instance = instance(tmp_path, **settings)
        self.said: list[str] = []
        self.again()

    def again(self) -> None:
        """As after a restart of the supervisor."""
        self.gate = Gatekeeper(self.instance, lambda: self.now, self.said.append)

    def miss(self) -> Hold | None:
        """One request that nobody answers; the hold that follows."""
        for state in (LoginState.AWAITING_2FA, LoginState.LOGGING_IN, LoginState.AWAITING_2FA):
            assert self.gate.on_change(change(state)) is None
        self.now += 3 * MINUTE
        return self.gate.on_change(change(LoginState.RELOGIN_WAIT))


def test_the_gate_counts_requests_not_events_and_outlasts_restarts(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    assert [keeper.miss() for _ in range(2)] == [None, None]
    keeper.again()
    assert keeper.miss() is None
    hold = keeper.miss()
    assert hold == Hold(HoldKind.APPROVAL, keeper.now, None)
    keeper.again()
    assert keeper.gate.at_start(Session()) == (hold, False)
    assert keeper.gate.over() is None
    keeper.now += MINUTE
    assert gatekeeper.ask(keeper.instance, keeper.now, yielded=False) == hold
    assert keeper.gate.over() == "a person asked for the login"
    assert keeper.gate.hold is None
    # All requests are there again.
    assert [keeper.miss() is None for _ in range(4)] == [True, True, True, False]
    assert keeper.said == []


def test_a_login_opens_the_gate_again(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    for _ in range(3):
        keeper.miss()
    keeper.gate.on_change(change(LoginState.AWAITING_2FA))
    keeper.gate.on_change(change(LoginState.LOGGED_IN))
    assert gatekeeper.read_gate(gatekeeper.gate_file(keeper.instance)) == Gate()
    # A restart long after it is none of the gate's business.
    assert keeper.gate.on_change(change(LoginState.RESTARTING)) is None


def test_of_two_logins_the_one_without_a_second_factor_answers_no_request(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, trading_mode="both", apis=BOTH)
    holds = []
    for _ in range(4):
        # Each start logs the paper user in, asks for the live user's approval, and is ended because none came.
        keeper.gate.on_change(change(LoginState.AWAITING_2FA, "live"))
        keeper.gate.on_change(change(LoginState.READY, "paper"))
        keeper.now += 3 * MINUTE
        keeper.gate.on_change(change(LoginState.FAILED, "live"))
        keeper.again()
        holds.append(keeper.gate.at_start(Session())[0])
    assert holds == [None, None, None, Hold(HoldKind.APPROVAL, keeper.now, None)]
    gatekeeper.ask(keeper.instance, keeper.now, yielded=True)
    assert keeper.gate.over() is not None
    keeper.gate.on_change(change(LoginState.AWAITING_2FA, "live"))
    keeper.gate.on_change(change(LoginState.READY, "live"))
    assert gatekeeper.read_gate(gatekeeper.gate_file(keeper.instance)) == Gate()


def test_two_logins_without_a_request_open_the_gate_once_both_are_in(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, trading_mode="both", apis=BOTH)
    keeper.gate.on_change(change(LoginState.AWAITING_2FA, "live"))
    keeper.again()
    keeper.gate.on_change(change(LoginState.READY, "paper"))
    assert gatekeeper.read_gate(gatekeeper.gate_file(keeper.instance)).pushes
    keeper.gate.on_change(change(LoginState.READY, "live"))
    assert gatekeeper.read_gate(gatekeeper.gate_file(keeper.instance)) == Gate()


@pytest.mark.parametrize("kind", soft_restart.Kind)
def test_a_container_that_starts_for_a_soft_restart_is_not_held_in_the_quiet_hours(
    tmp_path: Path, kind: soft_restart.Kind
) -> None:
    keeper = Keeper(tmp_path, twofa_quiet_hours="12:00-14:00")
    file = soft_restart.request_file(keeper.instance.state_dir)
    soft_restart.write_request(file, soft_restart.Request(kind, keeper.now - MINUTE, keeper.now + 6 * MINUTE))
    assert keeper.gate.at_start(Session(twofa=True)) == (None, False)
    # What was left by a restart that is long over changes nothing.
    keeper.now += 10 * MINUTE
    keeper.again()
    assert keeper.gate.at_start(Session(twofa=True))[0] is not None


def test_what_was_asked_for_before_a_login_counts_no_more_after_it(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    gatekeeper.ask(keeper.instance, keeper.now, yielded=True)
    assert keeper.gate.at_start(Session(last_cause="session_yielded")) == (None, False)
    keeper.gate.on_change(change(LoginState.READY))
    keeper.again()
    # Minutes later the user logs in elsewhere.
    keeper.now += 5 * MINUTE
    hold, new = keeper.gate.at_start(Session(last_cause="session_yielded"))
    assert (hold and hold.kind, new) == (HoldKind.YIELDED, True)


def test_asking_while_nothing_waits_is_no_fault(tmp_path: Path) -> None:
    assert gatekeeper.ask(instance(tmp_path), DAY, yielded=True) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pushes": 3}', '{"pushes": [], "hold": {"kind": "?"}}'])
def test_damaged_files_are_an_open_gate(tmp_path: Path, content: str) -> None:
    path = tmp_path / "login-gate.json"
    path.write_text(content)
    assert gatekeeper.read_gate(path) == Gate()
    assert gatekeeper.read_asked(path) is None


@pytest.mark.parametrize("kind", HoldKind)
def test_every_hold_names_the_command_that_ends_it(tmp_path: Path, kind: HoldKind) -> None:
    for until in (DAY + MINUTE, None) if kind is HoldKind.APPROVAL else (DAY + MINUTE,):
        hold = Hold(kind, DAY, until)
        own = instance(tmp_path)
        assert "gateway-watch approve-now --instance ib-gateway" in gatekeeper.describe(hold, own)
        message = gatekeeper.message(hold, own)
        assert "approve-now.yml" in message.text()
        assert ("13:01" in message.text()) is (until is not None)


@pytest.mark.parametrize("value", ["23:00", "23-7", "25:00-07:00", "07:00-07:00", 7])
def test_wrong_quiet_hours_of_an_instance_are_named(tmp_path: Path, value: object) -> None:
    with pytest.raises(ValueError, match=r"twofa_quiet_hours: .*(23:00-07:00|must be a text)"):
        instance(tmp_path, twofa_quiet_hours=value)
    assert instance(tmp_path, twofa_quiet_hours="23:00-07:00").twofa_quiet_hours == QUIET


def test_a_request_from_before_a_session_was_given_up_does_not_take_it_back(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    gatekeeper.ask(keeper.instance, keeper.now, yielded=True)
    keeper.now += 10 * MINUTE
    keeper.gate.on_change(replace(change(LoginState.FAILED), cause=load().causes["session_yielded"]))
    keeper.again()
    hold, new = keeper.gate.at_start(Session(last_cause="session_yielded"))
    assert new
    assert hold is not None
    assert hold.kind is HoldKind.YIELDED
