"""When to try the handshake again, with which client id, and when to stop.

``after`` decides (pure); ``attempts`` acts on it. Between two attempts the port is probed, which costs no client id,
so that the next attempt starts as soon as the gateway becomes ready instead of when the delay is over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from ib_connection.causes import (
    CLIENT_ID_IN_USE,
    CLOSED_BY_PEER,
    NATIVE_PORT_PUBLISHED,
    REFUSED,
    SILENT_BEFORE_VERSION,
    UNREACHABLE,
    Cause,
)
from ib_connection.handshake import HandshakeResult, Target, handshake
from ib_connection.probe import ProbeResult, probe

PROBE_SHOWS = frozenset({REFUSED, UNREACHABLE, CLOSED_BY_PEER, SILENT_BEFORE_VERSION, NATIVE_PORT_PUBLISHED})
"""Causes whose end a probe can see. After any other one the probe was answered already."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long.

    ``retries`` attempts in all, the first included; ``delay`` seconds from the end of an attempt to the start of the
    next at the latest; ``timeout`` seconds one attempt may take; ``probe_interval`` seconds between probes during
    the delay, ``probe_timeout`` seconds after which a silent port counts as such.

    Raises ValueError, naming the field, for values that are no valid policy.
    """

    retries: int = 5
    delay: float = 5.0
    timeout: float = 10.0
    probe_interval: float = 1.0
    probe_timeout: float = 1.5

    def __post_init__(self) -> None:
        if self.retries < 1:
            raise ValueError(f"retries is {self.retries}; it counts the first attempt too, so it must be 1 or more")
        if self.delay < 0:
            raise ValueError(f"delay is {self.delay:g}; it must be 0 seconds or more")
        for name in ("timeout", "probe_interval", "probe_timeout"):
            value: float = getattr(self, name)
            if value <= 0:
                raise ValueError(f"{name} is {value:g}; it must be more than 0 seconds")


@dataclass(frozen=True, slots=True)
class Next:
    """The attempt to come: its ``number`` from 1, its ``client_id``, when it starts at the latest (``not_after``,
    a reading of the driver's clock in seconds), and whether ``probing`` can show that it may start before."""

    number: int
    client_id: int
    not_after: float
    probing: bool


@dataclass(frozen=True, slots=True)
class Attempt:
    """A completed attempt: its number, its result, and the next one (None if there is none)."""

    number: int
    result: HandshakeResult
    next: Next | None


def first(client_id: int, now: float) -> Next:
    """The first attempt: at once, with the client id as it is configured."""
    return Next(number=1, client_id=client_id, not_after=now, probing=False)


def after(ended: Next, result: HandshakeResult, policy: RetryPolicy, now: float) -> Next | None:
    """What follows an attempt that ended at ``now``: another one, or None (success, no attempt left, or waiting
    cannot help). A client id in use is answered with the next id, at once."""
    cause: Cause | None = result.cause
    if cause is None or not cause.waiting_helps or ended.number >= policy.retries:
        return None
    if cause is CLIENT_ID_IN_USE:
        return Next(ended.number + 1, ended.client_id + 1, now, probing=False)
    return Next(ended.number + 1, ended.client_id, now + policy.delay, probing=cause in PROBE_SHOWS)


async def attempts(
    target: Target,
    policy: RetryPolicy,
    start: Next,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    attempt: Callable[[int], Awaitable[HandshakeResult]] | None = None,
    probe_port: Callable[[], Awaitable[ProbeResult]] | None = None,
) -> AsyncIterator[Attempt]:
    """Run attempts until one succeeds or none is left, and yield each as it ends.

    ``start`` is ``first(…)`` or the ``next`` of an earlier attempt, whose delay is then retained. ``attempt`` (with
    a client id) and ``probe_port`` default to ``handshake`` and ``probe`` of the target; a caller that retains the
    connection passes its own.
    """
    run_attempt = attempt or partial(
        handshake, target, timeout=policy.timeout, probe_timeout=policy.probe_timeout, clock=clock
    )
    probe_target = probe_port or partial(probe, target.host, target.port, timeout=policy.probe_timeout, clock=clock)
    coming: Next | None = start
    while coming is not None:
        await _wait(coming, policy, clock, sleep, probe_target)
        result = await run_attempt(coming.client_id)
        ended = coming
        coming = after(ended, result, policy, clock())
        yield Attempt(ended.number, result, coming)


async def _wait(
    coming: Next,
    policy: RetryPolicy,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
    probe_port: Callable[[], Awaitable[ProbeResult]],
) -> None:
    """Wait until the attempt may start. A clock that was set back (a host that was rebooted between two calls)
    does not extend the wait beyond the delay."""
    deadline = min(coming.not_after, clock() + policy.delay)
    while (left := deadline - clock()) > 0:
        await sleep(min(policy.probe_interval, left) if coming.probing else left)
        if coming.probing and clock() < deadline and (await probe_port()).answered:
            return
