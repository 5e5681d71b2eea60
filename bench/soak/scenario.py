"""What happens in a simulated month: a pure function of its seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from random import Random
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
SYMBOLS = ("SPY", "TSLA", "NVDA", "AMZN", "QQQ", "IWM")
"""Of which the simulator's account holds nothing at the start."""
HOLIDAYS = frozenset({date(2026, 11, 26)})
HALF_DAYS = frozenset({date(2026, 11, 27)})
FIRST_DAY = date(2026, 10, 28)
"""A Wednesday: the month that follows holds the end of summer time, a holiday and a half day."""
BREAK = timedelta(minutes=1)
RESTART, COLD_RESTART, RESET = time(2), time(13), time(23, 45)


class Kind(StrEnum):
    """What happens. ``what`` of an event is a symbol, a fault or a way in which something happens."""

    OPEN = "open"
    """A person opens a position: ``amount`` shares, negative for a short one."""
    BREACH = "breach"
    """The price goes beyond the stop and stays there."""
    FAULT = "fault"
    """A rule of the simulator's waits for its message."""
    LINK_LOST = "link lost"
    LINK_BACK = "link back"
    FARM_DOWN = "farm down"
    FARM_UP = "farm up"
    DROP = "clients dropped"
    SILENT_FEED = "feed silent"
    FEED_BACK = "feed back"
    CRASH = "gateway crash"
    """The gateway ends; ``minutes`` later it is started."""
    RESTART = "daily restart"
    COLD_RESTART = "weekly login"
    """``minutes`` later a person approves it."""
    KILL = "manager killed"
    REBOOT = "host reboot"
    """The manager and the gateway are killed; ``minutes`` later both are started."""
    WEBHOOK_DOWN = "webhook down"
    WEBHOOK_UP = "webhook up"
    CANCELS_HELD = "cancels held"
    CANCELS_FREE = "cancels free"
    STEP = "step"
    """The second half of an event that takes time."""
    NOON = "noon"
    """The memory is noted."""


@dataclass(frozen=True)
class Event:
    """Something at a moment. ``minutes``: how long it lasts, where it ends by itself."""

    at: datetime
    kind: Kind
    what: str = ""
    amount: int = 0
    minutes: float = 0.0


AT_ORDERS = (
    "disconnect before in:placeOrder client=100",
    "disconnect after in:placeOrder client=100",
    "disconnect before out:orderStatus:Submitted client=100",
    "disconnect after out:orderStatus:Submitted client=100",
    "disconnect before out:execDetails client=100",
    "disconnect after out:execDetails client=100",
    "disconnect before in:cancelOrder client=100",
    "disconnect after in:cancelOrder client=100",
    "stall 15 in:placeOrder client=100",
    "stall 15 in:cancelOrder client=100",
    "delay 4 out:orderStatus:Filled client=100",
    "delay 8 out:execDetails client=100",
    "stall 12 out:openOrderEnd client=100",
)
"""Faults in the middle of a close. Client 100 is the manager."""


def trading_day(day: date) -> bool:
    """Whether the exchange opens on it."""
    return day.weekday() < 5 and day not in HOLIDAYS


def at(day: date, moment: time, more: float = 0.0) -> datetime:
    """A time of day in New York, and so many seconds later."""
    return datetime.combine(day, moment, NEW_YORK) + timedelta(seconds=more)


def month(seed: int, days: int = 30, closes_a_day: int = 2) -> tuple[Event, ...]:
    """All events of so many days, in order."""
    random = Random(seed)  # noqa: S311 - to repeat a run, not for secrets
    events: list[Event] = []
    for number in range(days):
        day = FIRST_DAY + timedelta(days=number)
        events += _night(random, day)
        events.append(Event(at(day, time(12)), Kind.NOON))
        if trading_day(day):
            events += _session(random, day, closes_a_day)
            events += _incident(random, day)
        if day.weekday() == 6:
            events.append(Event(at(day, COLD_RESTART), Kind.COLD_RESTART, minutes=random.uniform(1, 10)))
    return tuple(sorted(events, key=lambda event: event.at))


def _night(random: Random, day: date) -> Iterator[Event]:
    """The restart of the gateway, and IB's own reset, in which the link goes several times."""
    yield Event(at(day, RESTART, 3), Kind.RESTART, minutes=random.uniform(1, 4))
    moment = at(day, RESET, 60)
    for _ in range(random.randint(1, 4)):
        seconds = random.uniform(20, 500)
        yield Event(moment, Kind.LINK_LOST)
        moment += timedelta(seconds=seconds)
        yield Event(moment, Kind.LINK_BACK, random.choice(("", "--data-lost")))
        moment += timedelta(seconds=120)


def _session(random: Random, day: date, closes: int) -> Iterator[Event]:
    """Positions that are opened and reach their stop, each with a fault or a kill in the middle of it."""
    hours = 3.0 if day in HALF_DAYS else 5.0
    for number, symbol in enumerate(random.sample(SYMBOLS, closes)):
        opened = at(day, time(9, 45), hours * 3600 * number / closes + random.uniform(0, 600))
        breached = opened + timedelta(seconds=random.uniform(600, 1800))
        yield Event(opened, Kind.OPEN, symbol, random.choice((-1, 1)) * random.randint(1, 9))
        trouble = random.choice(
            ("fault", "fault", "none", "kill", "cancels", "dropped", "link", "crash", "reboot", "farm")
        )
        if trouble == "fault":
            yield Event(breached - timedelta(seconds=1), Kind.FAULT, random.choice(AT_ORDERS))
        elif trouble == "cancels":
            yield Event(breached - timedelta(seconds=1), Kind.CANCELS_HELD)
            yield Event(breached + timedelta(seconds=random.uniform(20, 90)), Kind.CANCELS_FREE)
        elif trouble == "kill":
            yield Event(breached + timedelta(seconds=random.uniform(0, 6)), Kind.KILL)
        elif trouble in ("link", "farm"):
            begin, end = (Kind.LINK_LOST, Kind.LINK_BACK) if trouble == "link" else (Kind.FARM_DOWN, Kind.FARM_UP)
            yield Event(breached + timedelta(seconds=random.uniform(-5, 8)), begin)
            ended = breached + timedelta(seconds=random.uniform(10, 400))
            yield Event(ended, end, random.choice(("", "--data-lost")) if trouble == "link" else "")
        elif trouble in ("crash", "reboot"):
            kind = Kind.CRASH if trouble == "crash" else Kind.REBOOT
            yield Event(breached + timedelta(seconds=random.uniform(0.1, 8)), kind, minutes=random.uniform(0.3, 4))
        elif trouble == "dropped":
            yield Event(breached + timedelta(seconds=random.uniform(0, 6)), Kind.DROP)
        yield Event(breached, Kind.BREACH, symbol)


def _incident(random: Random, day: date) -> Iterator[Event]:
    """One thing that goes wrong on the day; sometimes nobody can be notified of it at once."""
    begins = at(day, time(9, 35) if day in HALF_DAYS else time(10), random.uniform(0, 5) * 3600)
    lasts = timedelta(seconds=random.uniform(30, 900))
    kind = random.choice((Kind.LINK_LOST, Kind.CRASH, Kind.FARM_DOWN, Kind.DROP, Kind.REBOOT, Kind.SILENT_FEED))
    ends = {
        Kind.LINK_LOST: Kind.LINK_BACK,
        Kind.FARM_DOWN: Kind.FARM_UP,
        Kind.SILENT_FEED: Kind.FEED_BACK,
    }.get(kind)
    what = {Kind.SILENT_FEED: "354", Kind.LINK_BACK: random.choice(("", "--data-lost"))}
    yield Event(begins, kind, what.get(kind, ""), minutes=lasts.total_seconds() / 60)
    if ends is not None and random.random() < 0.4:
        # The manager is killed in the middle of it, and soon after its end something of the kind happens again.
        yield Event(begins + lasts / 2, Kind.KILL)
        again = begins + lasts + timedelta(seconds=random.uniform(240, 900))
        yield Event(again, kind, what.get(kind, ""))
        yield Event(again + timedelta(seconds=60), ends, what.get(ends, ""))
    if ends is not None:
        yield Event(begins + lasts, ends, what.get(ends, ""))
    if random.random() < 0.4:
        yield Event(begins - timedelta(seconds=60), Kind.WEBHOOK_DOWN)
        yield Event(begins + lasts + timedelta(seconds=60), Kind.WEBHOOK_UP)
