"""The real controllers are run: they print what is captured, and what they print leads to the right conclusion."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from conformance import captured
from conformance.captured import Captured
from conformance.controller import Controller, UnavailableError
from conformance.flow import Flow
from conformance.flows import FLOWS
from conformance.ibc import Ibc
from conformance.ibcontroller import Ibcontroller
from conformance.ibcontroller_flows import IBCONTROLLER_FLOWS
from conformance.play import FlowError, Recording, play_all
from conformance.tables import TABLES
from tests.conformance.test_matrix import check

IBC_CHOICE = (
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
    "command_restart",
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

IBCONTROLLER_CHOICE = (
    "login_paper",
    "login_no_user",
    "twofa_approved",
    "twofa_missed_restart",
    "twofa_missed_exit",
    "twofa_flicker",
    "unrecognized_password",
    "login_failed_disconnected",
    "login_error_locked",
    "server_failed_passkey",
    "server_failed_paper_users_known",
    "too_many_attempts_no_relogin",
    "reconnect",
    "login_failed_in_session",
    "crash_logged_in",
    "daily_restart",
    "daily_restart_unrecognized",
    "stale_autorestart_after_crash",
    "existing_session_primaryoverride_at_login_twice",
    "existing_session_primaryoverride_logged_in",
    "dialog_password_notice",
    "configuration_no_read_only",
    "no_login_window",
    "invalid_trading_mode",
    "empty_file_variable",
    "heap_without_unit",
    "stop_running",
)
"""One flow of each kind. `--conformance-full` runs them all."""

CONTROLLERS: dict[str, tuple[Controller, Mapping[str, Flow], tuple[str, ...]]] = {
    "ibc": (Ibc(), FLOWS, IBC_CHOICE),
    "ibcontroller": (Ibcontroller(), IBCONTROLLER_FLOWS, IBCONTROLLER_CHOICE),
}

Played = Callable[[str, str], Recording]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "played" in metafunc.fixturenames:
        full = metafunc.config.getoption("--conformance-full")
        metafunc.parametrize(
            ("controller", "flow"),
            [
                (name, flow)
                for name, (_, flows, choice) in CONTROLLERS.items()
                for flow in (list(flows) if full else choice)
            ],
        )


@pytest.fixture(scope="session")
def played(request: pytest.FixtureRequest) -> Played:
    """The recording of a controller's flow. Those of the collected tests are run together, several at a time."""
    wanted = {case for item in request.session.items if (case := _case_of(item))}
    outcomes: dict[str, dict[str, Recording | FlowError]] = {}

    def of(name: str, flow: str) -> Recording:
        if name not in outcomes:
            controller, flows, _ = CONTROLLERS[name]
            chosen = [flows[entry] for entry in flows if (name, entry) in wanted]
            try:
                outcomes[name] = dict(zip([entry.name for entry in chosen], play_all(controller, chosen), strict=True))
            except UnavailableError as error:
                if name == "ibc":
                    raise
                # It needs a newer Python than the project; where even Debian's cannot be fetched, that must be seen.
                pytest.skip(f"{controller.version} cannot run here: {error}")
        outcome = outcomes[name][flow]
        if isinstance(outcome, FlowError):
            raise outcome
        return outcome

    return of


def _case_of(item: pytest.Item) -> tuple[str, str] | None:
    """Controller and flow of a test that needs a recording."""
    callspec = getattr(item, "callspec", None)
    needs = isinstance(item, pytest.Function) and "played" in item.fixturenames
    return (callspec.params["controller"], callspec.params["flow"]) if needs and callspec is not None else None


def test_the_controller_prints_what_is_captured(controller: str, flow: str, played: Played) -> None:
    program, flows, _ = CONTROLLERS[controller]
    live = captured.of_recording(played(controller, flow), program)
    known = captured.read(controller, flow)
    if (facts(live), live.exit_code) != (facts(known), known.exit_code):
        # Threads of the program race where several flows share the machine: alone it must print what is captured.
        (again,) = play_all(program, [flows[flow]])
        if isinstance(again, FlowError):
            raise again
        live = captured.of_recording(again, program)
    assert (facts(live), live.exit_code) == (facts(known), known.exit_code)


def facts(entry: Captured) -> list[str]:
    """The lines without their order, which differs where threads write: the rows of the table hold it."""
    return sorted(captured.essential(entry.lines))


def test_the_live_lines_lead_to_the_right_conclusion(controller: str, flow: str, played: Played) -> None:
    recording = played(controller, flow)
    check(controller, recording.flow, TABLES[controller][flow], recording.lines, recording.exit_code)


@pytest.mark.parametrize("name", CONTROLLERS)
def test_no_setting_and_no_property_of_the_machine_is_captured(name: str) -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in (captured.FOLDER / name).glob("*.log"))
    assert "testpassword" not in text
    assert "conformance-" not in text
    assert "java.vm" not in text
