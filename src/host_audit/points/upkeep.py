"""Updates, time, space and logs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from gateway_watch.clock_error import COMMAND, LIMIT_SECONDS, parse_tracking
from gateway_watch.doctor.checks import LEAST_FREE, SCARCE_FREE
from host_audit.host import Host, UnreadableError
from host_audit.point import LIVE, Point, must, should

GIGABYTE = 1 << 30
UPDATES = should(
    "security-updates",
    "Security updates",
    "none is pending for longer than a week",
    "apt-get update && apt-get upgrade, or wait for the weekend's run: systemctl list-timers apt-daily-upgrade.timer",
)
AUTOMATIC = must(
    "automatic-updates", "Automatic updates", "unattended-upgrades is enabled", "Run site.yml --tags host."
)
REBOOT = should(
    "reboot",
    "Reboot pending",
    "none is pending",
    "Wait for the weekend's reboot, or stop the gateway and reboot the host outside trading hours.",
)
CLOCK = must(
    "clock",
    "Time synchronisation",
    f"chrony synchronises the clock, which is at most {LIMIT_SECONDS:g} s off",
    "chronyc tracking; UDP port 123 must be open outbound.",
    LIVE,
)
DISK = must(
    "disk",
    "Disk space",
    "at least 1 GB and 10,000 inodes are free (3 GB recommended)",
    "Free space or enlarge it.",
    LIVE,
)
JOURNAL = should("journal-limit", "Size of the journal", "SystemMaxUse is set", "Run site.yml --tags host.")
WEEK = timedelta(days=7)


def check(host: Host, now: datetime | None = None) -> Iterator[Point]:
    container = _in_container(host)
    yield _updates(host, now or datetime.now(UTC))
    try:
        enabled = host.run("systemctl", "is-enabled", "unattended-upgrades.service", ok=(0, 1)).strip()
        yield AUTOMATIC.of(
            [] if enabled == "enabled" else [f"unattended-upgrades.service is {enabled or 'missing'}"], "enabled"
        )
    except UnreadableError as error:
        yield AUTOMATIC.failed(str(error))
    pending = host.exists("/run/reboot-required") or host.exists("/var/run/reboot-required")
    yield REBOOT.of(["/run/reboot-required exists"] if pending else [], "none")
    yield CLOCK.skipped("a container has the clock of its machine") if container else _clock(host)
    yield _disk(host)
    texts = [host.read(path) for path in host.matching("/etc/systemd", "journald.conf*") if host.path(path).is_file()]
    texts += [host.read(path) for path in host.matching("/etc/systemd/journald.conf.d", "*.conf")]
    limit = re.search(r"^SystemMaxUse=(\S+)", "\n".join(texts), re.MULTILINE)
    yield JOURNAL.of([] if limit else ["SystemMaxUse is not set"], f"SystemMaxUse={limit[1]}" if limit else "")


def _in_container(host: Host) -> bool:
    try:
        return host.run("systemd-detect-virt", "--container", ok=(0, 1)).strip() != "none"
    except UnreadableError:
        return False


def _updates(host: Host, now: datetime) -> Point:
    try:
        simulated = host.run("apt-get", "--simulate", "--quiet", "upgrade")
    except UnreadableError as error:
        return UPDATES.unknown(str(error))
    pending = [
        line.split()[1] for line in simulated.splitlines() if line.startswith("Inst ") and "security" in line.lower()
    ]
    stamp = host.path("/var/lib/apt/periodic/update-success-stamp")
    lists = stamp if stamp.exists() else host.path("/var/lib/apt/lists")
    age = now - datetime.fromtimestamp(lists.stat().st_mtime, UTC) if lists.exists() else None
    if age is None or age > WEEK:
        days = "never" if age is None else f"{age.days} days ago"
        return UPDATES.failed(f"the package lists were updated {days}, so pending updates are not known")
    return UPDATES.of([f"{len(pending)}: {', '.join(pending[:5])}"] if pending else [], "none")


def _clock(host: Host) -> Point:
    try:
        clock = parse_tracking(host.run(*COMMAND))
    except UnreadableError as error:
        return CLOCK.failed(str(error))
    faults = [clock.reason] if clock.reason else []
    if clock.too_large:
        faults.append(f"{clock.offset:+.3f} s off")
    return CLOCK.of(faults, f"{clock.offset:+.6f} s off" if clock.offset is not None else "")


def _disk(host: Host) -> Point:
    least = None
    for path in ("/", "/var/lib/docker", "/var/lib/ib-gateway"):
        if not host.exists(path):
            continue
        found = os.statvfs(host.path(path))
        free = found.f_bavail * found.f_frsize
        if found.f_files and found.f_favail < 10_000:
            return DISK.failed(f"{path}: {found.f_favail} inodes free")
        least = free if least is None else min(least, free)
    if least is None:
        return DISK.unknown("no file system was found")
    text = f"{least / GIGABYTE:.1f} GB free"
    if least < LEAST_FREE:
        return DISK.failed(text)
    return DISK.passed(text if least >= SCARCE_FREE else f"{text}; 3 GB are recommended")
