"""One attempt with real ib_insync: every way it can end, against the simulator's API and scripted servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from tests.unit.ib_connection.servers import answer_with, framed, free_port, requests_seen, serving, simulated_api

from gateway_simulator.api.behaviour import ApiBehaviour, ConnectMode
from ib_connection import causes
from ib_connection.accounts import AccountKind
from ib_connection.handshake import HandshakeResult, Target, close, connect, handshake

VERSION = framed(b"176\x0020261123 12:00:00 UTC\0")


def target(port: int, mode: str = "paper", *, expected: tuple[str, ...] = (), orders: bool = True) -> Target:
    return Target("127.0.0.1", port, AccountKind(mode), expected_accounts=expected, orders_needed=orders)


def shaken(
    behaviour: ApiBehaviour | None = None,
    *,
    holds: str = "paper",
    mode: str = "paper",
    expected: tuple[str, ...] = (),
    orders: bool = True,
    timeout: float = 1.0,
) -> HandshakeResult:
    """The result against the simulator; checks that nothing is left over and that the time was kept."""

    async def attempt() -> HandshakeResult:
        async with simulated_api(behaviour, mode=holds) as server:
            result = await handshake(
                target(server.port, mode, expected=expected, orders=orders), 7, timeout=timeout, probe_timeout=0.3
            )
            assert asyncio.all_tasks() - {asyncio.current_task()} <= set(_server_tasks()), "a task was left"
            await asyncio.sleep(0.05)
            assert server.clients == [], "the session was left open"
            return result

    result = asyncio.run(attempt())
    assert result.elapsed < timeout + 0.5
    assert result.ok is (result.cause is None)
    return result


def _server_tasks() -> list[asyncio.Task[object]]:
    return [task for task in asyncio.all_tasks() if "_Connection._serve" in repr(task.get_coro())]


def test_verified() -> None:
    result = shaken()
    assert result.cause is None
    assert result.server_version == 178
    assert result.accounts == ("DU1234567",)
    assert result.next_order_id == 1
    assert result.read_only is False
    assert result.client_id == 7
    assert result.clock_difference is not None
    assert result.elapsed < 0.5


def test_no_order_is_sent() -> None:
    async def attempt() -> list[str]:
        async with simulated_api() as server:
            assert (await handshake(target(server.port), 7)).ok
            return requests_seen(server)

    requests = asyncio.run(attempt())
    assert "reqPositions" in requests, requests
    assert not {"placeOrder", "cancelOrder", "reqGlobalCancel"} & set(requests)


def test_client_id_in_use_is_known_at_once() -> None:
    result = shaken(ApiBehaviour(client_ids_in_use={7}), timeout=5)
    assert result.cause is causes.CLIENT_ID_IN_USE
    assert result.detail.startswith("326 ")
    assert result.elapsed < 1


def test_no_managed_accounts() -> None:
    result = shaken(ApiBehaviour(managed_accounts=False))
    assert result.cause is causes.NO_MANAGED_ACCOUNTS
    assert result.accounts == ()


def test_read_only_is_known_at_once() -> None:
    result = shaken(ApiBehaviour(read_only=True), timeout=5)
    assert result.cause is causes.READ_ONLY
    assert result.read_only is True
    assert result.elapsed < 1


def test_read_only_costs_nothing_if_orders_are_not_needed() -> None:
    result = shaken(ApiBehaviour(read_only=True), orders=False, timeout=5)
    assert result.ok
    assert result.read_only is None
    assert result.elapsed < 1


def test_missing_executions_are_named() -> None:
    result = shaken(ApiBehaviour(omit_executions_end=True))
    assert result.cause is causes.SYNC_INCOMPLETE
    assert result.detail == "not answered: executions"


def test_missing_account_updates_are_named() -> None:
    result = shaken(ApiBehaviour(omit_account_download_end=True))
    assert result.cause is causes.SYNC_INCOMPLETE
    assert result.detail == "not answered: account updates"


def test_slow_sync_within_the_time_is_verified() -> None:
    result = shaken(ApiBehaviour(sync_delay=0.4), timeout=3)
    assert result.ok
    assert result.elapsed >= 0.4


def test_slow_sync_beyond_the_time_names_all_parts_and_the_reports() -> None:
    result = shaken(ApiBehaviour(sync_delay=9, farm_down=True))
    assert result.cause is causes.SYNC_INCOMPLETE
    assert "positions, open orders, completed orders, account updates" in result.detail
    assert "2103" in result.detail
    assert "DU1234567" not in result.detail


@pytest.mark.parametrize(("holds", "mode"), [("live", "paper"), ("paper", "live")])
def test_wrong_kind(holds: str, mode: str) -> None:
    result = shaken(holds=holds, mode=mode)
    assert result.cause is causes.WRONG_ACCOUNT_KIND
    assert result.accounts


def test_wrong_kind_outranks_an_incomplete_sync() -> None:
    assert shaken(ApiBehaviour(omit_executions_end=True), holds="live").cause is causes.WRONG_ACCOUNT_KIND


def test_unexpected_account() -> None:
    assert shaken(expected=("DU7654321",)).cause is causes.UNEXPECTED_ACCOUNT
    assert shaken(expected=("DU1234567",)).ok


@pytest.mark.parametrize(
    ("mode", "cause"),
    [
        (ConnectMode.SILENT, causes.SILENT_BEFORE_VERSION),
        (ConnectMode.SILENT_ONCE, causes.SILENT_BEFORE_VERSION),
        (ConnectMode.STALLED, causes.SILENT_BEFORE_VERSION),
        (ConnectMode.ACCEPT_AND_CLOSE, causes.CLOSED_BY_PEER),
    ],
)
def test_dead_attempt_ends_with_the_probe(mode: ConnectMode, cause: causes.Cause) -> None:
    result = shaken(ApiBehaviour(connect=mode), timeout=10)
    assert result.cause is cause
    assert result.elapsed < 1


def test_silence_after_the_version() -> None:
    result = shaken(ApiBehaviour(connect=ConnectMode.SILENT_AFTER_VERSION))
    assert result.cause is causes.SILENT_AFTER_VERSION
    assert result.server_version == 178


def test_refused() -> None:
    result = asyncio.run(handshake(target(free_port()), 7))
    assert result.cause is causes.REFUSED


def test_probe_answered_and_the_session_silent() -> None:
    """The API dies between the probe and the session."""
    connections = 0

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            await answer_with(VERSION)(reader, writer)
        else:
            await reader.read(-1)

    async def attempt() -> HandshakeResult:
        async with serving(answer_once) as port:
            return await handshake(target(port), 7, timeout=0.8)

    result = asyncio.run(attempt())
    assert result.cause is causes.API_TIMEOUT
    assert result.elapsed == pytest.approx(0.8, abs=0.3)


def test_peer_that_closes_during_the_start_is_known_at_once() -> None:
    async def close_after_start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(VERSION)
        received = await reader.read(4096)
        while received and b"71\0" not in received:
            received = await reader.read(4096)

    async def attempt() -> HandshakeResult:
        async with serving(close_after_start) as port:
            return await handshake(target(port), 7, timeout=5)

    result = asyncio.run(attempt())
    assert result.cause is causes.CLOSED_BY_PEER
    assert result.elapsed < 1


def test_cancelled_attempt_leaves_nothing() -> None:
    async def attempt() -> None:
        async with serving(answer_with(VERSION)) as port:  # checks the sockets
            task = asyncio.ensure_future(handshake(target(port), 7, timeout=30))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(attempt())


def test_kept_session_works_and_frees_its_client_id() -> None:
    async def session() -> None:
        async with simulated_api() as server:
            result, ib = await connect(target(server.port), 7)
            assert result.ok
            assert ib is not None
            assert server.clients == [7]
            assert len(await ib.reqPositionsAsync()) == 2
            ended: list[str] = []
            ib.disconnectedEvent += lambda: ended.append("disconnected")
            before = asyncio.get_running_loop().time()
            await close(ib)
            assert ended == ["disconnected"]
            assert asyncio.get_running_loop().time() - before < 0.5
            again = await handshake(target(server.port), 7)
            assert again.ok, again.detail

    asyncio.run(session())


@asynccontextmanager
async def refusing_account_values(upstream: int) -> AsyncIterator[int]:
    """A port that leads to the simulator and turns each end of account values (74) into an error of its request."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source, sink = await asyncio.open_connection("127.0.0.1", upstream)

        async def there() -> None:
            while data := await reader.read(4096):
                sink.write(data)
            sink.close()

        sending = asyncio.ensure_future(there())
        with suppress(asyncio.IncompleteReadError):
            while True:
                head = await source.readexactly(4)
                frame = await source.readexactly(int.from_bytes(head))
                fields = frame.split(b"\0")
                if fields[0] == b"74":
                    frame = b"\0".join((b"4", b"2", fields[2], b"321", b"not allowed", b"", b""))
                writer.write(framed(frame))
        await sending

    async with serving(relay) as port:
        yield port


def test_part_that_ends_in_an_error_is_missing() -> None:
    async def attempt() -> HandshakeResult:
        async with simulated_api() as server, refusing_account_values(server.port) as port:
            return await handshake(target(port), 7, timeout=2)

    result = asyncio.run(attempt())
    assert result.cause is causes.SYNC_INCOMPLETE
    assert result.detail.startswith("not answered: account values of DU*****67 (the gateway reported: 321 not allowed")


def test_the_answers_of_the_attempt_are_not_stored_after_it() -> None:
    async def attempt() -> None:
        async with simulated_api() as server:
            _, ib = await connect(target(server.port), 7, timeout=2.0, probe_timeout=0.3)
            assert ib is not None
            await ib.reqPositionsAsync()
            assert ib._observed.parts == {}  # type: ignore[attr-defined]  # of a private subclass
            await close(ib)

    asyncio.run(attempt())
