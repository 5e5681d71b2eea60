"""Times of the week that a change to summer time skips."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ansible.errors import AnsibleFilterError

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
YEARS = 5
"""How far ahead the rules of a time zone are checked."""


def skipped_times(times: Sequence[str], zone: str, first: date | None = None) -> list[str]:
    """Those of the times (such as C(Sun 02:30)) that do not exist on some day in the next years.

    A systemd timer with such a time passes over the whole week: the next occurrence of C(Sun 02:30) is a week later.
    """
    try:
        where = ZoneInfo(zone)
    except (ValueError, OSError, LookupError) as error:
        raise AnsibleFilterError(f"{zone!r} is not a time zone. Use a name like America/New_York.") from error
    start = first or datetime.now(UTC).date()
    days = [start + timedelta(days=number) for number in range(366 * YEARS)]
    return [text for text in times if any(_is_skipped(day, text, where) for day in days)]


def _is_skipped(day: date, text: str, zone: ZoneInfo) -> bool:
    weekday, _, clock = text.partition(" ")
    if DAYS[day.weekday()] != weekday:
        return False
    moment = datetime.combine(day, time.fromisoformat(clock), zone)
    return moment.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != moment.replace(tzinfo=None)


class FilterModule:
    """Filters of the host_baseline role."""

    def filters(self) -> dict[str, Any]:
        return {"host_baseline_skipped_times": skipped_times}
