"""The notifications about a gateway: pure, from what the supervisor knows.

Incidents have keys below `gateway`, so that one message when the gateway is ready again resolves all reported ones.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from gateway_watch import code_entry, decision, moments
from gateway_watch.code_entry import Outcome
from gateway_watch.decision import End, Reason
from gateway_watch.instance import Instance
from gateway_watch.login import Change, LoginState
from gateway_watch.reminders import Promise, Reminder, Step
from gateway_watch.session_calendar import Kind
from gateway_watch.signatures import NextStep
from notifications.message import Message, Severity

_TROUBLE = "gateway"


def on_change(instance: Instance, change: Change, now: datetime) -> Message | None:
    """The message for a change of the login that does not end the run."""
    cause = change.cause
    if cause is None and change.state is LoginState.AWAITING_2FA:
        until = (change.time + timedelta(seconds=instance.twofa_timeout)).astimezone(instance.timezone)
        return Message(
            "twofa_awaited",
            Severity.ALERT,
            f"{instance.name}: approve the login in IBKR Mobile",
            change.time,
            (f"The dialog is open until {until:%H:%M:%S} ({instance.timezone.key}); then the gateway asks again.",),
            _fields(instance, change.mode),
            dedupe_key=f"{_TROUBLE}/twofa_awaited",
        )
    if cause is None:
        return None
    goes_on = cause.next_step is NextStep.GOES_ON
    return Message(
        cause.id,
        # Where manual intervention is needed, the run ends, which is reported as an alert.
        Severity.ALERT if cause.person and goes_on else Severity.WARNING,
        f"{instance.name}: {cause.text}",
        now,
        (cause.remedy,),
        _fields(instance, change.mode),
        # What does not stop a login is not over when the login is.
        dedupe_key=f"notice/{cause.id}" if goes_on else f"{_TROUBLE}/{cause.id}",
    )


def code_left(instance: Instance, outcome: Outcome, picture: Path | None, now: datetime) -> Message:
    """What to report when a dialog of the second factor is left to a person."""
    return Message(
        f"second_factor_{outcome.value}",
        Severity.ALERT,
        f"{instance.name}: the second factor needs a person",
        now,
        (code_entry.describe(outcome, instance.name),),
        _fields(instance),
        dedupe_key=f"{_TROUBLE}/second_factor/{outcome.value}",
        attachment=picture,
    )


def on_end(instance: Instance, end: End, picture: Path | None, now: datetime) -> Message:
    """The message when the supervisor ends a run."""
    stopped = end.status == decision.EXIT_CONFIG
    lines = [end.reason.remedy]
    if end.open_breaker:
        lines.append(f"No login is tried before that. To try one: gateway-watch reset --instance {instance.name}")
    elif stopped:
        lines.append("It is not started again before that.")
    return Message(
        end.reason.cause,
        Severity.ALERT if stopped else Severity.WARNING,
        f"{instance.name} {'needs a person' if stopped else 'is restarted'}: {end.reason.text}",
        now,
        tuple(lines),
        _fields(instance),
        dedupe_key=f"{_TROUBLE}/{end.reason.cause}/{'stopped' if stopped else 'restarted'}",
        attachment=picture,
    )


def on_failure(instance: Instance, cause: str, text: str, now: datetime) -> Message:
    """The message for a run that ended by itself and is tried again."""
    title = f"{instance.name} ended and is started again"
    return Message(cause, Severity.WARNING, title, now, (text,), _fields(instance), dedupe_key=f"{_TROUBLE}/{cause}")


def maintenance_wait(instance: Instance, cause: str, until: datetime, now: datetime) -> Message:
    """What to report when the next login waits for the end of IBKR's maintenance (`until`, local time)."""
    title = f"{instance.name} waits for the end of IBKR's maintenance"
    line = f"The credentials were accepted before. The next login comes at {until:%H:%M} ({instance.timezone.key})."
    key = f"{_TROUBLE}/maintenance"
    return Message(cause, Severity.INFO, title, now, (line,), _fields(instance), dedupe_key=key)


def orders_refused(instance: Instance, reason: Reason, now: datetime) -> Message:
    """What to report when the API still rejects orders after a restart."""
    title = f"{instance.name}: {reason.text}"
    key = f"notice/{reason.cause}"
    return Message(reason.cause, Severity.ALERT, title, now, (reason.remedy,), _fields(instance), dedupe_key=key)


def orders_accepted(instance: Instance, cause: str, now: datetime) -> Message:
    """The end of `orders_refused`."""
    title = f"{instance.name}: the API accepts orders again"
    return Message(
        "orders_accepted", Severity.INFO, title, now, fields=_fields(instance), recovery_of=f"notice/{cause}"
    )


def not_started(instance: Instance, cause: str, text: str, now: datetime) -> Message:
    """The message when an open breaker prevents the start: the same incident as what opened it."""
    title = f"{instance.name} is not started"
    key = f"{_TROUBLE}/{cause}/stopped"
    return Message(cause, Severity.ALERT, title, now, (text,), _fields(instance), dedupe_key=key)


def ready(instance: Instance, now: datetime) -> Message:
    """The end of every reported incident."""
    title = f"{instance.name}: logged in and listening again"
    return Message("ready", Severity.INFO, title, now, fields=_fields(instance), recovery_of=_TROUBLE)


def reminder(instance: Instance, due: Reminder, now: datetime) -> Message:
    """The reminder of the week's approval, before it or at the moment."""
    local = due.due.astimezone(instance.timezone)
    when = f"{moments.weekday_and_hour(local)} ({instance.timezone.key})"
    if due.step is Step.MOMENT:
        return Message(
            "approval_needed",
            Severity.ALERT,
            f"{instance.name}: an approval is needed now, for the week's login",
            now,
            (
                f"The week's full login was planned for {when}: approve it in IBKR Mobile.",
                "If no request is on the phone: ansible-playbook approve-now.yml",
            ),
            _fields(instance),
            dedupe_key=f"{_TROUBLE}/approval/{local:%Y-%m-%d}",
        )
    # Sent a few seconds late, it is still 24 h or 1 h before.
    left = moments.span(60 * round((local - now).total_seconds() / 60))
    return Message(
        "approval_ahead",
        Severity.WARNING,
        f"{instance.name}: an approval will be needed {when}, in {left}",
        now,
        ("It is the week's full login: have IBKR Mobile at hand then, to approve it.",),
        _fields(instance),
        dedupe_key=f"reminder/{due.step.value}/{local:%Y-%m-%d}",
    )


def promise_broken(instance: Instance, promise: Promise, now: datetime) -> Message:
    """What to report when a login that was to need no person waits for one."""
    local = promise.at.astimezone(instance.timezone)
    when = f"{moments.weekday_and_hour(local)} ({instance.timezone.key})"
    if promise.kind is Kind.DAILY_RESTART:
        expected = f"The daily restart, {when}, was to keep the session. It did not"
    else:
        expected = f"The codes of the authenticator app were to be entered for the week's login, {when}. It is not done"
    return Message(
        "approval_not_handled",
        Severity.ALERT,
        f"{instance.name}: a login that was to need nobody waits for an approval",
        now,
        (
            f"{expected}: approve the login in IBKR Mobile, or enter the code on the gateway's screen.",
            "If no request is there: ansible-playbook approve-now.yml",
        ),
        _fields(instance),
        dedupe_key=f"{_TROUBLE}/approval/{promise.kind.value}/{local:%Y-%m-%d}",
    )


def _fields(instance: Instance, mode: str = "") -> tuple[tuple[str, str], ...]:
    return (("Instance", instance.name), ("Mode", mode or instance.trading_mode))
