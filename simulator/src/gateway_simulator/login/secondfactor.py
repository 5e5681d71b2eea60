"""The second factor of a login, as IBC follows it: by the dialogs' times, for it cannot see an approval."""

from __future__ import annotations

import math
from collections.abc import Generator

from gateway_simulator.login.run import RELOGIN_DELAY, Run, Timer, error
from gateway_simulator.login.steps import Answer, AskApproval, Ibc, LoginState, Part, Reply, RunEnd, Show, Step
from gateway_simulator.settings import TwoFaKind

TITLE = "Second Factor Authentication"
LIMIT = 180.0
"""Seconds after which IBC takes the end of the dialog for a missed approval (SecondFactorAuthenticationTimeout)."""


def second_factor(run: Run) -> Part:
    """Request the second factor; None: ``run.approved`` decides whether the login continues or IBC logs in again."""
    scenario, screen = run.scenario, run.screen
    started = 2 * run.step
    complaint = _complaint(run)
    if complaint:
        yield from screen.open("dialog", TITLE, *error(complaint))
        return (yield from run.hang(complaint, TITLE))
    if scenario.twofa_devices:
        yield from screen.open("dialog", TITLE, Ibc("Click button: OK"))
        if not scenario.twofa_same_dialog:
            yield from screen.close(TITLE, *_closed(run, started))
    if not screen.has(TITLE):
        yield from screen.open("dialog", TITLE, Ibc("Second Factor Authentication initiated"))
    asks_for_code = scenario.twofa.kind is TwoFaKind.CODE
    note = "Enter the code of your authenticator app" if asks_for_code else "Approve the login on your device"
    yield Show(LoginState.AWAITING_2FA, note, TITLE, code=asks_for_code)
    answer = yield from _ask(run)
    if isinstance(answer, RunEnd):
        return answer
    since_login = answer.seconds + started
    late = since_login >= min(LIMIT, scenario.twofa_seconds + started)
    yield from screen.close(TITLE, *_closed(run, since_login, late=late))
    if answer.approved:
        run.approved = True
        yield Show(LoginState.LOGGING_IN, "Second factor approved")
        return (yield from run.wait(scenario.slow_after_2fa))
    if late and run.settings.relogin:
        yield Show(LoginState.RELOGIN_WAIT, "The second factor was not answered")
        return (yield from run.wait(RELOGIN_DELAY))
    return (yield from run.hang("The second factor was not answered"))


def _complaint(run: Run) -> str:
    wanted, devices = run.settings.twofa_device, run.scenario.twofa_devices
    kind = run.scenario.twofa.kind
    if kind is TwoFaKind.DEVICE_UNSET or (devices and not wanted):
        return "You should specify the required second factor device using the SecondFactorDevice setting in config.ini"
    if kind is TwoFaKind.DEVICE_UNKNOWN or (devices and wanted not in devices):
        return f"could not find second factor device '{wanted}' in the list"
    return ""


def _closed(run: Run, since_login: float, *, late: bool = False) -> list[Ibc]:
    """What IBC logs, and starts, when the dialog has closed."""
    settings = run.settings
    lines = [f"Duration since login: {math.floor(since_login)} seconds"]
    if late and settings.relogin:
        lines.append(f"Re-login after second factor authentication timeout in {RELOGIN_DELAY:.0f} second")
        run.timers.append((RELOGIN_DELAY, Timer.RELOGIN))
    elif late:
        lines.append("Re-login after second factor authentication timeout not required")
    elif settings.relogin:
        lines.append(f"If login has not completed, IBC will exit in {settings.twofa_exit_interval} seconds")
        run.timers.append((float(settings.twofa_exit_interval), Timer.EXIT))
    return [Ibc(line) for line in lines]


def _ask(run: Run) -> Generator[Step, Reply, Answer | RunEnd]:
    """Leave the dialog open until it is answered or its time is over, or a timer ends the run."""
    twofa = run.scenario.twofa
    total = twofa.seconds if twofa.kind is TwoFaKind.CLOSE_AFTER else run.scenario.twofa_seconds
    approved_after = twofa.seconds if twofa.kind is TwoFaKind.APPROVE_AFTER else None
    passed = 0.0
    while True:
        due = run.next_timer()
        left = total - passed
        until_timer = due is not None and due < left
        asked = due if until_timer and due is not None else left
        answer = yield AskApproval(asked, None if approved_after is None else approved_after - passed)
        if not isinstance(answer, Answer):
            raise TypeError(f"the reply to AskApproval must be an Answer, not {answer!r}")
        run.passed(answer.seconds)
        passed += answer.seconds
        if answer.approved or not until_timer:
            return Answer(answer.approved, passed)
        if end := (yield from run.fire()):
            return end
