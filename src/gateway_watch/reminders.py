"""When people are reminded of the week's approval, and what is reported if a login needed one against the plan. Pure.

A reminder is due 24 h before an approval will be needed, 1 h before, and at the moment. One that falls within the quiet
hours is due when they end; if the approval is needed by then, a quarter of an hour before they start. The one at the
moment is due when they end, unless the gateway is logged in by then. Of several that are due together only the last is
sent.

Nothing is sent for a login that the codes of an authenticator app or the kept session handle. Such a login is stored as
a `Promise`; if a person is awaited a while later all the same, that is reported once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from gateway_watch.login_gate import QuietHours
from gateway_watch.session_calendar import AFTER, BEFORE, Kind, SessionCalendar

OPEN = timedelta(hours=24)
"""So long after the moment the reminder of it can still be sent."""

LATE = timedelta(minutes=5)
"""So long after the moment a gateway that is still logged in has needed no approval."""

GRACE = AFTER
"""A login that needs no person has so long to be done."""

PATIENCE = timedelta(hours=12)
"""After that an unfinished login is no longer taken for the planned one."""

EARLIER = timedelta(minutes=15)
"""So long before the quiet hours start comes a reminder that would be too late when they end."""


class Step(StrEnum):
    """Which of the reminders."""

    DAY = "day"
    HOUR = "hour"
    MOMENT = "moment"


AHEAD = {Step.DAY: timedelta(hours=24), Step.HOUR: timedelta(hours=1), Step.MOMENT: timedelta()}


@dataclass(frozen=True)
class Reminder:
    """To be sent at `at`: an approval is needed at `due`."""

    step: Step
    due: datetime
    at: datetime


@dataclass(frozen=True)
class Promise:
    """A restart that was to need no person: at `at`, because the session is kept (daily restart) or the codes of the
    authenticator app are entered (any other kind)."""

    kind: Kind
    at: datetime


@dataclass(frozen=True)
class Ledger:
    """What must outlast a restart of the supervisor: the steps that are done for the approval at `due`, and the promise
    that is not confirmed yet."""

    due: datetime | None = None
    done: tuple[Step, ...] = ()
    promise: Promise | None = None


@dataclass(frozen=True)
class Facts:
    """What is known now. `in_order`: logged in and listening. `awaited`: a person is waited for to approve a login.
    `person`: the next full login needs one, as far as known. `since`: the last full login."""

    now: datetime
    in_order: bool
    awaited: bool
    person: bool
    since: datetime | None


def plan(due: datetime, quiet: QuietHours | None) -> tuple[Reminder, ...]:
    """The reminders of one approval, ascending; those that the quiet hours move to the same time are one."""
    due = due.astimezone(UTC)
    found = {}
    for step, ahead in AHEAD.items():
        # The last of them stays.
        at = _outside(due - ahead, due, quiet)
        found[at] = Reminder(step, due, at)
    return tuple(found[at] for at in sorted(found))


def _outside(at: datetime, due: datetime, quiet: QuietHours | None) -> datetime:
    if quiet is None or not quiet.contains(at):
        return at
    end = quiet.next_end(at)
    return end if end < due or at == due else quiet.last_start(at) - EARLIER


def check(
    calendar: SessionCalendar, quiet: QuietHours | None, ledger: Ledger, facts: Facts, before: Facts | None
) -> tuple[Ledger, tuple[Reminder | Promise, ...]]:
    """What to report now; a `Promise` is one that was not kept. `before`: the facts at the last check of this run."""
    due = calendar.next_full_login(facts.now - OPEN).astimezone(UTC)
    if ledger.due != due:
        ledger = replace(ledger, due=due, done=())
    if before is not None and (promise := _promised(calendar, before, facts)) is not None:
        ledger = replace(ledger, promise=promise)
    if quiet is not None and quiet.contains(facts.now):
        return ledger, ()
    ledger, reminder = _remind(plan(due, quiet), ledger, facts)
    ledger, broken = _judge(ledger, facts)
    return ledger, tuple(notice for notice in (reminder, broken) if notice is not None)


def _promised(calendar: SessionCalendar, before: Facts, facts: Facts) -> Promise | None:
    """The promise of a restart that was due since the last check, while the gateway was logged in."""
    if not (before.in_order or facts.in_order):
        return None
    tick = timedelta(microseconds=1)
    for occurrence in reversed(calendar.between(before.now + tick, facts.now + tick)):
        daily = occurrence.kind is Kind.DAILY_RESTART and calendar.keeps_session(occurrence.begin)
        if daily or (occurrence.kind is calendar.full_login and not facts.person):
            return Promise(occurrence.kind, occurrence.begin.astimezone(UTC))
    return None


def _remind(reminders: tuple[Reminder, ...], ledger: Ledger, facts: Facts) -> tuple[Ledger, Reminder | None]:
    pending = [reminder for reminder in reminders if reminder.at <= facts.now and reminder.step not in ledger.done]
    if not pending:
        return ledger, None
    last = pending[-1]
    done = replace(ledger, done=tuple(step for step in Step if step in ledger.done or AHEAD[step] >= AHEAD[last.step]))
    if facts.now < last.due:
        # Who is waited for right now knows more than a reminder.
        return (done, last) if facts.person and not facts.awaited else (ledger, None)
    if last.step is not Step.MOMENT:
        return ledger, None
    handled = facts.since is not None and facts.since >= last.due - BEFORE
    unneeded = facts.in_order and facts.now >= last.due + LATE
    return done, last if facts.person and not handled and not unneeded else None


def _judge(ledger: Ledger, facts: Facts) -> tuple[Ledger, Promise | None]:
    """Whether the promise was kept, once it had the time to be."""
    promise = ledger.promise
    if promise is None or facts.now < promise.at + GRACE:
        return ledger, None
    if facts.in_order or facts.now > promise.at + PATIENCE:
        return replace(ledger, promise=None), None
    return (replace(ledger, promise=None), promise) if facts.awaited else (ledger, None)
