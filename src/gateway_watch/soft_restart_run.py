"""Carries out a soft restart: collects the facts, sends the command, follows the gateway until it is ready again."""

from __future__ import annotations

import asyncio
import fcntl
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway_watch import command_server, counter_file, session, systemd_unit
from gateway_watch.breaker import newest_change
from gateway_watch.command_server import ANSWER_SECONDS, CommandError
from gateway_watch.engine import Container, Engine
from gateway_watch.instance import Instance
from gateway_watch.signatures import CommandServer, LoginState, load
from gateway_watch.soft_restart import (
    END_SECONDS,
    OUTCOMES,
    SETTLE_SECONDS,
    Facts,
    Kind,
    Outcome,
    Plan,
    Request,
    Seen,
    conclude,
    decide,
    lock_file,
    outcomes_file,
    read_request,
    request_file,
    settles_in,
    write_request,
)
from host_service import gateway_login

POLL_SECONDS = 0.5
UNITS = Path("/etc/systemd/system")
RELEASE = Path("/opt/ib-gateway-ansible/current")


class InProgressError(Exception):
    """Another soft restart is in progress."""


@dataclass
class SoftRestart:
    """One soft restart of one gateway; everything outside is a parameter."""

    instance: Instance
    engine: Engine = field(default_factory=Engine)
    say: Callable[[str], None] = lambda text: None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    unit_started: Callable[[str], Awaitable[datetime | None]] = systemd_unit.started_at
    units: Path = UNITS
    release: Path = RELEASE

    async def plan(self) -> tuple[Plan, Container | None]:
        """What a restart now would be, and the container as it is.

        Raises InProgressError while another one is carried out: a full login would end the session that it keeps.
        """
        if lock_file(self.instance.state_dir).exists():
            # Shared: two plans do not exclude each other.
            with self._alone("rb", fcntl.LOCK_SH):
                pass
        self._reject_another(self.now())
        container = await self.engine.find(self.instance.container)
        return decide(self._facts(container), self.now()), container

    def _facts(self, container: Container | None) -> Facts:
        instance = self.instance
        login = gateway_login.read(instance.login_file)
        link = login.ibkr.state if login is not None and login.ibkr is not None else "unknown"
        signatures = load(instance.login_controller)
        return Facts(
            enabled=instance.soft_restart,
            controller=instance.login_controller,
            commanded=signatures.command_server is not None,
            trading_mode=instance.trading_mode,
            running=container is not None and container.status == "running",
            container_mode=container.trading_mode if container is not None else None,
            server_runs=command_server.runs_in(container),
            login=login.state if login is not None else None,
            connected={"connected": True, "lost": False}.get(link),
            since=session.read(instance.session_file).since,
            credentials=newest_change(instance.login_files),
            calendar=instance.calendar,
        )

    async def kind(self, container: Container) -> Kind:
        """Whether the container must be replaced: something that it or its supervisor was started with has changed."""
        # The supervisor reads its settings once, and can create the container hours later or again.
        supervised = await self.unit_started(self.instance.unit)
        started = container.started_at if supervised is None else min(supervised, container.started_at)
        changed = newest_change(self._started_with())
        if self.release.is_symlink():
            released = datetime.fromtimestamp(self.release.lstat().st_mtime, UTC)
            changed = max(changed, released) if changed else released
        return Kind.REPLACE if changed is not None and changed > started else Kind.RESTART

    def _started_with(self) -> Iterator[Path]:
        yield self.units / self.instance.unit
        for directory in (self.instance.config_dir, self.instance.secrets_dir):
            yield from (path for path in directory.glob("*") if path.is_file())

    async def carry_out(self, kind: Kind) -> tuple[Outcome, str]:
        """Restart the gateway; return how that ended, and one line about it. The plan must have allowed it.

        Raises InProgressError while another one is in progress.
        """
        server = load(self.instance.login_controller).command_server
        if server is None:
            raise ValueError(f"{self.instance.login_controller} has no command server")
        with self._alone():
            return await self._run(server, kind)

    @contextmanager
    def _alone(self, mode: str = "ab", lock_type: int = fcntl.LOCK_EX) -> Iterator[None]:
        """Reject a second run for the same gateway. Raises InProgressError."""
        with lock_file(self.instance.state_dir).open(mode) as lock:
            try:
                fcntl.flock(lock, lock_type | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InProgressError(
                    f"another soft restart of {self.instance.name} is in progress; try again once it has ended"
                ) from error
            yield

    def _reject_another(self, now: datetime) -> None:
        """Reject a restart after one whose process was killed: the gateway carries the command out all the same, and
        would refuse a second one. Raises InProgressError."""
        other = read_request(request_file(self.instance.state_dir))
        if other is not None and other.in_progress(now):
            raise InProgressError(
                f"a soft restart of {self.instance.name} was requested at {other.asked:%H:%M:%S} UTC and is in "
                f"progress until {other.until:%H:%M:%S} UTC at the latest; for a full login before that: "
                "ansible-playbook restart.yml --tags gateway -e ib_gateway_soft_restart=false"
            )

    async def _run(self, server: CommandServer, kind: Kind) -> tuple[Outcome, str]:
        asked = self.now()
        file = request_file(self.instance.state_dir)
        self._reject_another(asked)
        # The command can wait for the end of the configuration, and for its answer.
        limit = SETTLE_SECONDS + 2 * ANSWER_SECONDS + END_SECONDS + self.instance.start_timeout
        # Before the command: the supervisor must know of it when the gateway ends.
        write_request(file, Request(kind, asked, asked + timedelta(seconds=limit)))
        try:
            outcome, text = await self._request(server, kind, asked)
        finally:
            file.unlink(missing_ok=True)
        self._count(outcome)
        return outcome, text

    def _count(self, outcome: Outcome) -> None:
        """For the metrics, which the supervisor exports."""
        try:
            counter_file.count_one(outcomes_file(self.instance.state_dir), OUTCOMES, outcome.value)
        except OSError as error:
            self.say(f"gateway-watch: the outcome could not be counted: {error}")

    async def _request(self, server: CommandServer, kind: Kind, asked: datetime) -> tuple[Outcome, str]:
        before = self._seen()
        if seconds := settles_in(before.ready, self.now()):
            await self.sleep(seconds)
        old = await self.engine.find(self.instance.container) if kind is Kind.REPLACE else None
        command = server.pause if kind is Kind.REPLACE else server.restart
        try:
            answer = await command_server.send(self.engine, self.instance.container, server, command)
        except CommandError as error:
            return Outcome.REFUSED, str(error)
        self.say(f"gateway-watch: {command} was acknowledged: {answer}")
        outcome = await self._follow(before, asked)
        if old is not None and not outcome.full_login_needed and await self._runs(old):
            outcome = Outcome.NOT_REPLACED
        login = gateway_login.read(self.instance.login_file)
        return outcome, login.text if login is not None else "no supervisor reports its login"

    async def _runs(self, old: Container) -> bool:
        container = await self.engine.find(self.instance.container)
        return container is not None and container.running and container.id == old.id

    async def _follow(self, before: Seen, asked: datetime) -> Outcome:
        started, left = self.monotonic(), False
        while True:
            seen = self._seen()
            left = left or seen.login != LoginState.READY
            outcome = conclude(
                before,
                seen,
                asked=asked,
                left=left,
                seconds=self.monotonic() - started,
                ready_seconds=float(self.instance.start_timeout),
            )
            if outcome is not None:
                return outcome
            await self.sleep(POLL_SECONDS)

    def _seen(self) -> Seen:
        login = gateway_login.read(self.instance.login_file)
        remembered = session.read(self.instance.session_file)
        return Seen(login.state if login is not None else None, remembered.last_restart, remembered.since)
