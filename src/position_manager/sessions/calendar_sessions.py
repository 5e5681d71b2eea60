"""The sessions of an exchange's calendar, printed as JSON. It loads pandas: a process of its own, never the service.

``python -m position_manager.sessions.calendar_sessions XNYS 2026-11-20 2026-12-31`` prints
``{"zone": "America/New_York", "sessions": [["2026-11-20T14:30:00+00:00", "2026-11-20T21:00:00+00:00"], …]}``: from the
first day to the last, both included, two stretches for a day with a break. With only a name it prints no sessions.
Ends with 2 and one line on stderr if there is no such calendar, or if it does not reach so far.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
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
        guess = f"; did you mean {', '.join(near)}?" if near else ", such as XNYS (New York) or XCBF (CBOE futures)"
        print(f"{name} is no calendar of exchange_calendars{guess}", file=sys.stderr)  # noqa: T201 - a child's answer
        return UNKNOWN
    try:
        document = {"zone": "UTC", "sessions": []} if not days else _sessions(name, *days)
    except (CalendarError, ValueError) as error:
        print(f"calendar {name}: {error}", file=sys.stderr)  # noqa: T201 - a child's answer
        return UNKNOWN
    print(json.dumps(document))  # noqa: T201 - a child's answer
    return 0


def _sessions(name: str, first: str, last: str) -> dict[str, Any]:
    calendar = exchange_calendars.get_calendar(name, start=first, end=last)
    stretches: list[tuple[str, str]] = []
    for row in calendar.schedule.itertuples():
        moments = [row.open, row.break_start, row.break_end, row.close]
        # Most exchanges have no break: NaT, which is not equal to itself.
        known = [moment.isoformat() for moment in moments if moment == moment]
        stretches += zip(known[::2], known[1::2], strict=True)
    return {"zone": calendar.tz.key, "sessions": stretches}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
