"""A container from its creation to its end, followed over restarts of the engine.

With live-restore a container outlives its engine: `systemctl restart docker`, as an unattended upgrade does it, cuts
the attached client and the event stream off and leaves the gateway logged in. So an end of either is only the end of
the container if the engine, once it answers again, reports that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gateway_watch.engine import Container, Engine, EngineAwayError, EngineError, Event

AWAY_SECONDS = 600.0
"""An upgrade of the engine takes less. After that the run ends, and the unit starts it again."""

POLL_SECONDS = 1.0
MOST_REFUSALS = 10
"""So often in a row the engine may refuse to show the log of a container that runs."""

_LINE_LIMIT = 1 << 20
_MOMENT = timedelta(microseconds=1)


class CreateError(EngineError):
    """The engine did not create the container: a full disk, a missing image, a port or an option that it refuses."""

    kind = "create_failed"
    remedy = "Fix what it names; the unit tries again by itself."


@dataclass(frozen=True)
class Line:
    """A line that the container wrote."""

    time: datetime
    text: str


@dataclass(frozen=True)
class Ended:
    """The container has ended, or never started; ``code`` is that of `docker start --attach`."""

    code: int


async def create(engine: Engine, name: str, arguments: Sequence[str]) -> None:
    """Create the container with these arguments of `docker create`, in place of one that was left over.

    Raises EngineAwayError, or CreateError with the engine's own words.
    """
    await engine.run("rm", "--force", name)
    try:
        await engine.run("create", *arguments)
    except EngineAwayError:
        raise
    except EngineError as error:
        raise CreateError(f"The container could not be created: {error}") from error


async def await_engine(
    engine: Engine, name: str, say: Callable[[str], None], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> Container | None:
    """How the container is once the engine answers; None if there is none.

    Raises EngineError after `AWAY_SECONDS`.
    """
    until = time.monotonic() + AWAY_SECONDS
    reported = False
    while True:
        try:
            return await engine.find(name)
        except EngineError:
            # While it ends, its clients report more than that no engine answers; an upgrade replaces even the client.
            if time.monotonic() >= until:
                raise
        if not reported:
            say("gateway-watch: the Docker engine does not answer; the container is checked once it does")
            reported = True
        await sleep(POLL_SECONDS)


async def output(
    engine: Engine,
    name: str,
    say: Callable[[str], None],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncGenerator[Line | Ended, None]:
    """Start the container and read what it writes until it ends."""
    since = now()
    code, refusals = 0, 0
    async with aclosing(_attached(name, now)) as items:
        async for item in items:
            if isinstance(item, Ended):
                code = item.code
                break
            since = item.time
            yield item
    while (container := await await_engine(engine, name, say, sleep)) is not None and container.running:
        say(
            "gateway-watch: the engine has ended the connection to the container, which still runs; its log is followed"
        )
        try:
            async with aclosing(engine.logs(name, since, follow=True)) as lines:
                async for line in lines:
                    since, refusals = line.time + _MOMENT, 0
                    yield Line(line.time, line.text)
        except EngineError as error:
            # An engine that ends cuts this connection off too, with an error of any kind.
            refusals += 1
            if refusals >= MOST_REFUSALS:
                raise
            say(f"gateway-watch: {error}")
        await sleep(POLL_SECONDS)
    yield Ended(code)


async def events(
    engine: Engine,
    name: str,
    since: datetime,
    say: Callable[[str], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncGenerator[Event, None]:
    """What happens to the container, from `since` on; after each return of the engine an event ``restored``."""
    while True:
        try:
            async with aclosing(engine.events(name, since)) as happened:
                async for event in happened:
                    since = event.time + _MOMENT
                    yield event
        except EngineAwayError:
            await sleep(POLL_SECONDS)
            container = await await_engine(engine, name, say, sleep)
            if container is None:
                return
            # What happened meanwhile the engine does not remember.
            yield Event(since, "restored", container.id, name)


async def _attached(name: str, now: Callable[[], datetime]) -> AsyncGenerator[Line | Ended, None]:
    process = await asyncio.create_subprocess_exec(
        *("docker", "start", "--attach", name),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=_LINE_LIMIT,
        # Ctrl-C at a terminal is for the supervisor, which then stops the container in good order.
        start_new_session=True,
    )
    if process.stdout is None:
        raise EngineError("docker was started without an output to read")
    try:
        while True:
            try:
                raw = await process.stdout.readline()
            except ValueError:
                yield Line(now(), f"(more than {_LINE_LIMIT} bytes without a line end were left out)")
                continue
            if not raw:
                break
            yield Line(now(), raw.decode(errors="replace").rstrip("\r\n"))
        yield Ended(await process.wait())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
