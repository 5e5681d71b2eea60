"""Logins that IBKR rejects, and how IBC handles each dialog."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256

from gateway_simulator.login.run import AUTHENTICATING, Run
from gateway_simulator.login.steps import Ibc, LoginState, Part, Raw, Script, Show, Step
from gateway_simulator.settings import Credentials, Refusal, Server

UNRECOGNIZED = "Unrecognized Username or Password"
UNTITLED = "** no title **"
DISCONNECTED = "Server disconnected, please try again"
TOO_MANY = "too many failed login attempts"
LOCKED = "Your account has been locked. Contact Client Services."
TEXTS = {
    Refusal.LOGIN_FAILED: DISCONNECTED,
    Refusal.LOGIN_ERROR: DISCONNECTED,
    Refusal.CONNECTION_FAILED: DISCONNECTED,
    Refusal.CONNECTION_FAILED_HTML: DISCONNECTED,
    Refusal.UPGRADE: "IB Gateway 10.45",
}
"""What IBKR writes if REFUSAL_TEXT is empty; for UPGRADE the name of the program."""


def refused(run: Run) -> Part:
    """The login server's answer to a full login; None: it continues."""
    scenario = run.scenario
    if scenario.server is Server.DOWN:
        return (yield from _refusal(run, Refusal.CONNECTION_FAILED, scenario.refusal_text or DISCONNECTED))
    if scenario.server is Server.MAINTENANCE:
        return (yield from _refusal(run, Refusal.LOGIN_FAILED, scenario.refusal_text or DISCONNECTED))
    if scenario.refusal is not Refusal.NONE:
        text = scenario.refusal_text or TEXTS[scenario.refusal]
        return (yield from _refusal(run, scenario.refusal, text))
    if scenario.credentials is Credentials.LOCKED:
        return (yield from _refusal(run, Refusal.LOGIN_ERROR, scenario.refusal_text or LOCKED))
    known = scenario.password_sha256 in ("", sha256(run.settings.password.encode()).hexdigest())
    if scenario.credentials in (Credentials.WRONG, Credentials.BAD_A, Credentials.BAD_B) or not known:
        return (yield from unrecognized(run))
    return None


def unrecognized(run: Run) -> Script:
    """The dialog that IBC does not recognize: the login hangs."""
    yield from _connected(run)
    yield from run.screen.open("dialog", UNRECOGNIZED)
    return (yield from run.hang("IBC does not know this dialog", UNRECOGNIZED))


def rate_limited(run: Run) -> Part:
    """Too many failed logins: IBKR asks to wait."""
    minutes, seconds = divmod(run.scenario.rate_limit_seconds, 60)
    words = f"{minutes} minutes & {seconds} seconds" if minutes else f"{seconds} seconds"
    message = f"Too many failed login attempts. Please wait {words} before attempting to re-login again."
    return (yield from _asked_to_wait(run, UNTITLED, message, run.scenario.rate_limit_seconds))


def _asked_to_wait(run: Run, title: str, message: str, seconds: int) -> Part:
    """With relogin IBC waits and logs in again, else it hangs."""
    yield from _connected(run)
    if not run.settings.relogin:
        yield from run.screen.open("dialog", title, Ibc(message))
        return (yield from run.hang(message, title if title != UNTITLED else "Too many failed login attempts"))
    pause = seconds + 3
    again = run.now() + timedelta(seconds=pause)
    stamped = f"{again:%Y-%m-%d %H:%M:%S}:{again.microsecond // 1000:03d}"
    yield from run.screen.open(
        "dialog",
        title,
        Ibc(message),
        Ibc(f"Will re-login at {stamped}; login number: {run.attempt + 1}"),
        Ibc("Click button: OK"),
    )
    yield from run.screen.close(title)
    yield Show(LoginState.RELOGIN_WAIT, message)
    if end := (yield from run.wait(pause)):
        return end
    yield from run.attempt_login()
    return (yield from run.connect())


def _connected(run: Run) -> list[Step]:
    """The splash window gets to the authentication, and closes."""
    if run.splash:
        run.retitle(AUTHENTICATING)
    return run.close_splash()


def _refusal(run: Run, refusal: Refusal, text: str) -> Script:
    if refusal is Refusal.LOGIN_ERROR and TOO_MANY in text.lower():
        # IBC takes this text for the request to wait, whatever the dialog is called.
        end = None
        while end is None:
            end = yield from _asked_to_wait(run, "Login Error", text, 0)
        return end
    yield from _connected(run)
    screen = run.screen
    match refusal:
        case Refusal.LOGIN_FAILED:
            # Its text is on the screen only.
            yield Show(LoginState.LOGGING_IN, text, "Login failed")
            yield from screen.open("dialog", "Login failed", Ibc("Login failed"))
        case Refusal.LOGIN_ERROR:
            yield Show(LoginState.LOGGING_IN, text, "Login Error")
            yield from screen.open("dialog", "Login Error", Ibc("Login error message:"), Raw(text))
        case Refusal.CONNECTION_FAILED:
            message = f"Connection to server failed: {text}"
            yield Show(LoginState.LOGGING_IN, message, "IBKR Gateway")
            yield from screen.open("dialog", "IBKR Gateway", Ibc(message))
        case Refusal.CONNECTION_FAILED_HTML:
            message = f"<html>Connection to server failed: {text}</html>"
            yield from screen.open("dialog", "Gateway", Ibc(message))
            return (yield from run.hang(message, "Gateway"))
        case Refusal.UPGRADE:
            title = f"{text} needs to be upgraded"
            yield from screen.open("dialog", title)
            return (yield from run.hang("IBC does not know this dialog", title))
    return (yield from run.cold_restart())
