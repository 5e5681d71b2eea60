"""The login controller's command server: how its container gets one, and how a command is sent to it.

It listens on 127.0.0.1 inside the container and is not published, so a command is sent by a process in the container.
It is enabled in the image's own template of the controller's configuration: the template is read from the container
before its first start, changed, and mounted over the original, so it always fits the image.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

from gateway_watch.engine import Container, Engine, EngineError
from gateway_watch.signatures import CommandServer
from host_service.statefile import write_bytes

LABEL = "ib-gateway.command-server"
"""Its value is the port; a container without it was created without a command server."""

TEMPLATE = "controller-configuration.tmpl"
ANSWER_SECONDS = 20

# Bash opens the connection, since not every image has a program for it. A line that does not come ends the answer.
_SEND = """
exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
printf '%s\\n' "$2" >&3
while IFS= read -r -t "$3" line <&3; do printf '%s\\n' "$line"; done
"""


class TemplateError(Exception):
    """The command server cannot be enabled in this image; the message gives the reason."""


class CommandError(Exception):
    """The controller refused a command or did not acknowledge it; the message gives the reason."""


def enabled(template: str, server: CommandServer) -> str:
    """The template with the settings that enable the server. Raises TemplateError if it lacks one of them."""
    for name, value in server.settings.items():
        template, count = re.subn(rf"(?m)^[ \t]*{re.escape(name)}[ \t]*=.*$", f"{name}={value}", template)
        if not count:
            raise TemplateError(f"the template of the controller's configuration has no setting {name}")
    return template


async def options(engine: Engine, container: str, server: CommandServer, directory: Path) -> list[str]:
    """Options of `docker create` that enable the server in a container like this one, which has not started yet.

    Writes the changed template to `directory`. Raises TemplateError.
    """
    try:
        created = await engine.inspect(container)
        path = _template_path(created, server)
        file = directory / TEMPLATE
        file.unlink(missing_ok=True)
        await engine.run("cp", "--follow-link", f"{container}:{path}", str(file))
        content = enabled(file.read_text(encoding="utf-8"), server)
        # The gateway's user in the container reads it; it holds names of variables, no secret.
        write_bytes(file, content.encode(), mode=0o644)
    except (EngineError, OSError, UnicodeDecodeError) as error:
        raise TemplateError(f"the template of the controller's configuration cannot be read: {error}") from error
    return ["--label", f"{LABEL}={server.port}", "--volume", f"{file}:{path}:ro"]


def _template_path(container: Container, server: CommandServer) -> str:
    if container.variables.get(server.own_configuration) == "yes":
        raise TemplateError(f"{server.own_configuration} is yes: the controller's configuration is not the image's")
    path = container.variables.get(server.template, "")
    if not path.startswith("/") or ":" in path:
        raise TemplateError(f"the image names no template of the controller's configuration ({server.template})")
    return path


def runs_in(container: Container | None) -> bool:
    """Whether the container was created with a command server."""
    return container is not None and LABEL in container.labels


def understood(answer: str, server: CommandServer) -> str:
    """The last line of an answer that acknowledges the command. Raises CommandError."""
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    for line in lines:
        if refused := server.refused.search(line):
            raise CommandError(f"the login controller refused it: {refused['text'].strip()}")
    acknowledged = [line for line in lines if server.accepted.search(line)]
    if not acknowledged:
        text = f"it answered {lines[-1]!r}" if lines else "it answered nothing"
        raise CommandError(f"the login controller did not acknowledge it: {text}")
    return acknowledged[-1]


async def send(
    engine: Engine, container: str, server: CommandServer, command: str, say: Callable[[str], None] = lambda text: None
) -> str:
    """Send a command and return the acknowledgement. Raises CommandError."""
    try:
        async with asyncio.timeout(2 * ANSWER_SECONDS):
            answer = await engine.run(
                "exec", container, "/bin/bash", "-c", _SEND, "send", str(server.port), command, str(ANSWER_SECONDS)
            )
    except TimeoutError as error:
        raise CommandError("the login controller did not answer in time") from error
    except EngineError as error:
        raise CommandError(f"the login controller's command server cannot be reached: {error}") from error
    for line in answer.splitlines():
        say(f"gateway-watch: answer to {command}: {line}")
    return understood(answer, server)
