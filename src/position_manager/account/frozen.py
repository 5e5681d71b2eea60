"""Whether an account's value can be that of what it holds: it does not change, or lacks the positions. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from position_manager.account.values import AccountValues

AFTER = timedelta(minutes=5)
"""More than the three minutes that IB documents as the longest time between two updates."""
MOVED = Decimal("0.005")
"""By this part of the account's value the positions must have moved on our own quotes."""


@dataclass(frozen=True)
class LastChange:
    """The value as it last changed, what the positions (``held`` names them) were worth on our own quotes then, and
    since when they are worth something else (None if they are not)."""

    net_liquidation: Decimal
    marks: Decimal
    held: str
    moved_since: datetime | None = None


def since_change(before: LastChange | None, values: AccountValues, marks: Decimal, held: str) -> LastChange:
    """The last change after one more answer. Other positions, or a clock that was set back, start it again."""
    if before is None or (before.net_liquidation, before.held) != (values.net_liquidation, held):
        return LastChange(values.net_liquidation, marks, held)
    if abs(marks - before.marks) < MOVED * abs(values.net_liquidation):
        return replace(before, moved_since=None)
    since = before.moved_since
    return before if since is not None and since <= values.time else replace(before, moved_since=values.time)


def frozen(last: LastChange, values: AccountValues, marks: Decimal) -> str | None:
    """Why the value is not trusted; None if it is."""
    if last.moved_since is None or values.time - last.moved_since < AFTER:
        return None
    minutes = (values.time - last.moved_since).total_seconds() / 60
    return (
        f"the broker has reported the same value for {minutes:.0f} min, while the positions moved by "
        f"{abs(marks - last.marks):,.2f} on live quotes"
    )


def lacks_positions(values: AccountValues, marks: Decimal, *, futures: bool) -> str | None:
    """Why the value is not believed: it is the cash alone, although positions are worth something on live quotes.
    Futures may be all gain and loss, which is cash."""
    if futures or values.cash != values.net_liquidation or abs(marks) < MOVED * abs(values.net_liquidation):
        return None
    return f"the broker reports the cash alone as the value, without the positions, worth {marks:,.2f} on live quotes"
