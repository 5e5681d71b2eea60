"""The brokerage's present: it only moves forward, and its days are New York's."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NEVER = datetime.max.replace(tzinfo=UTC)


class TradingTime:
    """``now`` is None before the first moment; ``day`` is the day that the brokerage has started."""

    def __init__(self) -> None:
        self.now: datetime | None = None
        self.day = date.min

    @property
    def moment(self) -> datetime:
        """The present. Raises RuntimeError before the first moment."""
        if self.now is None:
            raise RuntimeError("the brokerage has no time yet; call advance first")
        return self.now

    @property
    def today(self) -> date:
        """New York's day at present."""
        return self.moment.astimezone(NEW_YORK).date()

    def midnight(self) -> datetime:
        """When the day ends."""
        return datetime.combine(self.day + timedelta(days=1), time(0), NEW_YORK).astimezone(UTC)
