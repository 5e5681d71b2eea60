"""What clients ask: the TWS API's request messages, read from their fields.

A request is decoded only when the simulator serves it; the others are known by name and by where
their request id stands, which is enough to refuse them properly. Layouts are those of server
versions 176 to 178 (the requests read in full here are the same in all three).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gateway_simulator.trading.model import ContractQuery, ExecutionFilter

_INTEGER = re.compile(r"-?\d{1,18}", re.ASCII)
_DECIMAL = re.compile(r"-?\d{1,15}(?:\.\d{0,15})?(?:[eE][-+]?\d{1,2})?", re.ASCII)
_UNSET_DECIMALS = {"", "1.7976931348623157e+308", "1.7976931348623157E308"}
_MOMENT = re.compile(r"(\d{8})[ -] ?(\d{2}:\d{2}:\d{2})(?: (\S+))?", re.ASCII)


class MalformedRequestError(Exception):
    """A request whose fields cannot be read; the message names the request, the field and the reason."""

    def __init__(self, reason: str, request_id: int = -1) -> None:
        super().__init__(reason)
        self.request_id = request_id


class UnknownRequestError(Exception):
    """A message id that no server up to version 178 knows."""


@dataclass(frozen=True)
class StartApi:
    """Begin the session under a client id."""

    client_id: int
    capabilities: str


@dataclass(frozen=True)
class PlaceOrder:
    """Place an order. Only what is needed to refuse it is read."""

    order_id: int
    quantity: Decimal


@dataclass(frozen=True)
class CancelOrder:
    """Cancel an order."""

    order_id: int


@dataclass(frozen=True)
class GlobalCancel:
    """Cancel every order."""


@dataclass(frozen=True)
class OpenOrders:
    """Report this client's open orders."""


@dataclass(frozen=True)
class AllOpenOrders:
    """Report every client's open orders."""


@dataclass(frozen=True)
class AutoOpenOrders:
    """Bind orders made by hand to this client (client 0 only)."""

    bind: bool


@dataclass(frozen=True)
class CompletedOrders:
    """Report the day's completed orders."""

    api_only: bool


@dataclass(frozen=True)
class AccountUpdates:
    """Subscribe to one account's values and portfolio, or stop that."""

    subscribe: bool
    account: str


@dataclass(frozen=True)
class AccountUpdatesMulti:
    """Subscribe to the values of an account and model."""

    request_id: int
    account: str
    model: str
    ledger_only: bool


@dataclass(frozen=True)
class AccountSummary:
    """Subscribe to some values of a group of accounts."""

    request_id: int
    group: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class CancelAccountSummary:
    """Stop a subscription to account values."""

    request_id: int


@dataclass(frozen=True)
class Executions:
    """Report the day's executions."""

    request_id: int
    wanted: ExecutionFilter


@dataclass(frozen=True)
class NextIds:
    """Report the next order id."""


@dataclass(frozen=True)
class ContractDetails:
    """Report the contracts that fit a description."""

    request_id: int
    query: ContractQuery


@dataclass(frozen=True)
class NewsBulletins:
    """Subscribe to news bulletins, with the day's earlier ones or without."""

    all_messages: bool


@dataclass(frozen=True)
class ManagedAccounts:
    """Report the accounts this session manages."""


@dataclass(frozen=True)
class CurrentTime:
    """Report the server's time."""


@dataclass(frozen=True)
class Positions:
    """Subscribe to the positions of all accounts."""


@dataclass(frozen=True)
class PositionsMulti:
    """Subscribe to the positions of an account and model."""

    request_id: int
    account: str
    model: str


@dataclass(frozen=True)
class FamilyCodes:
    """Report the family codes of the accounts."""


@dataclass(frozen=True)
class UserInfo:
    """Report the user's white branding."""

    request_id: int


@dataclass(frozen=True)
class Silent:
    """A request that the gateway obeys without an answer (a setting, or the end of a subscription)."""


@dataclass(frozen=True)
class Unserved:
    """A request of the API that this simulator does not serve yet."""

    name: str
    request_id: int
    ends_subscription: bool


Request = (
    StartApi
    | PlaceOrder
    | CancelOrder
    | GlobalCancel
    | OpenOrders
    | AllOpenOrders
    | AutoOpenOrders
    | CompletedOrders
    | AccountUpdates
    | AccountUpdatesMulti
    | AccountSummary
    | CancelAccountSummary
    | Executions
    | NextIds
    | ContractDetails
    | NewsBulletins
    | ManagedAccounts
    | CurrentTime
    | Positions
    | PositionsMulti
    | FamilyCodes
    | UserInfo
    | Silent
    | Unserved
)


class _Reader:
    """Takes a request's fields one after the other, each by name."""

    def __init__(self, name: str, fields: Sequence[str]) -> None:
        self.name = name
        self.request_id = -1
        self._fields = fields
        self._next = 1

    def text(self, what: str) -> str:
        if self._next >= len(self._fields):
            raise self.error(f"field {self._next} ({what}) is missing")
        self._next += 1
        return self._fields[self._next - 1]

    def skip(self, count: int) -> None:
        for _ in range(count):
            self.text("not read")

    def integer(self, what: str) -> int:
        text = self.text(what)
        if not _INTEGER.fullmatch(text):
            raise self.error(f"{what} {text[:40]!r} is not an integer")
        return int(text)

    def optional_integer(self, what: str) -> int:
        return 0 if self.peek() == "" and self.text(what) == "" else self.integer(what)

    def flag(self, what: str) -> bool:
        text = self.text(what)
        if text not in ("0", "1", ""):  # some clients leave out what they have not set
            raise self.error(f"{what} {text[:40]!r} is neither 0 nor 1")
        return text == "1"

    def decimal(self, what: str) -> Decimal:
        text = self.text(what)
        if text in _UNSET_DECIMALS:
            return Decimal(0)
        if not _DECIMAL.fullmatch(text):
            raise self.error(f"{what} {text[:40]!r} is not a number")
        return Decimal(text)

    def identify(self) -> int:
        self.request_id = self.integer("request id")
        return self.request_id

    def peek(self) -> str | None:
        return self._fields[self._next] if self._next < len(self._fields) else None

    def version(self, *allowed: int) -> None:
        given = self.integer("version")
        if given not in allowed:
            raise self.error(f"version {given} is not the one in use ({', '.join(map(str, allowed))})")

    def end(self) -> None:
        extra = len(self._fields) - self._next
        if extra:
            raise self.error(f"{extra} fields too many after field {self._next - 1}")

    def error(self, reason: str) -> MalformedRequestError:
        return MalformedRequestError(f"{self.name}: {reason}", self.request_id)


def _start_api(take: _Reader) -> Request:
    take.version(2)
    return StartApi(take.integer("client id"), take.text("optional capabilities"))


def _place_order(take: _Reader) -> Request:
    take.request_id = order_id = take.integer("order id")
    take.skip(12)  # the contract
    take.skip(2)  # secIdType, secId
    take.text("action")
    quantity = take.decimal("quantity")
    # The rest of the order depends on blocks that only trading has a use for.
    while take.peek() is not None:
        take.skip(1)
    return PlaceOrder(order_id, quantity)


def _cancel_order(take: _Reader) -> Request:
    take.version(1)
    take.request_id = order_id = take.integer("order id")
    take.text("manual order cancel time")
    return CancelOrder(order_id)


def _completed_orders(take: _Reader) -> Request:
    return CompletedOrders(take.flag("api only"))


def _auto_open_orders(take: _Reader) -> Request:
    take.version(1)
    return AutoOpenOrders(take.flag("auto bind"))


def _account_updates(take: _Reader) -> Request:
    take.version(2)
    return AccountUpdates(take.flag("subscribe"), take.text("account"))


def _account_updates_multi(take: _Reader) -> Request:
    take.version(1)
    return AccountUpdatesMulti(take.identify(), take.text("account"), take.text("model"), take.flag("ledger and NLV"))


def _account_summary(take: _Reader) -> Request:
    take.version(1)
    request_id, group, tags = take.identify(), take.text("group"), take.text("tags")
    return AccountSummary(request_id, group, tuple(tag.strip() for tag in tags.split(",") if tag.strip()))


def _cancel_account_summary(take: _Reader) -> Request:
    take.version(1)
    return CancelAccountSummary(take.identify())


def _executions(take: _Reader) -> Request:
    take.version(3)
    return Executions(
        take.identify(),
        ExecutionFilter(
            client_id=take.optional_integer("client id"),
            account=take.text("account"),
            since=_moment(take),
            symbol=take.text("symbol"),
            sec_type=take.text("security type"),
            exchange=take.text("exchange"),
            side=take.text("side"),
        ),
    )


def _moment(take: _Reader) -> datetime | None:
    text = take.text("time")
    if not text:
        return None
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise take.error(f"time {text[:40]!r} is not 'YYYYMMDD HH:MM:SS [zone]'")
    try:
        zone = ZoneInfo(match[3]) if match[3] else UTC
        return datetime.strptime(f"{match[1]} {match[2]}", "%Y%m%d %H:%M:%S").replace(tzinfo=zone)
    except (ValueError, ZoneInfoNotFoundError) as error:
        raise take.error(f"time {text[:40]!r}: {error}") from error


def _next_ids(take: _Reader) -> Request:
    take.version(1)
    take.integer("number of ids")
    return NextIds()


def _contract_details(take: _Reader) -> Request:
    take.version(8)
    request_id = take.identify()
    con_id, symbol, sec_type, expiry = (
        take.optional_integer("contract id"),
        take.text("symbol"),
        take.text("security type"),
        take.text("expiry"),
    )
    strike, right = take.decimal("strike"), take.text("right")
    take.text("multiplier")
    query = ContractQuery(
        con_id=con_id,
        symbol=symbol,
        sec_type=sec_type,
        expiry=expiry,
        strike=strike,
        right="" if right in ("?", "0") else right,
        exchange=take.text("exchange"),
        primary_exchange=take.text("primary exchange"),
        currency=take.text("currency"),
        local_symbol=take.text("local symbol"),
        trading_class=take.text("trading class"),
    )
    take.flag("include expired")
    take.skip(3)  # secIdType, secId, issuerId
    return ContractDetails(request_id, query)


def _news_bulletins(take: _Reader) -> Request:
    take.version(1)
    return NewsBulletins(take.flag("all messages"))


def _positions_multi(take: _Reader) -> Request:
    take.version(1)
    return PositionsMulti(take.identify(), take.text("account"), take.text("model"))


def _user_info(take: _Reader) -> Request:
    return UserInfo(take.identify())


def _family_codes(take: _Reader) -> Request:
    return FamilyCodes()


def _versioned(result: Request) -> Callable[[_Reader], Request]:
    """A request that says nothing but its version, which is 1."""

    def read(take: _Reader) -> Request:
        take.version(1)
        return result

    return read


def _silent(what: str) -> Callable[[_Reader], Request]:
    """A request of one integer that gets no answer."""

    def read(take: _Reader) -> Request:
        take.version(1)
        take.integer(what)
        return Silent()

    return read


_SERVED: dict[int, tuple[str, Callable[[_Reader], Request]]] = {
    3: ("placeOrder", _place_order),
    4: ("cancelOrder", _cancel_order),
    5: ("reqOpenOrders", _versioned(OpenOrders())),
    6: ("reqAccountUpdates", _account_updates),
    7: ("reqExecutions", _executions),
    8: ("reqIds", _next_ids),
    9: ("reqContractDetails", _contract_details),
    12: ("reqNewsBulletins", _news_bulletins),
    13: ("cancelNewsBulletins", _versioned(Silent())),
    14: ("setServerLogLevel", _silent("log level")),
    15: ("reqAutoOpenOrders", _auto_open_orders),
    16: ("reqAllOpenOrders", _versioned(AllOpenOrders())),
    17: ("reqManagedAccts", _versioned(ManagedAccounts())),
    49: ("reqCurrentTime", _versioned(CurrentTime())),
    58: ("reqGlobalCancel", _versioned(GlobalCancel())),
    59: ("reqMarketDataType", _silent("market data type")),
    61: ("reqPositions", _versioned(Positions())),
    62: ("reqAccountSummary", _account_summary),
    63: ("cancelAccountSummary", _cancel_account_summary),
    64: ("cancelPositions", _versioned(Silent())),
    71: ("startApi", _start_api),
    74: ("reqPositionsMulti", _positions_multi),
    75: ("cancelPositionsMulti", _silent("request id")),
    76: ("reqAccountUpdatesMulti", _account_updates_multi),
    77: ("cancelAccountUpdatesMulti", _silent("request id")),
    80: ("reqFamilyCodes", _family_codes),
    99: ("reqCompletedOrders", _completed_orders),
    104: ("reqUserInfo", _user_info),
}

_UNSERVED: dict[int, tuple[str, int | None]] = {
    # message id: name, and the position of the request id among the fields (None: it has none)
    1: ("reqMktData", 2),
    2: ("cancelMktData", 2),
    10: ("reqMktDepth", 2),
    11: ("cancelMktDepth", 2),
    18: ("requestFA", None),
    19: ("replaceFA", 4),
    20: ("reqHistoricalData", 1),
    21: ("exerciseOptions", 2),
    22: ("reqScannerSubscription", 1),
    23: ("cancelScannerSubscription", 2),
    24: ("reqScannerParameters", None),
    25: ("cancelHistoricalData", 2),
    50: ("reqRealTimeBars", 2),
    51: ("cancelRealTimeBars", 2),
    52: ("reqFundamentalData", 2),
    53: ("cancelFundamentalData", 2),
    54: ("calculateImpliedVolatility", 2),
    55: ("calculateOptionPrice", 2),
    56: ("cancelCalculateImpliedVolatility", 2),
    57: ("cancelCalculateOptionPrice", 2),
    65: ("verifyRequest", None),
    66: ("verifyMessage", None),
    67: ("queryDisplayGroups", 2),
    68: ("subscribeToGroupEvents", 2),
    69: ("updateDisplayGroup", 2),
    70: ("unsubscribeFromGroupEvents", 2),
    72: ("verifyAndAuthRequest", None),
    73: ("verifyAndAuthMessage", None),
    78: ("reqSecDefOptParams", 1),
    79: ("reqSoftDollarTiers", 1),
    81: ("reqMatchingSymbols", 1),
    82: ("reqMktDepthExchanges", None),
    83: ("reqSmartComponents", 1),
    84: ("reqNewsArticle", 1),
    85: ("reqNewsProviders", None),
    86: ("reqHistoricalNews", 1),
    87: ("reqHeadTimeStamp", 1),
    88: ("reqHistogramData", 1),
    89: ("cancelHistogramData", 1),
    90: ("cancelHeadTimeStamp", 1),
    91: ("reqMarketRule", None),
    92: ("reqPnL", 1),
    93: ("cancelPnL", 1),
    94: ("reqPnLSingle", 1),
    95: ("cancelPnLSingle", 1),
    96: ("reqHistoricalTicks", 1),
    97: ("reqTickByTickData", 1),
    98: ("cancelTickByTickData", 1),
    100: ("reqWshMetaData", 1),
    101: ("cancelWshMetaData", 1),
    102: ("reqWshEventData", 1),
    103: ("cancelWshEventData", 1),
}


def request_name(fields: Sequence[str]) -> str:
    """Name the request in these fields, for the journal; ``message N`` if it is not known."""
    message_id = int(fields[0]) if _INTEGER.fullmatch(fields[0]) else None
    if message_id in _SERVED:
        return _SERVED[message_id][0]
    if message_id in _UNSERVED:
        return _UNSERVED[message_id][0]
    return f"message {fields[0][:20]!r}"


def decode_request(fields: Sequence[str]) -> Request:
    """Read a request from a frame's fields.

    Raises MalformedRequestError if its fields do not fit its layout, UnknownRequestError if there is
    no request of its message id.
    """
    message_id = int(fields[0]) if _INTEGER.fullmatch(fields[0]) else None
    if message_id in _SERVED:
        name, read = _SERVED[message_id]
        take = _Reader(name, fields)
        request = read(take)
        take.end()
        return request
    if message_id in _UNSERVED:
        name, at = _UNSERVED[message_id]
        request_id = -1
        if at is not None and at < len(fields) and _INTEGER.fullmatch(fields[at]):
            request_id = int(fields[at])
        ends_subscription = name.startswith(("cancel", "unsubscribe"))
        return Unserved(name, request_id, ends_subscription)
    raise UnknownRequestError(f"Fatal error: Unknown message id. ({fields[0][:20]!r})")
