"""One verified connection to the API, with ib_insync, and the reason if there is none.

ib_insync 0.9.86 alone ends nearly every failure in a bare TimeoutError after up to four times its timeout, and calls
a session connected whose first synchronisation was partly lost. So an attempt here starts with the raw probe, listens
to what ib_insync reports meanwhile, watches each of its first requests, and bounds the whole.
No order is ever sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ib_connection import codes
from ib_connection.accounts import AccountKind, check_accounts, masked
from ib_connection.causes import (
    API_TIMEOUT,
    CLIENT_ID_IN_USE,
    CLOSED_BY_PEER,
    NO_MANAGED_ACCOUNTS,
    READ_ONLY,
    SILENT_AFTER_VERSION,
    SYNC_INCOMPLETE,
    Cause,
)
from ib_connection.ib_library import IB, RequestError
from ib_connection.probe import DEFAULT_TIMEOUT as PROBE_TIMEOUT
from ib_connection.probe import ProbeResult, probe

NEXT_VALID_ID = 9
"""Message id of nextValidId: ``9|1|orderId``."""

CLOSE_TIMEOUT = 1.0
"""Seconds after which an orderly end of a connection becomes an abrupt one."""


@dataclass(frozen=True, slots=True)
class Target:
    """An API and what must be true of it.

    ``mode`` the kind the accounts must be of, None for either; ``expected_accounts`` the accounts, exactly, if not
    empty; ``orders_needed`` False leaves orders alone, so that a read-only API is good enough; ``container_healthy``
    and ``container_port`` what is known of the container behind a published port, see ``ProbeResult.cause``.
    """

    host: str
    port: int
    mode: AccountKind | None
    expected_accounts: tuple[str, ...] = ()
    orders_needed: bool = True
    container_healthy: bool = False
    container_port: int | None = None

    def cause_of(self, result: ProbeResult) -> Cause | None:
        """Why a probe of this target failed, None if it did not."""
        return result.cause(container_healthy=self.container_healthy, container_port=self.container_port)


@dataclass(frozen=True, slots=True)
class HandshakeResult:
    """How an attempt ended.

    ``cause`` is None if and only if ``ok``; ``detail`` what exactly was met; ``elapsed`` seconds;
    ``server_version`` and ``clock_difference`` (gateway minus host, seconds) as in ``ProbeResult``; ``accounts`` the
    managed accounts in full; ``next_order_id`` the nextValidId of this client id; ``read_only`` whether the API
    refuses orders, None where that was not found out (orders were not asked for, or the attempt ended before).
    """

    client_id: int
    cause: Cause | None
    detail: str
    elapsed: float
    server_version: int | None = None
    clock_difference: float | None = None
    accounts: tuple[str, ...] = ()
    next_order_id: int | None = None
    read_only: bool | None = None

    @property
    def ok(self) -> bool:
        """Whether the connection is verified."""
        return self.cause is None


@dataclass
class _Observed:
    """What was seen of a session while ib_insync set it up."""

    parts: dict[str, asyncio.Future[Any]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    next_order_id: int | None = None
    verdict: Cause | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False

    def forget(self) -> None:
        """The attempt has ended: its answers, of which a thousand positions are a part, need not be stored."""
        self.over = True
        self.parts.clear()

    def end(self, cause: Cause) -> None:
        """The attempt cannot succeed any more. The first reason counts."""
        if self.verdict is None:
            self.verdict = cause
        self.ended.set()

    def missing(self) -> list[str]:
        """Parts of the first synchronisation that were asked for and not answered in full."""
        return [name for name, part in self.parts.items() if not _succeeded(part)]


def _succeeded(part: asyncio.Future[Any]) -> bool:
    return part.done() and not part.cancelled() and part.exception() is None


class _ObservedIB(IB):
    """An ``IB`` whose first requests can be inspected, because ``connectAsync`` does not report their failures."""

    RaiseRequestErrors = True

    def __init__(self, observed: _Observed) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # ib_insync's, untyped
        self._observed = observed

    def _track(self, name: str, request: Awaitable[Any]) -> asyncio.Future[Any]:
        part = asyncio.ensure_future(request)
        # Requests of the running session come after the first ones and are not this attempt's concern.
        if not self._observed.over:
            self._observed.parts.setdefault(name, part)
        return part

    def reqPositionsAsync(self) -> Awaitable[Any]:  # noqa: N802 - ib_insync's name
        return self._track("positions", super().reqPositionsAsync())

    def reqOpenOrdersAsync(self) -> Awaitable[Any]:  # noqa: N802 - ib_insync's name
        return self._track("open orders", super().reqOpenOrdersAsync())

    def reqCompletedOrdersAsync(self, apiOnly: bool) -> Awaitable[Any]:  # noqa: N802, N803 - ib_insync's name
        return self._track("completed orders", super().reqCompletedOrdersAsync(apiOnly))

    def reqAccountUpdatesAsync(self, account: str) -> Awaitable[Any]:  # noqa: N802 - ib_insync's name
        return self._track("account updates", super().reqAccountUpdatesAsync(account))

    def reqAccountUpdatesMultiAsync(self, account: str, modelCode: str = "") -> Awaitable[Any]:  # noqa: N802, N803 - ib_insync's name
        return self._track(
            f"account values of {masked(account)}", super().reqAccountUpdatesMultiAsync(account, modelCode)
        )

    def reqExecutionsAsync(self, execFilter: Any = None) -> Awaitable[Any]:  # noqa: N802, N803 - ib_insync's name
        return self._track("executions", super().reqExecutionsAsync(execFilter))


def _observe(ib: IB, observed: _Observed, *, orders_needed: bool) -> Callable[[], None]:
    """Hook what ib_insync reports: a fatal report ends the attempt at once, every other explains its failure.

    Returns what takes the hooks off again.
    """

    def on_error(_request: int, code: int, text: str, _contract: object) -> None:
        if code == codes.CLIENT_ID_IN_USE:
            observed.end(CLIENT_ID_IN_USE)
        elif orders_needed and codes.is_read_only_refusal(code, text):
            observed.end(READ_ONLY)
        if codes.explains_failure(code):
            observed.errors.append(f"{code} {text}")

    def on_closed(_message: str) -> None:
        observed.end(CLOSED_BY_PEER)

    def on_next_valid_id(fields: list[str]) -> None:
        observed.next_order_id = int(fields[2])

    ib.errorEvent += on_error
    # Before the session has started ib_insync only logs that the peer has gone, and waits its timeout out.
    ib.client.conn.disconnected += on_closed
    ib.client.decoder.handlers[NEXT_VALID_ID] = on_next_valid_id

    def unhook() -> None:
        ib.errorEvent -= on_error
        ib.client.conn.disconnected -= on_closed

    return unhook


async def connect(
    target: Target,
    client_id: int,
    *,
    timeout: float = 10.0,  # noqa: ASYNC109 - running out of time is an outcome here, not an exception
    probe_timeout: float = PROBE_TIMEOUT,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[HandshakeResult, IB | None]:
    """One attempt; on success the connected ``IB``, which the caller must ``disconnect``.

    Takes ``timeout`` seconds at the most, the probe included. A failed attempt leaves no socket and no task behind.
    """
    started = clock()
    probed = await probe(target.host, target.port, timeout=min(probe_timeout, timeout), clock=clock)

    def result(cause: Cause | None, detail: str, **more: Any) -> HandshakeResult:
        return HandshakeResult(
            client_id, cause, detail, clock() - started, probed.server_version, probed.clock_difference, **more
        )

    cause = target.cause_of(probed)
    if cause is not None:
        return result(cause, probed.detail), None

    observed = _Observed()
    ib = _ObservedIB(observed)
    unhook = _observe(ib, observed, orders_needed=target.orders_needed)
    # Timeout 0: ib_insync's own ones apply to each phase and let it go on with a part missing. This bounds the whole.
    connecting = asyncio.ensure_future(
        ib.connectAsync(target.host, target.port, client_id, timeout=0, readonly=not target.orders_needed)
    )
    ended = asyncio.ensure_future(observed.ended.wait())
    verified = False
    try:
        remaining = max(0.0, timeout - (clock() - started))
        await asyncio.wait({connecting, ended}, timeout=remaining, return_when=asyncio.FIRST_COMPLETED)
        accounts = tuple(ib.wrapper.accounts)
        found = check_accounts(accounts, target.mode, target.expected_accounts) if accounts else None
        if found is None:
            agreed: bool = ib.client.isConnected()  # type: ignore[no-untyped-call]  # ib_insync's, untyped
            found = _judge(connecting, observed, agreed=agreed, accounts=accounts)
        read_only = True if observed.verdict is READ_ONLY else None
        if found is not None:
            cause, detail = found
        else:
            detail = f"server version {probed.server_version}, next order id {observed.next_order_id}"
            verified = True
            if target.orders_needed:
                read_only = False
        done = result(cause, detail, accounts=accounts, next_order_id=observed.next_order_id, read_only=read_only)
        return done, ib if verified else None
    finally:
        unhook()
        ended.cancel()
        if not verified:
            connecting.cancel()
            # Their outcome was judged above; here they only have to be over.
            await asyncio.gather(connecting, ended, *observed.parts.values(), return_exceptions=True)
            await close(ib)
        observed.forget()


async def handshake(
    target: Target,
    client_id: int,
    *,
    timeout: float = 10.0,  # noqa: ASYNC109 - as in connect
    probe_timeout: float = PROBE_TIMEOUT,
    clock: Callable[[], float] = time.monotonic,
) -> HandshakeResult:
    """``connect``, and disconnect again."""
    result, ib = await connect(target, client_id, timeout=timeout, probe_timeout=probe_timeout, clock=clock)
    if ib is not None:
        await close(ib)
    return result


async def close(ib: IB) -> None:
    """Disconnect and wait until the socket is closed, so that the gateway frees the client id."""
    connection = ib.client.conn
    if connection.transport is None:
        return
    gone = asyncio.get_running_loop().create_future()
    connection.disconnected += partial(_resolve, gone)
    transport = connection.transport
    if ib.client.isReady():
        ib.disconnect()  # type: ignore[no-untyped-call]  # ib_insync's, untyped
    else:
        # IB.disconnect fails on a session that is connected but not ready yet.
        ib.client.disconnect()  # type: ignore[no-untyped-call]  # ib_insync's, untyped
    # What is still unsent gets a moment to leave; a peer that reads nothing must not hold this up for ever.
    await asyncio.wait({gone}, timeout=CLOSE_TIMEOUT)
    transport.abort()
    await gone


def _resolve(future: asyncio.Future[None], _message: str) -> None:
    if not future.done():
        future.set_result(None)


def _judge(
    connecting: asyncio.Future[Any], observed: _Observed, *, agreed: bool, accounts: tuple[str, ...]
) -> tuple[Cause, str] | None:
    """Why the attempt failed, as cause and detail; None if it did not.

    ``agreed`` whether the version was agreed on in this session (not only by the probe).
    """
    reports = f" (the gateway reported: {'; '.join(observed.errors)})" if observed.errors else ""
    if observed.verdict is not None and observed.verdict is not CLOSED_BY_PEER:
        return observed.verdict, observed.errors[-1]
    missing = observed.missing()
    if connecting.done() and not connecting.cancelled() and connecting.exception() is None:
        return (SYNC_INCOMPLETE, _missing_text(missing) + reports) if missing else None
    if observed.verdict is CLOSED_BY_PEER:
        return CLOSED_BY_PEER, "the gateway closed the connection while the session was set up" + reports
    if connecting.done() and not isinstance(connecting.exception(), RequestError):
        return API_TIMEOUT, f"{connecting.exception()!r}{reports}"
    if observed.parts:
        return SYNC_INCOMPLETE, _missing_text(missing) + reports
    if not agreed:
        return API_TIMEOUT, "the probe was answered, the connection after it was not" + reports
    if observed.next_order_id is not None and not accounts:
        return NO_MANAGED_ACCOUNTS, "the next order id came, the list of accounts did not" + reports
    return SILENT_AFTER_VERSION, "neither the accounts nor the next order id came" + reports


def _missing_text(missing: list[str]) -> str:
    return f"not answered: {', '.join(missing)}"
