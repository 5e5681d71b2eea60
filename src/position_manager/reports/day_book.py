"""The profit through each trading day, a line a minute, so that a restart does not lose the day's plot.

One file a day in a directory of their own; one older than `RETAINED_DAYS` is removed. A line that a power cut has torn
is left out when it is read.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter, ValidationError

from position_manager.reports.status import Status

RETAINED_DAYS = 31
"""The status page shows the last 30 days."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """The profit at a moment, realised that day and at present prices, by currency. ``close``: the end of the session
    that is open, ``told``: whether the day was summed up already. ``realized``: the part of it that is realised, None
    from a release that did not write it; it alone can be added up over days."""

    time: datetime
    profit: Mapping[str, Decimal]
    close: datetime
    told: bool = False
    realized: Mapping[str, Decimal] | None = None


_SAMPLE = TypeAdapter(Sample)


def profit_of(status: Status) -> dict[str, Decimal]:
    """Realised today and at present prices, by currency; a currency with a position that has no price is left out."""
    sums: dict[str, Decimal] = defaultdict(Decimal, status.realized)
    for unit in status.units:
        sums[unit.currency] += unit.profit or 0
    unknown = {unit.currency for unit in status.units if unit.profit is None}
    return {currency: money for currency, money in sums.items() if currency not in unknown}


def file_of(directory: Path, day: date) -> Path:
    """Where the samples of a day are."""
    return directory / f"{day:%Y-%m-%d}.jsonl"


def read(file: Path) -> tuple[Sample, ...]:
    """The samples of a day in the order of time. Raises OSError, but not for a file that is not there."""
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return ()
    return tuple(_parsed(lines))


def _parsed(lines: Iterable[bytes]) -> Iterable[Sample]:
    for line in filter(None, lines):
        try:
            yield _SAMPLE.validate_json(line)
        except ValidationError:
            continue


class DayBook:
    """Writes the samples; knows when a session is over that was not summed up yet. It never stops the service: what
    cannot be written is logged."""

    def __init__(self, directory: Path, zone: ZoneInfo, now: datetime) -> None:
        """``zone`` is that of days."""
        self._directory = directory
        self._zone = zone
        self._last: Sample | None = None
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for day in (now.astimezone(zone).date() - timedelta(days=1), now.astimezone(zone).date()):
                if samples := read(file_of(directory, day)):
                    self._last = samples[-1]
        except OSError as error:
            _log.warning("the samples of the day cannot be read: %s", error)

    def add(
        self,
        now: datetime,
        profit: Mapping[str, Decimal],
        close: datetime,
        realized: Mapping[str, Decimal] | None = None,
    ) -> None:
        """Note the profit while a session is open."""
        self._write(Sample(now, profit, close, realized=realized))

    def close_after(self, now: datetime) -> datetime | None:
        """The close of the session that the last sample was in, if it is still ahead."""
        return self._last.close if self._last is not None and self._last.close > now else None

    def due(self, now: datetime) -> date | None:
        """The day that is over and was not summed up yet."""
        last = self._last
        if last is None or last.told or now < last.close:
            return None
        return self._day_of(last)

    def mark_reported(self, now: datetime) -> None:
        """The last session is summed up."""
        if self._last is not None:
            self._write(replace(self._last, time=now, told=True))

    def _day_of(self, sample: Sample) -> date:
        """The day of its session; one that lasts until midnight belongs to the day that ends then."""
        return (sample.close - timedelta(microseconds=1)).astimezone(self._zone).date()

    def _write(self, sample: Sample) -> None:
        new = self._last is None or self._day_of(self._last) != self._day_of(sample)
        self._last = sample
        try:
            with file_of(self._directory, self._day_of(sample)).open("ab") as file:
                # A line end comes first too: the line before may be torn.
                file.write(b"\n" + _SAMPLE.dump_json(sample, exclude_none=True) + b"\n")
            if new:
                self._remove_old(self._day_of(sample))
        except OSError as error:
            _log.warning("the profit of this minute is not noted: %s", error)

    def _remove_old(self, today: date) -> None:
        oldest = f"{today - timedelta(days=RETAINED_DAYS):%Y-%m-%d}"
        for file in self._directory.glob("????-??-??.*"):
            if file.stem < oldest:
                file.unlink(missing_ok=True)
