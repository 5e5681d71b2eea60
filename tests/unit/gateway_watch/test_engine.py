"""What Docker's answers are taken for, and its refusals. The engine itself: tests/integration."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway_watch.engine import NEVER, Engine, EngineError, explain, parse_container, parse_event, parse_time
from gateway_watch.systemd_unit import UnitError, parse_unit, show


def document(**state: Any) -> dict[str, Any]:
    return {
        "Id": "c0ffee",
        "Name": "/gw",
        "RestartCount": 2,
        "Config": {"Image": "image:1", "Env": ["TRADING_MODE=live", "TWS_USERID=jane", "PATH=/bin"]},
        "State": {
            "Status": "running",
            "ExitCode": 0,
            "StartedAt": "2026-11-23T06:00:00.123456789Z",
            "FinishedAt": "0001-01-01T00:00:00Z",
            **state,
        },
    }


def test_times_are_read_to_the_microsecond_in_utc() -> None:
    assert parse_time("2026-11-23T01:00:00.123456789-05:00") == datetime(2026, 11, 23, 6, 0, 0, 123456, UTC)
    assert parse_time("2026-11-23T06:00:00.5Z").microsecond == 500000
    assert parse_time("0001-01-01T00:00:00Z") == NEVER
    with pytest.raises(ValueError, match="'Error response'"):
        parse_time("Error response")


def test_a_container_is_read() -> None:
    container = parse_container(
        document(
            Health={
                "Status": "unhealthy",
                "FailingStreak": 5,
                "Log": [{"End": "2026-11-23T06:00:10Z", "ExitCode": 1, "Output": "closed\n"}],
            }
        )
    )
    assert (container.name, container.health, container.failing_streak) == ("gw", "unhealthy", 5)
    assert (container.health_log[0].exit_code, container.health_log[0].output) == (1, "closed")
    assert (container.trading_mode, container.restart_count) == ("live", 2)


def test_the_variables_of_the_next_controller_are_read_and_masked_too() -> None:
    config = {"Image": "image:1", "Env": ["IBC_TRADING_MODE=both", "IBC_USERID=jane", "IBC_USERID_PAPER=joe"]}
    container = parse_container(document() | {"Config": config})
    assert container.trading_mode == "both"
    assert container.mask("jane and joe") == "*** and ***"


def test_published_ports_are_read_with_where_they_lead() -> None:
    ports = {"4004/tcp": [{"HostIp": "127.0.0.1", "HostPort": "4002"}], "4003/tcp": None}
    assert parse_container(document() | {"NetworkSettings": {"Ports": ports}}).published == {4002: 4004}


@pytest.mark.parametrize("health", [None, {"Status": "none", "FailingStreak": 0, "Log": []}])
def test_no_health_check_is_no_health(health: dict[str, Any] | None) -> None:
    assert parse_container(document(Health=health)).health is None


def test_the_user_name_is_masked_as_a_word_and_never_shown() -> None:
    container = parse_container(document())
    assert container.mask("user jane, Mjane, janet") == "user ***, Mjane, janet"
    assert "jane" not in repr(container)


def test_the_log_of_a_run_starts_with_it_and_not_before_the_end_of_the_last() -> None:
    first = parse_container(document())
    assert first.log_since == first.started_at - timedelta(seconds=1)
    second = parse_container(document(FinishedAt="2026-11-23T05:59:59.9Z"))
    assert second.log_since == second.finished_at
    over = parse_container(document(FinishedAt="2026-11-23T06:10:00Z", Status="exited"))
    assert over.log_since == over.started_at - timedelta(seconds=1)
    # The engine notes the start of a run that is over in a moment after its end.
    short = parse_container(
        document(StartedAt="2026-11-23T06:00:00.009Z", FinishedAt="2026-11-23T06:00:00.008Z", Status="exited")
    )
    assert short.log_since == short.started_at - timedelta(seconds=1)
    assert parse_container(document(StartedAt="0001-01-01T00:00:00Z")).log_since == NEVER


def test_an_exit_code_belongs_to_an_end_only() -> None:
    actor = {"ID": "c0ffee", "Attributes": {"name": "gw", "exitCode": "86"}}
    line = {"Action": "die", "Actor": actor, "timeNano": 1795413600000000000}
    assert parse_event(json.dumps(line)).exit_code == 86
    assert parse_event(json.dumps({**line, "Action": "start"})).exit_code is None


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Error response from daemon: No such container: gw", "no_such_container"),
        ("Error: No such object: gw", "no_such_container"),
        ("Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?", "engine_away"),
        ("error during connect: Get http://x: EOF", "engine_away"),
        ("permission denied while trying to connect to the Docker daemon socket", "engine_away"),
        ("unknown flag: --foo", "engine_error"),
        ("", "engine_error"),
    ],
)
def test_a_refusal_has_its_kind_and_a_remedy(words: str, kind: str) -> None:
    error = explain(words, "docker inspect")
    assert error.kind == kind
    assert error.remedy
    assert (words or "no error text") in str(error)


def test_a_missing_docker_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no program") as caught:
        asyncio.run(Engine(docker=str(tmp_path / "docker")).version())
    assert caught.value.kind == "docker_missing"


def test_an_engine_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        asyncio.run(Engine(host=f"unix://{tmp_path}/none.sock").version())
    assert caught.value.kind == "engine_away"


SHOWN = (
    "LoadState=loaded\nActiveState=failed\nSubState=failed\nResult=exit-code\nStatusText=bad = bad\nExecMainStatus=78\n"
)


def test_a_unit_is_read() -> None:
    unit = parse_unit("gw.service", SHOWN)
    assert (unit.failed, unit.stopping, unit.exit_status, unit.status_text) == (True, False, 78, "bad = bad")


def test_a_unit_that_is_not_there_is_named() -> None:
    with pytest.raises(UnitError, match=r"no unit 'gw\.service'"):
        parse_unit("gw.service", "LoadState=not-found\nActiveState=inactive\n")


def test_a_host_without_systemd_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnitError, match="no program") as caught:
        asyncio.run(show("gw.service", str(tmp_path / "systemctl")))
    assert "Leave `unit` out" in caught.value.remedy
