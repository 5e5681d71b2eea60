"""The sessions of an exchange's calendar, printed as JSON. It loads pandas: a process of its own, never the service.

``python -m position_manager.sessions.calendar_sessions XNYS 2026-11-20 2026-12-31`` prints
``{"zone": "America/New_York", "sessions": [["2026-11-20T14:30:00+00:00", "2026-11-20T21:00:00+00:00"], …],
"known_until": null}``: from the first day to the last, both included, two stretches for a day with a break.
``known_until`` is the last day that the calendar is known for, null if it has no end; sessions after it are left out.
Ends with 2 and one line on stderr if there is no such calendar, if it ends before the first day, or if the library
cannot compute it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from difflib import get_close_matches
from typing import Any

import exchange_calendars  # type: ignore[import-untyped]  # it carries no types
from exchange_calendars.errors import CalendarError  # type: ignore[import-untyped]  # nor does this

UNKNOWN = 2


def main(arguments: Sequence[str]) -> int:
    name, *days = arguments
    names = exchange_calendars.get_calendar_names()
    if name not in names:
        near = get_close_matches(name.upper(), names, n=3)
        guess = f"; did you mean {', '.join(near)}?" if near else ", such as XNYS (New York)"
        print(f"{name} is no calendar of exchange_calendars{guess}", file=sys.stderr)  # noqa: T201 - a child's answer
        return UNKNOWN
    try:
        document = _sessions(name, *days)
    except NotImplementedError:
        # Of four calendars in 4.13, with the pandas that is installed beside it.
        print(f"calendar {name} cannot be computed by the installed exchange_calendars; use another", file=sys.stderr)  # noqa: T201 - a child's answer
        return UNKNOWN
    except (CalendarError, ValueError) as error:
        print(f"calendar {name}: {error}", file=sys.stderr)  # noqa: T201 - a child's answer
        return UNKNOWN
    print(json.dumps(document))  # noqa: T201 - a child's answer
    return 0


def _sessions(name: str, first: str, last: str) -> dict[str, Any]:
    known_until = _known_until(name, first)
    last = last if known_until is None else min(last, known_until)
    calendar = exchange_calendars.get_calendar(name, start=first, end=last)
    stretches: list[tuple[str, str]] = []
    for row in calendar.schedule.itertuples():
        moments = [row.open, row.break_start, row.break_end, row.close]
        # Most exchanges have no break: NaT, which is not equal to itself.
        known = [moment.isoformat() for moment in moments if moment == moment]
        stretches += zip(known[::2], known[1::2], strict=True)
    return {"zone": calendar.tz.key, "sessions": stretches, "known_until": known_until}


def _known_until(name: str, day: str) -> str | None:
    """The last day of the recorded holidays, YYYY-MM-DD; None for a calendar that is computed by rules."""
    # The bound belongs to the class, which only a calendar of some days leads to; no exchange is closed for a month.
    month = date.fromisoformat(day) - timedelta(days=30)
    bound = type(exchange_calendars.get_calendar(name, start=f"{month}", end=day)).bound_max()
    return None if bound is None else f"{bound:%Y-%m-%d}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
