"""The clock's error as chrony prints it, where it answers, and from a chronyc that is not there, fails or hangs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway_watch import clock_error
from gateway_watch.clock_error import COMMAND, ClockError, parse_tracking, read_clock_error

CONFIGURATION = Path(__file__).parents[3] / "roles/host_baseline/templates/chrony.conf.j2"
SYNCHRONISED = (
    "A9FEA97B,169.254.169.123,4,1795989832.118842346,-0.000003261,-0.000001873,0.000012064,-7.318,-0.000,0.012,"
    "0.000411826,0.000306071,16.2,Normal"
)
FAR_OFF = (
    "C0248F97,192.36.143.151,2,1795989832.118842346,-7.261000000,7.254000000,0.000512064,-7.318,-0.210,3.412,"
    "0.021411826,0.001306071,64.5,Normal"
)
LEAP = SYNCHRONISED.replace("Normal", "Insert second")
BEFORE_SYNCHRONISATION = (
    "00000000,,0,0.000000000,0.000000000,0.000000000,0.000000000,0.000,0.000,0.000,1.000000000,1.000000000,0.0,"
    "Not synchronised"
)
LOCAL = "7F7F0101,,10,1795989832.118842346,0.000000000,0.000000000,0.000000000,0.000,0.000,0.000,0.0,0.0,0.0,Normal"


@pytest.mark.parametrize(
    ("output", "seconds", "too_large"),
    [
        (f"{SYNCHRONISED}\n", 0.000003261, False),
        (f"{FAR_OFF}\n", 7.261, True),
        (FAR_OFF.replace("-7.261", "7.261"), 7.261, True),
        (FAR_OFF.replace("-7.261", "5.000"), 5.0, False),
        (LEAP, 0.000003261, False),
    ],
)
def test_the_error_is_what_chrony_still_has_to_correct(output: str, seconds: float, too_large: bool) -> None:
    error = parse_tracking(output)
    assert error.seconds == pytest.approx(seconds)
    assert error.too_large is too_large


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (BEFORE_SYNCHRONISATION, "not synchronised"),
        (LOCAL, "own clock"),
        ("506 Cannot talk to daemon\n", "506 Cannot talk to daemon"),
        ("", "nothing"),
        (SYNCHRONISED.replace("-0.000003261", "x"), "'x' as the offset"),
    ],
)
def test_an_error_that_is_not_known_is_none_and_not_too_large(output: str, reason: str) -> None:
    error = parse_tracking(output)
    assert (error.seconds, error.too_large) == (None, False)
    assert reason in error.reason


def test_an_error_that_was_left_when_synchronisation_was_lost_counts() -> None:
    error = parse_tracking(FAR_OFF.replace("Normal", "Not synchronised"))
    assert error.too_large
    assert error.synchronised is False
    assert "not synchronised" in error.reason


def test_chrony_answers_over_the_loopback_and_nowhere_else() -> None:
    """`cmdport 0` would end the answers there as well; without an address of its own it listens on ::1 too."""
    lines = CONFIGURATION.read_text().splitlines()
    assert [line for line in lines if line.startswith(("cmdport", "bindcmd", "cmdallow", "allow"))] == [
        "bindcmdaddress 127.0.0.1"
    ]
    assert COMMAND[1:3] == ("-h", "127.0.0.1")


def chronyc(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> ClockError:
    program = directory / "chronyc"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    return asyncio.run(read_clock_error())


def test_chrony_is_asked_over_the_loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f'test "$*" = "-h 127.0.0.1 -c tracking" && echo {FAR_OFF.replace(" ", "")}'
    assert chronyc(tmp_path, script, monkeypatch).too_large


def test_a_chronyc_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_error, "_QUERY_SECONDS", 0.2)
    assert "did not answer" in chronyc(tmp_path, "exec sleep 60", monkeypatch).reason


def test_a_host_without_chrony_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "cannot be run" in asyncio.run(read_clock_error()).reason
