"""The simulator logs the focus of its windows as the real IBC does.

Which window gets the focus, and when, is a race, so a single run is no measure: all captured flows together are.
"""

from __future__ import annotations

import re

import pytest
from conformance import captured
from conformance.flows import FLOWS
from tests.conformance import test_simulated_lines as simulated

FOCUS = re.compile(r"detected (?P<window>\w+ entitled: .*); event=(?P<event>Activated|Deactivated|Focused|Lost focus)$")
SPLASH_LEFT = {("frame entitled: Authenticating...", event) for event in ("Lost focus", "Deactivated")}

# The real gateway ends before the focus reaches the first, and before the second loses it.
ENDING = {"dialog entitled: Login Error", "dialog entitled: Restart in progress"}


def focus(lines: list[str]) -> set[tuple[str, str]]:
    return {(found["window"], found["event"]) for line in lines if (found := FOCUS.search(line))}


def real(flow: str) -> list[str]:
    return [line.text for line in captured.read("ibc", flow).lines]


def played(flow: str) -> list[str]:
    return [line for run in simulated.FLOWS[flow] for line in run.lines()]


def test_no_focus_is_invented() -> None:
    known = set().union(*(focus(real(flow)) for flow in FLOWS))
    own = set().union(*(focus(played(flow)) for flow in simulated.FLOWS))
    assert {window for window, event in own - known} <= ENDING


@pytest.mark.parametrize("flow", [flow for flow in simulated.FLOWS if "Second Factor" in "".join(real(flow))])
def test_the_splash_window_loses_the_focus_to_the_second_factor(flow: str) -> None:
    """These events come right after the request, and were once taken for its end."""
    lines = played(flow)
    opened = next(number for number, line in enumerate(lines) if "Second Factor Authentication; event=Opened" in line)
    assert focus(lines[opened : opened + 6]) >= SPLASH_LEFT


def test_the_real_splash_window_loses_the_focus_to_the_second_factor() -> None:
    lines = real("twofa_waits")
    initiated = next(number for number, line in enumerate(lines) if "initiated" in line)
    assert focus(lines[initiated - 3 :]) >= SPLASH_LEFT
