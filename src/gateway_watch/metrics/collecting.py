"""The samples of one scrape: from what the supervisor reports, and from the files that it has written.

All of it runs in the server's thread. A source that cannot be read has no samples; the others remain.
"""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time
from pathlib import Path

from prometheus_client.core import Metric

from gateway_watch import counter_file, gatekeeper, gateway_versions, soft_restart
from gateway_watch.breaker import BreakerFile, BreakerFileError
from gateway_watch.ibkr_link import LinkState
from gateway_watch.instance import Instance
from gateway_watch.login import LoginState
from gateway_watch.login_gate import HoldKind
from gateway_watch.metrics import specs
from gateway_watch.metrics.recorder import View
from gateway_watch.run_files import remembered_session
from gateway_watch.session_calendar import maintenance_end
from gateway_watch.signatures import load
from host_service import backup_record, process_metrics
from host_service.metric_families import Samples
from host_service.release import release
from notifications import outbox


@dataclass(frozen=True)
class Source:
    """What the samples of one gateway come from. ``notified``: the messages of this process, by result; ``backups`` and
    ``backup_record``: the configuration of the host's backups, and the record of the last one."""

    instance: Instance
    view: Callable[[], View]
    notified: Callable[[], Mapping[str, int]]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    backups: Path = backup_record.CONFIG
    backup_record: Path = backup_record.RECORD


def collect(source: Source) -> list[Metric]:
    """All samples of one scrape."""
    samples, now = Samples(specs.SPECS), source.now()
    instance, view = source.instance, source.view()
    _add_info(samples, instance)
    _add_run(samples, view)
    _add_counters(samples, instance, view.counts)
    _add_support(samples, instance)
    with _if_readable():
        _add_breaker(samples, instance)
    with _if_readable():
        _add_login(samples, instance, view)
    with _if_readable():
        _add_calendar(samples, instance, now)
    with _if_readable():
        _add_notifications(samples, source)
    with _if_readable():
        _add_backup(samples, source)
    with _if_readable():
        process_metrics.add_process(samples)
    return list(samples.families())


@contextmanager
def _if_readable() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, sqlite3.Error):
        # Its owner reports it, and the sample is missing.
        return


def _add_info(samples: Samples, instance: Instance) -> None:
    samples.set(
        "gateway_watch_info",
        1,
        version=release(),
        python=platform.python_version(),
        trading_mode=instance.trading_mode,
        image=instance.image,
        login_controller=instance.login_controller,
    )


def _add_run(samples: Samples, view: View) -> None:
    link = view.login.ibkr.state if view.login is not None and view.login.ibkr is not None else LinkState.UNKNOWN
    tiers = {
        "listening": view.listening,
        "answering": view.answering,
        "verified": view.verified,
        "connected": {LinkState.CONNECTED: True, LinkState.LOST: False}.get(LinkState(link)),
    }
    samples.set("gateway_watch_ready", float(view.ready))
    for tier, reached in tiers.items():
        samples.set("gateway_watch_tier_ok", None if reached is None else float(reached), tier=tier)
    for mode, seconds in view.probe_seconds.items():
        samples.set("gateway_watch_probe_duration_seconds", seconds, mode=mode)
    samples.set("gateway_watch_probe_failures", view.probe_failures)
    samples.set("gateway_watch_start_duration_seconds", view.start_seconds)
    samples.choose("gateway_watch_ibkr_link", "state", link)
    samples.set("gateway_watch_clock_error_seconds", None if view.clock is None else view.clock.offset)


def _add_login(samples: Samples, instance: Instance, view: View) -> None:
    login, hold = view.login, gatekeeper.read_gate(gatekeeper.gate_file(instance)).hold
    held = hold is not None and hold.kind is HoldKind.APPROVAL
    needed = login is not None and login.needs_person
    asks = login is not None and login.state == LoginState.AWAITING_2FA and needed
    samples.choose("gateway_watch_login_state", "state", None if login is None else login.state)
    samples.set("gateway_watch_login_state_since_timestamp_seconds", _unix(view.since))
    samples.choose("gateway_watch_login_hold", "kind", None if hold is None else hold.kind.value)
    samples.set("gateway_watch_approval_awaited", float(asks or held))
    samples.set("gateway_watch_needs_person", float(needed or held))


def _add_counters(samples: Samples, instance: Instance, counts: Mapping[str, Mapping[str, int]]) -> None:
    """Each known label from 0 on: an increase is only seen from a sample that was there before."""
    causes = tuple(load(instance.login_controller).causes)
    labels = {
        specs.LOGIN_REFUSALS: ("cause", causes),
        specs.RESTARTS: ("reason", (*specs.REASONS, *causes)),
        specs.LOGINS: ("session", specs.SESSIONS),
        specs.SOFT_RESTARTS: ("outcome", specs.OUTCOMES),
    }
    stored = {**counts, specs.SOFT_RESTARTS: _soft_restarts(instance)}
    for name, counted in stored.items():
        label, known = labels.get(name, ("", ()))
        for value in (*known, *(set(counted) - set(known))) if label else ("",):
            samples.set(name, counted.get(value, 0), **({label: value} if label else {}))


def _soft_restarts(instance: Instance) -> Mapping[str, int]:
    file = counter_file.read(soft_restart.outcomes_file(instance.state_dir))
    return file.counts.get(soft_restart.OUTCOMES, {})


def _add_breaker(samples: Samples, instance: Instance) -> None:
    try:
        breaker = BreakerFile(instance.breaker_file, instance.name).read()
    except BreakerFileError:
        # No login is tried then either.
        samples.set("gateway_watch_breaker_open", 1)
        return
    samples.set("gateway_watch_breaker_open", float(breaker.opening is not None))
    samples.set("gateway_watch_breaker_refusals", max(breaker.refusals.values(), default=0))


def _add_calendar(samples: Samples, instance: Instance, now: datetime) -> None:
    calendar, session = instance.calendar, remembered_session(instance)
    request = soft_restart.read_request(soft_restart.request_file(instance.state_dir))
    requested = request is not None and request.in_progress(now)
    expected = maintenance_end(now) is not None or calendar.in_restart_window(now) or requested
    samples.set("gateway_watch_expected_outage", float(expected))
    for kind in specs.PLANNED:
        moment = calendar.next(kind, now)
        samples.set("gateway_watch_next_restart_timestamp_seconds", _unix(moment), kind=kind.value)
    approval = calendar.next_full_login(now) if session.twofa else None
    samples.set("gateway_watch_next_approval_timestamp_seconds", _unix(approval))
    samples.set("gateway_watch_session_end_timestamp_seconds", _unix(calendar.next_session_end(now)))
    samples.set("gateway_watch_session_start_timestamp_seconds", _unix(session.since))
    samples.set("gateway_watch_last_ready_timestamp_seconds", _unix(session.last_restart))


def _add_support(samples: Samples, instance: Instance) -> None:
    ends = gateway_versions.desupported_on(instance.image)
    moment = None if ends is None else datetime.combine(ends, time(), UTC).timestamp()
    samples.set("gateway_watch_image_support_end_timestamp_seconds", moment)


def _add_notifications(samples: Samples, source: Source) -> None:
    for result, count in source.notified().items():
        samples.set("gateway_watch_notifications_total", count, result=result)
    samples.set("gateway_watch_notifications_pending", outbox.pending(source.instance.outbox_file))


def _add_backup(samples: Samples, source: Source) -> None:
    samples.set("host_backup_configured", float(source.backups.exists()))
    record = backup_record.read(source.backup_record)
    samples.set("host_backup_last_attempt_failed", float(record is not None and bool(record.fault)))
    good = record.good if record is not None else None
    if good is not None:
        samples.set("host_backup_last_success_timestamp_seconds", _unix(good.at))
        samples.set("host_backup_size_bytes", good.size)


def _unix(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
