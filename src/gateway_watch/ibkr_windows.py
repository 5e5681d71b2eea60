"""When an outage of IBKR's servers is expected: the nightly reset and the weekend's maintenance, in New York time.

Source: IBKR's published system status page; the nightly reset of the gateway's servers was reported between 00:15 and
00:45, and the window has half an hour of room before it.
"""

from __future__ import annotations

from datetime import datetime, time

from gateway_watch.session_calendar import NEW_YORK

RESET_BEGIN, RESET_END = time(23, 45), time(0, 45)
MAINTENANCE_BEGIN, MAINTENANCE_END = time(23, 0), time(3, 0)

_FRIDAY, _SATURDAY = 4, 5


def expected_outage(now: datetime) -> str | None:
    """Which window `now` (aware) is in, in words; None outside of both. The ends are excluded."""
    local = now.astimezone(NEW_YORK)
    clock, day = local.time(), local.weekday()
    if (day == _FRIDAY and clock >= MAINTENANCE_BEGIN) or (day == _SATURDAY and clock < MAINTENANCE_END):
        return "IBKR's weekend maintenance (Friday 23:00 to Saturday 03:00 New York)"
    if clock >= RESET_BEGIN or clock < RESET_END:
        return "IBKR's nightly reset (23:45 to 00:45 New York)"
    return None
