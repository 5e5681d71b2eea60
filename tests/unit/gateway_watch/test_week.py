"""A week of a gateway on a sped-up clock: the supervisor itself, with its engine and its gateway played from a script.

The week of 26 October 2026 ends with the change to winter time in New York, in the night before the week's login.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.integration.supervised import ATTEMPT, DONE, LOGIN, STAMP, START, TWOFA
from tests.unit.gateway_watch.instance_files import DOCUMENT
from tests.unit.gateway_watch.status_sample import CONTAINER
from tests.unit.gateway_watch.virtual_time import VirtualLoop

from gateway_watch import code_typist, container_run, decision, session, supervisor, unit_report
from gateway_watch.clock_error import ClockError
from gateway_watch.code_entry import Outcome
from gateway_watch.container_run import Ended, Line
from gateway_watch.engine import Container, Engine, Event
from gateway_watch.instance import Instance, parse
from gateway_watch.metrics import specs
from gateway_watch.metrics.recorder import Recorder
from gateway_watch.second_factor import SecondFactor
from gateway_watch.session import Session
from gateway_watch.supervisor import Supervisor
from notifications.message import Message

NEW_YORK = ZoneInfo("America/New_York")
MONDAY = datetime(2026, 10, 26, 8, tzinfo=NEW_YORK).astimezone(UTC)
FRIDAY = datetime(2026, 10, 30, 8, tzinfo=NEW_YORK).astimezone(UTC)
SUNDAY = datetime(2026, 11, 1, 13, tzinfo=NEW_YORK).astimezone(UTC)
END = datetime(2026, 11, 2, 8, tzinfo=NEW_YORK).astimezone(UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

CLOSED = (STAMP + "detected dialog entitled: Second Factor Authentication; event=Closed",)
EXIT = ("IBC returned exit status 0",)
KEPT = (
    "autorestart file found at /settings/x/autorestart: authentication will not be required",
    STAMP + "Re-starting session",
    LOGIN[0],
)
MISSED = (STAMP + "Re-login after second factor authentication timeout in 5 second",)

Entry = tuple[datetime, tuple[str, ...], str]
"""When the gateway writes which lines, and the health of its container from then on."""


def asks(at: datetime, waits: timedelta) -> list[Entry]:
    """A full login whose approval comes after `waits`; meanwhile it is requested every three minutes."""
    entries: list[Entry] = [(at, (START, *LOGIN, *ATTEMPT, *TWOFA), "starting")]
    for number in range(1, int(waits / (3 * MINUTE))):
        entries.append((at + number * 3 * MINUTE, (*MISSED, *LOGIN, *ATTEMPT, *TWOFA), "starting"))
    return [*entries, (at + waits, (*CLOSED, *DONE), "healthy")]


def keeps(at: datetime) -> list[Entry]:
    """A restart that keeps the session."""
    return [(at, EXIT, "unhealthy"), (at + timedelta(seconds=5), KEPT, "starting"), (at + MINUTE, DONE, "healthy")]


def nights(*without: int) -> list[Entry]:
    """The daily restarts of the week (2:00 in New York), except on some days of the month."""
    days = [datetime(2026, 10, 27, 2, tzinfo=NEW_YORK) + number * DAY for number in range(7)]
    return [entry for day in days if day.day not in without for entry in keeps(day.astimezone(UTC))]


@dataclass
class Played(Engine):
    """An engine with one container, whose gateway does what is in the script."""

    loop: VirtualLoop
    script: list[Entry]
    container: Container = field(default=CONTAINER)
    changes: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def time(self) -> datetime:
        return self.loop.now()

    async def inspect(self, name: str) -> Container:
        return self.container

    async def find(self, name: str) -> Container | None:
        return self.container

    async def events(self, name: str, since: datetime) -> AsyncGenerator[Event, None]:
        while True:
            yield Event(self.loop.now(), await self.changes.get(), self.container.id, name)

    async def attached(self, name: str, now: Any) -> AsyncGenerator[Line | Ended, None]:
        """What `docker start --attach` reads."""
        self._become(status="running", health="starting", started_at=self.loop.now())
        for at, lines, health in sorted(self.script, key=lambda entry: entry[0]):
            if at < self.loop.now():
                continue
            await asyncio.sleep((at - self.loop.now()).total_seconds())
            for line in lines:
                yield Line(self.loop.now(), line)
            self._become(health=health)
        await asyncio.Event().wait()

    async def run(self, *arguments: str) -> str:
        """`docker exec`, which finds no controller to end."""
        return ""

    async def stop(self, name: str, seconds: int = 90) -> None:
        self._become(status="exited", health=None, finished_at=self.loop.now())

    def _become(self, **changes: Any) -> None:
        self.container = replace(self.container, **changes)
        self.changes.put_nowait("change")


async def accurate() -> ClockError:
    return ClockError(0.0, "")


@dataclass
class Week:
    """What people were sent, at what time in New York."""

    directory: Path
    monkeypatch: pytest.MonkeyPatch
    settings: dict[str, Any] = field(default_factory=dict)
    sent: list[tuple[str, str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    recorder: Recorder = field(default_factory=Recorder)

    @property
    def instance(self) -> Instance:
        own = {"state_dir": str(self.directory), "secrets_dir": str(self.directory), "twofa_pushes_per_hour": 0}
        return parse(DOCUMENT | own | self.settings, self.directory / "instance.json")

    def run(self, script: Iterable[Entry], begin: datetime = MONDAY, end: datetime = END) -> int:
        """Run the supervisor from one moment to another, when its unit is stopped."""
        loop = VirtualLoop(begin)
        self.recorder = Recorder(now=loop.now, monotonic=loop.time)
        # Checks once a minute, so that a week has ten thousand.
        self.monkeypatch.setattr(unit_report, "BEAT_SECONDS", 60.0)

        async def scenario() -> int:
            played = Played(loop, list(script))
            self.monkeypatch.setattr(container_run, "_attached", played.attached)
            self.monkeypatch.setattr(code_typist.Typist, "answer", lambda typist, entry: self._answer(typist))
            self.monkeypatch.setattr(supervisor, "SecondFactor", partial(SecondFactor, clock=accurate))
            watched = Supervisor(
                self.instance,
                engine=played,
                environment={},
                probe_seconds=7 * 86400.0,
                say=self.said.append,
                notify=lambda message: self._notify(message, loop.now()),
                monotonic=loop.time,
                now=loop.now,
                sleep=lambda seconds: asyncio.sleep(max(600.0, seconds)),
                recorder=self.recorder,
            )
            loop.call_later((end - begin).total_seconds(), os.kill, os.getpid(), signal.SIGTERM)
            return await watched.run()

        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            return runner.run(scenario())

    async def _answer(self, typist: Any) -> Outcome:
        """What typing a code into the screen leads to."""
        outcome = self.outcomes.pop(0)
        if outcome is Outcome.CLOSED:
            # The script's approval is what the code leads to.
            await asyncio.sleep(180)
        return outcome

    def _notify(self, message: Message, now: datetime) -> None:
        self.sent.append((f"{now.astimezone(NEW_YORK):%a %H:%M}", message.kind))

    @property
    def reminders(self) -> list[tuple[str, str]]:
        return [each for each in self.sent if each[1].startswith("approval_")]


@pytest.fixture
def week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Week:
    return Week(tmp_path, monkeypatch)


FIRST = asks(MONDAY + MINUTE, 2 * MINUTE)
LATER = asks(FRIDAY + MINUTE, 2 * MINUTE)
COLD: Entry = (SUNDAY, EXIT, "unhealthy")


def test_a_week_reminds_of_its_approval_and_of_nothing_else(week: Week) -> None:
    assert week.run([*FIRST, *nights(), COLD, *asks(SUNDAY + MINUTE, 2 * MINUTE)]) == decision.OK
    assert week.sent == [
        ("Mon 08:01", "twofa_awaited"),
        ("Mon 08:03", "ready"),
        *((f"{day} 02:01", "ready") for day in ("Tue", "Wed", "Thu", "Fri", "Sat")),
        # 24 hours before 13:00 EST it is 14:00 EDT.
        ("Sat 14:00", "approval_ahead"),
        ("Sun 02:01", "ready"),
        ("Sun 12:00", "approval_ahead"),
        ("Sun 13:00", "approval_needed"),
        ("Sun 13:01", "twofa_awaited"),
        ("Sun 13:03", "ready"),
        ("Mon 02:01", "ready"),
    ]
    # As the calendar has it: the login was at its moment, and the next one is a week later.
    assert session.read(week.instance.session_file).since == SUNDAY + 3 * MINUTE
    assert week.instance.calendar.next_full_login(END).astimezone(UTC) == SUNDAY + 7 * DAY
    # Each login and each approval is counted once, whatever lines and checks there were about it.
    counts = {name: labels for name, labels in week.recorder.view.counts.items() if labels}
    assert counts == {
        specs.LOGINS: {"full": 2, "kept": 7},
        specs.APPROVAL_REQUESTS: {"": 2},
        specs.APPROVALS_GIVEN: {"": 2},
    }
    view = week.recorder.view
    assert view.ready and view.listening and view.start_seconds == 180
    assert view.login is not None and view.login.state == "ready"


def test_a_supervisor_that_is_started_again_repeats_no_reminder(week: Week) -> None:
    script = [*nights(), COLD, *asks(SUNDAY + MINUTE, 2 * MINUTE)]
    stops = [FRIDAY, SUNDAY - 20 * HOUR, SUNDAY - 30 * MINUTE, SUNDAY + MINUTE, END]
    for begin, end in pairwise(stops):
        # Each start is a full login of its own.
        assert week.run([*script, *asks(begin + MINUTE, 2 * MINUTE)], begin, end) == decision.OK
    assert week.reminders == [
        ("Sat 14:00", "approval_ahead"),
        ("Sun 12:00", "approval_ahead"),
        ("Sun 13:00", "approval_needed"),
    ]


@pytest.mark.parametrize(
    ("waits", "late"), [(2 * MINUTE, []), (3 * HOUR, [("Sun 14:30", "approval_needed")])], ids=["approved", "waits"]
)
def test_quiet_hours_move_the_reminders_and_lose_none(
    week: Week, waits: timedelta, late: list[tuple[str, str]]
) -> None:
    week.settings["reminder_quiet_hours"] = "11:30-14:30"
    week.run([*LATER, *nights(), COLD, *asks(SUNDAY + MINUTE, waits)], FRIDAY)
    assert week.reminders == [("Sat 14:30", "approval_ahead"), ("Sun 11:15", "approval_ahead"), *late]


def with_codes(week: Week, *outcomes: Outcome) -> None:
    week.settings["totp"] = True
    (week.directory / "totp_secret").write_text("gezd gnbv gy3t qojq\n")
    week.outcomes += outcomes


def test_a_week_with_codes_reminds_of_nothing(week: Week) -> None:
    with_codes(week, Outcome.CLOSED, Outcome.CLOSED)
    week.run([*LATER, *nights(), COLD, *asks(SUNDAY + MINUTE, 2 * MINUTE)], FRIDAY)
    assert {kind for _, kind in week.sent} == {"ready"}
    assert session.read(week.instance.session_file).since == SUNDAY + 3 * MINUTE


def test_a_start_with_new_codes_reminds_of_nothing(week: Week) -> None:
    """The last login was approved by a person, the one of this start is done by a code."""
    session.write(week.instance.session_file, Session(SUNDAY - 7 * DAY, True, SUNDAY - 7 * DAY))
    with_codes(week, Outcome.CLOSED)
    begin = SUNDAY - 30 * MINUTE
    week.run(asks(begin + 2 * MINUTE, 2 * MINUTE), begin, SUNDAY - MINUTE)
    assert {kind for _, kind in week.sent} == {"ready"}


def test_a_login_by_codes_that_are_gone_is_reminded_of(week: Week) -> None:
    """The restart that removes the secret keeps the session, so no login has needed a person yet."""
    with_codes(week, Outcome.CLOSED)
    begin = SUNDAY - 26 * HOUR
    week.run(asks(begin + 2 * MINUTE, 2 * MINUTE), begin, SUNDAY - 25 * HOUR)
    assert session.read(week.instance.session_file).twofa is False
    week.settings["totp"] = False
    week.run([*keeps(SUNDAY - 25 * HOUR + MINUTE)[1:], COLD], SUNDAY - 25 * HOUR, SUNDAY - 30 * MINUTE)
    assert week.reminders == [("Sat 14:00", "approval_ahead"), ("Sun 12:00", "approval_ahead")]
    assert session.read(week.instance.session_file).twofa is True


def test_codes_that_were_not_entered_are_reported_a_quarter_of_an_hour_later(week: Week) -> None:
    with_codes(week, Outcome.CLOSED, Outcome.NO_FIELD)
    # The dialog of a code stays open until a person enters it.
    login = asks(SUNDAY + MINUTE, 2 * MINUTE)
    week.run([*LATER, *nights(), COLD, login[0], (SUNDAY + HOUR, login[-1][1], "healthy")], FRIDAY)
    assert [each for each in week.sent if each[1] != "ready"] == [
        ("Sun 13:01", "second_factor_no_field"),
        ("Sun 13:15", "approval_not_handled"),
    ]


def test_a_daily_restart_that_has_lost_the_session_is_reported(week: Week) -> None:
    wednesday = datetime(2026, 10, 28, 2, tzinfo=NEW_YORK).astimezone(UTC)
    lost = [(wednesday, EXIT, "unhealthy"), *asks(wednesday + MINUTE, HOUR)]
    week.run([*FIRST, *nights(28), *lost], end=wednesday + 6 * HOUR)
    assert week.reminders == [("Wed 02:15", "approval_not_handled")]
