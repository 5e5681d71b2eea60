"""The state of the gateway's login, derived from its log alone.

`LoginTracker` is pure: lines with their times go in, changes come out, and it reads no clock. Feed it the
lines of one run of the container (those since its start; older ones would pass for new). Silence has a meaning
too: `deadline()` is the time by which a line must come, and `after(now)` draws the conclusion.

With TRADING_MODE=both two logins write into one log, and few of their lines name their login. The tracker
then follows both and assigns a line to the login that it fits best; the overall state is the less advanced.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from gateway_watch.signatures import (
    Cause,
    LoginState,
    NextStep,
    Quiet,
    SessionKind,
    Signature,
    SignatureSet,
    load,
)

__all__ = ["MODES", "TWOFA_TIMEOUT", "Change", "LoginState", "LoginTracker", "Snapshot", "modes_of", "replay"]

TWOFA_TIMEOUT = 180.0
"""Seconds after which IBKR usually closes an unanswered 2FA dialog. Longer ones were reported, so it is no limit."""

MODES = {"paper": ("paper",), "live": ("live",), "both": ("live", "paper")}
"""The logins behind each TRADING_MODE, in the order in which they start."""

# Which of two logins represents both: what somebody must act on first, then what is least advanced.
_URGENCY = (
    LoginState.FAILED,
    LoginState.AWAITING_2FA,
    LoginState.BLOCKED,
    LoginState.RELOGIN_WAIT,
    LoginState.RESTARTING,
    LoginState.STARTING,
    LoginState.LOGGING_IN,
    LoginState.LINK_LOST,
    LoginState.LOGGED_IN,
    LoginState.READY,
)
_IN = (LoginState.LOGGED_IN, LoginState.READY)
_NEW_RUN = (LoginState.STARTING, LoginState.RESTARTING)
_MOVES_ON = (LoginState.LOGGING_IN, LoginState.AWAITING_2FA, LoginState.RELOGIN_WAIT)

_TEXT_SECONDS = 2.0
"""A text that spans lines is complete when no line has followed for so long."""

_TEXT_LENGTH = 160

_UNREPORTED_SECONDS = 2.0
BACK = "connected to IBKR again"
_RULER = re.compile(r"^[!=*\s]*$")
_TAG = re.compile(r"<[^<>]*>")


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

    `state`, `since`, `text` and `mode` are those of the login that represents all. `cause` is a failure not yet
    overcome: it can accompany a state in which the gateway tries again. `twofa_seconds_left` is set only in
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
    misconfigured: Cause | None = None
    session: SessionKind = SessionKind.FULL
    splashes: int = 0
    severed: bool = False
    attempts: int = 0
    twofa_since: datetime | None = None
    last_line: datetime | None = None
    quiet: Quiet | None = None
    last: Change | None = None

    @property
    def deadline(self) -> datetime | None:
        if self.quiet is None or self.last_line is None:
            return None
        return self.last_line + timedelta(seconds=self.quiet.seconds)


@dataclass
class _Dialog:
    """A dialog that no rule knows, open since `opened`; `text` is what the log has of it."""

    title: str
    login: _Login
    opened: datetime
    text: str = ""
    reported: bool = False


@dataclass
class _Text:
    """A text of IBKR's that may continue in further lines."""

    login: _Login
    signature: Signature
    time: datetime
    line: str
    parts: list[str]

    @property
    def deadline(self) -> datetime:
        return self.time + timedelta(seconds=_TEXT_SECONDS)

    @property
    def words(self) -> str:
        return " ".join(_TAG.sub(" ", " ".join(self.parts)).split())


@dataclass
class LoginTracker:
    """Follows the login (or both logins) of one run of the gateway's container.

    `modes` are the trading modes to expect: ("paper",), ("live",) or ("live", "paper"). `twofa_timeout` is how
    many seconds the 2FA dialog usually stays. `session_files` are the files, as the container names them, from which
    a session was to be continued. `mask` takes user names out of the texts of IBKR's and of dialogs, which go to
    people and into files.
    """

    modes: tuple[str, ...] = ("paper",)
    twofa_timeout: float = TWOFA_TIMEOUT
    signatures: SignatureSet = field(default_factory=load)
    warnings: list[Cause] = field(default_factory=list, init=False)
    session_files: list[str] = field(default_factory=list, init=False)
    mask: Callable[[str], str] = field(default=str, init=False)
    _logins: dict[str, _Login] = field(init=False)
    _dialogs: dict[str, _Dialog] = field(default_factory=dict, init=False)
    _opened: _Dialog | None = field(default=None, init=False)
    _text: _Text | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if not self.modes:
            raise ValueError("modes is empty: a gateway has at least one trading mode")
        self._logins = {mode: _Login(mode) for mode in self.modes}

    def feed(self, time: datetime, line: str) -> list[Change]:
        """Process one line of the log; return what it changes (silence that ended with it first)."""
        changes = self.after(time)
        found = list(self.signatures.matches(line))
        own = self.signatures.line.search(line) is not None
        if self._text is not None:
            if not line.strip():
                return changes
            if not own and not found and not _RULER.match(line):
                self._text.parts.append(line)
                return changes
            changes += self._conclude_text(time)
        if dialog := self.signatures.dialogs.pattern.search(line):
            changes += self._on_dialog(dialog["title"], dialog["event"], time, line)
        elif self._opened is not None:
            if own and not found and self.signatures.dialogs.text_follows:
                self._opened.text = self.mask(self.signatures.line.sub("", line).strip())
            self._opened = None
        for signature, match in found:
            groups = {name: value.strip() for name, value in match.groupdict().items() if value is not None}
            login = self._whose(signature, groups.get("mode", "").lower())
            if login is not None:
                changes += self._apply(login, signature, groups, time, line)
                break
        return changes

    def after(self, now: datetime) -> list[Change]:
        """Draw the conclusions from silence up to `now`."""
        changes = []
        if self._text is not None and now >= self._text.deadline:
            changes += self._conclude_text(self._text.deadline)
        for login in self._logins.values():
            due, quiet = login.deadline, login.quiet
            if due is None or quiet is None or now < due:
                continue
            login.quiet = None
            text = quiet.text or (quiet.cause.text if quiet.cause else f"{quiet.state} (nothing more to set)")
            changes.append(self._enter(login, quiet.state, quiet.cause, due, text))
        for dialog in self._dialogs.values():
            if not dialog.reported and now >= self._due(dialog):
                changes.append(self._block(dialog))
        return changes

    def link(self, time: datetime, connected: bool | None, mode: str | None = None) -> list[Change]:
        """Process what the API reports of the gateway's link to IBKR (None: nothing); `mode` None is every login."""
        changes = []
        for login in self._logins.values():
            if mode is not None and login.mode != mode:
                continue
            login.severed = connected is False
            if connected and login.state is LoginState.LINK_LOST:
                login.quiet, login.splashes = None, 0
                changes.append(self._enter(login, LoginState.READY, None, time, BACK))
            elif connected is False and login.state in _IN:
                login.quiet = None
                text = "the link to IBKR is lost; the gateway reconnects by itself"
                changes.append(self._enter(login, LoginState.LINK_LOST, None, time, text))
            elif connected is None and login.state is LoginState.LINK_LOST and not login.splashes:
                # Nobody reports the link any more; no window shows that the gateway reconnects.
                login.last_line, login.quiet = time, Quiet(_UNREPORTED_SECONDS, None, LoginState.READY, BACK)
        return changes

    @property
    def reconnecting(self) -> bool:
        """Whether a window of the gateway shows that it reconnects to IBKR by itself."""
        return any(login.state is LoginState.LINK_LOST and login.splashes > 0 for login in self._logins.values())

    def deadline(self) -> datetime | None:
        """When `after` must be called if no line comes before; None if silence would mean nothing."""
        moments = [due for login in self._logins.values() if (due := login.deadline)]
        moments += [self._due(dialog) for dialog in self._dialogs.values() if not dialog.reported]
        if self._text is not None:
            moments.append(self._text.deadline)
        return min(moments, default=None)

    def snapshot(self, now: datetime) -> Snapshot:
        """The whole as it is at `now` (aware datetime; used for the seconds that 2FA has left)."""
        login = min(self._logins.values(), key=lambda entry: _URGENCY.index(self._state(entry)))
        state, since, text = self._state(login), login.since, login.text
        left = None
        if state is LoginState.AWAITING_2FA and login.twofa_since is not None:
            left = max(0, round(self.twofa_timeout - (now - login.twofa_since).total_seconds()))
        causes = [entry.cause for entry in (login, *self._logins.values()) if entry.cause]
        dialog = self._blocking(login)
        if dialog is not None and state is LoginState.BLOCKED:
            since, text = self._due(dialog), _open_text(dialog)
            causes = [self._dialog_cause(dialog), *causes]
        return Snapshot(
            state=state,
            since=since,
            text=text,
            mode=login.mode,
            # What needs a person must not hide behind what passes by itself.
            cause=next((cause for cause in causes if cause.final), causes[0] if causes else None),
            twofa_seconds_left=left,
            attempts=sum(entry.attempts for entry in self._logins.values()),
            warnings=tuple(self.warnings),
        )

    def _whose(self, signature: Signature, named: str) -> _Login | None:
        """The login that the line belongs to; None if it has no meaning for any of them."""
        if named in self._logins:
            candidates = [self._logins[named]]
        else:
            launched = [login for login in self._logins.values() if login.launched]
            candidates = launched or [next(iter(self._logins.values()))]
        if signature.states:
            candidates = [login for login in candidates if login.state in signature.states]
        if signature.in_session is not None:
            candidates = [login for login in candidates if login.session is signature.in_session]
        fitting = [login for login in candidates if login.state in signature.expects] or candidates
        preferred = [login for login in fitting if login.mode == signature.mode] or fitting
        # Of two that fit equally the one with the latest line continues.
        return max(preferred, key=lambda login: login.last_line.timestamp() if login.last_line else 0.0, default=None)

    def _apply(
        self, login: _Login, signature: Signature, groups: dict[str, str], time: datetime, line: str
    ) -> list[Change]:
        login.last_line, login.quiet = time, signature.quiet
        login.launched = login.launched or "mode" in groups
        login.session = signature.session or login.session
        login.splashes = max(0, login.splashes + signature.splash)
        if signature.splash < 0 and (login.splashes or login.severed):
            # Another splash window is still open, or the API knows better.
            login.quiet = None
        if "attempt" in groups:
            login.attempts += 1
        if "file" in groups and groups["file"] not in self.session_files:
            self.session_files.append(groups["file"])
        if signature.refusal:
            self._text = _Text(login, signature, time, line, [groups["said"]])
            return []
        cause = self._exit_cause(login, groups["code"]) if signature.exit_code else signature.cause
        if signature.exit_code and cause is None:
            return []
        state, text = signature.state, (signature.text or "").format_map(groups)
        if signature.misconfigured:
            login.misconfigured = cause
            return self._report(login, time, text, signature, line)
        if cause is not None and cause.next_step is NextStep.GOES_ON:
            self._warn(cause)
            return self._report(login, time, text, signature, line, cause)
        if state is LoginState.READY and login.state is not LoginState.LOGGED_IN:
            # The settings can be complete before the login is: then the login marks it as ready.
            login.configured = True
            return []
        if state is LoginState.LOGGED_IN and (login.configured or login.misconfigured):
            state, text, login.quiet = LoginState.READY, "logged in and ready", None
        if state is None:
            return self._report(login, time, text, signature, line) if text else []
        text = text or (cause.text if cause else "")
        before = (login.state, login.text, login.cause)
        change = self._enter(login, state, cause, time, text or login.text, line, signature.id)
        if not text or before == (login.state, login.text, login.cause):
            return []
        return [change]

    def _exit_cause(self, login: _Login, code: str) -> Cause | None:
        """The cause of an exit code; None if the line before has already given a better one, or nobody knows it."""
        if login.state in (LoginState.FAILED, LoginState.RESTARTING) and login.cause is not None:
            return None
        if login.misconfigured is not None:
            return login.misconfigured
        return self.signatures.exits.get(int(code) % 256)

    def _conclude_text(self, time: datetime) -> list[Change]:
        """The text of a refusal is complete: it decides the cause."""
        text, self._text = self._text, None
        if text is None or text.signature.cause is None:
            return []
        otherwise = text.signature.cause
        cause = self.signatures.refused(text.words[:_TEXT_LENGTH], otherwise) if text.words else otherwise
        if otherwise.next_step is not self.signatures.causes[otherwise.id].next_step:
            cause = replace(cause, next_step=otherwise.next_step)
        if text.words:
            cause = replace(cause, text=f"{cause.text} IBKR's text: {self.mask(text.words)[:_TEXT_LENGTH]}")
        state = text.signature.state or LoginState.FAILED
        text.login.quiet = None
        return [self._enter(text.login, state, cause, time, cause.text, text.line, text.signature.id)]

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
        if state is LoginState.READY and login.misconfigured is not None:
            state, cause = LoginState.FAILED, login.misconfigured
            text = cause.text
        if state is LoginState.AWAITING_2FA and login.state is not LoginState.AWAITING_2FA:
            login.twofa_since = time
        if state in (*_NEW_RUN, LoginState.RELOGIN_WAIT):
            login.configured, login.misconfigured, login.severed = False, None, False
        if state in _NEW_RUN:
            self._dialogs = {title: entry for title, entry in self._dialogs.items() if entry.login is not login}
        if state in _IN:
            login.splashes, login.session = 0, SessionKind.FULL
        if state is not login.state:
            login.since = time
        # A gateway that hung moves on only because somebody saw to it; other failures last until a login.
        hung = login.cause is not None and login.cause.next_step in (NextStep.HANGS, NextStep.WAITS)
        overcome = state in _IN or (hung and state in _MOVES_ON)
        login.cause = cause or (None if overcome else login.cause)
        login.state, login.text = state, text
        login.last = Change(time, login.mode, state, text, cause, line, signature)
        return login.last

    def _report(
        self,
        login: _Login,
        time: datetime,
        text: str,
        signature: Signature,
        line: str,
        cause: Cause | None = None,
    ) -> list[Change]:
        change = Change(time, login.mode, self._state(login), text, cause, line, signature.id)
        repeated = login.last is not None and login.last.text == text
        login.last = change
        return [] if repeated else [change]

    def _warn(self, cause: Cause) -> None:
        if cause not in self.warnings:
            self.warnings.append(cause)

    def _state(self, login: _Login) -> LoginState:
        """The login's state, with a dialog that blocks it taken into account."""
        more_urgent = login.state in (LoginState.FAILED, LoginState.AWAITING_2FA)
        return LoginState.BLOCKED if not more_urgent and self._blocking(login) else login.state

    def _blocking(self, login: _Login) -> _Dialog | None:
        if self._only_warns(login):
            return None
        return next((entry for entry in self._dialogs.values() if entry.reported and entry.login is login), None)

    def _only_warns(self, login: _Login) -> bool:
        """Whether a dialog is no more than a warning: the login has completed, and the log would not show the end of
        the dialog, so the login could never become ready again."""
        return not self.signatures.dialogs.closed and login.state in (*_IN, LoginState.LINK_LOST)

    def _on_dialog(self, title: str, event: str, time: datetime, line: str) -> list[Change]:
        """A dialog was opened, closed, or something else happened to it."""
        rules = self.signatures.dialogs
        self._opened = None
        if rules.known.search(title):
            return []
        if event == rules.opened and title not in self._dialogs:
            launched = [login for login in self._logins.values() if login.launched]
            owners = launched or [next(iter(self._logins.values()))]
            owner = max(owners, key=lambda login: login.last_line.timestamp() if login.last_line else 0.0)
            self._opened = self._dialogs[title] = _Dialog(title, owner, time)
        elif event == rules.closed and (dialog := self._dialogs.pop(title, None)) and dialog.reported:
            login = dialog.login
            login.last = Change(time, login.mode, self._state(login), f'the dialog "{title}" is closed', None, line)
            return [login.last]
        return []

    def _block(self, dialog: _Dialog) -> Change:
        dialog.reported = True
        login = dialog.login
        if self._only_warns(login):
            self._warn(self._dialog_cause(dialog))
        login.last = Change(
            self._due(dialog), login.mode, self._state(login), _open_text(dialog), self._dialog_cause(dialog)
        )
        return login.last

    def _due(self, dialog: _Dialog) -> datetime:
        return dialog.opened + timedelta(seconds=self.signatures.dialogs.seconds)

    def _dialog_cause(self, dialog: _Dialog) -> Cause:
        cause = self.signatures.dialogs.cause
        return replace(cause, text=f"{cause.text} It is {_named(dialog)}.")


def _named(dialog: _Dialog) -> str:
    words = " ".join(_TAG.sub(" ", dialog.text).split())[:_TEXT_LENGTH]
    return f'"{dialog.title}" with the text "{words}"' if words else f'"{dialog.title}"'


def _open_text(dialog: _Dialog) -> str:
    return f"the dialog {_named(dialog)} is open"


def modes_of(trading_mode: str) -> tuple[str, ...]:
    """The entry of `MODES`. Raises ValueError that lists the valid values."""
    if trading_mode not in MODES:
        raise ValueError(f"trading mode {trading_mode!r} is none of {', '.join(MODES)}")
    return MODES[trading_mode]


def replay(tracker: LoginTracker, lines: Iterable[tuple[datetime, str]]) -> list[Change]:
    """Feed many lines; return all changes in order."""
    return [change for time, line in lines for change in tracker.feed(time, line)]
