"""When instruments trade.

A trading day has one session and, within it, the regular (IB: liquid) hours. Times are New York's unless stated
otherwise; ``holidays`` knows the days.

| instrument | session | regular hours | half day |
|---|---|---|---|
| US stock | 04:00-20:00 | 09:30-16:00 | 17:00, regular 13:00 |
| US option; on SPY, SPX and VIX 15 minutes longer | 09:30-16:00 | the same | 13:00 |
| index | 09:30-16:00 | the same | 13:00 |
| index future | 18:00 of the day before to 17:00 | 09:30-17:00 | 13:00 |
| grain future | 20:00 of the day before to 14:20, with a pause from 08:45 to 09:30 | 09:30-14:20 | none |
| currency | 17:15 of the day before to 17:00 | the same | none |
| stock on Xetra (Berlin's time) | 09:00-17:30 | the same | none |
| stock in London (London's time) | 08:00-16:30 | the same | 12:30 |

Only stocks respect outsideRth: futures and currencies trade in their whole session. ``always`` is a market that never
closes: every day of the calendar is a trading day from midnight to midnight in New York. A derivative's last session
ends with its expiry in both.

The hours of one contract can be set under either rule (``set_hours``), so that it is regular, night or closed now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

from gateway_simulator.trading import holidays
from gateway_simulator.trading.holidays import DayKind
from gateway_simulator.trading.model import Instrument

KINDS = ("always", "exchange")
DAYS_SHOWN = 7
"""Calendar days that the texts of trading hours reach ahead, today included."""
LONGEST_PAUSE_DAYS = 10
DERIVATIVES = ("OPT", "FUT")
LONG_INDEX_OPTIONS = ("SPY", "SPX", "VIX")
GRAIN_EXCHANGE = "CBOT"
# IB's names of zones are old links that not every system's database has.
ZONES = {"US/Eastern": "America/New_York", "US/Central": "America/Chicago", "GB-Eire": "Europe/London"}


class SetHours(StrEnum):
    """How the hours of one contract are set."""

    REGULAR = "regular"
    """Its liquid hours run now."""
    NIGHT = "night"
    """It trades now, outside its liquid hours."""
    CLOSED = "closed"
    """No session runs now."""


@dataclass(frozen=True)
class Session:
    """The session of one trading day: aware moments in UTC. The ends are the first moments after it."""

    day: date
    start: datetime
    end: datetime
    regular_start: datetime
    regular_end: datetime
    pause: tuple[datetime, datetime] | None = None

    def boundaries(self) -> tuple[datetime, ...]:
        """All moments at which something opens or closes, in order of time."""
        return tuple(sorted({self.start, self.end, self.regular_start, self.regular_end, *(self.pause or ())}))

    def trades(self, now: datetime) -> bool:
        """Return whether the session runs now, and is not in its pause."""
        pauses = self.pause is not None and self.pause[0] <= now < self.pause[1]
        return self.start <= now < self.end and not pauses

    def stretches(self) -> list[tuple[datetime, datetime]]:
        """The session without its pause."""
        if self.pause is None or self.pause[1] >= self.end:
            return [(self.start, self.end if self.pause is None else min(self.end, self.pause[0]))]
        return [(self.start, self.pause[0]), (self.pause[1], self.end)]


@dataclass(frozen=True)
class Schedule:
    """The daily times of one kind of instrument; a session that ends before it starts started the day before."""

    zone: str
    calendar: Callable[[date], DayKind]
    session: tuple[time, time]
    regular: tuple[time, time]
    half_end: time | None = None
    half_regular_end: time | None = None
    heeds_outside_rth: bool = False
    pause: tuple[time, time] | None = None


NEW_YORK = "America/New_York"
STOCKS = Schedule(
    NEW_YORK,
    holidays.new_york,
    (time(4), time(20)),
    (time(9, 30), time(16)),
    time(17),
    time(13),
    heeds_outside_rth=True,
)
OPTIONS = Schedule(NEW_YORK, holidays.new_york, (time(9, 30), time(16)), (time(9, 30), time(16)), time(13), time(13))
LONG_OPTIONS = Schedule(
    NEW_YORK, holidays.new_york, (time(9, 30), time(16, 15)), (time(9, 30), time(16, 15)), time(13, 15), time(13, 15)
)
INDEX_FUTURES = Schedule(
    NEW_YORK, holidays.chicago_futures, (time(18), time(17)), (time(9, 30), time(17)), time(13), time(13)
)
GRAIN_FUTURES = Schedule(
    NEW_YORK,
    holidays.new_york_without_halves,
    (time(20), time(14, 20)),
    (time(9, 30), time(14, 20)),
    pause=(time(8, 45), time(9, 30)),
)
CURRENCIES = Schedule(NEW_YORK, holidays.currencies, (time(17, 15), time(17)), (time(17, 15), time(17)))
XETRA = Schedule("Europe/Berlin", holidays.frankfurt, (time(9), time(17, 30)), (time(9), time(17, 30)))
LONDON = Schedule(
    "Europe/London", holidays.london, (time(8), time(16, 30)), (time(8), time(16, 30)), time(12, 30), time(12, 30)
)
ALWAYS = Schedule(NEW_YORK, holidays.every_day, (time(0), time(0)), (time(0), time(0)))


def zone_of(instrument: Instrument) -> ZoneInfo:
    """The time zone in which an instrument's expiry and hours are reported."""
    return ZoneInfo(ZONES.get(instrument.time_zone, instrument.time_zone))


def schedule_of(instrument: Instrument) -> Schedule:
    """The real exchange's schedule of an instrument. Raises ValueError for a kind that has none here."""
    contract = instrument.contract
    match contract.sec_type:
        case "STK":
            return {"IBIS": XETRA, "LSE": LONDON}.get(contract.primary_exchange, STOCKS)
        case "OPT":
            return LONG_OPTIONS if contract.symbol in LONG_INDEX_OPTIONS else OPTIONS
        case "IND":
            return OPTIONS
        case "FUT":
            return GRAIN_FUTURES if contract.exchange == GRAIN_EXCHANGE else INDEX_FUTURES
        case "CASH":
            return CURRENCIES
        case "BAG":
            return schedule_of(instrument.leading)
        case other:
            raise ValueError(f"no trading hours are known for {contract.symbol}: security type {other!r}")


@lru_cache(maxsize=4096)
def session_on(schedule: Schedule, day: date) -> Session | None:
    """Return the session of a day, or None where there is none."""
    kind = schedule.calendar(day)
    if kind is DayKind.CLOSED:
        return None
    start, end = schedule.session
    regular_start, regular_end = schedule.regular
    if kind is DayKind.HALF:
        end, regular_end = schedule.half_end or end, schedule.half_regular_end or regular_end
    zone = ZoneInfo(schedule.zone)

    def moment(on: date, at: time) -> datetime:
        return datetime.combine(on, at, zone).astimezone(UTC)

    if schedule is ALWAYS:
        begin, finish = moment(day, time(0)), moment(day + timedelta(days=1), time(0))
        return Session(day, begin, finish, begin, finish)
    evening = day - timedelta(days=1)
    return Session(
        day,
        moment(evening if start > end else day, start),
        moment(day, end),
        moment(evening if regular_start > regular_end else day, regular_start),
        moment(day, regular_end),
        (moment(day, schedule.pause[0]), moment(day, schedule.pause[1])) if schedule.pause is not None else None,
    )


def set_schedule(kind: SetHours, moment: datetime, usual: Schedule) -> Schedule:
    """Return the schedule under which a contract is as it was set at a moment, every day of the calendar.

    The days are those of the index futures, in a zone without summer time in which it is 19, 10 or 17 o'clock then: so
    a night lasts for 14 hours at least, regular hours for 5. A closed one opens after 12 hours at the earliest.
    """
    hour = {SetHours.NIGHT: 19, SetHours.REGULAR: 10, SetHours.CLOSED: 20}[kind]
    # From 12 hours before UTC to 11 after it; the names of these zones have the sign of the other side.
    offset = (hour - moment.astimezone(UTC).hour + 12) % 24 - 12
    days = XETRA if kind is SetHours.CLOSED else INDEX_FUTURES
    zone = f"Etc/GMT{-offset:+d}" if offset else "Etc/GMT"
    return Schedule(zone, holidays.every_day, days.session, days.regular, heeds_outside_rth=usual.heeds_outside_rth)


class TradingHours:
    """When each instrument trades, by one rule for all: ``always`` or ``exchange``.

    Every ``now`` is aware; every moment returned is aware and in UTC.
    """

    def __init__(self, kind: str) -> None:
        if kind not in KINDS:
            raise ValueError(f"trading hours are {kind!r}; they must be one of {', '.join(KINDS)}")
        self.kind = kind
        self.hours_set: dict[int, tuple[SetHours, datetime]] = {}
        """By contract id: what was set, and when (aware)."""

    def schedule(self, instrument: Instrument) -> Schedule:
        """Return the daily times of an instrument under this rule, or as they were set."""
        known = self.hours_set.get(instrument.contract.con_id) if self.hours_set else None
        if known is not None:
            return set_schedule(*known, schedule_of(instrument))
        return ALWAYS if self.kind == "always" else schedule_of(instrument)

    def is_open(self, instrument: Instrument, now: datetime, *, outside_rth: bool) -> bool:
        """Return whether orders trade now; ``outside_rth`` asks for those that may trade outside regular hours."""
        session = self.session(instrument, now)
        if session is None:
            return False
        if outside_rth or not self.schedule(instrument).heeds_outside_rth:
            return session.trades(now)
        return session.regular_start <= now < session.regular_end

    def is_regular(self, instrument: Instrument, now: datetime) -> bool:
        """Return whether regular hours run, as bars with useRTH mean it."""
        session = self.session(instrument, now)
        return session is not None and session.regular_start <= now < session.regular_end

    def next_change(self, instrument: Instrument, now: datetime) -> datetime:
        """Return the next moment at which a session or its regular hours open or close.

        An instrument that has expired has no more sessions; for it the sessions continue as for the others of its kind.
        """
        for session in self._sessions_from(instrument, now):
            for moment in session.boundaries():
                if moment > now:
                    return moment
        raise AssertionError("a session from now on ends after now")

    def next_opening(self, instrument: Instrument, now: datetime) -> datetime:
        """Return when regular hours start next."""
        return next(each.regular_start for each in self._sessions_from(instrument, now) if each.regular_start > now)

    def day_end(self, instrument: Instrument, now: datetime, *, outside_rth: bool = False) -> datetime:
        """Return when DAY orders given now end: with the regular hours that run or come next, or, for orders
        that may trade outside them, with the session."""
        heeds = self.schedule(instrument).heeds_outside_rth
        for session in self._sessions_from(instrument, now):
            end = session.regular_end if heeds and not outside_rth else session.end
            if end > now:
                return end
        raise AssertionError("a session from now on ends after now")

    def expiry_moment(self, instrument: Instrument) -> datetime | None:
        """Return when a derivative ends, or None for what never does."""
        return expiry_moment(instrument)

    def trading_hours(self, instrument: Instrument, now: datetime) -> str:
        """Return the sessions of the coming days as IB writes them, in the instrument's time zone:
        ``20261123:0400-20261123:2000;20261126:CLOSED``."""
        return self._text(instrument, now, Session.stretches)

    def liquid_hours(self, instrument: Instrument, now: datetime) -> str:
        """Return the regular hours of the coming days, written as ``trading_hours``."""
        return self._text(instrument, now, lambda session: [(session.regular_start, session.regular_end)])

    def session(self, instrument: Instrument, now: datetime) -> Session | None:
        """Return the session that runs now or, between sessions, the last one before.

        None is returned only for a derivative of which no session has started within the last days.
        """
        day = self._local_day(instrument, now) + timedelta(days=1)
        for _ in range(LONGEST_PAUSE_DAYS):
            session = self.session_of_day(instrument, day)
            if session is not None and session.start <= now:
                return session
            day -= timedelta(days=1)
        return None

    def session_of_day(self, instrument: Instrument, day: date) -> Session | None:
        """Return the session of a trading day, cut off at the instrument's expiry; None where there is none."""
        session = session_on(self.schedule(instrument), day)
        expiry = expiry_moment(instrument)
        if session is None or expiry is None or session.end <= expiry:
            return session
        if session.start >= expiry:
            return None
        return replace(session, end=expiry, regular_end=max(session.regular_start, min(session.regular_end, expiry)))

    def _sessions_from(self, instrument: Instrument, now: datetime) -> Iterator[Session]:
        """The sessions that have not ended now, in order of time; after an expiry those of the same kind."""
        schedule = self.schedule(instrument)
        day = self._local_day(instrument, now)
        while True:
            session = self.session_of_day(instrument, day) or session_on(schedule, day)
            if session is not None and session.end > now:
                yield session
            day += timedelta(days=1)

    def _local_day(self, instrument: Instrument, now: datetime) -> date:
        return now.astimezone(ZoneInfo(self.schedule(instrument).zone)).date()

    def _text(
        self, instrument: Instrument, now: datetime, hours: Callable[[Session], list[tuple[datetime, datetime]]]
    ) -> str:
        zone = zone_of(instrument)
        first = self._local_day(instrument, now)
        parts = []
        for offset in range(DAYS_SHOWN):
            day = first + timedelta(days=offset)
            session = self.session_of_day(instrument, day)
            stretches = [each for each in hours(session) if each[0] < each[1]] if session is not None else []
            for start, end in stretches:
                parts.append(f"{start.astimezone(zone):%Y%m%d:%H%M}-{end.astimezone(zone):%Y%m%d:%H%M}")
            if not stretches:
                parts.append(f"{day:%Y%m%d}:CLOSED")
        return ";".join(parts)


@lru_cache(maxsize=65536)
def _expiry(expiry: str, at: str, zone: ZoneInfo) -> datetime:
    return datetime.strptime(f"{expiry} {at}", "%Y%m%d %H:%M").replace(tzinfo=zone).astimezone(UTC)


def expiry_moment(instrument: Instrument) -> datetime | None:
    """Return when a derivative ends (aware, in UTC), or None for what never does."""
    if instrument.legs:
        instrument = instrument.leading
    if instrument.contract.sec_type not in DERIVATIVES:
        return None
    return _expiry(instrument.contract.expiry, instrument.last_trade_time, zone_of(instrument))
