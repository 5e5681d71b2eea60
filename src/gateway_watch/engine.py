"""Docker, driven through its command line by asyncio subprocesses.

Everything the watch needs from the engine and nothing else: what a container is doing (`Engine.inspect`), a
stream of what happens to it (`Engine.events`), a stream of its output (`Engine.logs`), and stop and
version. Every failure is an `EngineError` with a `kind` (a snake_case id) and a `remedy`.

The command line is used rather than the HTTP API because it is on every Docker host, honours `DOCKER_HOST`
and contexts, and needs no further dependency in the environment that trades.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

NEVER = datetime(1, 1, 1, tzinfo=UTC)
"""Docker's zero time: the container has not started (or not finished) yet."""

_LINE_LIMIT = 1 << 20
_WATCHED_EVENTS = ("create", "start", "die", "destroy", "health_status", "oom", "pause", "unpause", "rename")
# As the images of the two login controllers name them.
_MODE_VARIABLES = ("TRADING_MODE", "IBC_TRADING_MODE")
_IDENTITY_VARIABLES = tuple(
    f"{prefix}_{name}" for prefix in ("TWS", "IBC") for name in ("USERID", "USERID_PAPER", "PASSWORD", "PASSWORD_PAPER")
)
_NANOSECONDS = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$")


class EngineError(Exception):
    """Docker could not do what was requested; `kind` is for programs, the message and `remedy` are for people."""

    kind = "engine_error"
    remedy = "Run the same docker command manually on the host and fix the error that it reports."

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy or type(self).remedy


class DockerMissingError(EngineError):
    """There is no `docker` program to run."""

    kind = "docker_missing"
    remedy = "Install the Docker command line on the host, or put the directory that holds it on PATH."


class EngineAwayError(EngineError):
    """The `docker` program runs, but no engine answers it."""

    kind = "engine_away"
    remedy = "Start the engine (systemctl start docker); check DOCKER_HOST and the right to use its socket."


class NoSuchContainerError(EngineError):
    """The engine answers and knows no container of that name."""

    kind = "no_such_container"
    remedy = "Start the unit that creates the container, or correct the name (docker ps --all lists them)."


@dataclass(frozen=True)
class HealthProbe:
    """One run of the health command: when it ended, its exit code (0 is healthy) and what it printed."""

    ended: datetime
    exit_code: int
    output: str


@dataclass(frozen=True)
class Container:
    """A container as `docker inspect` shows it at one moment.

    `status` is one of created, running, paused, restarting, removing, exited, dead. `health` is one of
    starting, healthy, unhealthy, or None if the container has no health check.
    """

    id: str
    name: str
    image: str
    status: str
    exit_code: int
    error: str
    oom_killed: bool
    started_at: datetime
    finished_at: datetime
    restart_count: int
    health: str | None = None
    failing_streak: int = 0
    health_log: tuple[HealthProbe, ...] = ()
    trading_mode: str | None = None
    published: Mapping[int, int] = field(default_factory=dict)
    """Port of the host to the port inside that it leads to."""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    identities: tuple[str, ...] = field(default=(), repr=False)
    """User names (and passwords, if somebody passed them so) in its environment: masked, never shown."""

    @property
    def running(self) -> bool:
        return self.status in ("running", "paused")

    @property
    def ended(self) -> bool:
        return self.status in ("exited", "dead", "removing")

    @property
    def log_since(self) -> datetime:
        """From when on the log belongs to this run.

        The engine sets `StartedAt` after the process has started, so the first lines can bear an earlier time;
        while this run goes on, the end of the run before, if there was one, bounds how much earlier. The end of a
        run that is over is its own, and of a very short one it can even lie before `StartedAt`.
        """
        if not self.has_started:
            return NEVER
        earlier = self.started_at - timedelta(seconds=1)
        return earlier if self.ended else max(earlier, self.finished_at)

    @property
    def has_started(self) -> bool:
        return self.started_at > NEVER

    def mask(self, text: str) -> str:
        """`text` without the user names and passwords of the container's environment."""
        for identity in self.identities:
            # Whole words only: a short name must not tear the words that happen to hold it.
            text = re.sub(rf"(?<!\w){re.escape(identity)}(?!\w)", "***", text)
        return text


@dataclass(frozen=True)
class Event:
    """Something that happened to a container; `exit_code` is set for `die` only."""

    time: datetime
    action: str
    container_id: str
    name: str
    exit_code: int | None = None


@dataclass(frozen=True)
class LogLine:
    """A line that the container wrote, with the time (UTC) at which the engine received it."""

    time: datetime
    text: str


@dataclass(frozen=True)
class Version:
    """Versions of the command line and of the engine behind it."""

    client: str
    server: str
    api: str


def parse_time(text: str) -> datetime:
    """An RFC 3339 time of Docker (up to nanoseconds) as an aware UTC datetime (microseconds).

    Raises ValueError if `text` is no such time.
    """
    match = _NANOSECONDS.match(text)
    if match is None:
        raise ValueError(f"not an RFC 3339 time: {text!r}")
    seconds, fraction, zone = match.groups()
    micro = (fraction or "0").ljust(6, "0")[:6]
    moment = datetime.fromisoformat(f"{seconds}.{micro}{'+00:00' if zone == 'Z' else zone}")
    # The zero time has no earlier neighbour, so it must not be shifted between zones.
    return NEVER if moment.year == 1 else moment.astimezone(UTC)


def parse_container(document: Mapping[str, Any]) -> Container:
    """The part of one `docker inspect` document that the watch uses."""
    state = document["State"]
    health = state.get("Health")
    environment = dict(entry.partition("=")[::2] for entry in document["Config"].get("Env") or ())
    return Container(
        id=document["Id"],
        name=document["Name"].removeprefix("/"),
        image=document["Config"]["Image"],
        status=state["Status"],
        exit_code=state["ExitCode"],
        error=state.get("Error", ""),
        oom_killed=state.get("OOMKilled", False),
        started_at=parse_time(state["StartedAt"]),
        finished_at=parse_time(state["FinishedAt"]),
        restart_count=document.get("RestartCount", 0),
        health=health["Status"] if health and health["Status"] != "none" else None,
        failing_streak=health["FailingStreak"] if health else 0,
        health_log=tuple(_probes(health.get("Log") or ())) if health else (),
        trading_mode=next((environment[name] for name in _MODE_VARIABLES if environment.get(name)), None),
        published=dict(_published(document.get("NetworkSettings", {}).get("Ports") or {})),
        variables=environment,
        labels=dict(document["Config"].get("Labels") or {}),
        identities=tuple(value for name in _IDENTITY_VARIABLES if (value := environment.get(name))),
    )


def parse_event(line: str) -> Event:
    """One line of `docker events --format '{{json .}}'`."""
    document = json.loads(line)
    attributes = document["Actor"]["Attributes"]
    code = attributes.get("exitCode")
    return Event(
        time=datetime.fromtimestamp(document["timeNano"] / 1e9, UTC),
        action=document["Action"],
        container_id=document["Actor"]["ID"],
        name=attributes.get("name", ""),
        exit_code=int(code) if code is not None and document["Action"] == "die" else None,
    )


def _published(ports: Mapping[str, Iterable[Mapping[str, str]] | None]) -> Iterable[tuple[int, int]]:
    for inside, bindings in ports.items():
        for binding in bindings or ():
            yield int(binding["HostPort"]), int(inside.partition("/")[0])


def _probes(entries: Iterable[Mapping[str, Any]]) -> Iterable[HealthProbe]:
    for entry in entries:
        yield HealthProbe(parse_time(entry["End"]), entry["ExitCode"], entry["Output"].strip())


def explain(stderr: str, command: str) -> EngineError:
    """The `EngineError` for the error text of a failed docker command."""
    text = " ".join(stderr.split()) or "no error text"
    lower = text.lower()
    if "no such container" in lower or "no such object" in lower:
        return NoSuchContainerError(f"The engine has no such container ({text}).")
    if "permission denied" in lower and "connect" in lower:
        return EngineAwayError(
            f"The Docker engine refuses this user: {text}", "Run as root or as a member of the group docker."
        )
    if (
        "cannot connect to the docker daemon" in lower
        or "error during connect" in lower
        or "failed to connect to the docker api" in lower
    ):
        return EngineAwayError(f"No Docker engine answers: {text}")
    return EngineError(f"`{command}` failed: {text}")


class Engine:
    """One Docker engine, reached by the `docker` command line.

    `docker` is the program to run; `host` overrides `DOCKER_HOST` of this process.
    """

    def __init__(self, docker: str = "docker", host: str | None = None) -> None:
        self._docker = docker
        self._environment = {**os.environ, **({"DOCKER_HOST": host} if host else {})}

    async def version(self) -> Version:
        """Versions of both ends. Raises `EngineAwayError` if no engine answers: also a cheap way to ask."""
        document = json.loads(await self.run("version", "--format", "{{json .}}"))
        return Version(
            client=document["Client"]["Version"],
            server=document["Server"]["Version"],
            api=document["Server"]["ApiVersion"],
        )

    async def time(self) -> datetime:
        """The engine's own clock (UTC), which its events and logs are stamped with."""
        return parse_time((await self.run("info", "--format", "{{.SystemTime}}")).strip())

    async def inspect(self, name: str) -> Container:
        """What the container is doing now. Raises `NoSuchContainerError`."""
        return parse_container(json.loads(await self.run("container", "inspect", name))[0])

    async def find(self, name: str) -> Container | None:
        """Like `inspect`, with None for a container that does not exist."""
        try:
            return await self.inspect(name)
        except NoSuchContainerError:
            return None

    async def events(self, name: str, since: datetime) -> AsyncGenerator[Event, None]:
        """What happens to the containers called `name`, from `since` on, without end.

        `since` lies in the past, and the engine repeats what it remembers from then: so no event is lost
        between an inspection of the container and the start of the stream. Close the generator
        (`contextlib.aclosing`) to end the subprocess. Raises `EngineAwayError` when the engine goes away.
        """
        arguments = ["events", "--since", f"{since.timestamp():.6f}", "--format", "{{json .}}"]
        arguments += ["--filter", "type=container", "--filter", f"container={name}"]
        for action in _WATCHED_EVENTS:
            arguments += ["--filter", f"event={action}"]
        async with self._stream(arguments) as (process, lines):
            rest: list[str] = []
            async for line in lines:
                if not line.startswith("{"):
                    rest.append(line)
                    continue
                event = parse_event(line)
                # The engine's filter matches every name with this prefix.
                if event.name == name or event.container_id.startswith(name):
                    yield event
            await process.wait()
        raise EngineAwayError(f"The engine ended the event stream: {' '.join(rest) or 'no error text'}.")

    async def logs(
        self, name: str, since: datetime | None = None, *, follow: bool = False, tail: int | None = None
    ) -> AsyncGenerator[LogLine, None]:
        """Lines of the container (both its outputs), oldest first; with `follow` until the container ends.

        Close the generator (`contextlib.aclosing`) to end the subprocess. Raises `EngineError`.
        """
        arguments = ["logs", "--timestamps"]
        if since is not None and since > NEVER:
            arguments += ["--since", since.isoformat(timespec="microseconds").replace("+00:00", "Z")]
        if tail is not None:
            arguments += ["--tail", str(tail)]
        if follow:
            arguments.append("--follow")
        async with self._stream([*arguments, name]) as (process, lines):
            rest: list[str] = []
            async for line in lines:
                stamp, _, text = line.partition(" ")
                try:
                    time = parse_time(stamp)
                except ValueError:
                    # Every line of the container bears a time, so these are docker's own words.
                    rest.append(line)
                    continue
                yield LogLine(time, text.rstrip())
            code = await process.wait()
        if code != 0:
            raise explain(" ".join(rest), "docker logs")

    async def stop(self, name: str, seconds: int = 90) -> None:
        """Request the container's end and kill it after `seconds`."""
        # The long form was --time, which newer engines call deprecated, and is --timeout there, which older ones lack.
        await self.run("stop", "-t", str(seconds), name)

    async def exit_code(self, *arguments: str) -> int:
        """The exit status of one docker command, whatever it is. Raises `EngineError` if no engine answers."""
        process = await self._spawn(arguments, asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE)
        try:
            _, errors = await process.communicate()
        except asyncio.CancelledError:
            await _end(process)
            raise
        if process.returncode is None:
            raise EngineError(f"`docker {arguments[0]}` has no exit status")
        explained = explain(errors.decode(errors="replace"), f"docker {arguments[0]}")
        if process.returncode != 0 and isinstance(explained, EngineAwayError):
            raise explained
        return process.returncode

    async def remove_file(self, name: str, path: str) -> None:
        """Remove a file in a running container; one that does not exist is no error. Raises `EngineError`."""
        await self.run("exec", name, "rm", "-f", "--", path)

    async def run(self, *arguments: str) -> str:
        """The standard output of one docker command. Raises `EngineError` if it fails."""
        process = await self._spawn(arguments, asyncio.subprocess.PIPE, asyncio.subprocess.PIPE)
        try:
            output, errors = await process.communicate()
        except asyncio.CancelledError:
            await _end(process)
            raise
        if process.returncode != 0:
            raise explain(errors.decode(errors="replace"), f"docker {arguments[0]}")
        return output.decode(errors="replace")

    @contextlib.asynccontextmanager
    async def _stream(
        self, arguments: list[str]
    ) -> AsyncGenerator[tuple[asyncio.subprocess.Process, AsyncIterator[str]], None]:
        process = await self._spawn(arguments, asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT)
        if process.stdout is None:
            raise EngineError("docker was started without an output to read")
        try:
            yield process, _lines(process.stdout)
        finally:
            await _end(process)

    async def _spawn(
        self, arguments: Iterable[str], output: int | None, errors: int | None
    ) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                self._docker,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=self._environment,
                limit=_LINE_LIMIT,
            )
        except FileNotFoundError as error:
            raise DockerMissingError(f"There is no program `{self._docker}` on this host.") from error
        except PermissionError as error:
            raise DockerMissingError(f"`{self._docker}` may not be run by this user: {error}.") from error


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[str]:
    async for raw in reader:
        yield raw.decode(errors="replace").rstrip("\r\n")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    await process.wait()
