"""Why something was done: the journal's events about an order or a position, in order of time and in words.

It needs the journal alone, so it also covers a service that is down, and positions that are long gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from ib_connection.accounts import masked
from notifications.message import clean
from position_manager.journal import stored_instruments
from position_manager.journal.reader import JournalReader
from position_manager.journal.records import Record
from position_manager.model import Instrument
from position_manager.orders.intents import REF_PREFIX, Intent

DECISIONS = frozenset({"rule fired", "would close"})


class NotFoundError(Exception):
    """The journal has nothing by this name, or several things; the text states what to name instead."""


def label_of(known: Mapping[int, Instrument], con_id: int) -> str:
    """The readable name of a contract."""
    return known[con_id].label if con_id in known else f"contract {con_id}"


def explain(reader: JournalReader, what: str) -> str:
    """The story of an order (its intent, orderRef, order id or permId) or of a position (contract id, local symbol,
    symbol, unit).

    A number that matches several of these needs a prefix: ``order:12``, ``perm:12``, ``contract:12``. Raises
    NotFoundError, and JournalError if the journal cannot be read.
    """
    known = stored_instruments.read(reader)
    subject = _Finder(reader, known).find(" ".join(what.split()))
    intents = dict.fromkeys(leg for intent in subject.intents for leg in _legs(reader, intent))
    stories = [_of_intent(reader, known, intent) for intent in intents]
    stories += [_of_position(reader, known, place) for place in subject.positions]
    return clean("\n\n".join(stories))


@dataclass(frozen=True)
class _Subject:
    intents: tuple[Intent, ...] = ()
    positions: tuple[tuple[str, int], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.intents or self.positions)


class _Finder:
    """Finds what a person means."""

    def __init__(self, reader: JournalReader, known: Mapping[int, Instrument]) -> None:
        self._reader = reader
        self._known = known
        self._places = tuple(reader.holdings())
        self._intents = tuple(intent for place in self._places for intent in reader.intents(*place))

    def find(self, what: str) -> _Subject:
        word, colon, rest = what.partition(":")
        if colon and word in ("order", "perm", "contract") and rest.isdecimal():
            ways = {word: self._by_number(int(rest))[word]}
        elif what.isdecimal():
            ways = self._by_number(int(what))
        else:
            ways = {"name": self._by_name(what)}
        found = {way: subject for way, subject in ways.items() if subject}
        if not found:
            raise NotFoundError(f"The journal has nothing about {what!r}. {self._choice()}")
        if len(found) > 1:
            names = " or ".join(f"{way}:{what}" for way in found)
            raise NotFoundError(f"{what} matches more than one thing; name one: {names}")
        return next(iter(found.values()))

    def _by_number(self, number: int) -> dict[str, _Subject]:
        intents = self._intents
        return {
            "order": _Subject(tuple(intent for intent in intents if number and intent.order_id == number)),
            "perm": _Subject(tuple(intent for intent in intents if number and intent.perm_id == number)),
            "contract": _Subject(positions=tuple(place for place in self._places if place[1] == number)),
        }

    def _by_name(self, what: str) -> _Subject:
        intent_id = what.removeprefix(REF_PREFIX).upper()
        if intents := tuple(intent for intent in self._intents if intent.id == intent_id):
            return _Subject(intents)
        wanted = what.casefold()
        named = {con_id for con_id, instrument in self._known.items() if wanted in _names(instrument)}
        named |= {
            record.con_id
            for record in self._reader.events()
            if "unit" in record.data and str(record.data["unit"]).casefold() == wanted
        }
        return _Subject(positions=tuple(place for place in self._places if place[1] in named))

    def _choice(self) -> str:
        names = sorted({label_of(self._known, con_id) for _, con_id in self._places})
        return f"It knows {', '.join(names)}." if names else "It knows no position yet."


def _names(instrument: Instrument) -> set[str]:
    names = (instrument.label, instrument.symbol, " ".join(instrument.local_symbol.split()))
    return {name.casefold() for name in names if name}


def _legs(reader: JournalReader, intent: Intent) -> tuple[Intent, ...]:
    """All intents of a combination, or the one of a single order."""
    return reader.legs_of(intent.lead) if intent.lead else (intent,)


def _of_intent(reader: JournalReader, known: Mapping[int, Instrument], intent: Intent) -> str:
    around = reader.events(instrument=(intent.account, intent.con_id))
    own = [record.number for record in around if record.intent == intent.id]
    first = max((r.number for r in around if r.kind in DECISIONS and r.number < own[0]), default=own[0])
    shown = (r for r in around if first <= r.number <= own[-1] and r.intent in (None, intent.id))
    return "\n".join([*_head(reader, intent, known), "", *_lines(shown)])


def _of_position(reader: JournalReader, known: Mapping[int, Instrument], place: tuple[str, int]) -> str:
    account, con_id = place
    holding = reader.holding(*place)
    held = "" if holding is None else f", {holding.quantity} held as far as the journal knows"
    lines = [f"{label_of(known, con_id)} (contract {con_id}) in {masked(account)}{held}"]
    if lock := reader.lock(*place):
        lines.append(f"  LOCKED since {lock.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC: {lock.reason}")
    for intent in reader.intents(*place):
        lines += [f"  {line}" for line in _head(reader, intent, known)]
    return "\n".join([*lines, "", *_lines(reader.events(instrument=place))])


def _head(reader: JournalReader, intent: Intent, known: Mapping[int, Instrument]) -> list[str]:
    """What an intent is, in two lines."""
    what = f"{intent.side} {intent.quantity} {label_of(known, intent.con_id)} in {masked(intent.account)}"
    state = f"{intent.state}{f' ({intent.reason})' if intent.reason else ''}"
    sent = "nothing was sent"
    if intent.order_id:
        perm = f"permId {intent.perm_id}" if intent.perm_id else "never acknowledged"
        order = reader.intent(intent.lead) if intent.lead else intent
        whole = "in a combination, " if intent.lead else ""
        price = f"limit {intent.limit}{_trigger(intent.stop)}"
        sent = f"{whole}order {order.order_id} of client {intent.client_id}, {perm}, {price}"
    filled = f"{intent.filled} of {intent.quantity} executed"
    return [f"{what}: {state}", f"  {filled}, because of rule {intent.rule}; {sent}; intent {intent.id}"]


def _lines(records: Iterable[Record]) -> Iterator[str]:
    day = ""
    for record in records:
        time = record.time.astimezone(UTC)
        if f"{time:%Y-%m-%d}" != day:
            day = f"{time:%Y-%m-%d}"
            yield f"{day} (UTC)"
        title, *more = words(record)
        yield f"{time:%H:%M:%S}.{time.microsecond // 1000:03}  {title}"
        yield from (f"{'':14}{line}" for line in more)


def words(record: Record) -> list[str]:
    """An event in words: a title, then the details, one a line."""
    data = dict(record.data)
    event = data.pop("event", {})
    match record.kind:
        case "rule fired" | "would close":
            title = f"{record.kind.capitalize()}: {data.pop('rule', '')} ({data.pop('unit', '')})"
        case "decided":
            title = f"The gates let {data.pop('quantity', '?')} pass at a limit of {data.pop('limit', '?')}"
        case "refused":
            data.pop("quantity", None)
            failed = [gate["gate"] for gate in data.get("gates", []) if not gate["passed"]]
            title = f"Not sent, refused by: {', '.join(failed)}"
        case "Sending":
            title = (
                f"Written down, then sent: order {event['order_id']} of client {event['client_id']}, "
                f"{event['quantity']}{_trigger(event.get('stop', 0))} at {event['limit']}, {event['position']} held"
            )
        case "Acknowledged":
            title = f"The broker shows the order: permId {event['perm_id']}"
        case "Executed":
            fill = event["fill"]
            title = f"Executed: {fill['quantity']} at {fill['price']} (execution {fill['exec_id']})"
        case "Said":
            title = f"The broker reported {event['code']}: {event['text']}"
        case "CancelSent":
            title = f"Cancel sent: {data.pop('why', '')}"
        case "OutOfSight":
            title = f"The outcome cannot be followed: {event['reason']}"
        case "Proven":
            title = f"Proven by the broker's books: {event['state']}, {event['reason']}"
        case "Dropped":
            title = f"Withdrawn before anything was sent: {event['reason']}"
        case "Released" | "released":
            title = f"Released by {event.get('by') or data.pop('by', '')}"
        case "holding":
            title = f"The position counts as {data.pop('quantity', '?')}: {data.pop('cause', '')}"
        case _:
            title = record.kind.capitalize()
    return [title, *_details(data, record.time)]


def _trigger(stop: Decimal | str | int) -> str:
    """The price at which an order starts to trade, if it does not do so at once."""
    return f" once {stop} is reached" if Decimal(stop) else ""


def _details(data: dict[str, Any], time: datetime) -> Iterator[str]:
    """What an event holds besides; what has no words of its own is shown as it is."""
    state = data.pop("state", None)
    filled = data.pop("filled", None)
    gates = data.pop("gates", [])
    quote = data.pop("quote", None)
    quotes = data.pop("quotes", {}) | ({"quote": quote} if quote else {})
    for name in ("text", "rule", "why", "reason"):
        if data.get(name):
            yield str(data.pop(name))
    for label, seen in quotes.items():
        yield f"{label}: {_quote(seen, time)}"
    for gate in gates:
        yield f"{'pass' if gate['passed'] else 'STOP'} {gate['gate']}: {gate['detail']}"
    for name, value in data.items():
        yield f"{name}: {value}"
    if state is not None:
        yield f"now {state}, {filled} executed"


def _quote(seen: Mapping[str, Any], time: datetime) -> str:
    parts = [f"{name} {_short(seen[name])}" for name in ("bid", "ask", "last", "delta", "underlying") if seen.get(name)]
    if not seen.get("live", True):
        parts.append("not live")
    if seen.get("time"):
        parts.append(f"{(time - datetime.fromisoformat(seen['time'])).total_seconds():.1f} s old")
    return ", ".join(parts)


def _short(number: object) -> str:
    """A number with at most four decimals: a delta has many more."""
    text = str(number)
    return text if len(text.partition(".")[2]) <= 4 else f"{Decimal(text):.4f}"
