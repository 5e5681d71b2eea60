"""Faults at a chosen message: rules are matched here, and carried out by the connection.

A rule is written in words, for example ``disconnect before out:openOrder`` or ``delay 2 out:orderStatus:Filled nth=2
client=7``. It fires once. Messages have the names of the API's functions; ``in:`` is what a client sends, ``out:``
what the gateway sends. A third part is compared with the message's key field: the status of an orderStatus, the code of
an error, the request's or order's id of everything that has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

USAGE = (
    "write: disconnect before|middle|after WHERE, or stall|delay SECONDS WHERE, with WHERE in:MESSAGE or "
    "out:MESSAGE[:DETAIL], then nth=N and client=ID where wanted; for example: disconnect before out:openOrder"
)
MAX_SECONDS = 3600.0

OUTGOING = {
    1: "tickPrice",
    2: "tickSize",
    3: "orderStatus",
    4: "error",
    5: "openOrder",
    6: "updateAccountValue",
    7: "updatePortfolio",
    8: "updateAccountTime",
    9: "nextValidId",
    10: "contractDetails",
    11: "execDetails",
    14: "updateNewsBulletin",
    15: "managedAccounts",
    17: "historicalData",
    21: "tickOptionComputation",
    45: "tickGeneric",
    46: "tickString",
    49: "currentTime",
    50: "realtimeBar",
    52: "contractDetailsEnd",
    53: "openOrderEnd",
    54: "accountDownloadEnd",
    55: "execDetailsEnd",
    57: "tickSnapshotEnd",
    58: "marketDataType",
    59: "commissionReport",
    61: "position",
    62: "positionEnd",
    63: "accountSummary",
    64: "accountSummaryEnd",
    71: "positionMulti",
    72: "positionMultiEnd",
    73: "accountUpdateMulti",
    74: "accountUpdateMultiEnd",
    75: "securityDefinitionOptionParameter",
    76: "securityDefinitionOptionParameterEnd",
    77: "softDollarTiers",
    78: "familyCodes",
    79: "symbolSamples",
    80: "mktDepthExchanges",
    81: "tickReqParams",
    82: "smartComponents",
    85: "newsProviders",
    88: "headTimestamp",
    90: "historicalDataUpdate",
    93: "marketRule",
    94: "pnl",
    95: "pnlSingle",
    96: "historicalTicks",
    97: "historicalTicksBidAsk",
    98: "historicalTicksLast",
    99: "tickByTick",
    101: "completedOrder",
    102: "completedOrdersEnd",
    107: "userInfo",
}
"""The messages a gateway sends, by their ids."""
_DETAILS = {3: 2, 4: 3, 5: 1, 11: 2, 55: 2, 57: 2, 59: 2, 63: 2, 64: 2}
"""The position of a message's key field, unless it follows the message id."""


class FaultError(Exception):
    """A rule that cannot be parsed; the text states what is wrong and how to write it."""


class Kind(StrEnum):
    """What a fault does to a client."""

    DISCONNECT = "disconnect"
    STALL = "stall"
    """Nothing is read from the client or sent to it for a while."""
    DELAY = "delay"
    """What the gateway sends to the client, from this message on, comes later; requests are served."""


class Moment(StrEnum):
    """When a disconnect happens. ``middle`` is in the middle of the message's bytes."""

    BEFORE = "before"
    MIDDLE = "middle"
    AFTER = "after"


@dataclass(frozen=True)
class Message:
    """A message as a rule sees it; ``direction`` is ``in`` or ``out``."""

    direction: str
    name: str
    detail: str
    client_id: int


@dataclass(frozen=True)
class Rule:
    """A fault and where it happens. ``client_id`` None: to any client. ``nth`` counts the messages that match."""

    kind: Kind
    direction: str
    name: str
    detail: str = ""
    moment: Moment = Moment.BEFORE
    seconds: float = 0.0
    nth: int = 1
    client_id: int | None = None

    def matches(self, message: Message) -> bool:
        """Return whether a message is of the kind the rule waits for."""
        return (
            (self.direction, self.name) == (message.direction, message.name)
            and self.detail in ("", message.detail)
            and self.client_id in (None, message.client_id)
        )

    def __str__(self) -> str:
        what = f"{self.moment}" if self.kind is Kind.DISCONNECT else f"{self.seconds:g}"
        where = ":".join(filter(None, (self.direction, self.name, self.detail)))
        words = [self.kind.value, what, where]
        if self.nth != 1:
            words.append(f"nth={self.nth}")
        if self.client_id is not None:
            words.append(f"client={self.client_id}")
        return " ".join(words)


def parse_rule(words: Sequence[str], requests: Sequence[str]) -> Rule:
    """Read a rule from its words; ``requests`` are the names of the messages a client can send.

    Raises FaultError with the word that is wrong.
    """
    if len(words) < 3:
        raise FaultError(f"a fault needs at least three words; {USAGE}")
    kind_word, what, where, *rest = words
    if kind_word not in tuple(Kind):
        raise FaultError(f"there is no fault {kind_word!r}; {USAGE}")
    kind = Kind(kind_word)
    moment, seconds = Moment.BEFORE, 0.0
    if kind is Kind.DISCONNECT:
        if what not in tuple(Moment):
            raise FaultError(f"{what!r} is none of {', '.join(Moment)}; {USAGE}")
        moment = Moment(what)
    else:
        seconds = _seconds(what)
    direction, _, named = where.partition(":")
    name, _, detail = named.partition(":")
    known = {"in": tuple(requests), "out": tuple(OUTGOING.values())}
    if direction not in known:
        raise FaultError(f"{where!r} does not begin with in: or out:; {USAGE}")
    if name not in known[direction]:
        names = ", ".join(sorted(known[direction]))
        raise FaultError(f"there is no message {name!r} ({direction}); known are: {names}")
    if direction == "in" and moment is Moment.MIDDLE:
        raise FaultError(f"only what the gateway sends can break off in the middle; {USAGE}")
    return Rule(kind, direction, name, detail, moment, seconds, **_options(rest))


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError as error:
        raise FaultError(f"{word!r} is not a number of seconds; {USAGE}") from error
    if not 0 < seconds <= MAX_SECONDS:
        raise FaultError(f"{word} seconds are not more than 0 and at most {MAX_SECONDS:g}; {USAGE}")
    return seconds


def _options(words: Sequence[str]) -> dict[str, int]:
    names = {"nth": "nth", "client": "client_id"}
    options: dict[str, int] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in names or not value.isascii() or not value.isdigit() or (key == "nth" and int(value) < 1):
            raise FaultError(f"{word!r} is neither nth=N (from 1) nor client=ID; {USAGE}")
        options[names[key]] = int(value)
    return options


def incoming(name: str, fields: Sequence[str], client_id: int) -> Message:
    """Describe a request; its key field is the order id of placeOrder and cancelOrder, else none."""
    at = {"placeOrder": 1, "cancelOrder": 2}.get(name, len(fields))
    return Message("in", name, fields[at] if at < len(fields) else "", client_id)


def outgoing(frame: bytes, client_id: int) -> Message:
    """Describe a frame of the gateway's; the handshake's answer has no name."""
    fields = frame[4:].split(b"\0", 4)
    message_id = int(fields[0]) if fields[0].isdigit() else 0
    at = _DETAILS.get(message_id, 1)
    detail = fields[at].decode() if at < len(fields) else ""
    return Message("out", OUTGOING.get(message_id, ""), detail, client_id)


class FaultBook:
    """The rules that have not fired yet."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Rule, int]] = []

    @property
    def armed(self) -> bool:
        """Whether any rule waits."""
        return bool(self._waiting)

    @property
    def rules(self) -> list[Rule]:
        """The rules that wait, oldest first."""
        return [rule for rule, _ in self._waiting]

    def add(self, rule: Rule) -> None:
        """Arm a rule: it waits for its message."""
        self._waiting.append((rule, rule.nth))

    def clear(self) -> int:
        """Discard every rule; return how many there were."""
        count = len(self._waiting)
        self._waiting.clear()
        return count

    def strike(self, message: Message) -> Rule | None:
        """Count a message; return the rule whose message it is, which is then used up."""
        struck: Rule | None = None
        kept: list[tuple[Rule, int]] = []
        for rule, left in self._waiting:
            if not rule.matches(message):
                kept.append((rule, left))
            elif left == 1 and struck is None:
                struck = rule
            else:
                kept.append((rule, max(left - 1, 1)))
        self._waiting = kept
        return struck
