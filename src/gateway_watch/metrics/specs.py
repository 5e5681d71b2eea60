"""Every metric that `gateway-watch` exports; the tables of docs/metrics.md are generated from it."""

from __future__ import annotations

from gateway_watch.ibkr_link import LinkState
from gateway_watch.login_gate import HoldKind
from gateway_watch.session_calendar import Kind as Event
from gateway_watch.signatures import LoginState, SessionKind
from gateway_watch.soft_restart import Outcome
from host_service import process_metrics
from host_service.metric_families import Kind, Label, MetricSpec

WAITING = "waiting"
"""The published state of a login that is not tried."""

TIERS = ("listening", "answering", "verified", "connected")
SESSIONS = tuple(kind.value for kind in SessionKind)
OUTCOMES = tuple(outcome.value for outcome in Outcome)
PLANNED = (Event.DAILY_RESTART, Event.COLD_RESTART)

LOGIN_REFUSALS = "gateway_watch_login_refusals_total"
RESTARTS = "gateway_watch_restarts_total"
LOGINS = "gateway_watch_logins_total"
APPROVAL_REQUESTS = "gateway_watch_approval_requests_total"
APPROVALS_GIVEN = "gateway_watch_approvals_given_total"
APPROVALS_MISSED = "gateway_watch_approvals_missed_total"
LINK_LOSSES = "gateway_watch_ibkr_link_losses_total"
SOFT_RESTARTS = "gateway_watch_soft_restarts_total"

STORED = (LOGIN_REFUSALS, RESTARTS, LOGINS, APPROVAL_REQUESTS, APPROVALS_GIVEN, APPROVALS_MISSED, LINK_LOSSES)
"""Counters that the supervisor stores, so that a restart does not reset them: it ends with the gateway."""

STOPPED = "stopped"
KILLED = "killed"
REPLACED = "soft_restart"
"""The container was replaced with its session kept."""

REASONS = (
    *(STOPPED, KILLED, REPLACED, "logged_off", "exited", "api_unanswering", "start_timeout", "start_failed"),
    *("detached", "no_health_check", "ibkr_link_lost", "read_only_against_setting", "create_failed"),
    *("engine_error", "engine_away", "docker_missing", "no_such_container"),
    *(f"login_held_{kind.value}" for kind in HoldKind),
)
"""Why a run can end, besides the causes of a failed login."""

_CAUSES = 80


def _gauge(name: str, text: str, *labels: Label) -> MetricSpec:
    return MetricSpec(name, Kind.GAUGE, text, labels)


def _counter(name: str, text: str, *labels: Label) -> MetricSpec:
    return MetricSpec(name, Kind.COUNTER, text, labels)


SPECS = (
    MetricSpec(
        "gateway_watch_info",
        Kind.INFO,
        "The release and the gateway that it runs.",
        (
            Label("version", text="of the release"),
            Label("python", text="its version"),
            Label("trading_mode", ("paper", "live", "both")),
            Label("image", text="as configured"),
            Label("login_controller", text="of the image"),
        ),
    ),
    _gauge("gateway_watch_ready", "1 while the gateway is logged in and listening."),
    _gauge(
        "gateway_watch_tier_ok",
        "1 for a tier of readiness that is reached, 0 for one that is not; a tier that is not known has no sample. "
        "verified: the supervisor's own API session is open and answers.",
        Label("tier", TIERS),
    ),
    _gauge(
        "gateway_watch_probe_duration_seconds",
        "How long the API took for its last answer to a probe, one a minute.",
        Label("mode", ("paper", "live")),
    ),
    _gauge("gateway_watch_probe_failures", "Probes in a row that the API has not answered."),
    _gauge(
        "gateway_watch_start_duration_seconds",
        "How long the last start took, from the start of the container until the gateway was ready, with approvals.",
    ),
    _gauge(
        "gateway_watch_login_state",
        "1 for the state of the login.",
        Label("state", (*(state.value for state in LoginState), WAITING)),
    ),
    _gauge("gateway_watch_login_state_since_timestamp_seconds", "Since when the login is in its state."),
    _gauge("gateway_watch_needs_person", "1 while the login does not continue without a person."),
    _gauge(
        "gateway_watch_ibkr_link",
        "1 for the state of the connection to IBKR.",
        Label("state", tuple(state.value for state in LinkState)),
    ),
    _counter(LINK_LOSSES, "How often the gateway lost its connection to IBKR."),
    _gauge(
        "gateway_watch_expected_outage",
        "1 in IBKR's nightly reset, in its weekly maintenance, and in the window of a planned restart.",
    ),
    _gauge("gateway_watch_approval_awaited", "1 while a person must approve a login now."),
    _counter(APPROVAL_REQUESTS, "Requests to approve a login."),
    _counter(APPROVALS_GIVEN, "Requests that a login followed."),
    _counter(APPROVALS_MISSED, "Requests that nobody answered in time."),
    _gauge(
        "gateway_watch_login_hold",
        "1 for the reason for which no login is tried.",
        Label("kind", tuple(kind.value for kind in HoldKind)),
    ),
    _counter(
        LOGINS,
        "How often the gateway became ready: by a full login, or with its session kept over a restart.",
        Label("session", SESSIONS),
    ),
    _counter(
        LOGIN_REFUSALS, "Login attempts that failed.", Label("cause", most=_CAUSES, text="a cause of a failed login")
    ),
    _counter(
        RESTARTS,
        "Starts of the container after another one, by the reason for which that one ended.",
        Label(
            "reason",
            most=_CAUSES,
            text="a cause of a failed login, or of the end of a run; `stopped`: by a person, a deploy or systemd; "
            "`killed`: the supervisor left no reason",
        ),
    ),
    _counter(
        SOFT_RESTARTS,
        "Requested restarts that keep the session, by outcome.",
        Label("outcome", OUTCOMES),
    ),
    _gauge("gateway_watch_breaker_open", "1 while no login is tried before something is corrected."),
    _gauge("gateway_watch_breaker_refusals", "Refused logins in a row, of the cause that occurred most often."),
    _gauge(
        "gateway_watch_next_restart_timestamp_seconds",
        "The next planned restart.",
        Label("kind", tuple(kind.value for kind in PLANNED)),
    ),
    _gauge(
        "gateway_watch_next_approval_timestamp_seconds",
        "The next login that a person must approve; no sample if none must, or before the first login.",
    ),
    _gauge("gateway_watch_session_end_timestamp_seconds", "When IBKR ends the week's session."),
    _gauge("gateway_watch_session_start_timestamp_seconds", "The last full login."),
    _gauge("gateway_watch_last_ready_timestamp_seconds", "When the gateway last became ready."),
    _gauge(
        "gateway_watch_image_support_end_timestamp_seconds",
        "From when on IB does not let the image's version log in; no sample while no end is announced.",
    ),
    _gauge(
        "gateway_watch_clock_error_seconds",
        "The host's clock minus the true time; no sample while chrony does not know it.",
    ),
    _counter(
        "gateway_watch_notifications_total",
        "Messages to people, by result.",
        Label("result", ("sent", "retried", "failed", "lost")),
    ),
    _gauge("gateway_watch_notifications_pending", "Deliveries that wait in the outbox."),
    _gauge("host_backup_configured", "1 if backups of the host are configured."),
    _gauge("host_backup_last_success_timestamp_seconds", "The last complete backup of the host."),
    _gauge("host_backup_last_attempt_failed", "1 if the last backup failed."),
    _gauge("host_backup_size_bytes", "The size of the last complete backup."),
    *process_metrics.SPECS,
)
