"""The container of one run: created with the command server where restarts can keep the session, inspected, stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway_watch import command_server, container_run, container_stop, soft_restart
from gateway_watch.command_server import TemplateError
from gateway_watch.container_run import CreateError, Ended, Line
from gateway_watch.engine import Container, Engine, EngineError, Event
from gateway_watch.instance import Instance
from gateway_watch.signatures import SignatureSet


@dataclass(frozen=True)
class Created:
    """`docker create` has done its work."""


@dataclass(frozen=True)
class Stopped:
    """`docker stop` has done its work."""


class GatewayContainer:
    """``arguments`` are those of `docker create`; without any the container must exist."""

    def __init__(
        self,
        instance: Instance,
        arguments: Sequence[str],
        engine: Engine,
        signatures: SignatureSet,
        say: Callable[[str], None],
    ) -> None:
        self._instance = instance
        self._arguments = arguments
        self._engine = engine
        self._signatures = signatures
        self._say = say
        self._inspected: Container | None = None
        self._stop_lock = asyncio.Lock()

    @property
    def must_be_created(self) -> bool:
        return bool(self._arguments)

    @property
    def health(self) -> str | None:
        """The state of the health check when last inspected; None if the container did not run."""
        container = self._inspected
        return container.health if container is not None and container.running else None

    @property
    def lacks_health_check(self) -> bool:
        """Whether the container runs without a health check."""
        return self._inspected is not None and self._inspected.running and self._inspected.health is None

    def mask(self, text: str) -> str:
        """A line of the log without the container's secrets."""
        return text if self._inspected is None else self._inspected.mask(text)

    # ----- its creation

    async def create(self) -> AsyncGenerator[Created, None]:
        """Create the container, which takes long if its image must be fetched."""
        await container_run.create(self._engine, self._instance.container, self._arguments)
        await self._enable_commands()
        yield Created()

    async def _enable_commands(self) -> None:
        """Create the container again with the command server, where restarts can keep the session."""
        server, instance = self._signatures.command_server, self._instance
        reason = soft_restart.unavailable(
            enabled=instance.soft_restart,
            controller=instance.login_controller,
            commanded=server is not None,
            trading_mode=instance.trading_mode,
            daily=instance.auto_restart_time,
        )
        if reason or server is None:
            self._say(f"gateway-watch: each restart is a full login: {reason}")
            return
        try:
            added = await command_server.options(self._engine, instance.container, server, instance.state_dir)
        except TemplateError as error:
            self._say(f"gateway-watch: each restart is a full login: {error}")
            return
        try:
            await container_run.create(self._engine, instance.container, [*added, *self._arguments])
        except CreateError as error:
            self._say(f"gateway-watch: each restart is a full login: {error}")
            await container_run.create(self._engine, instance.container, self._arguments)

    # ----- its run

    async def inspect(self) -> None:
        """Inspect the container that is to be started. Raises EngineError if there is none."""
        self._inspected = await self._engine.inspect(self._instance.container)

    async def refresh(self) -> bool:
        """Inspect the container again; return whether the engine answered."""
        try:
            self._inspected = await self._engine.find(self._instance.container) or self._inspected
        except EngineError as error:
            # The engine ends: once it is back, an event comes of it.
            self._say(f"gateway-watch: {error}")
            return False
        return True

    async def find(self) -> Container | None:
        """The container as it is now; None if there is none. Raises EngineError."""
        return await self._engine.find(self._instance.container)

    async def time(self) -> datetime:
        """The engine's time. Raises EngineError."""
        return await self._engine.time()

    def events(self, since: datetime, sleep: Callable[[float], Awaitable[None]]) -> AsyncGenerator[Event, None]:
        """The engine's events of the container."""
        return container_run.events(self._engine, self._instance.container, since, self._say, sleep)

    def output(
        self, now: Callable[[], datetime], sleep: Callable[[float], Awaitable[None]]
    ) -> AsyncGenerator[Line | Ended, None]:
        """Start the container attached: its log lines, then its end."""
        return container_run.output(self._engine, self._instance.container, self._say, now, sleep)

    # ----- its end

    async def remove_files(self, paths: Iterable[str]) -> None:
        """Remove the files of a session that IBKR rejects, so that the next start is a full login."""
        for path in paths:
            try:
                await self._engine.remove_file(self._instance.container, path)
                self._say(f"gateway-watch: removed {path} in the container, so that the next start is a full login")
            except EngineError as error:
                self._say(f"gateway-watch: {path} could not be removed: {error}")

    async def stop(self, before: Callable[[], Awaitable[None]]) -> AsyncGenerator[Stopped, None]:
        """Stop the container after ``before``."""
        # One at a time: the controller that logs out is not signalled twice.
        async with self._stop_lock:
            await before()
            await container_stop.stop(self._engine, self._instance.container, self._signatures.process, say=self._say)
        yield Stopped()
