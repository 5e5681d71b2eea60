"""The API's socket: accepts clients, feeds their bytes to sessions, and bounds what each may cost.

A client that misbehaves (bytes that are no API, an endless frame, a reader that never reads) costs
only itself: it is answered with an error where one can be sent, and its connection is closed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway_simulator.api import messages
from gateway_simulator.api.behaviour import ApiBehaviour, ConnectMode
from gateway_simulator.api.session import Answer, ClientIds, Session, SessionState
from gateway_simulator.api.wire import MAX_FRAME_LENGTH, FrameReader, WireError
from gateway_simulator.clock import Clock, SystemClock
from gateway_simulator.trading.brokerage import Brokerage
from gateway_simulator.trading.model import Bulletin

TRUSTED_PEER = "127.0.0.1"
MAX_CONNECTIONS = 128
JOURNAL_LENGTH = 1000
READ_LIMIT = MAX_FRAME_LENGTH + 64 * 1024
"""Bytes of unserved requests kept for a client before reading from it is paused."""
WRITE_PAUSE = 256 * 1024
"""Bytes unsent to a client from which its requests wait."""
WRITE_LIMIT = 1024 * 1024
"""Bytes unsent to a client at which it is given up."""


@dataclass(frozen=True)
class JournalEntry:
    """Something that happened at the API: when, on which connection, what, and its detail."""

    time: datetime
    connection: int
    event: str
    detail: str = ""


class ApiServer:
    """The API on one port. It can be stopped and started again, with the same brokerage.

    ``journal`` holds the last events: listening, connected, untrusted_peer, silence, closed_on_accept,
    stalled, too_many_connections, handshake, started, request, error, bad_bytes, input_full,
    output_full, slow_reader, internal_error, disconnected, stopped. ``behaviour`` may be changed in place at any time.
    """

    def __init__(self, brokerage: Brokerage, behaviour: ApiBehaviour, clock: Clock | None = None) -> None:
        self.brokerage = brokerage
        self.behaviour = behaviour
        self.journal: deque[JournalEntry] = deque(maxlen=JOURNAL_LENGTH)
        self.clock = clock or SystemClock()
        self.client_ids = ClientIds()
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
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
        self.note(0, "listening", f"port {self._port}")

    async def stop(self) -> None:
        """Stop listening and drop every client. Does nothing on a stopped server."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        while self._connections:
            await self.disconnect_clients()
        await server.wait_closed()
        self.note(0, "stopped", f"port {self._port}")
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
        """Publish a news bulletin: kept for the day, and sent to the sessions that subscribed."""
        self.brokerage.bulletins.append(bulletin)
        for connection in self._started():
            if connection.session.wants_bulletins:
                connection.send(messages.bulletin(bulletin))

    def note(self, connection: int, event: str, detail: str = "") -> None:
        """Write an event into the journal; connection 0 is the server itself."""
        self.journal.append(JournalEntry(self.clock.now(), connection, event, detail[:200]))

    def admit(self, connection: _Connection) -> bool:
        """Count a new connection in; False if there are too many."""
        if len(self._connections) >= MAX_CONNECTIONS:
            return False
        self._connections.add(connection)
        return True

    def forget(self, connection: _Connection) -> None:
        """Count a lost connection out."""
        self._connections.discard(connection)

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
        self._paused = False
        self._ignores_input = False
        self._stalled = False
        self._task: asyncio.Task[None] | None = None
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.session = Session(server.brokerage, server.behaviour, server.clock, server.client_ids, self._note)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a TCP server makes no other
        self.transport = transport
        transport.set_write_buffer_limits(high=WRITE_PAUSE)
        if not self._server.admit(self):
            self._note("too_many_connections", f"limit {MAX_CONNECTIONS}")
            transport.abort()
            return
        peer = transport.get_extra_info("peername")[0]
        behaviour = self._server.behaviour
        self._note("connected", f"from {peer}")
        if peer != TRUSTED_PEER:
            self._ignores_input = True
            self._note("untrusted_peer", f"{peer} is not {TRUSTED_PEER}: silence")
        elif behaviour.connect is ConnectMode.STALLED:
            self._stall()
        elif behaviour.connect is ConnectMode.ACCEPT_AND_CLOSE:
            self._note("closed_on_accept")
            transport.close()
        elif behaviour.connect in (ConnectMode.SILENT, ConnectMode.SILENT_ONCE):
            if behaviour.connect is ConnectMode.SILENT_ONCE:
                behaviour.connect = ConnectMode.NORMAL
            self._ignores_input = True
            self._note("silence")
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
            self._note("input_full", f"{self._reader.buffered} bytes of requests wait")
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        return self._is_stalled()  # which leaves the socket in CLOSE_WAIT

    def pause_writing(self) -> None:
        self._note("output_full", f"{self.transport.get_write_buffer_size()} bytes unread")
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()
        self.session.end()
        self._server.forget(self)
        self._note("disconnected", str(exc or ""))
        if not self.gone.done():
            self.gone.set_result(None)

    def send(self, frame: bytes) -> None:
        """Send a frame; a client that has let too much pile up unread is given up instead."""
        if self._is_stalled() or self.transport.is_closing():
            return
        if self.transport.get_write_buffer_size() + len(frame) > WRITE_LIMIT:
            self._note("slow_reader", f"{self.transport.get_write_buffer_size()} bytes unread")
            self.transport.abort()
            return
        self.transport.write(frame)

    def drop(self) -> None:
        """Close the connection at once; what the client has not read by now is lost."""
        if self.transport.get_write_buffer_size() or self._stalled:
            self.transport.abort()
        else:
            self.transport.close()

    async def _serve(self) -> None:
        """Answer the client's frames one after the other, as fast as it reads the answers."""
        while not self.transport.is_closing():
            await self._writable.wait()
            try:
                payload = self._reader.next_frame()
            except WireError as error:
                self._note("bad_bytes", error.reason)
                self._give(self.session.refuse(error))
                return
            if self._paused and self._reader.buffered <= READ_LIMIT:
                self._paused = False
                self.transport.resume_reading()
            if payload is None:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            answer = self.session.handle(payload)
            self._give(answer)
            delay = self._server.behaviour.sync_delay if answer.started else 0
            # Without a delay this only lets the other clients have their turn.
            await self._server.clock.sleep(delay)

    def _give(self, answer: Answer) -> None:
        for frame in answer.frames:
            self.send(frame)
        if answer.close:
            self.transport.close()

    def _served(self, task: asyncio.Task[None]) -> None:
        """Report an error of the simulator itself, and let its client see a closed connection."""
        if not task.cancelled() and (error := task.exception()):
            self._note("internal_error", repr(error))
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
        self._note("stalled")
        self.transport.pause_reading()
        if self._task is not None:
            self._task.cancel()

    def _note(self, event: str, detail: str = "") -> None:
        self._server.note(self._number, event, detail)
