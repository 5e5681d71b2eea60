"""One client's session with the API: handshake, START_API, its requests, and the events it receives unrequested.

No I/O: a payload goes in, frames go out through ``send``. ``serving`` holds what a started session serves.
"""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from gateway_simulator.api import messages, requests
from gateway_simulator.api.behaviour import (
    MAX_TEXT_VERSION,
    MIN_SERVER_VERSION,
    PROTOBUF_VERSION,
    ApiBehaviour,
    ConnectMode,
    agreed_version,
)
from gateway_simulator.api.floor import Floor
from gateway_simulator.api.pacing import MessagePacer, Verdict
from gateway_simulator.api.protobuf import answers
from gateway_simulator.api.protobuf import requests as protobuf_requests
from gateway_simulator.api.protobuf.answers import PROTOBUF_IDS
from gateway_simulator.api.protobuf.encoding import ProtobufError
from gateway_simulator.api.requests import MalformedRequestError, Request, UnknownRequestError
from gateway_simulator.api.serving.accounts import Accounts
from gateway_simulator.api.serving.contracts import Contracts
from gateway_simulator.api.serving.desk import Desk, Handler, RefusalError
from gateway_simulator.api.serving.history import History
from gateway_simulator.api.serving.market import Market
from gateway_simulator.api.serving.orders import Orders
from gateway_simulator.api.wire import HEADER_LENGTH, OldHandshakeError, WireError, decode_fields, parse_version_offer
from gateway_simulator.trading.events import Event

LOG = logging.getLogger(__name__)
ID_LENGTH = 4
"""Bytes of a message id from version 201 on."""

CLIENT_ID_IN_USE = "Unable to connect as the client id is already in use. Retry with a unique client id."
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
CONNECTION_LOST = (1100, "Connectivity between IBKR and Trader Workstation has been lost.")
MARKET_DEPTH = "Deep market data is not supported for this combination of security type/exchange"

Record = Callable[[str, str], None]
"""Writes an event and its detail into the server's journal."""


class SessionState(Enum):
    """How far a client has come."""

    VERSION = auto()
    START = auto()
    STARTED = auto()
    MUTE = auto()
    CLOSED = auto()


@dataclass(frozen=True)
class Outcome:
    """The effect of a payload beside its answer: the connection ends, or the session just started."""

    close: bool = False
    started: bool = False


class ClientIds:
    """The client ids of one server's sessions: each can be held by one of them."""

    def __init__(self) -> None:
        self._held: set[int] = set()

    def take(self, client_id: int) -> bool:
        """Acquire an id; False if a session holds it."""
        if client_id in self._held:
            return False
        self._held.add(client_id)
        return True

    def release(self, client_id: int) -> None:
        """Release an id."""
        self._held.remove(client_id)


@dataclass(frozen=True)
class Line:
    """A session's connection: ``send`` takes a frame, ``record`` an event, ``keeps_up`` is whether frames are read."""

    send: Callable[[bytes], None]
    record: Record
    keeps_up: Callable[[], bool]


class Session:
    """One connected client. ``client_id`` and ``server_version`` are 0 until they are agreed on."""

    def __init__(self, floor: Floor, client_ids: ClientIds, line: Line) -> None:
        self._floor = floor
        self._client_ids = client_ids
        self._line = line
        self._pacer = MessagePacer()
        self._service: Service | None = None
        self._speaks_protobuf = False
        self.state = SessionState.VERSION
        self.client_id = 0
        self.server_version = 0

    @property
    def _behaviour(self) -> ApiBehaviour:
        return self._floor.behaviour

    @property
    def wants_bulletins(self) -> bool:
        """Whether the client has subscribed to news bulletins."""
        return self._service is not None and self._service.wants_bulletins

    def handle(self, payload: bytes) -> Outcome:
        """Handle one frame's payload."""
        malformed: MalformedRequestError | None = None
        try:
            if self.state is SessionState.VERSION:
                return self._shake_hands(payload)
            fields = self.fields_of(payload)
        except WireError as error:
            return self.refuse(error)
        except ProtobufError as error:
            fields = [str(int.from_bytes(payload[:ID_LENGTH], "big") - PROTOBUF_IDS)]
            malformed = MalformedRequestError(str(error))
        if self.state is SessionState.MUTE:
            return Outcome()
        self._line.record("request", requests.request_name(fields))
        match self._pacer.judge(time.monotonic(), self._behaviour.messages_per_second):
            case Verdict.REJECT:
                return Outcome()
            case Verdict.WARN:
                self._send_error(-1, 100, self._pace())
                return Outcome()
            case Verdict.DISCONNECT:
                return self._end(100, self._pace())
            case Verdict.SERVE:
                pass
        try:
            if malformed is not None:
                raise malformed
            request = requests.decode_request(fields, self._text_version)
        except UnknownRequestError as error:
            return self._end(505, str(error))
        except MalformedRequestError as error:
            text = f"Error reading request.-'bR' : cause - {error}"
            if self.state is SessionState.STARTED:
                self._send_error(error.request_id, 320, text)
                return Outcome()
            return self._end(320, text)
        if self._service is None:
            return self._start(request)
        self._floor.advance()
        self._service.serve(request)
        self._floor.arm()
        return Outcome()

    def fields_of(self, payload: bytes) -> list[str]:
        """Return a request's text fields, whatever form it came in. Raises WireError and ProtobufError."""
        if not self._speaks_protobuf:
            return decode_fields(payload)
        if len(payload) < ID_LENGTH:
            raise WireError(508, f"Bad message: expected a message id of {ID_LENGTH} bytes, got {payload!r}")
        message_id, body = int.from_bytes(payload[:ID_LENGTH], "big"), payload[ID_LENGTH:]
        if message_id > PROTOBUF_IDS:
            return protobuf_requests.rewrite(message_id - PROTOBUF_IDS, body)
        return [str(message_id), *(decode_fields(body) if body else [])]

    def wire_form(self, frame: bytes) -> bytes:
        """Return a frame of text as what this session's client reads: itself, or the same in protobuf."""
        if not self._speaks_protobuf:
            return frame
        milliseconds = int(self._floor.clock.now().timestamp() * 1000)
        return b"".join(
            struct.pack(">II", ID_LENGTH + len(body), message_id + PROTOBUF_IDS) + body
            for message_id, body in answers.rewrite(decode_fields(frame[HEADER_LENGTH:]), milliseconds)
        )

    @property
    def _text_version(self) -> int:
        """The version of the text from which protobuf is rewritten, or the one agreed on."""
        return min(self.server_version, MAX_TEXT_VERSION)

    def refuse(self, error: WireError) -> Outcome:
        """End the session over bytes that are not the API's."""
        if isinstance(error, OldHandshakeError):
            return self._close_too_old(
                f"a protocol older than version 100 (its client version is {error.client_version})"
            )
        return self._end(error.code, error.reason)

    def report_interruption(self, code: int, con_id: int = 0) -> None:
        """Notify a started client by an error that market data have ended: of one contract, or all."""
        if self._service is not None:
            self._service.report_interruption(code, con_id)

    def end(self) -> None:
        """Release what the session holds; to be called once its connection is gone."""
        self.state = SessionState.CLOSED
        if self._service is not None:
            self._floor.leave(self._service)
            self._client_ids.release(self.client_id)
            self._service = None

    def _pace(self) -> str:
        limit = self._behaviour.messages_per_second
        return (
            f"Max rate of messages per second has been exceeded:max={limit} rec={self._pacer.received} "
            f"({self._pacer.breaches})"
        )

    def _close_too_old(self, spoken: str) -> Outcome:
        """End the session without a frame, with one line of the log."""
        text = (
            f"An API client speaks {spoken}, this gateway {MIN_SERVER_VERSION} and newer: upgrade the client. "
            "Its connection is closed."
        )
        self._line.record("client_too_old", text)
        LOG.warning(text)
        self.state = SessionState.CLOSED
        return Outcome(close=True)

    def _shake_hands(self, payload: bytes) -> Outcome:
        offer = parse_version_offer(payload)
        version = agreed_version(self._behaviour.server_version, offer.maximum)
        if version < MIN_SERVER_VERSION:
            # Any frame would be read by the layout of a version that this gateway does not speak.
            return self._close_too_old(f"versions {offer.minimum} to {offer.maximum}")
        # A client that needs a newer version than it is offered closes by itself.
        self.server_version = version
        mute = self._behaviour.connect is ConnectMode.SILENT_AFTER_VERSION
        self.state = SessionState.MUTE if mute else SessionState.START
        self._line.record("handshake", f"client {offer.minimum}..{offer.maximum}, version {version}")
        self._line.send(messages.version_answer(version, self._floor.clock.now()))
        self._speaks_protobuf = version >= PROTOBUF_VERSION
        return Outcome()

    def _start(self, request: Request) -> Outcome:
        if not isinstance(request, requests.StartApi):
            return self._end(320, "Error reading request.-'bR' : cause - startApi must be the first request")
        if not 0 <= request.client_id <= MAX_CLIENT_ID:
            return self._end(320, f"Error reading request.-'bR' : cause - no client id {request.client_id}")
        self.client_id = request.client_id
        if request.client_id in self._behaviour.client_ids_in_use or not self._client_ids.take(request.client_id):
            return self._end(326, CLIENT_ID_IN_USE)
        self.state = SessionState.STARTED
        self._line.record("started", f"client id {request.client_id}")
        self._service = Service(Desk(self._floor, self.client_id, self._text_version, self._error), self._line)
        self._service.greet()
        self._floor.join(self._service)
        self._floor.arm()
        return Outcome(started=True)

    def _error(self, request_id: int, code: int, text: str) -> bytes:
        self._line.record("error", f"{code} {text}")
        return messages.error(request_id, code, text, handshake_done=self.state is not SessionState.VERSION)

    def _send_error(self, request_id: int, code: int, text: str) -> None:
        self._line.send(self._error(request_id, code, text))

    def _end(self, code: int, text: str) -> Outcome:
        self._send_error(-1, code, text)
        self.state = SessionState.CLOSED
        return Outcome(close=True)


class Service:
    """What a started session serves: its parts under one roof, and the little that belongs to none of them."""

    def __init__(self, desk: Desk, line: Line) -> None:
        self._desk = desk
        self._send = line.send
        self._keeps_up = line.keeps_up
        self.wants_bulletins = False
        self._orders = Orders(desk)
        self._accounts = Accounts(desk)
        self._market = Market(desk)
        self._history = History(desk)
        own: Mapping[type, Handler] = {
            requests.NewsBulletins: self._news_bulletins,
            requests.CancelNewsBulletins: self._cancel_news_bulletins,
            requests.ManagedAccounts: self._managed_accounts,
            requests.CurrentTime: lambda _: (messages.current_time(desk.now()),),
            requests.CurrentTimeInMillis: lambda _: (messages.current_time_in_millis(desk.now()),),
            requests.FamilyCodes: lambda _: (messages.family_codes(list(desk.brokerage.accounts)),),
            requests.UserInfo: lambda request: (messages.user_info(request.request_id),),
            requests.NewsProviders: lambda _: (messages.news_providers(),),
            requests.SoftDollarTiers: lambda request: (messages.soft_dollar_tiers(request.request_id),),
            requests.Silent: lambda _: (),
            requests.Unserved: self._unserved,
            requests.StartApi: self._started_already,
        }
        parts = (self._orders, self._accounts, self._market, self._history, Contracts(desk))
        self._handlers = {kind: handler for part in parts for kind, handler in part.handlers.items()} | dict(own)

    def greet(self) -> None:
        """Send what the gateway reports first: accounts, next order id, and the state of the connections.

        During an outage a new client receives 1100 as the older ones did, and no farm that is reported as connected.
        """
        self._send_all(self._managed_accounts(requests.ManagedAccounts()))
        self._send(self._orders.next_valid_id())
        if not self._desk.floor.connected:
            self._send(messages.error(-1, *CONNECTION_LOST))
        broken = self._desk.behaviour.farm_down or not self._desk.floor.connected
        farms = FARMS_BROKEN if broken else FARMS_CONNECTED
        self._send_all(messages.error(-1, code, text) for code, text in farms)

    def serve(self, request: Request) -> None:
        """Handle a request."""
        try:
            self._send_all(self._handlers[type(request)](request))
        except RefusalError as refusal:
            request_id = getattr(request, "request_id", -1) if refusal.request_id is None else refusal.request_id
            self._send(self._desk.error(request_id, refusal.code, refusal.text))

    def on_events(self, events: Sequence[Event]) -> None:
        """Pass on what happened behind the API."""
        for event in events:
            self._send_all(self._orders.on_event(event))
            self._send_all(self._accounts.on_event(event))
        self._send_all(self._accounts.settle())

    @property
    def client_id(self) -> int:
        """The client's id."""
        return self._desk.client_id

    @property
    def streams(self) -> bool:
        """Whether the client follows each step of the market, and reads what it is sent."""
        return self._market.streams and self._keeps_up()

    def tick(self, now: datetime) -> None:
        """Send what is due now.

        A client that does not read misses steps: the next one that it gets reports everything that has changed.
        """
        if not self._keeps_up():
            return
        self._send_all(self._accounts.tick(now))
        self._send_all(self._market.tick(now))
        self._send_all(self._history.tick(now))

    def next_due(self, now: datetime) -> datetime | None:
        """Return when there is something to send that is not a step of the market."""
        if not self._keeps_up():
            return None
        due = (self._accounts.next_due(now), self._market.next_due(now), self._history.next_due(now))
        return min((each for each in due if each is not None), default=None)

    def lose_data(self) -> None:
        """Discard the subscriptions to market data."""
        self._market.lose_data()
        self._history.lose_data()

    def report_interruption(self, code: int, con_id: int = 0) -> None:
        """Notify the client by an error that market data it subscribed to have ended: of one contract, or all."""
        self._send_all(self._market.report_interruption(code, con_id))

    def _send_all(self, frames: Iterable[bytes]) -> None:
        for frame in frames:
            self._send(frame)

    def _news_bulletins(self, request: requests.NewsBulletins) -> Iterable[bytes]:
        self.wants_bulletins = True
        return map(messages.bulletin, self._desk.brokerage.bulletins if request.all_messages else ())

    def _cancel_news_bulletins(self, _: requests.CancelNewsBulletins) -> Iterable[bytes]:
        self.wants_bulletins = False
        return ()

    def _managed_accounts(self, _: requests.ManagedAccounts) -> Iterable[bytes]:
        if self._desk.behaviour.managed_accounts:
            yield messages.managed_accounts(list(self._desk.brokerage.accounts))

    def _unserved(self, request: requests.Unserved) -> Iterable[bytes]:
        if request.ends_subscription:
            raise RefusalError(300, f"Can't find EId with tickerId:{request.request_id}")
        if request.name == "reqMktDepth":
            raise RefusalError(10092, MARKET_DEPTH)
        text = f"Error processing request.-'bU' : cause - This simulated gateway does not serve {request.name}."
        raise RefusalError(322, text)

    def _started_already(self, _: requests.StartApi) -> Iterable[bytes]:
        raise RefusalError(322, "Error processing request.-'bR' : cause - the session is started already")
