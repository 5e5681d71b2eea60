"""The exit codes of py-ib-controller: `gateway-watch run` with containers that print the controller's real lines."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime

import pytest
from conformance import captured
from tests.integration.supervised import LISTEN, Gateway, MakeGateway, script

STARTED = ".> Starting ibcontroller in {mode} mode, with params:"


def lines_of(flow: str, mode: str = "paper") -> str:
    """A shell command that prints what the real controller printed in this flow, after the image's own line."""
    stamp = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S},000"
    entry = captured.read("ibcontroller", flow)
    texts = [STARTED.format(mode=mode), *(captured.with_times(line.text, stamp) for line in entry.lines)]
    return "\n".join(f"echo {shlex.quote(text)}" for text in texts)


def ends(flow: str, mode: str = "paper") -> str:
    """A container that goes the flow's way and ends with its exit code."""
    return script(lines_of(flow, mode), f"exit {captured.read('ibcontroller', flow).exit_code}")


def is_closed(gateway: Gateway) -> bool:
    """Whether the breaker lets the next login through; its file is not there before something has been counted."""
    return not (gateway.state / "breaker.json").exists() or gateway.breaker()["open"] is None


@pytest.fixture
def gateway(make: MakeGateway) -> Gateway:
    return make(login_controller="ibcontroller")


def test_a_refused_password_is_tried_twice_and_no_more(gateway: Gateway) -> None:
    assert gateway.run(ends("unrecognized_password"))[0] == 1
    assert (gateway.breaker()["bad_logins"], gateway.breaker()["open"]) == (1, None)
    assert gateway.run(ends("unrecognized_password"))[0] == 78
    assert gateway.breaker()["open"]["cause"] == "bad_credentials"
    status, output = gateway.run(ends("unrecognized_password"))
    assert status == 78
    assert "Starting ibcontroller" not in output


def test_exit_code_77_counts_as_a_refused_password_even_without_a_line(gateway: Gateway) -> None:
    silent = script(f"echo {shlex.quote(STARTED.format(mode='paper'))}", "exit 77")
    assert gateway.run(silent)[0] == 1
    assert gateway.breaker()["bad_logins"] == 1
    assert gateway.run(silent)[0] == 78
    assert gateway.breaker()["open"]["cause"] == "bad_credentials"


def test_exit_code_77_after_a_restart_is_a_refused_session_and_not_a_password(gateway: Gateway) -> None:
    status, output = gateway.run(ends("daily_restart_unrecognized"))
    assert status == 1
    assert "IBKR did not accept the kept session" in output
    assert is_closed(gateway)
    assert gateway.run(ends("unrecognized_password"))[0] == 1
    assert gateway.breaker()["bad_logins"] == 1


@pytest.mark.parametrize(
    ("flow", "cause"),
    [
        ("invalid_trading_mode", "controller_misconfigured"),
        ("no_java", "bad_image"),
        ("login_no_user", "empty_credentials"),
    ],
)
def test_exit_code_78_needs_manual_intervention_at_once(gateway: Gateway, flow: str, cause: str) -> None:
    status, _ = gateway.run(ends(flow))
    assert status == 78
    assert gateway.breaker()["open"]["cause"] == cause


def test_exit_code_78_without_a_line_needs_manual_intervention(gateway: Gateway) -> None:
    assert gateway.run(script("exit 78"))[0] == 78
    assert gateway.breaker()["open"]["cause"] == "controller_misconfigured"


@pytest.mark.parametrize(
    ("flow", "mode", "reason"),
    [
        ("crash_at_login", "paper", "the controller lost its connection"),
        ("twofa_missed_exit", "live", "Nobody answered the second factor"),
    ],
)
def test_exit_codes_69_and_75_are_tried_again(make: MakeGateway, flow: str, mode: str, reason: str) -> None:
    api = {"mode": mode, "host": "127.0.0.1", "port": 4002, "native_port": 4002}
    gateway = make(login_controller="ibcontroller", trading_mode=mode, apis=[api])
    status, output = gateway.run(ends(flow, mode))
    assert (status, reason in output) == (1, True), output
    assert is_closed(gateway)


def test_a_session_under_the_next_controller_becomes_ready(gateway: Gateway) -> None:
    gateway.create(script(LISTEN, lines_of("login_paper"), "while :; do sleep 1 & wait $!; done"))
    process = gateway.start()
    gateway.systemd.wait_ready()
    assert gateway.terminate(process)[0] == 0
