"""The checks of the doctor, in the order in which a start depends on them. Pure: from facts to verdicts."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from gateway_watch.clock_error import LIMIT_SECONDS
from gateway_watch.doctor.facts import Facts, FileFacts, Server
from gateway_watch.login import LoginState
from gateway_watch.status import Status
from gateway_watch.tiers import Tier

GIGABYTE = 1 << 30
LEAST_FREE = 1 * GIGABYTE
"""Free space below which the engine or the journal soon fails to write."""

SCARCE_FREE = 3 * GIGABYTE
LEAST_INODES = 10_000
LEAST_MEMORY = 150 << 20
"""Available memory (bytes) beside a running gateway below which the kernel may end it."""

SCARCE_OFFSET = 1.0


class Verdict(Enum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """One check. `found` is one line; `remedy` is empty if there is nothing to do."""

    id: str
    title: str
    verdict: Verdict
    found: str
    remedy: str = ""


_Rule = Callable[[Facts], Check]


def examine(facts: Facts) -> tuple[Check, ...]:
    """Every check, in order."""
    return tuple(rule(facts) for rule in _RULES)


def first_failure(checks: tuple[Check, ...]) -> Check | None:
    """The failed check that a start meets first: those after it are often its consequence."""
    return next((check for check in checks if check.verdict is Verdict.FAILED), None)


def _configuration(facts: Facts) -> Check:
    if facts.instance is None:
        return Check("configuration", "Configuration", Verdict.FAILED, facts.instance_error or "not readable")
    instance = facts.instance
    found = f"{instance.name}: {instance.trading_mode}, controller {instance.login_controller}"
    return Check("configuration", "Configuration", Verdict.OK, found)


def _credentials(facts: Facts) -> Check:
    check, credentials = _named("credentials", "Credentials"), facts.credentials
    if credentials is None:
        return check(Verdict.UNKNOWN, _why(facts))
    deploy = "Set ib_gateway_userid and ib_gateway_password in the vault, and run site.yml."
    files = (credentials.user_file, *credentials.password_files)
    if not credentials.password_files:
        return check(Verdict.FAILED, f"no password file in {credentials.user_file.path.parent}", deploy)
    for file in files:
        if file.error:
            return check(Verdict.FAILED, f"{file.path}: {file.error}", deploy)
        if file.empty:
            return check(Verdict.FAILED, f"{file.path} is empty", deploy)
    if not credentials.named:
        return check(Verdict.FAILED, f"{credentials.user_file.path} holds no user name", deploy)
    if open_file := next((file for file in files if _readable_by_others(file)), None):
        remedy = f"Run site.yml, which restores the mode; change the password if others use this host: {open_file.path}"
        return check(Verdict.WARNING, f"{open_file.path} has mode {open_file.mode & 0o777:04o}", remedy)
    return check(Verdict.OK, f"{len(files)} files, readable by root and the container only")


def _readable_by_others(file: FileFacts) -> bool:
    return bool(file.mode & (stat.S_IRWXO | stat.S_IRWXG))


def _disk(facts: Facts) -> Check:
    check = _named("disk", "Disk")
    if not facts.space:
        return check(Verdict.UNKNOWN, _why(facts))
    least = min(facts.space, key=lambda space: space.free)
    found = f"{least.path}: {least.free / GIGABYTE:.1f} GB of {least.total / GIGABYTE:.1f} GB free"
    remedy = "Free space: docker image prune, journalctl --vacuum-size=200M, apt-get clean; or enlarge the volume."
    starved = next((space for space in facts.space if 0 <= space.free_inodes < LEAST_INODES), None)
    if least.free < LEAST_FREE:
        return check(Verdict.FAILED, found, remedy)
    if starved is not None:
        return check(Verdict.FAILED, f"{starved.path}: {starved.free_inodes} inodes free", remedy)
    return check(Verdict.WARNING, found, remedy) if least.free < SCARCE_FREE else check(Verdict.OK, found)


def _memory(facts: Facts) -> Check:
    check, available = _named("memory", "Memory"), facts.memory_available
    if available is None:
        return check(Verdict.UNKNOWN, _why(facts))
    found = f"{available >> 20} MB available"
    status = facts.status
    container = status.container if status is not None else None
    if container is not None and container.oom_killed:
        remedy = "Raise ib_gateway_memory_mb, or lower ib_gateway_java_heap_mb, and run site.yml."
        return check(Verdict.FAILED, "the kernel ended the container (out of memory)", remedy)
    if available < LEAST_MEMORY:
        return check(Verdict.FAILED, found, "Use a larger host, or stop other programs: the gateway needs 1.5 GB.")
    return check(Verdict.OK, found)


def _clock(facts: Facts) -> Check:
    check, clock = _named("clock", "Clock"), facts.clock
    if clock is None:
        return check(Verdict.UNKNOWN, _why(facts))
    remedy = "See `chronyc tracking` and `timedatectl`; time synchronisation needs UDP port 123 outbound."
    if clock.offset is not None:
        found = f"{clock.offset:+.3f} s off ({clock.source})"
        if abs(clock.offset) > LIMIT_SECONDS:
            return check(Verdict.FAILED, found, remedy)
        if abs(clock.offset) > SCARCE_OFFSET or clock.synchronised is False:
            return check(Verdict.WARNING, found if clock.synchronised else f"{found}, not synchronised", remedy)
        return check(Verdict.OK, found)
    if clock.synchronised is None:
        return check(Verdict.UNKNOWN, f"not measured ({clock.source})")
    if not clock.synchronised:
        return check(Verdict.WARNING, f"not synchronised ({clock.source})", remedy)
    return check(Verdict.OK, f"synchronised ({clock.source})")


def _engine(facts: Facts) -> Check:
    check, status = _named("engine", "Docker"), facts.status
    if status is None:
        return check(Verdict.UNKNOWN, _why(facts))
    if status.engine is None:
        return check(Verdict.FAILED, "no Docker engine answers", "systemctl status docker; journalctl -eu docker")
    if facts.live_restore is False:
        remedy = "Run site.yml, which sets live-restore; until then a restart of Docker ends the gateway's session."
        return check(Verdict.WARNING, f"{status.engine.server}, live-restore is off", remedy)
    return check(Verdict.OK, f"{status.engine.server}{', live-restore is on' if facts.live_restore else ''}")


def _image(facts: Facts) -> Check:
    check, image = _named("image", "Image"), facts.image
    if image is None:
        return check(Verdict.UNKNOWN, _why(facts))
    if not image.present:
        return check(Verdict.FAILED, f"{image.reference} is not on this host", "Run site.yml, which pulls it.")
    found = f"{image.reference} ({image.id.removeprefix('sha256:')[:12]})"
    support = facts.status.support if facts.status is not None else None
    if support is not None:
        over = facts.status is not None and facts.status.image_ended
        return check(Verdict.FAILED if over else Verdict.WARNING, f"{found}: {support.text}", support.remedy)
    return check(Verdict.OK, found)


def _settings(facts: Facts) -> Check:
    check, settings = _named("settings", "Settings dir"), facts.settings
    if settings is None:
        return check(Verdict.UNKNOWN, _why(facts))
    remedy = "Run site.yml, which creates it with the right owner."
    if settings.error:
        return check(Verdict.FAILED, f"{settings.path}: {settings.error}", remedy)
    if settings.uid != facts.settings_owner or not settings.mode & stat.S_IWUSR:
        found = f"{settings.path} belongs to uid {settings.uid} with mode {settings.mode & 0o777:04o}"
        return check(Verdict.FAILED, f"{found}; the gateway runs as uid {facts.settings_owner}", remedy)
    return check(Verdict.OK, str(settings.path))


def _network(facts: Facts) -> Check:
    check, servers = _named("network", "Network"), facts.servers
    if servers is None:
        return check(Verdict.SKIPPED, "not tested (--network tests it; it connects to IBKR's servers)")
    if not servers:
        return check(Verdict.UNKNOWN, "no server to test")
    for judge in (_names, _connections, _tls):
        if (failed := judge(servers)) is not None:
            return check(*failed)
    return check(Verdict.OK, ", ".join(f"{server.host}:{server.port}" for server in servers))


def _names(servers: tuple[Server, ...]) -> tuple[Verdict, str, str] | None:
    missing = [server.host for server in servers if not server.addresses]
    if not missing:
        return None
    verdict = Verdict.FAILED if len(missing) == len(servers) else Verdict.WARNING
    return verdict, f"no address for {', '.join(dict.fromkeys(missing))}", "Check the host's DNS: resolvectl status"


def _connections(servers: tuple[Server, ...]) -> tuple[Verdict, str, str] | None:
    shut = [server for server in servers if server.connect_error]
    if not shut:
        return None
    verdict = Verdict.FAILED if len(shut) == len(servers) else Verdict.WARNING
    found = "; ".join(f"{server.host}:{server.port}: {server.connect_error}" for server in shut)
    return verdict, found, "Allow outbound TCP to ports 4000 and 4001 (firewall, security group, route, proxy)."


def _tls(servers: tuple[Server, ...]) -> tuple[Verdict, str, str] | None:
    failed = [server for server in servers if server.tls_error]
    if not failed:
        return None
    found = "; ".join(f"{server.host}:{server.port}: {server.tls_error}" for server in failed)
    return Verdict.WARNING, found, "A proxy or firewall may replace certificates on the way; check the clock as well."


def _unit(facts: Facts) -> Check:
    check, status = _named("unit", "Unit"), facts.status
    if status is None:
        return check(Verdict.UNKNOWN, _why(facts))
    unit = status.unit
    if unit is None:
        return check(Verdict.FAILED, f"systemd has no unit {status.unit_name}", "Run site.yml, which installs it.")
    found = f"{unit.active} ({unit.sub}){': ' if unit.status_text else ''}{unit.status_text}"
    if unit.cause is not None:
        return check(Verdict.FAILED, f"{unit.active} ({unit.sub}): {unit.cause.text}", unit.cause.remedy)
    if unit.failed:
        return check(Verdict.FAILED, f"{found}, result {unit.result}", f"journalctl -eu {unit.name}")
    if unit.active == "inactive":
        return check(Verdict.FAILED, found, f"systemctl start {unit.name}")
    return check(Verdict.OK if unit.active == "active" else Verdict.WARNING, found)


def _breaker(facts: Facts) -> Check:
    check, status = _named("breaker", "Breaker"), facts.status
    if status is None:
        return check(Verdict.UNKNOWN, _why(facts))
    if status.breaker is None:
        return check(Verdict.UNKNOWN, "its file cannot be read")
    if (opening := status.breaker.opening) is not None:
        return check(Verdict.FAILED, f"open since {opening.at:%Y-%m-%d %H:%M} UTC: {opening.text}", opening.remedy)
    if status.hold is not None:
        return check(Verdict.WARNING, f"closed; {status.hold}")
    return check(Verdict.OK, f"closed, refused logins in a row: {status.breaker.bad_logins}")


def _container(facts: Facts) -> Check:
    check, status = _named("container", "Container"), facts.status
    if status is None or status.engine is None:
        return check(Verdict.UNKNOWN, _why(facts))
    container = status.container
    if container is None:
        return check(Verdict.FAILED, "there is none", f"It is created by the unit: systemctl start {status.unit_name}")
    if not container.running:
        found = (
            f"{container.status} with exit code {container.exit_code}{' ' if container.error else ''}{container.error}"
        )
        return check(Verdict.FAILED, found, f"Its last lines: journalctl -eu {status.unit_name}")
    return check(Verdict.OK, f"{container.status}{', ' if container.health else ''}{container.health or ''}")


def _login(facts: Facts) -> Check:
    check, status = _named("login", "Login"), facts.status
    login = status.login if status is not None else None
    if login is None:
        return check(Verdict.UNKNOWN, "no running container has a log of it")
    found = f"{login.state}: {login.text}"
    if login.cause is not None:
        return check(Verdict.FAILED, f"{found} - {login.cause.text}", login.cause.remedy)
    if login.state is LoginState.AWAITING_2FA and status is not None and status.totp:
        remedy = f"Wait: the code of the authenticator app is entered. If it is not: journalctl -eu {status.unit_name}"
        return check(Verdict.WARNING, found, remedy)
    if login.state is LoginState.AWAITING_2FA:
        remedy = f"Approve the login in IBKR Mobile ({login.twofa_seconds_left} s left)."
        return check(Verdict.FAILED, found, remedy)
    if login.warnings:
        return check(Verdict.WARNING, f"{found} - {login.warnings[0].text}", login.warnings[0].remedy)
    return check(Verdict.OK if login.state in (LoginState.LOGGED_IN, LoginState.READY) else Verdict.WARNING, found)


def _tier(name: str, title: str) -> _Rule:
    def rule(facts: Facts) -> Check:
        check, status = _named(name, title), facts.status
        tier = _of(status, name)
        if tier is None:
            return check(Verdict.UNKNOWN, _why(facts))
        if tier.ok is None:
            return check(Verdict.SKIPPED, tier.text)
        return check(Verdict.OK, tier.text) if tier.ok else check(Verdict.FAILED, tier.text, tier.remedy or "")

    return rule


def _accounts(facts: Facts) -> Check:
    check, instance = _named("accounts", "Accounts"), facts.instance
    tier = _of(facts.status, "verified")
    if instance is None or tier is None or tier.ok is None:
        return check(Verdict.SKIPPED, "known once a connection is verified")
    if tier.cause in ("wrong_account_kind", "unexpected_account", "no_managed_accounts"):
        return check(Verdict.FAILED, tier.text, tier.remedy or "")
    if not tier.ok:
        return check(Verdict.SKIPPED, "known once a connection is verified")
    if instance.trading_mode != "paper" and not instance.expected_accounts:
        remedy = "Set ib_gateway_expected_accounts, so that no other account can be traded by mistake."
        return check(Verdict.WARNING, f"{instance.trading_mode}, and any account is accepted", remedy)
    return check(Verdict.OK, f"of the kind that {instance.trading_mode} needs")


def _session(facts: Facts) -> Check:
    check, status = _named("session", "Other session"), facts.status
    if status is None or status.login is None:
        return check(Verdict.UNKNOWN, "no running container has a log of it")
    cause = status.login.cause
    if cause is not None and "session" in cause.id:
        return check(Verdict.FAILED, cause.text, cause.remedy)
    if status.hold is not None and "logged in elsewhere" in status.hold:
        return check(Verdict.WARNING, status.hold)
    return check(Verdict.OK, "none was reported")


def _notifications(facts: Facts) -> Check:
    check, outbox = _named("notifications", "Notifications"), facts.outbox
    if outbox is None:
        return check(Verdict.UNKNOWN, _why(facts))
    if outbox.faults:
        return check(Verdict.WARNING, outbox.faults[0], "Correct ib_gateway_notify_urls and run site.yml.")
    if outbox.targets == 0:
        return check(Verdict.SKIPPED, "no target is configured (ib_gateway_notify_urls)")
    found = f"{outbox.targets} targets, {outbox.queued} messages waiting, {outbox.failed} failed"
    if outbox.queued or outbox.failed:
        return check(Verdict.WARNING, found, "ansible-playbook notify-test.yml shows which target fails, and why.")
    return check(Verdict.OK, found)


def _of(status: Status | None, name: str) -> Tier | None:
    return next((tier for tier in status.tiers if tier.name == name), None) if status is not None else None


def _named(id_: str, title: str) -> Callable[..., Check]:
    def check(verdict: Verdict, found: str, remedy: str = "") -> Check:
        return Check(id_, title, verdict, found, remedy)

    return check


def _why(facts: Facts) -> str:
    if facts.instance is None:
        return "needs a valid configuration"
    return facts.errors[0] if facts.errors else "not known"


_RULES: tuple[_Rule, ...] = (
    _configuration,
    _credentials,
    _disk,
    _memory,
    _clock,
    _engine,
    _image,
    _settings,
    _network,
    _breaker,
    _unit,
    _container,
    _session,
    _login,
    _tier("listening", "Listening"),
    _tier("answering", "Answering"),
    _tier("verified", "Verified"),
    _accounts,
    _tier("connected", "Connected"),
    _notifications,
)
