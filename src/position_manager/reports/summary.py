"""What a day was like: fills, profit, positions and unprotected time, as a message with a plot.

Run as a program by the service at the end of a session, so that what plotting needs is never loaded into the service
itself: the status comes in as JSON, the message goes out as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from notifications.message import Message, Severity
from position_manager.journal import stored_instruments
from position_manager.journal.errors import JournalError
from position_manager.journal.reader import JournalReader
from position_manager.reports import day_book
from position_manager.reports.explain import label_of
from position_manager.reports.status import Status, UnitStatus

MOST_FILLS = 40
"""More are counted only."""

PATIENCE_SECONDS = 120.0


class SummaryError(Exception):
    """The summary of the day could not be created; the message states why."""


def fills_of(reader: JournalReader, day: date, zone: ZoneInfo) -> tuple[str, ...]:
    """The executions of a day in words, in the order of time."""
    begin = datetime.combine(day, time(), zone)
    end = datetime.combine(day + timedelta(days=1), time(), zone)
    known = stored_instruments.read(reader)
    found = [
        (fill.time, f"{fill.time.astimezone(zone):%H:%M:%S} {intent.side} {fill.quantity:f}"
         f" {label_of(known, intent.con_id)} at {fill.price} ({intent.rule})")
        for place in reader.holdings()
        for intent in reader.intents(*place)
        for fill in intent.fills
        if begin <= fill.time < end
    ]  # fmt: skip
    return tuple(text for _, text in sorted(found))


def message(status: Status, day: date, fills: Sequence[str], plot: Path | None) -> Message:
    """The day in words."""
    profit = [(currency, status.realized.get(currency, Decimal(0))) for currency in _currencies(status)]
    title = ", ".join(f"{money:+,.2f} {currency}" for currency, money in profit) or "nothing realised"
    more = [f"and {len(fills) - MOST_FILLS} more fills"] if len(fills) > MOST_FILLS else []
    lines = ["Fills:", *fills[:MOST_FILLS], *more] if fills else ["No fills."]
    lines += ["Held:", *(_held(unit) for unit in status.units)] if status.units else ["Nothing is held."]
    unprotected = sum(unit.unprotected_seconds for unit in status.units)
    fields = [
        ("Realised", title),
        ("At present prices", ", ".join(_open(status)) or "nothing"),
        ("Unprotected", f"{timedelta(seconds=round(unprotected))} in trading hours, of what is held"),
        ("Orders in 24 h", str(status.orders_today)),
    ]
    if status.locks:
        fields.append(("Locked", ", ".join(lock.label for lock in status.locks)))
    return Message(
        "daily_summary",
        Severity.INFO,
        f"[{status.mode}] {day:%Y-%m-%d}: {title}",
        status.time,
        tuple(lines),
        tuple(fields),
        attachment=plot,
    )


def _currencies(status: Status) -> list[str]:
    return sorted({unit.currency for unit in status.units} | set(status.realized))


def _open(status: Status) -> Iterable[str]:
    for currency in _currencies(status):
        units = [unit for unit in status.units if unit.currency == currency]
        known = [unit.profit for unit in units if unit.profit is not None]
        if units:
            missing = f" ({len(units) - len(known)} without a price)" if len(known) < len(units) else ""
            yield f"{sum(known, Decimal(0)):+,.2f} {currency}{missing}"


def _held(unit: UnitStatus) -> str:
    profit = "no price" if unit.profit is None else f"{unit.profit:+,.2f} {unit.currency}"
    blind = f", unprotected {timedelta(seconds=round(unit.unprotected_seconds))}" if unit.unprotected_seconds else ""
    return f"{unit.quantity:f} {unit.name}: {profit}{blind}"


def build(status: Status, journal: Path, days: Path, day: date, zone: ZoneInfo) -> Message:
    """The message, with its plot in the directory of days if one can be created. Raises JournalError."""
    with JournalReader(journal) as reader:
        fills = fills_of(reader, day, zone)
    return message(status, day, fills, _plot(days, day, zone))


def _plot(days: Path, day: date, zone: ZoneInfo) -> Path | None:
    samples = [sample for sample in day_book.read(day_book.file_of(days, day)) if not sample.told]
    if len(samples) < 2:
        return None
    from position_manager.reports.day_plot import draw

    return draw(samples, days / f"{day:%Y-%m-%d}.png", zone)


async def ask(status: Status, journal: Path, days: Path, day: date, zone: ZoneInfo) -> Message:
    """Create the message in a process of its own. Raises SummaryError."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, str(journal), str(days), f"{day}", zone.key),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            output, errors = await process.communicate(status.to_json())
    except TimeoutError as error:
        raise SummaryError(f"it took longer than {PATIENCE_SECONDS:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        lines = errors.decode(errors="replace").strip().splitlines() or [f"exit status {process.returncode}"]
        raise SummaryError(lines[-1])
    return Message.from_json(output.decode())


def main(arguments: Sequence[str] | None = None) -> int:
    """Read a status from standard input, write the message to standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("journal", type=Path)
    parser.add_argument("days", type=Path)
    parser.add_argument("day", type=date.fromisoformat)
    parser.add_argument("zone", type=ZoneInfo)
    given = parser.parse_args(arguments)
    status = Status.from_json(sys.stdin.buffer.read())
    try:
        found = build(status, given.journal, given.days, given.day, given.zone)
    except (JournalError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(found.to_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
