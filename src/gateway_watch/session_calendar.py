"""The calendar of one gateway: its restarts, the end of its session and IBKR's interruptions. Pure.

The only source of these times: the status, the reminders, the calendar file, the windows of the supervisor and those of
the position manager come from it. All times in and out are aware datetimes. Wall clock times that a change to summer
time skips or repeats are taken as the time zone database does: the skipped one after the gap, the repeated one the
first time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
SUNDAY = 6
FRIDAY = 4

DAY = timedelta(days=1)
BEFORE = timedelta(minutes=2)
AFTER = timedelta(minutes=15)
"""The gateway may be away from so long before a planned restart until so long after it (exclusive)."""


class Kind(StrEnum):
    """What happens. ``daily_restart`` keeps the session; ``cold_restart`` is the week's restart with a full login."""

    NIGHTLY_RESET = "nightly_reset"
    DAILY_RESTART = "daily_restart"
    SESSION_END = "session_end"
    COLD_RESTART = "cold_restart"
    MAINTENANCE = "maintenance"


@dataclass(frozen=True)
class Recurrence:
    """A time of day in `zone`; on one `weekday` (Monday is 0), None for every day. Each occurrence lasts `duration`."""

    at: time
    zone: ZoneInfo
    weekday: int | None = None
    duration: timedelta = timedelta()

    def on(self, day: date) -> datetime | None:
        """The moment on a day of `zone`; None if it is not on that day of the week."""
        return self._moment(day).astimezone(self.zone) if self._has(day) else None

    def next(self, now: datetime) -> datetime:
        """The first moment after `now`."""
        # Compared in UTC: within one zone Python compares wall clocks, which a change of the clock leads astray.
        now = now.astimezone(UTC)
        # The day before too: where the clock skips the hour before midnight, its times come on the next day.
        day = now.astimezone(self.zone).date() - DAY
        while not (self._has(day) and (moment := self._moment(day)) > now):
            day += DAY
        return moment.astimezone(self.zone)

    def _has(self, day: date) -> bool:
        return self.weekday is None or day.weekday() == self.weekday

    def _moment(self, day: date) -> datetime:
        """In UTC."""
        return datetime.combine(day, self.at, tzinfo=self.zone).astimezone(UTC)


NIGHTLY_RESET = Recurrence(time(23, 45), NEW_YORK, None, timedelta(hours=1))
"""IBKR resets its servers each night about this time in New York; gateways lose their link and get it back."""

MAINTENANCE = Recurrence(time(23, 0), NEW_YORK, FRIDAY, timedelta(hours=4))
"""On Fridays about this time in New York IBKR takes its servers down for maintenance, until Saturday 3:00 AM."""

SESSION_END = Recurrence(time(1, 0), NEW_YORK, SUNDAY)
"""Sundays about this time in New York IBKR ends the week's session; the next login is a full one, with 2FA."""


@dataclass(frozen=True)
class Occurrence:
    """One event of the calendar, in the zone that defines it; `end` is `begin` where only a moment is known. `day` is
    the one that it belongs to, even if the clock skips its time on that day."""

    kind: Kind
    begin: datetime
    end: datetime
    day: date


@dataclass(frozen=True)
class SessionCalendar:
    """What is planned for one gateway. `daily` and `cold` (Sundays) are times of day in `zone`, None for none."""

    daily: time | None
    cold: time | None
    zone: ZoneInfo

    @property
    def recurrences(self) -> Mapping[Kind, Recurrence]:
        found = {Kind.NIGHTLY_RESET: NIGHTLY_RESET, Kind.MAINTENANCE: MAINTENANCE, Kind.SESSION_END: SESSION_END}
        if self.daily is not None:
            found[Kind.DAILY_RESTART] = Recurrence(self.daily, self.zone)
        if self.cold is not None:
            found[Kind.COLD_RESTART] = Recurrence(self.cold, self.zone, SUNDAY)
        return found

    @property
    def full_login(self) -> Kind:
        """What requires the week's full login: the planned restart, or without one the end of the week's session."""
        return Kind.SESSION_END if self.cold is None else Kind.COLD_RESTART

    def next(self, kind: Kind, now: datetime) -> datetime | None:
        """The next event of a kind after `now`; None if none is planned."""
        recurrence = self.recurrences.get(kind)
        return None if recurrence is None else recurrence.next(now)

    def next_session_end(self, now: datetime) -> datetime:
        return SESSION_END.next(now)

    def next_full_login(self, now: datetime) -> datetime:
        """The next full login of the week."""
        return self.recurrences[self.full_login].next(now)

    def next_restart(self, now: datetime) -> tuple[datetime, Kind] | None:
        """The next planned restart, and which kind it is; None if none is planned."""
        planned = [
            (moment, kind)
            for kind in (Kind.COLD_RESTART, Kind.DAILY_RESTART)
            if (moment := self.next(kind, now)) is not None
        ]
        return min(planned, key=lambda restart: restart[0].astimezone(UTC), default=None)

    def keeps_session(self, restart: datetime) -> bool:
        """Whether a daily restart can continue the session: not the first one after IBKR has ended it, unless the
        week's full login came before."""
        restart = restart.astimezone(UTC)
        ended = SESSION_END.next(restart - DAY).astimezone(UTC)
        login = self.next(Kind.COLD_RESTART, ended)
        return ended > restart or (login is not None and login.astimezone(UTC) < restart)

    def in_restart_window(self, now: datetime) -> bool:
        """Whether a planned restart or the week's end explains that nothing answers at `now`."""
        # The next event after AFTER ago is one whose window is not over; what remains is whether it has started.
        now = now.astimezone(UTC)
        kinds = (Kind.SESSION_END, Kind.DAILY_RESTART, Kind.COLD_RESTART)
        moments = [self.next(kind, now - AFTER) for kind in kinds]
        return any(moment is not None and moment.astimezone(UTC) - BEFORE <= now for moment in moments)

    def between(self, begin: datetime, end: datetime) -> list[Occurrence]:
        """All events that start from `begin` on and before `end`, ascending."""
        found = [
            occurrence
            for kind, recurrence in self.recurrences.items()
            for occurrence in _occurrences(kind, recurrence, begin, end)
        ]
        return sorted(found, key=lambda occurrence: (occurrence.begin.astimezone(UTC), occurrence.kind))


def _occurrences(kind: Kind, recurrence: Recurrence, begin: datetime, end: datetime) -> Iterator[Occurrence]:
    # From the day before on: a skipped time can come on the next day.
    day, last = (moment.astimezone(recurrence.zone).date() for moment in (begin, end))
    day -= timedelta(days=1)
    while day <= last:
        moment = recurrence.on(day)
        # In UTC: within one zone sums and comparisons ignore a change of the clock.
        if moment is not None and begin.astimezone(UTC) <= (started := moment.astimezone(UTC)) < end.astimezone(UTC):
            yield Occurrence(kind, moment, (started + recurrence.duration).astimezone(recurrence.zone), day)
        day += timedelta(days=1)


def maintenance_end(now: datetime) -> datetime | None:
    """When IBKR's present maintenance or nightly reset is over; None outside of them."""
    now = now.astimezone(UTC)
    ends = []
    for recurrence in (NIGHTLY_RESET, MAINTENANCE):
        started = recurrence.next(now - recurrence.duration).astimezone(UTC)
        if started <= now:
            ends.append(started + recurrence.duration)
    return max(ends, default=None)
