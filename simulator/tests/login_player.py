"""Plays the login script without a clock: each step is handled at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from gateway_simulator.login.loginscript import gateway_run
from gateway_simulator.login.steps import (
    Answer,
    AskApproval,
    AskSlot,
    Broadcast,
    CloseApi,
    Event,
    Hang,
    HoldApi,
    Ibc,
    LoginState,
    OpenApi,
    Pause,
    Raw,
    ReadSession,
    Reply,
    RunEnd,
    Serve,
    Show,
)
from gateway_simulator.settings import GatewaySettings, Scenario

NOW = datetime(2026, 11, 23, 1, 10, 50, 123456, tzinfo=UTC)  # a Monday
USER = GatewaySettings(user="user", password="secret", relogin=True, twofa_restart=True, read_only=False)
PAUSED_AT_MOST = 1000.0
"""Seconds after which a login is left that tries again and again."""
SERVED_AT_MOST = 100.0
"""Seconds after which a session is left that only counts its own attempts to reconnect."""


@dataclass
class Played:
    """What a run did; ``end`` None: it hangs or serves on.

    ``lines`` as the script words them, ``log`` as the log has them. ``held`` no API client is served.
    """

    held: bool = False
    lines: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    states: list[LoginState] = field(default_factory=list)
    api: list[tuple[str, ...] | None] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    pauses: float = 0.0
    hangs: bool = False
    end: RunEnd | None = None

    def logs_in_order(self, *wanted: str) -> None:
        """Assert that the lines contain these texts in this order."""
        rest = iter(self.lines)
        for text in wanted:
            assert any(text in line for line in rest), f"{text!r} is missing, or out of order, in {self.lines}"


def play(
    settings: GatewaySettings = USER,
    *changes: tuple[str, str],
    restart: bool = False,
    happenings: tuple[Event, ...] = (),
    missed: int = 1,
    token: bool = True,
    slot: bool = False,
) -> Played:
    """Play a run; after ``missed`` unanswered 2FA dialogs the next one is approved.

    ``token``: the autorestart file is one that can be used. ``slot``: IBKR counts an earlier session.
    """
    scenario = Scenario()
    for key, value in changes:
        scenario = scenario.changed(key, value)
    played, waiting, reply, served = Played(), list(happenings), None, 0.0
    script = gateway_run(settings, scenario, lambda: NOW, restart=restart)
    while True:
        try:
            step = script.send(reply)
        except StopIteration as finished:
            played.end = finished.value
            return played
        answer: Reply = None
        match step:
            case Ibc(text):
                played.lines.append(text)
                played.log.append(f"<time> IBC: {text}")
            case Raw(text):
                played.lines.append(text)
                played.log.append(text)
            case Show(state):
                played.states.append(state)
            case Pause(seconds):
                played.pauses += seconds
                if played.pauses > PAUSED_AT_MOST:
                    return played
            case OpenApi(accounts):
                played.api.append(accounts)
            case CloseApi():
                played.api.append(None)
            case Broadcast(code):
                played.codes.append(code)
            case HoldApi(held):
                played.held = held
            case ReadSession():
                answer = token
            case AskSlot():
                answer = slot
            case AskApproval(seconds, approved_after):
                if approved_after is not None and approved_after < seconds:
                    answer = Answer(True, approved_after)
                elif missed:
                    missed -= 1
                    answer = Answer(False, seconds)
                else:
                    answer = Answer(True, 1.0)
            case Serve(seconds):
                if waiting:
                    answer = waiting.pop(0)
                elif seconds is None or served > SERVED_AT_MOST:
                    return played
                served += seconds or 0
            case Hang():
                played.hangs = True
                return played
        reply = answer
