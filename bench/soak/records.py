"""What a soak has recorded, and the checks on it. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

REF = "pm:"
STOP_BOUND = timedelta(seconds=10)
"""From the moment at which a stop is exceeded, the market open and the manager READY, until its first order is at the
broker: two quotes that span a second (`quotes.confirm_seconds`), and the loop that runs every five seconds."""
CLOSE_BOUND = timedelta(minutes=5)
"""The same until the position is closed: the ladder, and what proves the outcome of an order out of sight."""
GROWTH = 6.0
"""MiB by which a process may grow from its first noon to its last: the caches of SQLite, and what lies between pieces
that are in use. A month in one life of the manager took 1.4, and 11.8 without the settings of its unit."""
GROWTH_OF_BLOCKS = 4_000
"""Pieces of memory of the manager's objects, by which their number may grow likewise: a month in one life took 1,900 of
295,000, mostly for the instruments that it comes to know."""


@dataclass(frozen=True)
class Fill:
    """An execution in the broker's journal; ``before`` and ``after``: the position."""

    at: datetime
    exec_id: str
    ref: str
    symbol: str
    quantity: Decimal
    before: Decimal
    after: Decimal


@dataclass
class Episode:
    """A position that a person opened. ``could_since``: since when the manager could act on the exceeded stop, without
    an interruption, when it ``ordered``; ``ready`` counts the time until it was ``closed`` in which it could act."""

    symbol: str
    quantity: int
    opened: datetime
    breached: datetime | None = None
    could_since: datetime | None = None
    ordered: datetime | None = None
    lag: timedelta | None = None
    closed: datetime | None = None
    ready: timedelta = timedelta()


@dataclass(frozen=True)
class Outage:
    """A stretch in which the manager was not READY. ``expected``: within a window in which nobody is notified.
    ``killed``: it, or the manager's start, is part of it."""

    begin: datetime
    end: datetime
    expected: bool
    killed: bool


@dataclass(frozen=True)
class Message:
    """A notification."""

    at: datetime
    title: str


@dataclass(frozen=True)
class MemorySample:
    """MiB of a process, and the blocks of its objects where Python counts them; ``life`` numbers its processes."""

    at: datetime
    program: str
    life: int
    mebibytes: float
    blocks: int = 0


@dataclass
class Records:
    """All of it. ``journal``: what the manager's journal states to be filled, by order reference; ``unnoticed``:
    incidents that did not change its state; ``injected``: incidents by kind; ``skipped``: impossible ones."""

    fills: list[Fill] = field(default_factory=list)
    episodes: list[Episode] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    memory: list[MemorySample] = field(default_factory=list)
    journal: dict[str, Decimal] = field(default_factory=dict)
    journal_executions: set[str] = field(default_factory=set)
    unnoticed: list[str] = field(default_factory=list)
    locks: int = 0
    injected: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)


def faults(records: Records) -> list[str]:
    """Everything that must not have happened, as sentences; none if all is as it must be."""
    return [
        *oversold(records.fills),
        *missed(records.episodes),
        *different(records.fills, records.journal, records.journal_executions),
        *unreported(records.outages, records.messages),
        *unpaired(records.messages),
        *(f"the manager did not notice: {each}" for each in records.unnoticed),
        *grown(records.memory),
        *([f"{records.locks} instruments are locked at the end"] if records.locks else []),
    ]


def oversold(fills: Iterable[Fill]) -> Iterator[str]:
    """Orders of the manager's that did anything but reduce a position, at most to zero."""
    for fill in fills:
        if fill.ref.startswith(REF) and not (abs(fill.after) < abs(fill.before) and fill.after * fill.before >= 0):
            yield f"{fill.at}: {fill.symbol} went from {fill.before} to {fill.after} by an order of the manager's"


def missed(episodes: Iterable[Episode]) -> Iterator[str]:
    """Stops that were exceeded and not acted on in time, while the manager could act."""
    for episode in episodes:
        if episode.breached is None:
            continue
        name = f"the stop of {episode.symbol} exceeded at {episode.breached}"
        if episode.ordered is None:
            yield f"{name} was never acted on"
        elif episode.lag is not None and episode.lag > STOP_BOUND:
            yield f"{name} was acted on after {episode.lag.total_seconds():.1f} s"
        elif episode.closed is None:
            yield f"{name} was never closed"
        elif episode.ready > CLOSE_BOUND:
            yield f"{name} was closed after {episode.ready.total_seconds():.0f} s in which the manager was READY"


def different(fills: Iterable[Fill], journal: Mapping[str, Decimal], executions: set[str]) -> Iterator[str]:
    """Where the manager's journal and the broker's do not state the same."""
    broker: dict[str, Decimal] = {}
    seen: set[str] = set()
    for fill in fills:
        if fill.ref.startswith(REF):
            broker[fill.ref] = broker.get(fill.ref, Decimal(0)) + fill.quantity
            seen.add(fill.exec_id)
    for ref in sorted(broker.keys() | {ref for ref, filled in journal.items() if filled}):
        if broker.get(ref, Decimal(0)) != journal.get(ref, Decimal(0)):
            yield f"order {ref}: the broker filled {broker.get(ref, 0)}, the journal states {journal.get(ref, 0)}"
    for missing in sorted(executions - seen):
        yield f"the journal has an execution {missing} that the broker does not have"


LOST, BACK, AGAIN = "Not connected: nothing is guarded", "Connected again", "Connected to "


def unreported(outages: Sequence[Outage], messages: Sequence[Message]) -> Iterator[str]:
    """Outages that were not notified once, and their ends."""
    for number, outage in enumerate(outages):
        until = outages[number + 1].begin if number + 1 < len(outages) else datetime.max.replace(tzinfo=UTC)
        own = [message.title for message in messages if outage.begin <= message.at < until]
        lost, back, again = (sum(text in title for title in own) for text in (LOST, BACK, AGAIN))
        name = f"the outage from {outage.begin:%m-%d %H:%M:%S} to {outage.end:%H:%M:%S}"
        if outage.killed:
            if back > 1 or lost > 1:
                yield f"{name}: reported {lost} times, its end {back} times"
            if again != 1:
                yield f"{name}: the manager was started, and {again} messages report that it is connected"
            continue
        if lost != (0 if outage.expected else 1):
            yield f"{name} was reported {lost} times"
        elif back != lost:
            yield f"the end of {name} was reported {back} times"


_DOWN = re.compile(r"(Data farm \S+) is down|(\S+) has no live quotes")
_UP = re.compile(r"(Data farm \S+?):? (?:is up|unknown)|(\S+) has live quotes again")


def unpaired(messages: Iterable[Message]) -> Iterator[str]:
    """Farms and quotes that were reported as down twice, or never as up again. A start of the manager ends what its
    former run has reported."""
    down: dict[str, datetime] = {}
    for message in messages:
        if AGAIN in message.title:
            down.clear()
        elif match := _DOWN.search(message.title):
            subject = match[1] or match[2]
            if subject in down:
                yield f"{subject} was reported as down at {down[subject]} and again at {message.at}"
            down[subject] = message.at
        elif (match := _UP.search(message.title)) and down.pop(match[1] or match[2], None) is None:
            yield f"{match[1] or match[2]} was reported as up at {message.at} without having been down"
    for subject, at in down.items():
        yield f"{subject} was reported as down at {at} and never as up"


def grown(samples: Sequence[MemorySample]) -> Iterator[str]:
    """Processes whose memory is not flat."""
    lives: dict[tuple[str, int], list[MemorySample]] = {}
    for sample in samples:
        lives.setdefault((sample.program, sample.life), []).append(sample)
    for (program, _), own in lives.items():
        if len(own) < 2:
            continue
        growth = own[-1].mebibytes - own[0].mebibytes
        if growth > GROWTH:
            yield (
                f"the {program} that was started before {own[0].at:%m-%d} grew by {growth:.1f} MiB to "
                f"{own[-1].mebibytes:.1f}"
            )
        more = own[-1].blocks - own[0].blocks
        if more > GROWTH_OF_BLOCKS:
            yield f"the {program} that was started before {own[0].at:%m-%d} grew by {more} objects to {own[-1].blocks}"
