"""When the next login may be tried, so that nobody's phone rings all night and nobody's session is taken back at once.

Pure, the clock is given. A `Hold` is a time without a login: the container is not started. It ends at its own time or
when a person asks (`gateway-watch approve-now`). A hold is no failure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

HOUR = timedelta(hours=1)

SESSION_YIELDED = "session_yielded"
"""The cause of a run that ended because the user logged in elsewhere."""


class HoldKind(StrEnum):
    """`approval`: too many requests were not answered. `quiet_hours`: the next request would come in them.
    `yielded`: the user is logged in elsewhere."""

    APPROVAL = "approval"
    QUIET_HOURS = "quiet_hours"
    YIELDED = "yielded"


@dataclass(frozen=True)
class Hold:
    """No login since `since` (UTC) until `until`, None for until a person asks."""

    kind: HoldKind
    since: datetime
    until: datetime | None


@dataclass(frozen=True)
class Asked:
    """A person asked for the login at `at` (UTC); `yielded` if also while another session of the user is at work."""

    at: datetime
    yielded: bool = True


@dataclass(frozen=True)
class QuietHours:
    """A daily stretch of wall-clock time in `zone`, over midnight if `end` is not after `begin`."""

    begin: time
    end: time
    zone: ZoneInfo

    def contains(self, now: datetime) -> bool:
        clock = now.astimezone(self.zone).time()
        if self.begin < self.end:
            return self.begin <= clock < self.end
        return clock >= self.begin or clock < self.end

    def next_end(self, now: datetime) -> datetime:
        today = now.astimezone(self.zone).date()
        return min(end for day in (today, today + timedelta(days=1)) for end in self._ends(day) if end > now)

    def _ends(self, day: date) -> tuple[datetime, ...]:
        """Two where the clock is set back over the end: the repeated time is in the quiet hours once more."""
        first = datetime.combine(day, self.end, self.zone)
        ends = first.astimezone(UTC), first.replace(fold=1).astimezone(UTC)
        return ends if ends[1] > ends[0] else ends[:1]

    def last_start(self, now: datetime) -> datetime:
        """When the stretch that `now` is in has started."""
        day = now.astimezone(self.zone).date()
        moment = datetime.combine(day, self.begin, self.zone).astimezone(UTC)
        if moment > now:
            moment = datetime.combine(day - timedelta(days=1), self.begin, self.zone).astimezone(UTC)
        return moment


@dataclass(frozen=True)
class Rules:
    """The instance's settings; `pushes_per_hour` 0 for no limit, `yields` how long another session is left alone."""

    pushes_per_hour: int
    quiet: QuietHours | None
    yields: timedelta


@dataclass(frozen=True)
class Gate:
    """What is remembered: `pushes` of the last hour that led to no login (UTC), and the present `hold`."""

    pushes: tuple[datetime, ...] = ()
    hold: Hold | None = None

    def pushed(self, now: datetime) -> Gate:
        """An approval is asked for."""
        return replace(self, pushes=(*_recent(self.pushes, now), now))

    def logged_in(self) -> Gate:
        return Gate()

    def unanswered(self, now: datetime, asked: Asked | None) -> int:
        """Requests of the last hour without an answer; those before a person asked count no more."""
        return sum(1 for push in _recent(self.pushes, now) if asked is None or push >= asked.at)

    def before_next_push(self, rules: Rules, asked: Asked | None, now: datetime) -> Hold | None:
        """Whether the gateway, which is about to ask once more, must be held."""
        if not (unanswered := self.unanswered(now, asked)):
            return None
        if rules.quiet is not None and rules.quiet.contains(now):
            return Hold(HoldKind.QUIET_HOURS, now, rules.quiet.next_end(now))
        if rules.pushes_per_hour and unanswered >= rules.pushes_per_hour:
            return Hold(HoldKind.APPROVAL, now, rules.quiet.next_end(now) if rules.quiet else None)
        return None

    def at_start(
        self, rules: Rules, asked: Asked | None, now: datetime, *, last_cause: str | None, twofa: bool
    ) -> Hold | None:
        """Whether a start must be held; `twofa` if the last full login needed an approval."""
        if self.hold is not None:
            return None if released(self.hold, asked, now) else self.hold
        fresh = asked is not None and now - asked.at < HOUR
        if last_cause == SESSION_YIELDED and rules.yields and not (fresh and asked is not None and asked.yielded):
            return Hold(HoldKind.YIELDED, now, now + rules.yields)
        if (hold := self.before_next_push(rules, asked, now)) is not None:
            return hold
        if rules.quiet is not None and rules.quiet.contains(now) and twofa and not fresh:
            return Hold(HoldKind.QUIET_HOURS, now, rules.quiet.next_end(now))
        return None


def released(hold: Hold, asked: Asked | None, now: datetime) -> str | None:
    """Why a hold is over, for people; None while it lasts."""
    if asked is not None and asked.at >= hold.since and (asked.yielded or hold.kind is not HoldKind.YIELDED):
        return "a person asked for the login"
    if hold.until is not None and now >= hold.until:
        return "the time is over"
    return None


def _recent(pushes: Iterable[datetime], now: datetime) -> tuple[datetime, ...]:
    return tuple(push for push in pushes if now - push < HOUR)
