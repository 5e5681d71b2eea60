"""What the supervisor must do: decided from what is known at one moment, without any I/O.

Times are seconds of a monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway_watch.login import Change, LoginState, Snapshot
from gateway_watch.signatures import Cause, NextStep

OK = 0
RETRY = 1
EXIT_CONFIG = 78
"""Exit status of a gateway that needs manual intervention (EX_CONFIG); the unit does not restart it."""

ORDERS_REFUSED = "read_only_against_setting"

EXIT_GRACE = 60.0
"""Time allowed for a gateway that announced its exit."""

LONGEST_WAIT = 3600.0
"""No approval, re-login or server outage at the login lasts longer without a line of the gateway."""

BAD_LOGIN = "bad_credentials"


@dataclass(frozen=True)
class Reason:
    """Why the supervisor ends: a snake_case `cause`, one line of `text`, the `remedy`."""

    cause: str
    text: str
    remedy: str

    @property
    def line(self) -> str:
        return f"{self.text} {self.remedy}".strip()


@dataclass(frozen=True)
class End:
    """Stop the container and exit with `status`; with `open_breaker` no start is tried before a correction."""

    status: int
    reason: Reason
    open_breaker: bool = False


@dataclass(frozen=True)
class Progress:
    """Since when the gateway has been in its present condition.

    `unsettled` since when it has neither been healthy nor waited for something, None if it does; `waiting` since
    when it has waited without a log line; `failed` since when its login has failed, its controller's end included.
    """

    unsettled: float | None = None
    waiting: float | None = None
    failed: float | None = None


def waits(snapshot: Snapshot) -> bool:
    """Whether the gateway waits for something that may take hours: an approval, a re-login, IBKR's servers, a person
    who answers a dialog."""
    if snapshot.state in (LoginState.AWAITING_2FA, LoginState.RELOGIN_WAIT) or _without_limit(snapshot):
        return True
    tries_again = snapshot.cause is not None and not snapshot.cause.final
    return tries_again and snapshot.state in (LoginState.RESTARTING, LoginState.STARTING, LoginState.LOGGING_IN)


def _without_limit(snapshot: Snapshot) -> bool:
    """Whether a restart would only cost a login: the gateway reconnects by itself, or a person must answer a dialog."""
    return snapshot.state in (LoginState.LINK_LOST, LoginState.BLOCKED)


def _exited(snapshot: Snapshot) -> bool:
    """Whether the controller ended after a failure. Of two in one container the other one retains it."""
    exits = snapshot.cause is not None and snapshot.cause.next_step is NextStep.EXITS
    return exits and snapshot.state is LoginState.RESTARTING


def in_order(snapshot: Snapshot, health: str | None) -> bool:
    """Whether the gateway is logged in, ready and listening."""
    return snapshot.state is LoginState.READY and health == "healthy"


def progress(before: Progress, snapshot: Snapshot, health: str | None, now: float, *, news: bool) -> Progress:
    """The condition after an evaluation; `news` if the gateway has logged something about its login."""
    waiting = waits(snapshot)
    limited = waiting and not _without_limit(snapshot)
    failed = snapshot.state is LoginState.FAILED or _exited(snapshot)
    return Progress(
        unsettled=None if waiting or in_order(snapshot, health) else _since(before.unsettled, now),
        waiting=(now if news else _since(before.waiting, now)) if limited else None,
        failed=_since(before.failed, now) if failed else None,
    )


def _since(before: float | None, now: float) -> float:
    return now if before is None else before


def limit_of(cause: Cause, max_bad_logins: int) -> int | None:
    """How many times in a row the cause may occur before no further login is tried; None for any number."""
    return max_bad_logins if cause.id == BAD_LOGIN else cause.tries


def on_change(change: Change, refusals: int, max_bad_logins: int) -> End | None:
    """Whether a change of the login ends the run. `refusals` is how many times in a row the change's cause has
    occurred, this one included."""
    cause = change.cause
    if cause is None or cause.next_step in (NextStep.GOES_ON, NextStep.WAITS):
        return None
    stuck = cause.interrupt or cause.next_step is NextStep.HANGS
    limit = limit_of(cause, max_bad_logins)
    if limit is not None:
        if refusals >= limit:
            text = f"{cause.text} This happened {refusals} times in a row; no further login is tried."
            return End(EXIT_CONFIG, Reason(cause.id, text, cause.remedy), open_breaker=True)
        # IBKR sometimes refuses what is right, so it is tried again: by the gateway, or if it cannot, by a restart.
        return End(RETRY, reason_of(cause)) if stuck else None
    if cause.person:
        return End(EXIT_CONFIG, reason_of(cause), open_breaker=True)
    return End(RETRY, reason_of(cause)) if stuck else None


def on_time(state: Progress, snapshot: Snapshot, start_timeout: float, now: float) -> End | None:
    """Whether the gateway has taken too long."""
    exits = snapshot.cause is not None and snapshot.cause.next_step is NextStep.EXITS
    if snapshot.cause is not None and exits and state.failed is not None and now - state.failed >= EXIT_GRACE:
        return End(RETRY, reason_of(snapshot.cause))
    if state.unsettled is not None and now - state.unsettled >= start_timeout:
        return End(RETRY, _too_long(snapshot, now - state.unsettled))
    if state.waiting is not None and now - state.waiting >= LONGEST_WAIT:
        return End(RETRY, _too_long(snapshot, now - state.waiting))
    return None


def due(state: Progress, start_timeout: float) -> float | None:
    """When `on_time` can next return something."""
    moments = []
    if state.failed is not None:
        moments.append(state.failed + EXIT_GRACE)
    if state.unsettled is not None:
        moments.append(state.unsettled + start_timeout)
    if state.waiting is not None:
        moments.append(state.waiting + LONGEST_WAIT)
    return min(moments, default=None)


def on_end(
    exit_code: int, snapshot: Snapshot, exit_cause: Cause | None, *, was_ready: bool, asked: bool
) -> tuple[int, Reason]:
    """Exit status and reason for a container that ended; `asked` if somebody stopped the unit, `exit_cause` is what
    the exit code alone indicates."""
    ended = f"The container ended with exit code {exit_code}"
    if asked:
        return OK, Reason("stopped", f"{ended}, as requested.", "")
    cause = snapshot.cause or exit_cause
    if cause is None and exit_code == 0 and was_ready:
        text = "The gateway ended by itself with exit code 0, as on a planned logoff; systemd starts it again."
        return OK, Reason("logged_off", text, "")
    if cause is None:
        return RETRY, Reason("exited", f"{ended} in the login state {snapshot.state}.", "systemd starts it again.")
    return RETRY, Reason(cause.id, f"{ended} in the login state {snapshot.state}. {cause.text}", cause.remedy)


@dataclass(frozen=True)
class Answers:
    """How the API has answered its probes: `failures` in a row, why the last one failed."""

    failures: int = 0
    detail: str = ""

    def after(self, answered: bool, detail: str) -> Answers:
        return Answers() if answered else replace(self, failures=self.failures + 1, detail=detail)

    def end(self, limit: int) -> End | None:
        """Restart a gateway whose API has not answered `limit` probes in a row."""
        if self.failures < limit:
            return None
        text = f"The API has not answered {self.failures} probes in a row, one a minute ({self.detail})."
        return End(RETRY, Reason("api_unanswering", text, "systemd restarts the gateway."))


def orders_refused(*, restarted: bool) -> Reason:
    """The reason for an API that is read-only although the settings allow orders."""
    text = "The gateway's API refuses orders (it is read-only) although ib_gateway_read_only_api is false."
    if not restarted:
        return Reason(ORDERS_REFUSED, text, "It is restarted once, so that the login controller sets it again.")
    return Reason(
        ORDERS_REFUSED,
        f"{text} A restart has not changed that.",
        "Clear Configure, Settings, API, Read-Only API over VNC (ansible-playbook tunnel.yml); if the box is clear "
        "already, pin another image in ib_gateway_image and deploy again.",
    )


def no_health_check(container: str) -> End:
    """The end for a container whose readiness cannot be detected."""
    text = f"The container {container} has no health check, so its readiness cannot be detected."
    remedy = "Run site.yml again: it writes a unit that creates the container with one."
    return End(EXIT_CONFIG, Reason("no_health_check", text, remedy))


def reason_of(cause: Cause) -> Reason:
    return Reason(cause.id, cause.text, cause.remedy)


def _too_long(snapshot: Snapshot, seconds: float) -> Reason:
    text = (
        f"The gateway has been in the state {snapshot.state} ({snapshot.text}) for {seconds:.0f} s without being ready."
    )
    return Reason("start_timeout", text, "systemd restarts it; check the screenshot if this repeats.")
