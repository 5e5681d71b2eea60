"""The nightly backup: configured, its last run, and the age of the last complete one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from host_audit.host import Host, UnreadableError
from host_audit.point import LIVE, Point, must, should
from host_backup import settings
from host_backup.errors import BackupError
from host_service import backup_record as record

TIMER = "host-backup.timer"
CONFIGURED = should(
    "backup-configured",
    "Nightly backup",
    "configured, and its timer runs",
    "Set host_backup_recipients, and run site.yml --tags backup.",
    LIVE,
)
RUN = should(
    "backup-run",
    "Last run of the backup",
    "without a fault",
    "Remove the cause (journalctl -eu host-backup), then run backup.yml.",
    LIVE,
)
AGE = must(
    "backup-age",
    "Age of the last backup",
    "complete, and not older than host_backup_max_age_hours",
    "Run backup.yml; journalctl -eu host-backup shows why the nightly one failed.",
    LIVE,
)


def check(host: Host, now: datetime | None = None) -> Iterator[Point]:
    if not host.exists(record.CONFIG):
        yield CONFIGURED.failed("not configured")
        yield RUN.skipped("not configured")
        yield AGE.skipped("not configured")
        return
    try:
        state = host.run("systemctl", "is-active", TIMER, ok=(0, 3, 4)).strip()
        yield CONFIGURED.of([] if state == "active" else [f"{TIMER} is {state or 'missing'}"], f"{TIMER} is active")
    except UnreadableError as error:
        yield CONFIGURED.unknown(str(error))
    try:
        loaded = settings.load(host.path(record.CONFIG))
        last = record.read(host.path(record.RECORD))
    except (BackupError, OSError, ValueError) as error:
        yield RUN.unknown(str(error))
        yield AGE.unknown(str(error))
        return
    yield RUN.of([last.fault] if last is not None and last.fault else [], "no fault" if last else "none yet")
    yield _age(host, loaded, last, now or datetime.now(UTC))


def _age(host: Host, loaded: settings.Settings, last: record.Record | None, now: datetime) -> Point:
    configured = datetime.fromtimestamp(host.path(record.CONFIG).stat().st_mtime, UTC)
    hours = record.age(last, configured, now).total_seconds() / 3600
    good = last.good if last is not None else None
    text = record.line(last, now).removeprefix("last backup: ")
    if good is not None and not host.exists(good.file):
        return AGE.failed(f"{good.file} is missing")
    if hours > loaded.max_age_hours:
        since = "" if good is not None else f", configured {hours:.0f} h ago"
        return AGE.failed(f"{text}{since}; at most {loaded.max_age_hours} h are allowed")
    return AGE.passed(text)
