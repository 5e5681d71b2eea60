"""The API's socket: accepts clients, feeds their bytes to sessions, and bounds what each may cost.

A client that misbehaves (bytes that are no API, an endless frame, a reader that never reads) costs
only itself: it gets an error where one can be sent, and its connection is closed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway_simulator.api import messages, requests
from gateway_simulator.api.behaviour import ApiBehaviour, ConnectMode, MarketDataAccess
from gateway_simulator.api.faults import FaultBook, Kind, Message, Moment, Rule, incoming, outgoing
from gateway_simulator.api.floor import Floor
from gateway_simulator.api.protobuf.encoding import ProtobufError
from gateway_simulator.api.session import (
    CONNECTION_LOST,
    FARMS_BROKEN,
    FARMS_CONNECTED,
    ClientIds,
    Line,
    Outcome,
    Session,
    SessionState,
)
from gateway_simulator.api.wire import MAX_FRAME_LENGTH, FrameReader, WireError
from gateway_simulator.clock import Clock, ServerClock, SystemClock
from gateway_simulator.trading.brokerage import Brokerage
from gateway_simulator.trading.market import Silence
from gateway_simulator.trading.model import Bulletin

TRUSTED_PEER = "127.0.0.1"
MAX_CONNECTIONS = 128
JOURNAL_LENGTH = 1000
READ_LIMIT = MAX_FRAME_LENGTH + 64 * 1024
"""Bytes of unhandled requests buffered for a client before reading from it is paused."""
WRITE_PAUSE = 256 * 1024
"""Bytes unsent to a client from which its requests wait."""
WRITE_LIMIT = 1024 * 1024
"""Bytes unsent to a client at which it is given up."""
WRITE_TOGETHER = 16 * 1024
"""Bytes of an answer that are sent at once."""


@dataclass(frozen=True)
class JournalEntry:
    """Something that happened at the API: when, on which connection, what, and its detail."""

    time: datetime
    connection: int
    event: str
    detail: str = ""


class ApiServer:
    """The API on one port. It can be stopped and started again, with the same brokerage.

    ``clock`` is the servers' time, ``pace`` the time in which answers are held back. ``store`` is called after each
    batch of events of the brokerage, before any client receives it. ``behaviour`` may be changed in place at any time.

    ``journal`` holds the last events: listening, connected, untrusted_peer, silence, closed_on_accept,
    stalled, too_many_connections, handshake, started, request, error, bad_bytes, input_full,
    output_full, slow_reader, fault, internal_error, disconnected, stopped.
    """

    def __init__(
        self,
        brokerage: Brokerage,
        behaviour: ApiBehaviour,
        clock: ServerClock | None = None,
        *,
        pace: Clock | None = None,
        store: Callable[[], None] = lambda: None,
    ) -> None:
        self.brokerage = brokerage
        self.behaviour = behaviour
        self.journal: deque[JournalEntry] = deque(maxlen=JOURNAL_LENGTH)
        self.clock = clock or ServerClock()
        self.pace = pace or SystemClock()
        self.floor = Floor(brokerage, behaviour, self.clock, store)
        self.faults = FaultBook()
        self.client_ids = ClientIds()
        self._server: asyncio.Server | None = None
        self._connections: dict[_Connection, None] = {}
        self._number = 0
        self._port = 0

    @property
    def port(self) -> int:
        """The port listened on; 0 while stopped."""
        return self._port

    @property
    def clients(self) -> list[int]:
        """The client ids of the started sessions, sorted."""
        return sorted(each.session.client_id for each in self._started())

    async def start(self, host: str | Sequence[str], port: int) -> None:
        """Listen on a host (or several) and port; port 0 takes a free one.

        Raises OSError if the port is taken and RuntimeError if the server listens already.
        """
        if self._server is not None:
            raise RuntimeError(f"the API listens already, on port {self._port}")
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, host, port)
        self._port = int(self._server.sockets[0].getsockname()[1])
        self.floor.tick()
        self.record(0, "listening", f"port {self._port}")

    async def stop(self) -> None:
        """Stop listening and drop every client. Does nothing on a stopped server."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        while self._connections:
            await self.disconnect_clients()
        self.floor.close()
        await server.wait_closed()
        self.record(0, "stopped", f"port {self._port}")
        self._port = 0

    async def disconnect_clients(self) -> int:
        """Close every connection there is and wait until they are gone; return how many there were."""
        leaving = list(self._connections)
        for connection in leaving:
            connection.drop()
        await asyncio.gather(*(connection.gone for connection in leaving))
        return len(leaving)

    def broadcast_system(self, code: int, text: str) -> None:
        """Send a system message (1100, 1101, 2104 …) to every started session."""
        self._broadcast(messages.error(-1, code, text))

    def broadcast_bulletin(self, bulletin: Bulletin) -> None:
        """Publish a news bulletin: stored for the day, and sent to the sessions that subscribed."""
        self.brokerage.bulletins.append(bulletin)
        for connection in self._started():
            if connection.session.wants_bulletins:
                connection.send(messages.bulletin(bulletin))

    def lose_connection(self) -> None:
        """Lose the connection to the servers and notify every client: orders wait, and no events arrive."""
        self.floor.disconnect()
        self.broadcast_system(*CONNECTION_LOST)

    def restore_connection(self, *, data_lost: bool) -> None:
        """Restore the connection; with ``data_lost`` clients must subscribe to market data again."""
        if data_lost:
            text = "Connectivity between IBKR and Trader Workstation has been restored - data lost."
            self.broadcast_system(1101, text)
        else:
            text = "Connectivity between IBKR and Trader Workstation has been restored - data maintained."
            self.broadcast_system(1102, text)
        if not self.floor.connected and not self.behaviour.farm_down:
            for code, text in FARMS_CONNECTED:
                self.broadcast_system(code, text)
        self.floor.reconnect(data_lost=data_lost)

    def set_farms(self, *, down: bool) -> None:
        """Break or restore the connections to the data farms and notify every client."""
        self.behaviour.farm_down = down
        for code, text in FARMS_BROKEN if down else FARMS_CONNECTED:
            self.broadcast_system(code, text)
        self.floor.tick()

    def set_market_data(self, access: MarketDataAccess) -> None:
        """Change what market data the user has; clients are notified at once of data that a competing session takes."""
        taken = access is MarketDataAccess.COMPETING and self.behaviour.market_data is not access
        self.behaviour.market_data = access
        if taken:
            for connection in self._started():
                connection.session.report_interruption(10197)
        self.floor.tick()

    def silence(self, con_id: int, code: int) -> None:
        """Stop the market data of one contract or (0) all, with an error or (0) silently."""
        self.brokerage.market.silence(con_id, Silence(self.clock.utc(), code))
        if code:
            for connection in self._started():
                connection.session.report_interruption(code, con_id)
        self.floor.tick()

    def stall(self, seconds: float) -> int:
        """Neither read from any client nor send to it for a while (machine time); return how many clients."""
        for connection in self._connections:
            connection.hold(seconds, reading=True)
        return len(self._connections)

    def record(self, connection: int, event: str, detail: str = "") -> None:
        """Write an event into the journal; connection 0 is the server itself."""
        self.journal.append(JournalEntry(self.clock.now(), connection, event, detail[:200]))

    def admit(self, connection: _Connection) -> bool:
        """Count a new connection in; False if there are too many."""
        if len(self._connections) >= MAX_CONNECTIONS:
            return False
        self._connections[connection] = None
        return True

    def forget(self, connection: _Connection) -> None:
        """Count a lost connection out."""
        self._connections.pop(connection, None)

    def _accept(self) -> _Connection:
        self._number += 1
        return _Connection(self, self._number)

    def _started(self) -> list[_Connection]:
        return [each for each in self._connections if each.session.state is SessionState.STARTED]

    def _broadcast(self, frame: bytes) -> None:
        for connection in self._started():
            connection.send(frame)


class _Connection(asyncio.Protocol):
    """One client's socket."""

    transport: asyncio.Transport

    def __init__(self, server: ApiServer, number: int) -> None:
        self._server = server
        self._number = number
        self._reader = FrameReader()
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._serving = asyncio.Event()
        self._serving.set()
        self._paused = False
        self._ignores_input = False
        self._stalled = False
        self._held: bytearray | None = None
        self._together: bytearray | None = None
        """While a request is handled: the part of its answer that is not sent yet."""
        self._holds: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line = Line(self.send, self._record, self._keeps_up)
        self.session = Session(server.floor, server.client_ids, line)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a TCP server creates no other
        self.transport = transport
        transport.set_write_buffer_limits(high=WRITE_PAUSE)
        if not self._server.admit(self):
            self._record("too_many_connections", f"limit {MAX_CONNECTIONS}")
            transport.abort()
            return
        peer = transport.get_extra_info("peername")[0]
        behaviour = self._server.behaviour
        self._record("connected", f"from {peer}")
        if peer != TRUSTED_PEER:
            self._ignores_input = True
            self._record("untrusted_peer", f"{peer} is not {TRUSTED_PEER}: silence")
        elif behaviour.connect is ConnectMode.STALLED:
            self._stall()
        elif behaviour.connect is ConnectMode.ACCEPT_AND_CLOSE:
            self._record("closed_on_accept")
            transport.close()
        elif behaviour.connect in (ConnectMode.SILENT, ConnectMode.SILENT_ONCE):
            if behaviour.connect is ConnectMode.SILENT_ONCE:
                behaviour.connect = ConnectMode.NORMAL
            self._ignores_input = True
            self._record("silence")
        else:
            self._task = asyncio.get_running_loop().create_task(self._serve())
            self._task.add_done_callback(self._served)

    def data_received(self, data: bytes) -> None:
        if self._ignores_input or self._is_stalled():
            return
        self._reader.feed(data)
        self._arrived.set()
        if self._reader.buffered > READ_LIMIT and not self._paused:
            self._paused = True
            self._record("input_full", f"{self._reader.buffered} bytes of requests wait")
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        return self._is_stalled()  # which leaves the socket in CLOSE_WAIT

    def pause_writing(self) -> None:
        self._record("output_full", f"{self.transport.get_write_buffer_size()} bytes unread")
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()
        self._server.floor.arm()

    def connection_lost(self, exc: Exception | None) -> None:
        for task in (self._task, *self._holds):
            if task is not None:
                task.cancel()
        self.session.end()
        self._server.forget(self)
        self._record("disconnected", str(exc or ""))
        if not self.gone.done():
            self.gone.set_result(None)

    def send(self, frame: bytes) -> None:
        """Send a frame, unless a fault is to happen at it."""
        if self._is_stalled() or self.transport.is_closing():
            return
        faults = self._server.faults
        rule = faults.strike(outgoing(frame, self.session.client_id)) if faults.armed else None
        frame = self.session.wire_form(frame)
        if rule is None:
            self._write(frame)
            return
        self._record("fault", str(rule))
        if rule.kind is Kind.DISCONNECT:
            length = {Moment.BEFORE: 0, Moment.MIDDLE: len(frame) // 2, Moment.AFTER: len(frame)}[rule.moment]
            self._write(frame[:length])
            self._flush()
            self.transport.close()
        else:
            self.hold(rule.seconds, reading=rule.kind is Kind.STALL)
            self._write(frame)

    def _write(self, data: bytes) -> None:
        """Send bytes, or buffer them while sending is held; a client with too much unsent data is disconnected."""
        unread = self.transport.get_write_buffer_size() + len(self._held or b"") + len(self._together or b"")
        if unread + len(data) > WRITE_LIMIT:
            self._record("slow_reader", f"{unread} bytes unread")
            self.transport.abort()
        elif self._held is not None:
            self._held += data
        elif self._together is not None:
            self._together += data
            if len(self._together) > WRITE_TOGETHER:
                self._flush()
        else:
            self.transport.write(data)

    def _flush(self) -> None:
        """Send what belongs to an answer so far."""
        if self._together and not self.transport.is_closing():
            self.transport.write(bytes(self._together))
            self._together.clear()

    def hold(self, seconds: float, *, reading: bool) -> None:
        """Buffer what is to be sent for some seconds; with ``reading`` also handle no request meanwhile."""
        self._flush()
        if self._held is None:
            self._held = bytearray()
        if reading:
            self._serving.clear()
        task: asyncio.Task[None] = asyncio.ensure_future(self._server.pace.sleep(seconds))
        self._holds.add(task)
        task.add_done_callback(self._released)

    def _released(self, task: asyncio.Task[None]) -> None:
        """Continue once the last hold is over."""
        self._holds.discard(task)
        if self._holds or self._held is None or task.cancelled():
            return
        held, self._held = self._held, None
        self._serving.set()
        if not self.transport.is_closing():
            self.transport.write(bytes(held))
        self._server.floor.arm()

    def _keeps_up(self) -> bool:
        return self._writable.is_set() and self._held is None

    def drop(self) -> None:
        """Close the connection at once; what the client has not read by now is lost."""
        if self.transport.get_write_buffer_size() or self._stalled:
            self.transport.abort()
        else:
            self.transport.close()

    async def _serve(self) -> None:
        """Handle the client's frames one after the other, as fast as it reads the answers."""
        while not self.transport.is_closing():
            await self._writable.wait()
            try:
                payload = self._reader.next_frame()
            except WireError as error:
                self._record("bad_bytes", error.reason)
                self.session.refuse(error)
                self.transport.close()
                return
            if self._paused and self._reader.buffered <= READ_LIMIT:
                self._paused = False
                self.transport.resume_reading()
            if payload is None:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            # The frames of an answer leave together: a list of hundreds of orders is not as many sends.
            self._together = bytearray()
            try:
                outcome = self._handle(payload)
            finally:
                self._flush()
                self._together = None
            if outcome.close:
                self.transport.close()
            delay = self._server.behaviour.sync_delay if outcome.started else 0
            # Without a delay this only lets the other clients have their turn.
            await self._server.pace.sleep(delay)
            await self._serving.wait()

    def _handle(self, payload: bytes) -> Outcome:
        """Let the session handle a payload, unless a fault is to happen at it."""
        faults = self._server.faults
        rule = faults.strike(self._describe(payload)) if faults.armed else None
        if rule is None:
            return self.session.handle(payload)
        self._record("fault", str(rule))
        return self._strike(rule, payload)

    def _strike(self, rule: Rule, payload: bytes) -> Outcome:
        if rule.kind is not Kind.DISCONNECT:
            self.hold(rule.seconds, reading=rule.kind is Kind.STALL)
            return self.session.handle(payload)
        self.transport.close()  # from here on nothing is sent any more
        return self.session.handle(payload) if rule.moment is Moment.AFTER else Outcome()

    def _describe(self, payload: bytes) -> Message:
        """Describe a request for the rules of faults; bytes that are none have no name."""
        if self.session.state is not SessionState.STARTED:
            return Message("in", "", "", self.session.client_id)
        try:
            fields = self.session.fields_of(payload)
        except (WireError, ProtobufError):
            return Message("in", "", "", self.session.client_id)
        return incoming(requests.request_name(fields), fields, self.session.client_id)

    def _served(self, task: asyncio.Task[None]) -> None:
        """Report an error of the simulator itself, and let its client see a closed connection."""
        if not task.cancelled() and (error := task.exception()):
            self._record("internal_error", repr(error))
            self.transport.abort()
            raise error

    def _is_stalled(self) -> bool:
        if self._server.behaviour.connect is ConnectMode.STALLED:
            self._stall()
        return self._stalled

    def _stall(self) -> None:
        if self._stalled:
            return
        self._stalled = True
        self._record("stalled")
        self.transport.pause_reading()
        if self._task is not None:
            self._task.cancel()

    def _record(self, event: str, detail: str = "") -> None:
        self._server.record(self._number, event, detail)
