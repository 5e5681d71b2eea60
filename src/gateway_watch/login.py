"""Where the gateway's login stands, told from its log alone.

`LoginTracker` is pure: lines with their times go in, changes come out, and it asks for no clock. Feed it the
lines of one run of the container (those since its start; older ones would pass for new). Silence means
something too: `deadline()` says until when a line must come, and `after(now)` draws the conclusion.

With TRADING_MODE=both two logins write into one log, and few of their lines say whose they are. The tracker
then follows both and gives a line to the login that it fits best; the state of the whole is the less advanced.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gateway_watch.signatures import Cause, LoginState, NextStep, Quiet, Signature, SignatureSet, load

__all__ = ["MODES", "TWOFA_TIMEOUT", "Change", "LoginState", "LoginTracker", "Snapshot", "modes_of", "replay"]

TWOFA_TIMEOUT = 180.0
"""Seconds that IBKR lets the 2FA dialog stand."""

MODES = {"paper": ("paper",), "live": ("live",), "both": ("live", "paper")}
"""The logins behind each TRADING_MODE, in the order in which they start."""

# Which of two logins speaks for both: what somebody must act on first, then what is least advanced.
_URGENCY = (
    LoginState.FAILED,
    LoginState.AWAITING_2FA,
    LoginState.RELOGIN_WAIT,
    LoginState.RESTARTING,
    LoginState.STARTING,
    LoginState.LOGGING_IN,
    LoginState.LOGGED_IN,
    LoginState.READY,
)
_IN = (LoginState.LOGGED_IN, LoginState.READY)


@dataclass(frozen=True)
class Change:
    """Something that the operator or a supervisor should know of.

    `time` is when it happened (UTC, from the log), `mode` the login it belongs to (paper or live), `state` that
    login's state from then on, `text` one line about it, `cause` the failure if it is one, `line` the log line
    (empty if silence was the sign), `signature` the id of the line (empty likewise).
    """

    time: datetime
    mode: str
    state: LoginState
    text: str
    cause: Cause | None = None
    line: str = ""
    signature: str = ""


@dataclass(frozen=True)
class Snapshot:
    """The whole at one moment.

    `state`, `since`, `text` and `mode` are those of the login that speaks for all. `cause` is a failure not yet
    overcome: it can stand beside a state in which the gateway tries again. `twofa_seconds_left` is set only in
    awaiting_2fa and never below 0. `attempts` counts login attempts, `warnings` are causes that do not stop a
    login.
    """

    state: LoginState
    since: datetime | None
    text: str
    mode: str
    cause: Cause | None
    twofa_seconds_left: int | None
    attempts: int
    warnings: tuple[Cause, ...]


@dataclass
class _Login:
    """What is known of one of the logins."""

    mode: str
    state: LoginState = LoginState.STARTING
    since: datetime | None = None
    text: str = "nothing of it in the log yet"
    cause: Cause | None = None
    launched: bool = False
    configured: bool = False
    attempts: int = 0
    twofa_since: datetime | None = None
    heard: datetime | None = None
    quiet: Quiet | None = None
    last: Change | None = None

    @property
    def deadline(self) -> datetime | None:
        if self.quiet is None or self.heard is None:
            return None
        return self.heard + timedelta(seconds=self.quiet.seconds)


@dataclass
class LoginTracker:
    """Follows the login (or both logins) of one run of the gateway's container.

    `modes` are the trading modes to expect: ("paper",), ("live",) or ("live", "paper").
    `twofa_timeout` is how many seconds the 2FA dialog stands.
    """

    modes: tuple[str, ...] = ("paper",)
    twofa_timeout: float = TWOFA_TIMEOUT
    signatures: SignatureSet = field(default_factory=load)
    warnings: list[Cause] = field(default_factory=list, init=False)
    _logins: dict[str, _Login] = field(init=False)

    def __post_init__(self) -> None:
        if not self.modes:
            raise ValueError("modes is empty: a gateway has at least one trading mode")
        self._logins = {mode: _Login(mode) for mode in self.modes}

    def feed(self, time: datetime, line: str) -> list[Change]:
        """Take one line of the log in; return what it changes (silence that ended with it first)."""
        changes = self.after(time)
        found = self.signatures.match(line)
        if found is None:
            return changes
        signature, match = found
        groups = {name: value.strip() for name, value in match.groupdict().items() if value is not None}
        login = self._whose(signature, groups.get("mode", "").lower())
        change = self._apply(login, signature, groups, time, line)
        if change is not None:
            changes.append(change)
        return changes

    def after(self, now: datetime) -> list[Change]:
        """Draw the conclusions from silence up to `now`."""
        changes = []
        for login in self._logins.values():
            due, quiet = login.deadline, login.quiet
            if due is None or quiet is None or now < due:
                continue
            login.quiet = None
            text = quiet.cause.text if quiet.cause else f"{quiet.state} (nothing more to set)"
            changes.append(self._enter(login, quiet.state, quiet.cause, due, text))
        return changes

    def deadline(self) -> datetime | None:
        """When `after` must be called if no line comes before; None if silence would mean nothing."""
        return min((due for login in self._logins.values() if (due := login.deadline)), default=None)

    def snapshot(self, now: datetime) -> Snapshot:
        """The whole as it stands at `now` (aware datetime; used for the seconds that 2FA has left)."""
        login = min(self._logins.values(), key=lambda entry: _URGENCY.index(entry.state))
        left = None
        if login.state is LoginState.AWAITING_2FA and login.twofa_since is not None:
            left = max(0, round(self.twofa_timeout - (now - login.twofa_since).total_seconds()))
        causes = [entry.cause for entry in (login, *self._logins.values()) if entry.cause]
        return Snapshot(
            state=login.state,
            since=login.since,
            text=login.text,
            mode=login.mode,
            # What only a person can mend must not hide behind what mends itself.
            cause=next((cause for cause in causes if cause.final), causes[0] if causes else None),
            twofa_seconds_left=left,
            attempts=sum(entry.attempts for entry in self._logins.values()),
            warnings=tuple(self.warnings),
        )

    def _whose(self, signature: Signature, named: str) -> _Login:
        if named in self._logins:
            return self._logins[named]
        candidates = [login for login in self._logins.values() if login.launched]
        candidates = candidates or [next(iter(self._logins.values()))]
        fitting = [login for login in candidates if login.state in signature.expects] or candidates
        preferred = [login for login in fitting if login.mode == signature.mode] or fitting
        # Of two that fit equally the one that spoke last speaks on.
        return max(preferred, key=lambda login: login.heard.timestamp() if login.heard else 0.0)

    def _apply(
        self, login: _Login, signature: Signature, groups: dict[str, str], time: datetime, line: str
    ) -> Change | None:
        login.heard, login.quiet = time, signature.quiet
        login.launched = login.launched or "mode" in groups
        if "attempt" in groups:
            login.attempts += 1
        state, text = signature.state, (signature.text or "").format_map(groups)
        if signature.cause is not None and signature.cause.next_step is NextStep.GOES_ON:
            if signature.cause not in self.warnings:
                self.warnings.append(signature.cause)
            return self._tell(login, time, text, signature, line, signature.cause)
        if state is LoginState.READY and login.state is not LoginState.LOGGED_IN:
            # The settings can be done before the login is: then the login makes it ready.
            login.configured = True
            return None
        if state is LoginState.LOGGED_IN and login.configured:
            state, text, login.quiet = LoginState.READY, "logged in and ready", None
        if state is None:
            return self._tell(login, time, text, signature, line) if text else None
        text = text or (signature.cause.text if signature.cause else "")
        before = (login.state, login.text, login.cause)
        change = self._enter(login, state, signature.cause, time, text or login.text, line, signature.id)
        if not text or before == (login.state, login.text, login.cause):
            return None
        return change

    def _enter(
        self,
        login: _Login,
        state: LoginState,
        cause: Cause | None,
        time: datetime,
        text: str,
        line: str = "",
        signature: str = "",
    ) -> Change:
        if state is LoginState.AWAITING_2FA and login.state is not LoginState.AWAITING_2FA:
            login.twofa_since = time
        if state in (LoginState.STARTING, LoginState.RESTARTING, LoginState.RELOGIN_WAIT):
            login.configured = False
        if state is not login.state:
            login.since = time
        # A gateway that hung moves again only because somebody saw to it; other failures last until a login.
        overcome = state in _IN or (login.cause is not None and login.cause.next_step is NextStep.HANGS)
        login.cause = cause or (None if overcome else login.cause)
        login.state, login.text = state, text
        login.last = Change(time, login.mode, state, text, cause, line, signature)
        return login.last

    def _tell(
        self,
        login: _Login,
        time: datetime,
        text: str,
        signature: Signature,
        line: str,
        cause: Cause | None = None,
    ) -> Change | None:
        change = Change(time, login.mode, login.state, text, cause, line, signature.id)
        repeated = login.last is not None and login.last.text == text
        login.last = change
        return None if repeated else change


def modes_of(trading_mode: str) -> tuple[str, ...]:
    """The entry of `MODES`. Raises ValueError with the values that there are."""
    if trading_mode not in MODES:
        raise ValueError(f"trading mode {trading_mode!r} is none of {', '.join(MODES)}")
    return MODES[trading_mode]


def replay(tracker: LoginTracker, lines: Iterable[tuple[datetime, str]]) -> list[Change]:
    """Feed many lines; return all changes in order."""
    return [change for time, line in lines for change in tracker.feed(time, line)]
