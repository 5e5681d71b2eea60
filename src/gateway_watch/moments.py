"""Moments and spans of time in words, for screens and messages."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo


def span(seconds: float) -> str:
    """A span of time in its two largest units: 2 d 4 h, 5 h 49 min, 12 min, 40 s."""
    minutes, hours, days = int(seconds) // 60, int(seconds) // 3600, int(seconds) // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{int(seconds)} s"


def ahead(moment: datetime, now: datetime) -> str:
    """A moment within the next days: Sunday 18:00, in 2 d 4 h (2026-12-06, Europe/Berlin)."""
    return f"{weekday_and_hour(moment)}, in {span((moment - now).total_seconds())} ({moment:%Y-%m-%d}, {zone(moment)})"


def weekday_and_hour(moment: datetime) -> str:
    return f"{moment:%A %H:%M}"


def zone(moment: datetime) -> str:
    """The name of its time zone."""
    return moment.tzinfo.key if isinstance(moment.tzinfo, ZoneInfo) else f"{moment:%Z}"
