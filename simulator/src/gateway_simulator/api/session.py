"""One client's session with the API: handshake, START_API, and the answer to each request.

No I/O: a payload goes in, frames to send and whether to close come out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto

from gateway_simulator.api import messages, requests
from gateway_simulator.api.behaviour import MIN_SERVER_VERSION, ApiBehaviour, ConnectMode
from gateway_simulator.api.requests import MalformedRequestError, Request, UnknownRequestError
from gateway_simulator.api.wire import WireError, decode_fields, parse_version_offer
from gateway_simulator.clock import Clock
from gateway_simulator.trading.accounts import Account
from gateway_simulator.trading.brokerage import Brokerage
from gateway_simulator.trading.model import AccountValue, Order, OrderStatus

CLIENT_ID_IN_USE = "Unable to connect as the client id is already in use. Retry with a unique client id."
READ_ONLY = "Error validating request.-'bN' : cause - The API interface is currently in Read-Only mode."
MAX_ACCOUNT_SUMMARIES = 2
MAX_CLIENT_ID = 2**31 - 1

FARMS_CONNECTED = (
    (2104, "Market data farm connection is OK:usfarm"),
    (2106, "HMDS data farm connection is OK:ushmds"),
    (2158, "Sec-def data farm connection is OK:secdefnj"),
)
FARMS_BROKEN = (
    (2103, "Market data farm connection is broken:usfarm"),
    (2105, "HMDS data farm connection is broken:ushmds"),
    (2157, "Sec-def data farm connection is broken:secdefnj"),
)

Note = Callable[[str, str], None]
"""Writes an event and its detail into the server's journal."""


class SessionState(Enum):
    """How far a client has come."""

    VERSION = auto()
    START = auto()
    STARTED = auto()
    MUTE = auto()
    CLOSED = auto()


@dataclass(frozen=True)
class Answer:
    """Frames to send, in order; then whether the connection ends, or the session just began."""

    frames: tuple[bytes, ...] = ()
    close: bool = False
    started: bool = False


class ClientIds:
    """The client ids of one server's sessions: each can be held by one of them."""

    def __init__(self) -> None:
        self._held: set[int] = set()

    def take(self, client_id: int) -> bool:
        """Take an id; False if a session holds it."""
        if client_id in self._held:
            return False
        self._held.add(client_id)
        return True

    def release(self, client_id: int) -> None:
        """Give an id back."""
        self._held.remove(client_id)


class Session:
    """One connected client. ``client_id`` and ``server_version`` are 0 until they are agreed on."""

    def __init__(
        self, brokerage: Brokerage, behaviour: ApiBehaviour, clock: Clock, client_ids: ClientIds, note: Note
    ) -> None:
        self._brokerage = brokerage
        self._behaviour = behaviour
        self._clock = clock
        self._client_ids = client_ids
        self._note = note
        self._summaries: set[int] = set()
        self._holds_client_id = False
        self.state = SessionState.VERSION
        self.client_id = 0
        self.server_version = 0
        self.wants_bulletins = False

    def handle(self, payload: bytes) -> Answer:
        """Answer one frame's payload."""
        try:
            if self.state is SessionState.VERSION:
                return self._shake_hands(payload)
            fields = decode_fields(payload)
        except WireError as error:
            return self.refuse(error)
        if self.state is SessionState.MUTE:
            return Answer()
        self._note("request", requests.request_name(fields))
        try:
            request = requests.decode_request(fields, self.server_version)
        except UnknownRequestError as error:
            return self._end(505, str(error))
        except MalformedRequestError as error:
            text = f"Error reading request.-'bR' : cause - {error}"
            if self.state is SessionState.STARTED:
                return Answer((self._error(320, text, error.request_id),))
            return self._end(320, text)
        if self.state is SessionState.START:
            return self._start(request)
        return Answer(tuple(self._serve(request)))

    def refuse(self, error: WireError) -> Answer:
        """End the session over bytes that are not the API's."""
        return self._end(error.code, error.reason)

    def end(self) -> None:
        """Give back what the session holds; to be called once its connection is gone."""
        self.state = SessionState.CLOSED
        if self._holds_client_id:
            self._client_ids.release(self.client_id)
            self._holds_client_id = False

    def _shake_hands(self, payload: bytes) -> Answer:
        offer = parse_version_offer(payload)
        version = min(self._behaviour.server_version, offer.maximum)
        if version < MIN_SERVER_VERSION:
            return self._end(
                503,
                f"The API client speaks versions up to {offer.maximum}, this gateway {MIN_SERVER_VERSION} "
                "and newer: the client is out of date and must be upgraded.",
            )
        # A client that needs a newer version than it is offered closes by itself.
        self.server_version = version
        mute = self._behaviour.connect is ConnectMode.SILENT_AFTER_VERSION
        self.state = SessionState.MUTE if mute else SessionState.START
        self._note("handshake", f"client {offer.minimum}..{offer.maximum}, version {version}")
        return Answer((messages.version_answer(version, self._clock.now()),))

    def _start(self, request: Request) -> Answer:
        if not isinstance(request, requests.StartApi):
            return self._end(320, "Error reading request.-'bR' : cause - startApi must be the first request")
        if not 0 <= request.client_id <= MAX_CLIENT_ID:
            return self._end(320, f"Error reading request.-'bR' : cause - no client id {request.client_id}")
        self.client_id = request.client_id
        if request.client_id in self._behaviour.client_ids_in_use or not self._client_ids.take(request.client_id):
            return self._end(326, CLIENT_ID_IN_USE)
        self._holds_client_id = True
        self.state = SessionState.STARTED
        self._note("started", f"client id {request.client_id}")
        frames = []
        if self._behaviour.managed_accounts:
            frames.append(messages.managed_accounts(list(self._brokerage.accounts)))
        frames.append(self._next_valid_id())
        farms = FARMS_BROKEN if self._behaviour.farm_down else FARMS_CONNECTED
        frames.extend(messages.error(-1, code, text) for code, text in farms)
        return Answer(tuple(frames), started=True)

    def _serve(self, request: Request) -> Iterable[bytes]:
        match request:
            case requests.OpenOrders():
                yield from self._open_orders(self._brokerage.open_orders_of(self.client_id))
            case requests.AllOpenOrders():
                yield from self._open_orders(self._brokerage.orders)
            case requests.AutoOpenOrders():
                yield from self._auto_open_orders()
            case requests.CompletedOrders():
                yield from self._completed_orders()
            case requests.PlaceOrder():
                yield from self._refuse_order(request)
            case requests.CancelOrder():
                yield from self._cancel_order(request)
            case requests.GlobalCancel():
                yield self._unserved("reqGlobalCancel", -1) if self._may_order else self._error(321, READ_ONLY)
            case requests.AccountUpdates():
                yield from self._account_updates(request)
            case requests.AccountUpdatesMulti():
                yield from self._account_updates_multi(request)
            case requests.AccountSummary():
                yield from self._account_summary(request)
            case requests.CancelAccountSummary():
                self._summaries.discard(request.request_id)
            case requests.Executions():
                yield from self._executions(request)
            case requests.Positions():
                for account in self._brokerage.accounts.values():
                    for held in account.positions.values():
                        yield messages.position(account.account_id, held)
                yield messages.position_end()
            case requests.PositionsMulti():
                yield from self._positions_multi(request)
            case requests.ContractDetails():
                yield from self._contract_details(request)
            case requests.NewsBulletins():
                self.wants_bulletins = True
                if request.all_messages:
                    yield from map(messages.bulletin, self._brokerage.bulletins)
            case requests.ManagedAccounts():
                if self._behaviour.managed_accounts:
                    yield messages.managed_accounts(list(self._brokerage.accounts))
            case requests.NextIds():
                yield self._next_valid_id()
            case requests.CurrentTime():
                yield messages.current_time(self._clock.now())
            case requests.FamilyCodes():
                yield messages.family_codes(list(self._brokerage.accounts))
            case requests.UserInfo():
                yield messages.user_info(request.request_id)
            case (
                requests.Silent()
                | requests.MarketDataType()
                | requests.CancelNewsBulletins()
                | requests.CancelPositions()
                | requests.CancelPositionsMulti()
                | requests.CancelAccountUpdatesMulti()
            ):
                pass
            case requests.Unserved() if request.ends_subscription:
                yield self._error(300, f"Can't find EId with tickerId:{request.request_id}", request.request_id)
            case requests.Unserved():
                yield self._unserved(request.name, request.request_id)
            case requests.StartApi():
                yield self._error(322, "Error processing request.-'bR' : cause - the session is started already")
            case _:
                yield self._unserved(type(request).__name__, getattr(request, "request_id", -1))

    def _open_orders(self, orders: list[Order]) -> Iterable[bytes]:
        if not self._may_order:
            yield self._error(321, READ_ONLY)
            return
        for order in orders:
            yield messages.open_order(order, self.server_version)
            yield messages.order_status(order)
        yield messages.open_order_end()

    def _auto_open_orders(self) -> Iterable[bytes]:
        if not self._may_order:
            yield self._error(321, READ_ONLY)
        elif self.client_id != 0:
            yield self._error(
                327, "Only API connections with clientId set to 0 can set the auto bind TWS orders property."
            )

    def _completed_orders(self) -> Iterable[bytes]:
        if not self._may_order:
            yield self._error(321, READ_ONLY)
            return
        for order in self._brokerage.completed_orders:
            yield messages.completed_order(order, self.server_version)
        yield messages.completed_orders_end()

    def _refuse_order(self, request: requests.PlaceOrder) -> Iterable[bytes]:
        if not self._may_order:
            yield self._error(321, READ_ONLY, request.order.order_id)
            return
        order = request.order
        yield self._error(201, "Order rejected - reason:This simulated gateway does not trade yet.", order.order_id)
        yield messages.order_status_of(
            order.order_id, OrderStatus.INACTIVE, remaining=order.quantity, client_id=self.client_id
        )

    def _cancel_order(self, request: requests.CancelOrder) -> Iterable[bytes]:
        if not self._may_order:
            yield self._error(321, READ_ONLY, request.order_id)
            return
        order = self._brokerage.find_order(self.client_id, request.order_id)
        if order is None:
            text = f"OrderId {request.order_id} that needs to be cancelled is not found."
            yield self._error(10147, text, request.order_id)
        elif order in self._brokerage.completed_orders:
            text = (
                f"OrderId {request.order_id} that needs to be cancelled cannot be cancelled, "
                f"state: {order.status.value}."
            )
            yield self._error(10148, text, request.order_id)
        else:
            yield self._unserved("cancelOrder", request.order_id)

    def _account_updates(self, request: requests.AccountUpdates) -> Iterable[bytes]:
        if not request.subscribe:
            return
        account = self._find_account(request.account)
        if account is None:
            yield self._invalid_account(request.account)
            return
        for value in account.values():
            yield messages.account_value(value, account.account_id)
        for held in account.positions.values():
            yield messages.portfolio_value(held, account.account_id)
        yield messages.account_update_time(self._clock.now())
        if not self._behaviour.omit_account_download_end:
            yield messages.account_download_end(account.account_id)

    def _account_updates_multi(self, request: requests.AccountUpdatesMulti) -> Iterable[bytes]:
        account = self._find_account(request.account)
        if account is None:
            yield self._invalid_account(request.account, request.request_id)
            return
        for value in account.values():
            if value.is_ledger or value.key == "NetLiquidation" or not request.ledger_only:
                yield messages.account_update_multi(request.request_id, account.account_id, request.model, value)
        yield messages.account_update_multi_end(request.request_id)

    def _account_summary(self, request: requests.AccountSummary) -> Iterable[bytes]:
        self._summaries.add(request.request_id)
        if len(self._summaries) > MAX_ACCOUNT_SUMMARIES:
            self._summaries.discard(request.request_id)
            text = "Error processing request.-'bS' : cause - Maximum number of account summary requests exceeded"
            yield self._error(322, text, request.request_id)
            return
        for account in self._brokerage.accounts.values():
            for value in account.values():
                if _is_summarized(value, account, request.tags):
                    yield messages.account_summary(request.request_id, account.account_id, value)
        yield messages.account_summary_end(request.request_id)

    def _executions(self, request: requests.Executions) -> Iterable[bytes]:
        for fill in self._brokerage.find_executions(request.wanted):
            yield messages.execution(request.request_id, fill, self.server_version)
            yield messages.commission(fill)
        if not self._behaviour.omit_executions_end:
            yield messages.executions_end(request.request_id)

    def _positions_multi(self, request: requests.PositionsMulti) -> Iterable[bytes]:
        account = self._find_account(request.account)
        if account is None:
            yield self._invalid_account(request.account, request.request_id)
            return
        for held in account.positions.values():
            yield messages.position_multi(request.request_id, account.account_id, request.model, held)
        yield messages.position_multi_end(request.request_id)

    def _contract_details(self, request: requests.ContractDetails) -> Iterable[bytes]:
        found = self._brokerage.find_instruments(request.query)
        if not found:
            text = "No security definition has been found for the request"
            yield self._error(200, text, request.request_id)
            return
        for instrument in found:
            yield messages.contract_details(request.request_id, instrument)
        yield messages.contract_details_end(request.request_id)

    @property
    def _may_order(self) -> bool:
        return not self._behaviour.read_only

    def _find_account(self, account_id: str) -> Account | None:
        """The account of this id; the only one there is may be left out."""
        accounts = self._brokerage.accounts
        if not account_id and len(accounts) == 1:
            return next(iter(accounts.values()))
        return accounts.get(account_id)

    def _next_valid_id(self) -> bytes:
        return messages.next_valid_id(self._brokerage.next_order_id(self.client_id))

    def _invalid_account(self, account_id: str, request_id: int = -1) -> bytes:
        cause = f"Invalid account code '{account_id}'." if account_id else "The account code is required."
        return self._error(321, f"Error validating request.-'bA' : cause - {cause}", request_id)

    def _unserved(self, name: str, request_id: int) -> bytes:
        text = f"Error processing request.-'bU' : cause - This simulated gateway does not serve {name} yet."
        return self._error(322, text, request_id)

    def _error(self, code: int, text: str, request_id: int = -1) -> bytes:
        self._note("error", f"{code} {text}")
        return messages.error(request_id, code, text, handshake_done=self.state is not SessionState.VERSION)

    def _end(self, code: int, text: str) -> Answer:
        answer = Answer((self._error(code, text),), close=True)
        self.state = SessionState.CLOSED
        return answer


def _is_summarized(value: AccountValue, account: Account, tags: tuple[str, ...]) -> bool:
    """Tell whether an account summary of these tags contains a value.

    ``$LEDGER`` stands for the ledger in the account's currency, ``$LEDGER:EUR`` for that currency's
    and ``$LEDGER:ALL`` for all of them.
    """
    if not value.is_ledger:
        return value.key in tags
    wanted = {f"$LEDGER:{value.currency}", "$LEDGER:ALL"}
    if value.currency == account.currency:
        wanted.add("$LEDGER")
    return not wanted.isdisjoint(tags)
