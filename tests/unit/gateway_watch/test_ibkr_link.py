"""Whether the gateway is connected to IBKR, and what an outage asks for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway_watch.api_session import Answered, Closed, Opened, SystemMessage
from gateway_watch.ibkr_link import (
    Action,
    ApiLink,
    Evidence,
    LinkState,
    Outage,
    Policy,
    decide,
    outage_after,
    together,
)

DAY = datetime(2026, 11, 25, 18, 0, tzinfo=UTC)  # Wednesday 13:00 New York
NIGHT = datetime(2026, 11, 25, 5, 0, tzinfo=UTC)  # Wednesday 00:00 New York
POLICY = Policy(patience=timedelta(minutes=15), restart_after=timedelta(minutes=120))
ALONE = Evidence(tries=False, elsewhere=False, severed=True, restarted=False)


def link(*codes: int, text: str = "farm:usfarm") -> ApiLink:
    state = ApiLink().after(Opened(176)).after(Answered())
    for code in codes:
        state = state.after(SystemMessage(code, text))
    return state


@pytest.mark.parametrize(
    ("codes", "state"),
    [
        ((), LinkState.CONNECTED),
        ((1100,), LinkState.LOST),
        ((2110,), LinkState.LOST),
        ((1100, 1101), LinkState.CONNECTED),
        ((1100, 1102), LinkState.CONNECTED),
        # A data farm that is back proves nothing of the connection itself.
        ((1100, 2104), LinkState.LOST),
        ((2103,), LinkState.LOST),
        ((2105,), LinkState.LOST),
        ((2157,), LinkState.LOST),
        ((2103, 2104), LinkState.CONNECTED),
        ((2103, 2106), LinkState.CONNECTED),
        ((2103, 2158), LinkState.CONNECTED),
        ((2108,), LinkState.CONNECTED),
        ((202, 399), LinkState.CONNECTED),
    ],
)
def test_what_the_messages_mean(codes: tuple[int, ...], state: LinkState) -> None:
    assert link(*codes).state is state


def test_one_farm_of_several_is_named_and_is_no_loss() -> None:
    state = link(2104).after(SystemMessage(2105, "HMDS data farm connection is broken:ushmds"))
    assert (state.state, state.text) == (LinkState.CONNECTED, "connected to IBKR; data farms down: ushmds")


def test_nothing_is_known_before_the_greeting_and_after_the_end() -> None:
    opened = ApiLink().after(SystemMessage(2104, "farm:usfarm")).after(Opened(176))
    assert opened.state is LinkState.UNKNOWN
    assert opened.after(SystemMessage(2110, "broken")).state is LinkState.LOST
    ended = link(1100).after(Closed("gone", client_id_in_use=True))
    assert (ended.state, ended.client_id_in_use, ended.text) == (LinkState.UNKNOWN, True, "unknown: gone")


def test_the_least_connected_speaks_for_both() -> None:
    assert together([link(), link(1100)]).state is LinkState.LOST
    assert together([link(), ApiLink()]).state is LinkState.UNKNOWN
    assert together([]).state is LinkState.UNKNOWN


def test_only_a_connection_ends_an_outage() -> None:
    outage = outage_after(None, LinkState.LOST, DAY)
    assert outage == Outage(DAY)
    assert outage_after(outage, LinkState.UNKNOWN, DAY + timedelta(minutes=1)) == outage
    assert outage_after(outage, LinkState.LOST, DAY + timedelta(minutes=2)) == outage
    assert outage_after(outage, LinkState.CONNECTED, DAY + timedelta(minutes=3)) is None
    assert outage_after(None, LinkState.UNKNOWN, DAY) is None


@pytest.mark.parametrize(
    ("since", "minutes", "action"),
    [
        (DAY, 0.5, Action.NONE),
        (DAY, 1, Action.NOTIFY),
        (NIGHT, 14.9, Action.NONE),
        (NIGHT, 15, Action.NOTIFY),
        # It started in the window: its end alone is no reason.
        (NIGHT + timedelta(minutes=40), 6, Action.NONE),
        (NIGHT + timedelta(minutes=40), 15, Action.NOTIFY),
    ],
)
def test_people_are_notified_outside_the_windows_or_after_the_patience(
    since: datetime, minutes: float, action: Action
) -> None:
    assert decide(Outage(since), POLICY, ALONE, since + timedelta(minutes=minutes)) is action


def test_a_planned_restart_is_a_window_too() -> None:
    planned = replace(ALONE, planned=True)
    assert decide(Outage(DAY), POLICY, planned, DAY + timedelta(minutes=5)) is Action.NONE


REPORTED = Outage(DAY, notified=True)
LONG = DAY + timedelta(minutes=120)


def test_a_restart_comes_after_the_long_limit_once() -> None:
    assert decide(REPORTED, POLICY, ALONE, LONG - timedelta(seconds=1)) is Action.NONE
    assert decide(REPORTED, POLICY, ALONE, LONG) is Action.RESTART
    assert decide(REPORTED, POLICY, replace(ALONE, restarted=True), LONG) is Action.NONE


def test_a_restart_comes_sooner_when_another_gateway_is_connected() -> None:
    elsewhere = replace(ALONE, elsewhere=True)
    assert decide(REPORTED, POLICY, elsewhere, DAY + timedelta(minutes=14)) is Action.NONE
    assert decide(REPORTED, POLICY, elsewhere, DAY + timedelta(minutes=15)) is Action.RESTART


def test_nothing_is_restarted_while_the_gateway_tries_or_only_farms_are_down() -> None:
    for evidence in (replace(ALONE, tries=True), replace(ALONE, severed=False), replace(ALONE, planned=True)):
        assert decide(REPORTED, POLICY, evidence, LONG + timedelta(hours=9 - 3)) is Action.NONE
    assert decide(REPORTED, replace(POLICY, restart_after=timedelta(0)), ALONE, LONG) is Action.NONE


def test_nothing_is_restarted_in_a_window_nor_right_after_it() -> None:
    since = NIGHT - timedelta(hours=3)
    reported = Outage(since, notified=True)
    end = datetime(2026, 11, 25, 5, 45, tzinfo=UTC)
    assert decide(reported, POLICY, ALONE, end - timedelta(seconds=1)) is Action.NONE
    assert decide(reported, POLICY, ALONE, end + timedelta(minutes=14)) is Action.NONE
    assert decide(reported, POLICY, ALONE, end + timedelta(minutes=15)) is Action.RESTART
