"""Decisions about a container, each from what is known at one moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway_watch.engine import NEVER, Container, Event, HealthProbe
from gateway_watch.health import REMEDIES, Limits, Memory, Step, judge, notice, on_event, wake_after
from gateway_watch.systemd_unit import UnitState

STARTED = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
RUNNING = Container(
    id="c0ffee",
    name="gw",
    image="image:1",
    status="running",
    exit_code=0,
    error="",
    oom_killed=False,
    started_at=STARTED,
    finished_at=NEVER,
    restart_count=0,
    health="starting",
)
UNIT = UnitState("gw.service", "activating", "start", "success", "", 0)
FRESH = Memory(started=100.0, events_since=STARTED.timestamp())
LIMITS = Limits(timeout=300, appear=0, unhealthy=30)


def step_for(
    container: Container | None,
    *,
    memory: Memory = FRESH,
    limits: Limits = LIMITS,
    unit: UnitState | None = None,
    now: float = 105.0,
) -> Step:
    memory = notice(memory, container, unit, limits, now)
    return judge("gw", memory, container, unit, limits, now)


def kind(step: Step) -> str | None:
    assert step.done is (step.failure is not None or step.status == "healthy")
    if step.failure is None:
        return None
    assert step.failure.remedy == REMEDIES[step.failure.kind]
    return step.failure.kind


def test_a_healthy_container_ends_the_wait_and_reports_the_seconds() -> None:
    step = step_for(replace(RUNNING, health="healthy"), now=141.2)
    assert (kind(step), step.status, step.done) == (None, "healthy", True)
    assert step.progress == ("listening (healthy) after 41 s",)


def test_a_start_is_reported_once() -> None:
    first = step_for(RUNNING)
    assert (first.status, first.done, first.progress) == ("starting", False, ("container started",))
    assert step_for(RUNNING, memory=first.memory).progress == ()


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        (None, "no_such_container"),
        (replace(RUNNING, health=None), "no_health_check"),
        (replace(RUNNING, status="created", health=None), "no_health_check"),
        (replace(RUNNING, status="exited", exit_code=3, health="unhealthy"), "exited"),
        (replace(RUNNING, status="dead", exit_code=3), "exited"),
        (replace(RUNNING, status="created", error="port is already allocated"), "start_failed"),
        (replace(RUNNING, status="restarting", restart_count=3), "restarting_loop"),
    ],
)
def test_what_waiting_cannot_fix_fails_at_once(container: Container | None, expected: str) -> None:
    assert kind(step_for(container)) == expected


@pytest.mark.parametrize("status", ["created", "restarting", "paused"])
def test_what_may_yet_become_healthy_is_waited_for(status: str) -> None:
    assert kind(step_for(replace(RUNNING, status=status))) is None


def test_a_container_that_has_not_started_may_yet_have_a_health_check() -> None:
    """The engine adds the state of its health check at the start."""
    step = step_for(replace(RUNNING, status="created", health=None, started_at=NEVER))
    assert (step.status, step.failure, step.done) == ("created", None, False)


def test_the_exit_code_and_a_lack_of_memory_are_named() -> None:
    step = step_for(replace(RUNNING, status="exited", exit_code=137, oom_killed=True))
    assert step.failure is not None
    assert "exit code 137: out of memory" in step.failure.text


def test_restarts_before_the_wait_do_not_count() -> None:
    before = step_for(replace(RUNNING, restart_count=7)).memory
    assert kind(step_for(replace(RUNNING, restart_count=9), memory=before)) is None
    assert kind(step_for(replace(RUNNING, restart_count=10), memory=before)) == "restarting_loop"


def test_ends_received_count_as_a_loop_even_if_each_check_finds_it_running() -> None:
    memory = step_for(RUNNING).memory
    for second in range(3):
        died = Event(STARTED + timedelta(seconds=second), "die", RUNNING.id, "gw", 1)
        assert kind(step_for(RUNNING, memory=memory)) is None
        memory = on_event(memory, died)
    assert kind(step_for(RUNNING, memory=memory)) == "restarting_loop"


def test_ends_of_another_container_do_not_count() -> None:
    memory = step_for(RUNNING).memory
    assert on_event(memory, Event(STARTED, "die", "other", "gw", 1)).deaths == 0


def test_an_unhealthy_container_has_its_grace() -> None:
    sick = replace(RUNNING, health="unhealthy", failing_streak=5, health_log=(HealthProbe(STARTED, 1, "port closed"),))
    first = step_for(sick, now=110.0)
    assert (kind(first), first.status) == (None, "unhealthy")
    assert wake_after(first.memory, LIMITS, 110.0) == 30

    assert kind(step_for(sick, memory=first.memory, now=139.9)) is None
    last = step_for(sick, memory=first.memory, now=140.0)
    assert kind(last) == "unhealthy"
    assert last.failure is not None
    assert "5 failed probes" in last.failure.text
    assert "port closed" in last.failure.text


def test_grace_starts_again_after_a_recovery() -> None:
    sick = replace(RUNNING, health="unhealthy")
    memory = step_for(sick, now=110.0).memory
    memory = step_for(RUNNING, memory=memory, now=120.0).memory
    assert kind(step_for(sick, memory=memory, now=141.0)) is None


def test_the_timeout_names_the_state() -> None:
    memory = step_for(RUNNING).memory
    assert kind(step_for(RUNNING, memory=memory, now=399.9)) is None
    step = step_for(RUNNING, memory=memory, now=400.0)
    assert kind(step) == "timeout"
    assert step.failure is not None
    assert "not healthy after 300 s: it is starting" in step.failure.text


def test_a_check_without_waiting_reports_unhealthy_rather_than_timeout() -> None:
    limits = Limits(timeout=0, appear=0, unhealthy=30)
    assert kind(step_for(replace(RUNNING, health="unhealthy"), limits=limits, now=100.0)) == "unhealthy"
    assert kind(step_for(RUNNING, limits=limits, now=100.0)) == "timeout"


def test_a_missing_container_may_appear_in_its_time() -> None:
    limits = Limits(timeout=300, appear=20)
    step = step_for(None, limits=limits, now=119.9)
    assert (kind(step), step.status) == (None, "absent")
    assert wake_after(step.memory, limits, 119.9) == pytest.approx(0.1)
    assert kind(step_for(None, limits=limits, now=120.0)) == "no_such_container"


def test_a_left_over_counts_as_absent_until_it_is_replaced() -> None:
    limits = Limits(timeout=300, appear=20)
    left = replace(RUNNING, status="exited", exit_code=1)
    step = step_for(left, limits=limits)
    assert (kind(step), step.status, step.container) == (None, "absent", None)

    new = replace(RUNNING, id="beef")
    assert step_for(new, memory=step.memory, limits=limits).status == "starting"
    assert kind(step_for(replace(new, status="exited"), memory=step.memory, limits=limits)) == "exited"


def test_an_end_seen_only_as_an_event_keeps_its_exit_code() -> None:
    memory = on_event(step_for(RUNNING).memory, Event(STARTED, "die", RUNNING.id, "gw", 86))
    step = step_for(None, memory=memory, limits=Limits(appear=300), unit=replace(UNIT, status_text="starts again"))
    assert kind(step) == "exited"
    assert step.failure is not None
    assert "exit code 86" in step.failure.text
    assert "starts again" in step.failure.text


def test_a_failed_unit_ends_the_wait_with_its_status() -> None:
    unit = replace(UNIT, active="failed", status_text="bad_credentials: mend them", exit_status=78)
    for container in (None, RUNNING):
        step = step_for(container, limits=Limits(appear=60), unit=unit)
        assert kind(step) == "unit_failed"
        assert step.failure is not None
        assert "bad_credentials: mend them" in step.failure.text


def test_a_failed_unit_without_status_reports_its_result() -> None:
    step = step_for(None, unit=replace(UNIT, active="failed", result="exit-code", exit_status=1))
    assert step.failure is not None
    assert "result exit-code, exit status 1" in step.failure.text


def test_a_container_that_its_unit_stops_is_not_the_one_waited_for() -> None:
    stopping = replace(UNIT, active="deactivating")
    healthy = replace(RUNNING, health="healthy")
    step = step_for(healthy, unit=stopping, limits=Limits(appear=60))
    assert (kind(step), step.status) == (None, "absent")
    gone = on_event(step.memory, Event(STARTED, "die", healthy.id, "gw", 0))
    new = step_for(replace(healthy, id="beef"), memory=gone, unit=UNIT, limits=Limits(appear=60))
    assert (kind(new), new.status) == (None, "healthy")


def test_a_memory_survives_the_way_through_a_cursor() -> None:
    memory = step_for(replace(RUNNING, health="unhealthy")).memory
    assert memory.unhealthy_since == 105.0
    assert Memory.from_dict(memory.to_dict()) == memory
    with pytest.raises(TypeError):
        Memory.from_dict({"started": 1})
