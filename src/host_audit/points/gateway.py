"""Each gateway: its login, its settings, and what live trading needs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from gateway_watch import status, tiers
from gateway_watch.engine import Engine, EngineError
from gateway_watch.instance import Instance, InstanceError
from host_audit.host import Host, UnreadableError
from host_audit.point import LIVE, Point, must, should
from host_audit.points.container import instances

INSTANCE = must("instance", "Gateway configuration", "valid", "Run site.yml, which writes it.", LIVE)
TIERS = must(
    "verified",
    "Connection",
    "listening, answering, verified and connected to IBKR",
    "ansible-playbook doctor.yml",
    LIVE,
)
BREAKER = must(
    "breaker", "Circuit breaker", "closed", "gateway-watch status names the cause and how to close it.", LIVE
)
EXPECTED = must(
    "expected-accounts",
    "Expected accounts",
    "set for live trading, so that no other account can be traded",
    "Set ib_gateway_expected_accounts.",
    LIVE,
)
READ_ONLY = must(
    "read-only-api",
    "Read-only API",
    "off where a position manager sends orders, on where none does",
    "Set ib_gateway_read_only_api.",
    LIVE,
)
VNC = must(
    "vnc-password",
    "Screen password",
    "8 characters (VNC uses no more) of at least three kinds, not a common one",
    "Set ib_gateway_vnc_password to 8 random letters and digits.",
    LIVE,
)
NOTIFY = should(
    "notifications",
    "Notifications of the gateway",
    "at least one target, no failed delivery",
    "Set ib_gateway_notify_urls; notify-test.yml tests it.",
    LIVE,
)
COMMON = ("password", "12345678", "changeme", "letmein1", "ibgateway", "interact", "trading1", "vncpass1")


def check(host: Host) -> Iterator[Point]:
    found = list(instances(host))
    if not found:
        yield INSTANCE.skipped("no gateway is deployed on this host")
    for instance in found:
        if isinstance(instance, InstanceError):
            yield INSTANCE.failed(str(instance))
            continue
        yield INSTANCE.passed(instance.trading_mode, instance.name)
        yield from _connection(instance)
        yield expected(instance)
        yield read_only(host, instance)
        yield _vnc(host, instance)
        yield _notifications(host, instance)


def _connection(instance: Instance) -> Iterator[Point]:
    try:
        collected = asyncio.run(status.collect(instance, Engine(), verified=True))
    except (EngineError, OSError) as error:
        yield TIERS.unknown(str(error), instance.name)
        return
    failed = [f"{tier.name}: {tier.text}" for tier in collected.tiers if tier.ok is not True]
    yield TIERS.of(failed[:1], _accounts(collected.tiers), instance.name)
    breaker = collected.breaker
    if breaker is None:
        yield BREAKER.unknown("its file cannot be read", instance.name)
    else:
        yield BREAKER.of([breaker.opening.text] if breaker.opening else [], "closed", instance.name)


def _accounts(found: tuple[tiers.Tier, ...]) -> str:
    return next((tier.text for tier in found if tier.name == "verified"), "")


def expected(instance: Instance) -> Point:
    if instance.trading_mode == "paper":
        return EXPECTED.skipped("paper trading", instance.name)
    return EXPECTED.of(
        [] if instance.expected_accounts else ["none"], str(len(instance.expected_accounts)), instance.name
    )


def read_only(host: Host, instance: Instance) -> Point:
    from host_audit.points.manager import sending_through

    senders = sending_through(host, instance)
    text = "on" if instance.read_only_api else "off"
    if senders and instance.read_only_api:
        return READ_ONLY.failed(f"on, but {', '.join(senders)} sends orders", instance.name)
    if not senders and not instance.read_only_api:
        return READ_ONLY.failed("off, but no position manager sends orders through it", instance.name)
    return READ_ONLY.passed(f"{text}; senders: {', '.join(senders) or 'none'}", instance.name)


def _vnc(host: Host, instance: Instance) -> Point:
    try:
        password = host.read(instance.secrets_dir / "vnc_password").strip()
    except UnreadableError as error:
        return VNC.unknown(str(error), instance.name)
    return VNC.of(weaknesses(password), "strong", instance.name)


def weaknesses(password: str) -> Iterator[str]:
    """What is wrong with a VNC password, without showing it."""
    if len(password) < 8:
        yield f"{len(password)} characters"
    kinds = sum(any(kind(letter) for letter in password) for kind in (str.islower, str.isupper, str.isdigit))
    kinds += any(not letter.isalnum() for letter in password)
    if kinds < 3 and len(set(password)) < 7:
        yield "few different characters"
    if password.lower() in COMMON:
        yield "a common password"


def _notifications(host: Host, instance: Instance) -> Point:
    from gateway_watch.doctor.collect import outbox_of

    outbox = outbox_of(instance, {})
    if outbox is None:
        return NOTIFY.unknown("its files cannot be read", instance.name)
    faults = list(outbox.faults)
    if not outbox.targets and not faults:
        faults.append("no target is configured")
    if outbox.failed:
        faults.append(f"{outbox.failed} deliveries failed")
    return NOTIFY.of(faults, f"{outbox.targets} targets", instance.name)
