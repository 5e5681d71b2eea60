"""When the next planned restart is due: wall clock times in the gateway's zone."""

from __future__ import annotations

from datetime import datetime, time, timedelta

SUNDAY = 6


def next_daily(now: datetime, at: time) -> datetime:
    """Return the next moment after ``now`` (aware) when the clock shows ``at``."""
    moment = datetime.combine(now.date(), at, tzinfo=now.tzinfo)
    return moment if moment > now else moment + timedelta(days=1)


def next_sunday(now: datetime, at: time) -> datetime:
    """Return the next Sunday's moment after ``now`` (aware) when the clock shows ``at``."""
    moment = datetime.combine(now.date() + timedelta(days=(SUNDAY - now.weekday()) % 7), at, tzinfo=now.tzinfo)
    return moment if moment > now else moment + timedelta(days=7)


def seconds_until(now: datetime, moment: datetime) -> float:
    """Return the seconds that really pass until ``moment``, a change of summer time included."""
    return moment.timestamp() - now.timestamp()
