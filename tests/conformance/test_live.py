"""The real IBC is run: it still prints what is captured, and what it prints leads to the right conclusion."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conformance import captured, expected
from conformance.captured import Captured
from conformance.flows import FLOWS
from conformance.ibc import Ibc
from conformance.play import FlowError, Recording, play_all
from tests.conformance.test_matrix import check

CHOICE = (
    "login_paper",
    "twofa_approved",
    "twofa_missed_relogin",
    "twofa_late_no_relogin",
    "twofa_flicker",
    "twofa_device_list_timer",
    "twofa_device_unknown",
    "unrecognized_password",
    "login_failed_disconnected",
    "login_error_maintenance",
    "login_error_locked_attempts",
    "server_failed_passkey",
    "server_failed_html",
    "too_many_attempts_relogin",
    "reconnect",
    "reconnect_attempts",
    "reconnect_relogin",
    "crash_logged_in",
    "daily_restart",
    "daily_restart_unrecognized",
    "daily_restart_relogin_stuck",
    "stale_autorestart",
    "existing_session_manual_at_login",
    "existing_session_primaryoverride_at_login_twice",
    "existing_session_primaryoverride_logged_in",
    "handoff_primaryoverride",
    "dialog_password_notice",
    "configuration_no_menu",
    "configuration_no_read_only",
    "no_login_window",
    "no_java",
    "stop_running",
)
"""One flow of each kind. `--conformance-full` runs them all."""

Played = Callable[[str], Recording]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "flow" in metafunc.fixturenames:
        full = metafunc.config.getoption("--conformance-full")
        metafunc.parametrize("flow", list(FLOWS) if full else CHOICE)


@pytest.fixture(scope="session")
def controller() -> Ibc:
    return Ibc()


@pytest.fixture(scope="session")
def played(request: pytest.FixtureRequest, controller: Ibc) -> Played:
    """The recording of a flow that is among the collected tests; they are run together, several at a time."""
    wanted = {flow for item in request.session.items if (flow := _flow_of(item))}
    flows = [flow for name, flow in FLOWS.items() if name in wanted]
    outcomes = dict(zip([flow.name for flow in flows], play_all(controller, flows), strict=True))

    def of(flow: str) -> Recording:
        outcome = outcomes[flow]
        if isinstance(outcome, FlowError):
            raise outcome
        return outcome

    return of


def _flow_of(item: pytest.Item) -> str | None:
    """The flow of a test that needs its recording."""
    callspec = getattr(item, "callspec", None)
    needs = isinstance(item, pytest.Function) and "played" in item.fixturenames
    return callspec.params["flow"] if needs and callspec is not None else None


def test_the_controller_prints_what_is_captured(flow: str, played: Played, controller: Ibc) -> None:
    live, known = captured.of_recording(played(flow), controller), captured.read("ibc", flow)
    assert (facts(live), live.exit_code) == (facts(known), known.exit_code)


def facts(entry: Captured) -> list[str]:
    """The lines without their order, which differs where threads write: the rows of the table hold it."""
    return sorted(captured.essential(entry.lines))


def test_the_live_lines_lead_to_the_right_conclusion(flow: str, played: Played) -> None:
    recording = played(flow)
    check("ibc", recording.flow, expected.IBC[flow], recording.lines, recording.exit_code)


def test_no_setting_and_no_property_of_the_machine_is_captured() -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in (captured.FOLDER / "ibc").glob("*.log"))
    assert "testpassword" not in text
    assert "conformance-" not in text
    assert "java.vm" not in text
