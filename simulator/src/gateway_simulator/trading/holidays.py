"""Which days the exchanges are closed or close early, by rule, for any year.

New York: New Year, Martin Luther King, Washington, Good Friday, Memorial Day, Juneteenth (since 2022), Independence
Day, Labor Day, Thanksgiving and Christmas. One that falls on a Sunday is kept on Monday, one that falls on a Saturday
on Friday, but New Year then not at all. Trading ends early on the day before Independence Day and before Christmas,
and on the day after Thanksgiving. Closings for a special reason (mourning, storms) are not known here.
"""

from __future__ import annotations

from datetime import date, timedelta
from enum import Enum
from functools import lru_cache

MONDAY, THURSDAY, FRIDAY, SATURDAY, SUNDAY = 0, 3, 4, 5, 6
JUNETEENTH_SINCE = 2022


class DayKind(Enum):
    """How an exchange trades on a day."""

    FULL = "full"
    HALF = "half"
    CLOSED = "closed"


def easter(year: int) -> date:
    """Return Easter Sunday of a year of the Gregorian calendar (the anonymous algorithm of 1876)."""
    golden = year % 19
    century, in_century = divmod(year, 100)
    leap_centuries, century_rest = divmod(century, 4)
    correction = (century - (century + 8) // 25 + 1) // 3
    moon = (19 * golden + century - leap_centuries - correction + 15) % 30
    leaps, rest = divmod(in_century, 4)
    to_sunday = (32 + 2 * century_rest + 2 * leaps - moon - rest) % 7
    late = (golden + 11 * moon + 22 * to_sunday) // 451
    month, day = divmod(moon + to_sunday - 7 * late + 114, 31)
    return date(year, month, day + 1)


def nth_weekday(year: int, month: int, weekday: int, number: int) -> date:
    """Return the ``number``-th (from 1) given weekday (Monday is 0) of a month."""
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (number - 1))


def new_york(day: date) -> DayKind:
    """Return how the New York exchanges trade on a day."""
    if day.weekday() >= SATURDAY or day in _new_york_holidays(day.year):
        return DayKind.CLOSED
    thanksgiving = nth_weekday(day.year, 11, THURSDAY, 4)
    early = (day.month, day.day) in ((7, 3), (12, 24)) or day == thanksgiving + timedelta(days=1)
    return DayKind.HALF if early else DayKind.FULL


def chicago_futures(day: date) -> DayKind:
    """Return how equity index futures trade on a day: on most holidays of New York for half of it."""
    if day.weekday() >= SATURDAY:
        return DayKind.CLOSED
    kind = new_york(day)
    christmas_or_new_year = day.month == 12 or (day.month == 1 and day.day <= 2)
    if kind is DayKind.CLOSED and not christmas_or_new_year and day != _good_friday(day.year):
        return DayKind.HALF
    return kind


def currencies(day: date) -> DayKind:
    """Return how currencies trade on a day: from Monday to Friday, but not on Christmas and New Year."""
    closed = day.weekday() >= SATURDAY or (day.month, day.day) in ((1, 1), (12, 25))
    return DayKind.CLOSED if closed else DayKind.FULL


def frankfurt(day: date) -> DayKind:
    """Return how Xetra trades on a day."""
    fixed = (day.month, day.day) in ((1, 1), (5, 1), (12, 24), (12, 25), (12, 26), (12, 31))
    moving = day in (_good_friday(day.year), easter(day.year) + timedelta(days=1))
    return DayKind.CLOSED if day.weekday() >= SATURDAY or fixed or moving else DayKind.FULL


def new_york_without_halves(day: date) -> DayKind:
    """Return how grain futures trade on a day: as New York, but never for half of it."""
    return DayKind.CLOSED if new_york(day) is DayKind.CLOSED else DayKind.FULL


def london(day: date) -> DayKind:
    """Return how the London exchange trades on a day; bank holidays for a special reason are not known here."""
    if day.weekday() >= SATURDAY or day in _london_holidays(day.year):
        return DayKind.CLOSED
    eves = (date(day.year, 12, 24), date(day.year, 12, 31))
    return DayKind.HALF if day in eves else DayKind.FULL


def every_day(day: date) -> DayKind:
    """A market that never closes."""
    del day
    return DayKind.FULL


def is_trading_day(day: date) -> bool:
    """Return whether the New York exchanges trade on a day."""
    return new_york(day) is not DayKind.CLOSED


def last_trading_day(day: date) -> date:
    """Return the day itself, or the last one before it on which New York trades."""
    while new_york(day) is DayKind.CLOSED:
        day -= timedelta(days=1)
    return day


def _good_friday(year: int) -> date:
    return easter(year) - timedelta(days=2)


@lru_cache(maxsize=256)
def _new_york_holidays(year: int) -> frozenset[date]:
    # New Year on a Saturday: the day before belongs to a year whose holidays do not name it, so it is not kept.
    fixed = [date(year, 1, 1), date(year, 7, 4), date(year, 12, 25)]
    if year >= JUNETEENTH_SINCE:
        fixed.append(date(year, 6, 19))
    last_monday_of_may = nth_weekday(year, 6, MONDAY, 1) - timedelta(days=7)
    return frozenset(
        [
            *(_observed(each) for each in fixed),
            nth_weekday(year, 1, MONDAY, 3),
            nth_weekday(year, 2, MONDAY, 3),
            _good_friday(year),
            last_monday_of_may,
            nth_weekday(year, 9, MONDAY, 1),
            nth_weekday(year, 11, THURSDAY, 4),
        ]
    )


@lru_cache(maxsize=256)
def _london_holidays(year: int) -> frozenset[date]:
    new_year, christmas = date(year, 1, 1), date(year, 12, 25)
    # Christmas and Boxing Day on a weekend: the next working days in their place.
    in_place = {4: (0, 3), SATURDAY: (2, 3), SUNDAY: (2, 1)}.get(christmas.weekday(), (0, 1))
    last_of_may = nth_weekday(year, 6, MONDAY, 1) - timedelta(days=7)
    last_of_august = nth_weekday(year, 9, MONDAY, 1) - timedelta(days=7)
    return frozenset(
        [
            new_year + timedelta(days={SATURDAY: 2, SUNDAY: 1}.get(new_year.weekday(), 0)),
            _good_friday(year),
            easter(year) + timedelta(days=1),
            nth_weekday(year, 5, MONDAY, 1),
            last_of_may,
            last_of_august,
            *(christmas + timedelta(days=each) for each in in_place),
        ]
    )


def _observed(day: date) -> date:
    shift = {SATURDAY: -1, SUNDAY: 1}.get(day.weekday(), 0)
    return day + timedelta(days=shift)
