"""Another session of the same user: what IBC does about the dialogs."""

from __future__ import annotations

from gateway_simulator.login.run import Run, error, exit_with
from gateway_simulator.login.steps import AskSlot, Ibc, LoginState, Part, RunEnd, Show
from gateway_simulator.settings import ExistingSession

EXIT_INVALID_STATE = 1110
TITLE = "Existing session detected"
HANDOFF = "Trading Login Handoff"
LEAVE, STAY = "Exit Application", "Reconnect This Session"
_SCENARIOS: dict[int, tuple[str, str | None]] = {
    1: ("User must choose whether to continue with this session", None),
    2: ("End this session and let the other session proceed", LEAVE),
    3: ("Don't know the type of the other session, so continue this one", STAY),
    4: ("Other session must be primary or primary override, so end this session and let the other one proceed", LEAVE),
    5: ("Continue this session and let the other session exit", STAY),
    6: ("Other session may be primary, so end this session and let the other one proceed", LEAVE),
}


def at_login(run: Run) -> Part:
    """The dialog during the login, if the scenario has one."""
    existing = run.scenario.existing_session
    first = {"manual": 1, "secondary": 2}.get(run.settings.existing_session_action, 3)
    match existing:
        case ExistingSession.SCENARIO_1 | ExistingSession.SCENARIO_2:
            first = int(existing.value)
        case ExistingSession.SCENARIO_3 | ExistingSession.SCENARIO_4:
            first = 3
        case ExistingSession.LOGIN | ExistingSession.LOGIN_TWICE:
            pass
        case ExistingSession.HANDOFF:
            if first == 1:
                # Nobody would come to the other dialog.
                return None
        case ExistingSession.AFTER_HARD_STOP:
            if not (yield AskSlot()):
                return None
        case _:
            return None
    end = yield from _detected(run, first)
    if end is None and existing in (ExistingSession.SCENARIO_4, ExistingSession.LOGIN_TWICE):
        end = yield from _detected(run, 4)
    return end


def when_logged_in(run: Run) -> Part:
    """The dialog in a running session."""
    by_action = {"manual": 1, "secondary": 2, "primary": 5, "primaryoverride": 6}
    forced = {ExistingSession.SCENARIO_5: 5, ExistingSession.SCENARIO_6: 6}
    number = forced.get(run.scenario.existing_session, by_action[run.settings.existing_session_action])
    return (yield from _detected(run, number))


def _detected(run: Run, number: int) -> Part:
    words, button = _SCENARIOS[number]
    line = Ibc(f"{words} (scenario {number})")
    if button is None:
        yield from run.screen.open("dialog", TITLE, line)
        return (yield from run.hang(words, TITLE))
    yield from run.screen.open("dialog", TITLE, line, Ibc(f"Click button: {button}"))
    yield from run.screen.close(TITLE)
    if button == STAY:
        return None
    yield Show(LoginState.STOPPED, "Yielded to the other session")
    if not run.completed:
        return (yield from run.yielded())
    yield from run.shut_down()
    return RunEnd(0, logged_off=True)


def handoff(run: Run) -> Part:
    """The dialog that asks to hand the trading session over, if the scenario has it."""
    if run.scenario.existing_session is not ExistingSession.HANDOFF:
        return None
    # IBC itself prints the empty braces here: its text is never put in.
    action = run.settings.existing_session_action
    if action == "manual":
        yield from run.screen.open("dialog", HANDOFF, Ibc(f"{HANDOFF} dialog; {{}}"))
        return (yield from run.hang("Choose which session goes on", HANDOFF))
    if action == "primary":
        yield from run.screen.open(
            "dialog", HANDOFF, Ibc(f"{HANDOFF} dialog; {{}}"), Ibc("Click button: Disconnect Other Session")
        )
        yield from run.screen.close(HANDOFF)
        return None
    yield from run.screen.open("dialog", HANDOFF, *error(f"{HANDOFF} dialog; error: {{}}"))
    return (yield from exit_with(EXIT_INVALID_STATE))
