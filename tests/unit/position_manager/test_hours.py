"""Sessions in the broker's words, and how long a unit was unprotected."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.position_manager.rule_fixtures import HOURS, NEW_YORK, NOW, option

from position_manager.model import Hours, Instrument
from position_manager.rules.evaluation import Blind, Cause, Hold
from position_manager.rules.unprotected import NOT_WATCHED, Unprotected
from position_manager.sessions.hours import (
    BrokerCalendar,
    common,
    day_close,
    is_open,
    next_open,
    parse_liquid_hours,
    zone_of,
)

TEXT = "20261123:0930-20261123:1600;20261124:CLOSED;20261125:0930-1200,1300-1600"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)


def test_the_broker_s_words() -> None:
    sessions = parse_liquid_hours(TEXT, zone_of("US/Eastern"))
    assert [(f"{hours.begin:%d %H%M}", f"{hours.end:%d %H%M}") for hours in sessions] == [
        ("23 0930", "23 1600"),
        ("25 0930", "25 1200"),
        ("25 1300", "25 1600"),
    ]
    assert sessions[0].begin == datetime(2026, 11, 23, 14, 30, tzinfo=UTC)
    assert parse_liquid_hours("", NEW_YORK) == ()


@pytest.mark.parametrize(
    "text", ["20261123", "20261123:", "20261123:0930", "20261123:930-1600", "20261123:1600-0930", "20261323:0930-1600"]
)
def test_what_is_no_session(text: str) -> None:
    with pytest.raises(ValueError, match=r"trading hours .*20261[13]23"):
        parse_liquid_hours(text, NEW_YORK)


def test_zones() -> None:
    assert zone_of("EST (Eastern Standard Time)").key == "America/New_York"
    assert zone_of("Europe/Berlin").key == "Europe/Berlin"
    for name in ("Mars/Base", "", "../x"):
        with pytest.raises(ValueError, match="is not known"):
            zone_of(name)


def test_open_and_close() -> None:
    sessions = parse_liquid_hours(TEXT, NEW_YORK)
    assert is_open(sessions, at("2026-11-23T09:30")) and not is_open(sessions, at("2026-11-23T16:00"))
    assert day_close(sessions, at("2026-11-23T15:59")) == at("2026-11-23T16:00") == sessions[0].end
    assert day_close(sessions, at("2026-11-25T11:00")) == at("2026-11-25T16:00"), "noon is no close"
    assert day_close(sessions, at("2026-11-24T11:00")) is None and day_close(sessions, NOW) == sessions[0].end
    assert next_open(sessions, at("2026-11-23T16:00")) == sessions[1].begin


def test_summer_time_ends_within_a_session() -> None:
    sessions = parse_liquid_hours("20261031:1800-20261101:1700", NEW_YORK)
    close = day_close(sessions, at("2026-10-31T18:00"))
    assert close is not None and close.timestamp() - at("2026-10-31T18:00").timestamp() == 24 * 3600


class Fixed:
    """A calendar that knows one session."""

    def __init__(self, hours: Hours) -> None:
        self.hours = hours

    def sessions(self, instrument: Instrument, now: datetime) -> tuple[Hours, ...]:
        return (self.hours,)


def test_the_fallback_is_asked_when_the_broker_s_hours_are_over_or_none() -> None:
    other = Hours(at("2026-12-01T09:30"), at("2026-12-01T16:00"))
    calendar = BrokerCalendar(Fixed(other))
    assert calendar.sessions(option(), NOW) == HOURS
    assert calendar.sessions(option(), HOURS[-1].end) == (other,)
    assert calendar.sessions(option(liquid_hours=()), NOW) == (other,)
    assert BrokerCalendar().sessions(option(liquid_hours=()), NOW) == ()


def test_legs_trade_together_only_while_both_are_open() -> None:
    early = parse_liquid_hours("20261123:0800-20261123:1200", NEW_YORK)
    assert common([HOURS, early]) == (Hours(HOURS[0].begin, early[0].end),)
    assert common([HOURS, ()]) == ()


# ----- unprotected time

BLIND = Blind(Cause.NO_QUOTE, "stale")
CLOSED = Blind(Cause.MARKET_CLOSED, "closed")
PATIENCE = timedelta(seconds=60)


def test_seconds_belong_to_the_verdict_before() -> None:
    count = Unprotected()
    for seconds, verdict in ((0, BLIND), (10, Hold()), (15, CLOSED), (35, BLIND), (36, Hold()), (90, Hold())):
        count = count.after_verdict(verdict, NOW + timedelta(seconds=seconds), PATIENCE)
    assert count.seconds == {Cause.NO_QUOTE.value: 11.0, Cause.MARKET_CLOSED.value: 20.0}
    assert (count.total, count.in_session, count.since) == (31.0, 11.0, None)


def test_a_stretch_goes_on_when_its_cause_changes() -> None:
    count = (
        Unprotected().after_verdict(BLIND, NOW, PATIENCE).after_verdict(CLOSED, NOW + timedelta(seconds=9), PATIENCE)
    )
    assert (count.since, count.state) == (NOW, Cause.MARKET_CLOSED.value)


def test_nobody_checked() -> None:
    count = Unprotected().after_verdict(Hold(), NOW, PATIENCE)
    assert count.after_verdict(Hold(), NOW + PATIENCE, PATIENCE).total == 0
    assert count.after_verdict(Hold(), NOW + timedelta(seconds=61), PATIENCE).seconds == {NOT_WATCHED: 61.0}


@given(st.lists(st.tuples(st.integers(-20, 100), st.sampled_from([Hold(), BLIND, CLOSED])), max_size=20))
def test_every_second_is_counted_once(looks: list[tuple[int, Hold | Blind]]) -> None:
    count, now, forward = Unprotected(), NOW, 0
    for index, (step, verdict) in enumerate(looks):
        now += timedelta(seconds=step)
        forward += max(0, step) if index else 0
        before, count = count.total, count.after_verdict(verdict, now, PATIENCE)
        assert before <= count.total <= forward
        assert Unprotected.from_json(count.to_json()) == count
    if all(isinstance(verdict, Blind) for _, verdict in looks):
        assert count.total == forward


def test_what_is_no_count() -> None:
    with pytest.raises(ValueError, match="no count of unprotected"):
        Unprotected.from_json("[]")
