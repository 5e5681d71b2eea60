"""The four tiers of readiness: the gateway listens, its API answers, a connection is verified, IBKR is connected.

A tier that cannot be reached because the one before it failed is not queried.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway_watch.engine import Container
from gateway_watch.ibkr_link import LinkState
from gateway_watch.instance import Api, Instance
from host_service import gateway_login
from ib_connection.accounts import AccountKind, kind_of, masked_list
from ib_connection.causes import Cause
from ib_connection.probe import probe

POLL_SECONDS = 0.1
"""How often the file is read in which the running watch reports; an operator waits for it."""


@dataclass(frozen=True)
class Tier:
    """One tier: `name` is listening, answering, verified or connected; `ok` None if it was not queried."""

    name: str
    ok: bool | None
    text: str
    cause: str | None = None
    remedy: str | None = None


async def inspect(instance: Instance, container: Container | None, *, verified: bool) -> tuple[Tier, ...]:
    """All tiers as they are now; the third one, which connects with the instance's client id, only if `verified`."""
    listening = _listening(container)
    answering = await _answering(instance, healthy=listening.ok is True)
    if not verified:
        third = Tier("verified", None, "not asked (--tiers asks)")
    elif not answering.ok:
        third = Tier("verified", None, "not asked: the API does not answer")
    else:
        third = await _verified(instance, healthy=listening.ok is True)
    if not answering.ok:
        return listening, answering, third, Tier("connected", None, "not asked: the API does not answer")
    return listening, answering, third, connected(instance)


def connected(instance: Instance) -> Tier:
    """Whether the gateway is connected to IBKR, as the running watch's own API session reports it; no client id is
    used here."""
    name = "connected"
    login = gateway_login.read(instance.login_file)
    link = login.ibkr if login is not None else None
    if link is None:
        return Tier(name, None, "not known: no gateway-watch runs that reports it")
    since = f", since {link.since:%Y-%m-%d %H:%M:%S} UTC" if link.since else ""
    text = f"{link.text}{since}"
    if link.state == LinkState.CONNECTED:
        return Tier(name, True, text)
    if link.state == LinkState.LOST:
        remedy = (
            "The gateway reconnects by itself. See IBKR's system status; expected are 23:45 to 00:45 New York each "
            "night and Friday 23:00 to Saturday 03:00."
        )
        return Tier(name, False, text, "ibkr_link_lost", remedy)
    return Tier(name, None, text)


async def await_connected(
    instance: Instance,
    seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Tier:
    """`connected`, once it is or after `seconds`."""
    until = clock() + seconds
    while not (tier := connected(instance)).ok and clock() < until:
        await sleep(POLL_SECONDS)
    return tier


def _listening(container: Container | None) -> Tier:
    name = "listening"
    if container is None:
        return Tier(name, False, "there is no container", "no_such_container", "Start the unit that creates it.")
    if not container.running:
        text = f"the container is {container.status} (exit code {container.exit_code})"
        return Tier(name, False, text, "exited", "See why it ended: its last lines are in the unit's journal.")
    if container.health == "healthy":
        return Tier(name, True, "the container is healthy")
    text = f"the container is {container.health or 'without a health check'}"
    return Tier(name, False, text, container.health or "no_health_check", "See how far its login is.")


async def _answering(instance: Instance, *, healthy: bool) -> Tier:
    lines = []
    for api in instance.apis:
        result = await probe(api.host, api.port)
        cause = result.cause(container_healthy=healthy, container_port=None)
        if cause is not None:
            return _failed("answering", api, cause, result.detail)
        lines.append(f"{_place(api)} in {result.elapsed * 1000:.0f} ms, server version {result.server_version}")
    return Tier("answering", True, "; ".join(lines))


async def _verified(instance: Instance, *, healthy: bool) -> Tier:
    # Imported here: ib_insync costs 0.2 s and memory that the other commands do not need.
    from ib_connection.handshake import Target, handshake

    lines = []
    for api in instance.apis:
        kind = AccountKind(api.mode)
        expected = instance.expected_accounts
        if instance.trading_mode == "both":
            expected = tuple(account for account in expected if kind_of(account) is kind)
        target = Target(api.host, api.port, kind, expected, orders_needed=False, container_healthy=healthy)
        result = await handshake(target, instance.client_id)
        if result.cause is not None:
            return _failed("verified", api, result.cause, result.detail)
        lines.append(f"{_place(api)} accounts {masked_list(result.accounts)}")
    return Tier("verified", True, "; ".join(lines))


def _failed(name: str, api: Api, cause: Cause, detail: str) -> Tier:
    return Tier(name, False, f"{_place(api)} {cause.text} ({detail})", cause.id, cause.remedy)


def _place(api: Api) -> str:
    return f"{api.mode} {api.host}:{api.port}"
