"""What the tracker and the supervisor conclude from the real lines of py-ib-controller, and at which line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conformance import captured
from conformance.controller import Line
from conformance.ibcontroller import Ibcontroller
from conformance.ibcontroller_flows import IBCONTROLLER_FLOWS
from conformance.tables import TABLES
from tests.conformance.judge import LONG, Judge, Outcome
from tests.conformance.test_matrix import SECOND_GATEWAY, check, judge_of

from gateway_watch.signatures import load

ROWS = TABLES["ibcontroller"]


def test_each_flow_has_its_captured_lines_and_its_row() -> None:
    assert set(IBCONTROLLER_FLOWS) == {entry.flow for entry in captured.read_all("ibcontroller")} == set(ROWS)


@pytest.mark.parametrize("flow", ROWS)
def test_the_captured_lines_lead_to_the_right_conclusion(flow: str) -> None:
    entry = captured.read("ibcontroller", flow)
    check("ibcontroller", IBCONTROLLER_FLOWS[flow], ROWS[flow], entry.lines, entry.exit_code)


NOT_CAPTURED = {
    "container_script": "printed by the image's start script, which is not run here",
    "controller_launch": "printed by the image's start script, which is not run here",
    "container_stop": "printed by the image's start script, which is not run here",
    "cold_restart": "printed on Sundays at a set hour",
}


def test_every_signature_is_found_in_a_captured_line_or_named_here_with_the_reason() -> None:
    signatures = load("ibcontroller")
    lines = [
        captured.with_times(line.text, "2026-11-24 15:00:00,000")
        for entry in captured.read_all("ibcontroller")
        for line in entry.lines
    ]
    found = {signature.id for line in lines for signature, _ in signatures.matches(line)}
    assert {signature.id for signature in signatures.signatures} - found == set(NOT_CAPTURED)


def test_each_line_of_the_controller_is_known_as_its_own() -> None:
    own = load("ibcontroller").line
    foreign = {
        line.text
        for entry in captured.read_all("ibcontroller")
        for line in entry.lines
        if not own.search(captured.with_times(line.text, "2026-11-24 15:00:00,000"))
    }
    # The rest of messages over several lines, and what the JVM prints by itself.
    assert all(
        re.match(r"Edit <home>|Check <home>|\w+Error: |'<|Error occurred|Too small|stand-in: |ibcontroller\.", text)
        for text in foreign
    ), foreign


def test_the_stop_finds_the_controller_and_not_the_gateway(tmp_path: Path) -> None:
    controller = Ibcontroller()
    controller.prepare()
    process = load("ibcontroller").process
    started = controller.launch(IBCONTROLLER_FLOWS["login_paper"], tmp_path, ":0").command
    assert process.search(" ".join(started) + " ")
    # As the image starts it, and as the controller starts the gateway.
    assert process.search("/usr/bin/python3 /usr/local/bin/ibcontroller run ")
    assert not process.search("/jre/bin/java -cp gw.jar:ibcontroller-agent.jar ibcontroller.agent.AgentMain /run/a ")
    assert not process.search("bash /home/ibgateway/scripts/run.sh ")


def test_a_dialog_is_reported_by_its_title_alone_and_its_end_cannot_be_awaited() -> None:
    flow = IBCONTROLLER_FLOWS["dialog_login_messages"]
    judge = judge_of("ibcontroller", flow)
    lines = captured.read("ibcontroller", flow.name).lines
    for line in lines:
        judge.feed(line)
    # A line that follows is not the text of the dialog.
    judge.feed(Line(lines[-1].at + 1, "<time> INFO ibcontroller.settings: IBController > something else"))
    assert judge.silence(60).state == "ready"
    (warning,) = judge.tracker.warnings
    assert 'It is "Login Messages".' in warning.text


def test_a_dialog_blocks_a_login_that_has_not_completed() -> None:
    judge = judge_of("ibcontroller", IBCONTROLLER_FLOWS["login_paper"])
    stamp = "<time> INFO ibcontroller."
    judge.feed(Line(0.0, f"{stamp}login: IBController > credentials submitted, awaiting outcome"))
    judge.feed(Line(1.0, f"{stamp}recognisers: unhandled unprompted window: ibgateway.ax 'Login Messages'"))
    assert judge.silence(31).state == "blocked"
    assert judge.feed(Line(40.0, f"{stamp}login: IBController > login completed")).state == "logged_in"


def test_a_handoff_is_reported_long_before_the_controller_gives_up() -> None:
    judge = judge_of("ibcontroller", IBCONTROLLER_FLOWS["handoff"])
    for line in captured.read("ibcontroller", "handoff").lines:
        if line.text.startswith("error:") or "cycle aborted" in line.text:
            break
        judge.feed(line)
    judge.silence(30)
    assert judge.outcome is not None
    assert (judge.outcome.what, judge.outcome.cause) == ("stop", "login_handoff")


BOTH = {
    ("twofa_approved", "login_paper"): ("ready", None, "goes on"),
    ("twofa_waits", "login_paper"): ("awaiting_2fa", None, "goes on"),
    ("twofa_missed_restart", "daily_restart"): ("ready", None, "goes on"),
    # One of the two has ended, and the container goes on with the other.
    ("twofa_missed_exit", "login_paper"): ("failed", "twofa_missed", "restart"),
    ("twofa_approved", "unrecognized_password"): ("failed", "bad_credentials", "restart"),
    ("twofa_approved", "daily_restart_unrecognized"): ("failed", "token_refused", "restart"),
    ("twofa_approved", "crash_logged_in"): ("restarting", "gateway_ended", "restart"),
    ("twofa_approved", "server_failed_version"): ("starting", "version_unsupported", "restart"),
}
"""With both trading modes: the live flow, the paper flow, and what is right after both and a silence."""


@pytest.mark.parametrize(("live", "paper"), BOTH)
def test_two_logins_in_one_log_are_separated(live: str, paper: str) -> None:
    lines = [
        *(Line(0.0, ".> Starting ibcontroller in live mode, with params:"), *captured.read("ibcontroller", live).lines),
        Line(SECOND_GATEWAY, ".> Starting ibcontroller in paper mode, with params:"),
        *(Line(line.at + SECOND_GATEWAY, line.text) for line in captured.read("ibcontroller", paper).lines),
    ]
    judge = Judge("ibcontroller", "both")
    for line in sorted(lines, key=lambda line: line.at):
        judge.feed(line)
    seen = judge.silence(LONG)
    outcome = judge.outcome or Outcome("goes on")
    assert (seen.state, seen.cause, outcome.what) == BOTH[live, paper]
