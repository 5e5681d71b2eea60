"""When people are reminded of an approval: quiet hours, codes and kept sessions, over changes of the clock too."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.gateway_watch.instance_files import DOCUMENT

from gateway_watch import reminding
from gateway_watch.instance import parse
from gateway_watch.login_gate import QuietHours
from gateway_watch.reminders import Facts, Ledger, Promise, Reminder, Step, check, plan
from gateway_watch.reminding import Reminding
from gateway_watch.session_calendar import Kind, SessionCalendar
from notifications.message import Message

NEW_YORK = ZoneInfo("America/New_York")
CALENDAR = SessionCalendar(time(2), time(13), NEW_YORK)
SUNDAY = datetime(2026, 12, 6, 18, tzinfo=UTC)
"""13:00 in New York."""
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ZONES = [NEW_YORK, *map(ZoneInfo, ("Europe/Berlin", "Australia/Lord_Howe", "America/Nuuk", "Asia/Tokyo"))]


def quiet(text: str, zone: ZoneInfo = NEW_YORK) -> QuietHours:
    begin, _, end = text.partition("-")
    return QuietHours(time.fromisoformat(begin), time.fromisoformat(end), zone)


def facts(now: datetime, *, in_order: bool = True, awaited: bool = False, person: bool = True) -> Facts:
    return Facts(now, in_order, awaited, person, SUNDAY - 7 * DAY)


def ticks(begin: datetime, end: datetime, step: timedelta = MINUTE) -> list[datetime]:
    return [begin + step * number for number in range(int((end - begin) / step) + 1)]


def run(
    moments: list[Facts], hours: QuietHours | None = None, ledger: Ledger | None = None
) -> list[tuple[datetime, str]]:
    """When what is reported, as `Reminding` goes through the checks."""
    found, before, ledger = [], None, ledger or Ledger()
    for each in moments:
        ledger, notices = check(CALENDAR, hours, ledger, each, before)
        before = each
        for notice in notices:
            found.append((each.now, notice.step.value if isinstance(notice, Reminder) else notice.kind.value))
    return found


def test_without_quiet_hours_a_reminder_comes_a_day_and_an_hour_before_and_at_the_moment() -> None:
    assert [(reminder.step, reminder.at) for reminder in plan(SUNDAY, None)] == [
        (Step.DAY, SUNDAY - DAY),
        (Step.HOUR, SUNDAY - HOUR),
        (Step.MOMENT, SUNDAY),
    ]


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        # 13:00 is in them on both days: the first comes at their end, the second before them, the last at their end.
        ("12:00-14:00", {"day": "Sat 14:00", "hour": "Sun 11:45", "moment": "Sun 14:00"}),
        ("23:00-07:00", {"day": "Sat 13:00", "hour": "Sun 12:00", "moment": "Sun 13:00"}),
        # Only the one an hour before is in them, and they end before the approval.
        ("11:00-12:30", {"day": "Sat 13:00", "hour": "Sun 12:30", "moment": "Sun 13:00"}),
        # Those that would come together are one.
        ("13:00-12:30", {"hour": "Sun 12:30", "moment": "Mon 12:30"}),
    ],
)
def test_a_reminder_within_quiet_hours_comes_after_or_before_them(hours: str, expected: dict[str, str]) -> None:
    found = {
        reminder.step.value: f"{reminder.at.astimezone(NEW_YORK):%a %H:%M}" for reminder in plan(SUNDAY, quiet(hours))
    }
    assert found == expected


COLD = st.times().map(lambda at: at.replace(second=0, microsecond=0))


def night(begin: time, hours: int, zone: ZoneInfo) -> QuietHours:
    return QuietHours(begin, (datetime.combine(SUNDAY, begin) + hours * HOUR).time(), zone)


NIGHTS = st.one_of(st.none(), st.builds(night, COLD, st.integers(1, 20), st.sampled_from(ZONES)))


@given(st.integers(0, 156), COLD, st.sampled_from(ZONES), NIGHTS)
def test_over_three_years_no_reminder_is_planned_in_quiet_hours_or_lost(
    week: int, cold: time, zone: ZoneInfo, hours: QuietHours | None
) -> None:
    due = SessionCalendar(None, cold, zone).next_full_login(datetime(2026, 1, 1, tzinfo=UTC) + 7 * week * DAY)
    due = due.astimezone(UTC)
    reminders = plan(due, hours)
    assert reminders[-1].step is Step.MOMENT
    assert due <= reminders[-1].at <= due + DAY + HOUR
    assert all(reminder.at < due for reminder in reminders[:-1])
    assert [reminder.at for reminder in reminders] == sorted(reminder.at for reminder in reminders)
    early = {reminder.step: reminder.at for reminder in reminders[:-1]}
    # Two before it, or one in place of both.
    assert len(early) in (1, 2)
    if hours is None:
        assert early == {Step.DAY: due - DAY, Step.HOUR: due - HOUR}
        return
    assert not any(hours.contains(reminder.at) for reminder in reminders)
    for step, ahead in ((Step.DAY, DAY), (Step.HOUR, HOUR)):
        if step in early and not hours.contains(due - ahead):
            assert early[step] == due - ahead


@settings(max_examples=40)
@given(st.integers(0, 156), COLD, st.sampled_from(ZONES), NIGHTS)
def test_each_reminder_is_sent_once_and_at_its_time(
    week: int, cold: time, zone: ZoneInfo, hours: QuietHours | None
) -> None:
    calendar = SessionCalendar(None, cold, zone)
    due = calendar.next_full_login(datetime(2026, 1, 1, tzinfo=UTC) + 7 * week * DAY).astimezone(UTC)
    ledger, sent = Ledger(), []
    # Quiet hours can start a minute after a reminder: a check comes within that minute, as in the supervisor.
    planned = {reminder.at for reminder in plan(due, hours)}
    for now in sorted({*ticks(due - 27 * HOUR, due + 23 * HOUR, 7 * MINUTE), *planned}):
        # From the moment on the login waits for its approval.
        each = Facts(now, now < due, now >= due, person=True, since=due - 7 * DAY)
        ledger, notices = check(calendar, hours, ledger, each, None)
        sent += [(notice.at, now) for notice in notices if isinstance(notice, Reminder)]
    assert [at for at, _ in sent] == [reminder.at for reminder in plan(due, hours)]
    assert all(at == now for at, now in sent)
    assert hours is None or not any(hours.contains(now) for _, now in sent)


def test_one_that_was_missed_comes_late_and_without_those_before_it() -> None:
    late = ticks(SUNDAY - 30 * MINUTE, SUNDAY - 10 * MINUTE)
    assert run([facts(now) for now in late]) == [(SUNDAY - 30 * MINUTE, "hour")]


def test_the_moment_is_reported_later_if_nothing_ran_then_and_nobody_is_logged_in() -> None:
    late = SUNDAY + 3 * HOUR
    assert run([facts(late, in_order=False)]) == [(late, "moment")]
    assert run([facts(late)]) == []
    assert run([replace(facts(late, in_order=False), since=SUNDAY + MINUTE)]) == []
    assert run([facts(SUNDAY + DAY + MINUTE, in_order=False)]) == []


def test_nothing_is_sent_while_a_person_is_awaited_already_or_none_will_be() -> None:
    moments = ticks(SUNDAY - 25 * HOUR, SUNDAY - MINUTE)
    assert run([facts(now, in_order=False, awaited=True) for now in moments]) == []
    assert run([facts(now, person=False) for now in moments + ticks(SUNDAY, SUNDAY + DAY)]) == []


def week_login(awaited_from: datetime, until: datetime, *, person: bool = False) -> list[Facts]:
    """Checks over a login: in order until `awaited_from`, then a person is awaited until `until`."""
    return [
        facts(now, in_order=not awaited_from <= now < until, awaited=awaited_from <= now < until, person=person)
        for now in ticks(awaited_from - 5 * MINUTE, until + HOUR)
    ]


def test_codes_that_were_not_entered_are_reported_once() -> None:
    assert run(week_login(SUNDAY + MINUTE, SUNDAY + HOUR)) == [(SUNDAY + 15 * MINUTE, "cold_restart")]
    # Done within the quarter of an hour: nothing to report.
    assert run(week_login(SUNDAY + MINUTE, SUNDAY + 5 * MINUTE)) == []


def test_a_kept_promise_explains_no_later_wait_for_a_person() -> None:
    kept = week_login(SUNDAY + MINUTE, SUNDAY + 5 * MINUTE)
    later = ticks(SUNDAY + 2 * HOUR, SUNDAY + 3 * HOUR)
    assert run([*kept, *(facts(now, in_order=False, awaited=True, person=False) for now in later)]) == []


def test_a_login_that_needs_a_person_as_planned_breaks_no_promise() -> None:
    found = run(week_login(SUNDAY + MINUTE, SUNDAY + HOUR, person=True), ledger=Ledger(SUNDAY, (Step.DAY, Step.HOUR)))
    assert found == [(SUNDAY, "moment")]


def test_a_daily_restart_that_has_lost_the_session_is_reported_once() -> None:
    restart = datetime(2026, 12, 2, 7, tzinfo=UTC)
    found = run(week_login(restart + MINUTE, restart + 3 * HOUR, person=True))
    assert found == [(restart + 15 * MINUTE, "daily_restart")]
    # IBKR has ended the session an hour before this one: nobody expected it to be kept.
    sunday = datetime(2026, 12, 6, 7, tzinfo=UTC)
    assert run(week_login(sunday + MINUTE, sunday + 3 * HOUR, person=True), ledger=Ledger(SUNDAY, tuple(Step))) == []
    # One that was waited for before the restart is not the restart's.
    assert run(week_login(restart - 30 * MINUTE, restart + 3 * HOUR, person=True)) == []


def test_a_broken_promise_is_reported_after_the_quiet_hours_unless_it_is_kept_by_then() -> None:
    restart = datetime(2026, 12, 2, 7, tzinfo=UTC)
    seven = datetime(2026, 12, 2, 12, tzinfo=UTC)
    hours = quiet("23:00-07:00")
    assert run(week_login(restart + MINUTE, seven + HOUR), hours) == [(seven, "daily_restart")]
    assert run(week_login(restart + MINUTE, seven - HOUR), hours) == []


def reminding_of(directory: Path, sent: list[str]) -> Reminding:
    document = DOCUMENT | {"state_dir": str(directory)}

    def notify(message: Message) -> None:
        sent.append(message.kind)

    return Reminding(parse(document, directory / "instance.json"), lambda text: None, notify)


def test_a_restart_repeats_no_reminder_and_forgets_no_promise(tmp_path: Path) -> None:
    sent: list[str] = []
    first = reminding_of(tmp_path, sent)
    first.check(facts(SUNDAY - HOUR))
    first.check(facts(SUNDAY - HOUR + MINUTE))
    reminding_of(tmp_path, sent).check(facts(SUNDAY - 50 * MINUTE))
    assert sent == ["approval_ahead"]
    codes = reminding_of(tmp_path, sent)
    codes.check(facts(SUNDAY - MINUTE, person=False))
    codes.check(facts(SUNDAY, person=False))
    later = facts(SUNDAY + 20 * MINUTE, in_order=False, awaited=True, person=False)
    reminding_of(tmp_path, sent).check(later)
    reminding_of(tmp_path, sent).check(later)
    assert sent == ["approval_ahead", "approval_not_handled"]


def test_the_ledger_is_read_as_it_was_written_and_empty_if_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "reminders.json"
    ledger = Ledger(SUNDAY, (Step.DAY, Step.HOUR), Promise(Kind.DAILY_RESTART, SUNDAY - DAY))
    reminding.write(path, ledger)
    assert reminding.read(path) == ledger
    damaged = (
        "",
        "[]",
        "{}",
        '{"due": "x", "done": [], "promise": null}',
        '{"due": "2026-12-06T18:00:00", "done": [], "promise": null}',
        '{"due": "2026-12-06T18:00:00+00:00", "done": ["year"], "promise": null}',
        '{"due": "2026-12-06T18:00:00+00:00", "done": [], "promise": {"kind": "cold_restart", "at": "2026-12-06"}}',
    )
    for text in damaged:
        path.write_text(text)
        assert reminding.read(path) == Ledger()


def test_a_ledger_that_cannot_be_written_stops_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    sent: list[str] = []
    reminders = reminding_of(tmp_path / "missing", sent)
    for now in ticks(SUNDAY - 2 * HOUR, SUNDAY - 30 * MINUTE):
        reminders.check(facts(now))
    assert sent == ["approval_ahead", "approval_ahead"]
