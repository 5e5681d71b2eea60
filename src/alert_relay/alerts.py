"""Alertmanager's webhook payload (version 4) as messages. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from notifications.message import Message, Severity

SEVERITIES = {"critical": Severity.ALERT, "warning": Severity.WARNING}
"""Of the label ``severity``; anything else is INFO."""

MOST_ALERTS = 200
"""Of one request; a host has fewer rules."""


class PayloadError(ValueError):
    """The request is no payload of Alertmanager; the message is one sentence."""


@dataclass(frozen=True)
class Alert:
    """One alert: ``since`` is when it started to fire, ``ended`` when it was resolved, None while it fires."""

    name: str
    fingerprint: str
    severity: Severity
    host: str
    summary: str
    description: str
    since: datetime
    ended: datetime | None

    @property
    def key(self) -> str:
        return f"alert/{self.fingerprint}"


def parse(body: bytes) -> tuple[Alert, ...]:
    """The alerts of a request. Raises PayloadError."""
    try:
        document = json.loads(body)
        found = document["alerts"]
        if not isinstance(found, list) or len(found) > MOST_ALERTS:
            raise PayloadError(f"alerts must be a list of at most {MOST_ALERTS}")
        return tuple(map(_alert, found))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, PayloadError):
            raise
        raise PayloadError(f"the body is no payload of Alertmanager ({type(error).__name__}: {error})") from error


def messages(alerts: tuple[Alert, ...]) -> tuple[Message, ...]:
    """One message for each alert. Each has a key of its own, so that the outbox sends it once while it fires, and its
    end only if it was sent."""
    return tuple(_resolved(alert) if alert.ended else _firing(alert) for alert in alerts)


def _firing(alert: Alert) -> Message:
    return Message(
        "alert_firing",
        alert.severity,
        f"{alert.host}: {alert.summary}",
        alert.since,
        (alert.description,) if alert.description else (),
        (("Alert", alert.name),),
        dedupe_key=alert.key,
    )


def _resolved(alert: Alert) -> Message:
    return Message(
        "alert_resolved",
        Severity.INFO,
        f"{alert.host}: resolved: {alert.summary}",
        alert.ended or alert.since,
        (),
        (("Alert", alert.name),),
        recovery_of=alert.key,
    )


def _alert(document: Mapping[str, Any]) -> Alert:
    labels, annotations = document["labels"], document["annotations"]
    name = _text(labels["alertname"])
    return Alert(
        name=name,
        fingerprint=_text(document["fingerprint"]),
        severity=SEVERITIES.get(labels.get("severity", ""), Severity.INFO),
        host=_text(labels.get("host", "unknown host")),
        summary=_text(annotations.get("summary", name)),
        description=str(annotations.get("description", "")),
        since=_time(document["startsAt"]),
        ended=_time(document["endsAt"]) if document["status"] == "resolved" else None,
    )


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise PayloadError(f"expected text, found {value!r}")
    return value


def _time(value: Any) -> datetime:
    time = datetime.fromisoformat(value)
    if time.tzinfo is None:
        raise PayloadError(f"the time {value} has no zone")
    return time
