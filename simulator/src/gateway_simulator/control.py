"""The control interface: one JSON object a line, in and out, on 127.0.0.1.

A request is ``{"command": NAME, "arguments": [TEXT, …], "mode": "live" | "paper" | null}``; the answer is
``{"ok": true, "result": …}`` or ``{"ok": false, "error": TEXT}``. Without a mode a command goes to every
gateway that runs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway_simulator.login.lifecycle import Gateway, GatewayError, View
from gateway_simulator.login.loginscript import Happening
from gateway_simulator.login.schedule import seconds_until
from gateway_simulator.settings import Server, SettingsError

HOST = "127.0.0.1"
LINE_LIMIT = 64 * 1024

Result = Any
Action = Callable[[Gateway, Sequence[str]], Awaitable[Result]]


class ControlError(Exception):
    """A request that cannot be carried out; the text is for the one who asked."""


@dataclass(frozen=True)
class Command:
    """A command: what it does in one line, the names of its arguments, and the action."""

    help: str
    arguments: tuple[str, ...]
    action: Action


async def _status(gateway: Gateway, _: Sequence[str]) -> Result:
    return describe(gateway)


async def _settings(gateway: Gateway, _: Sequence[str]) -> Result:
    return gateway.scenario.as_text()


async def _set(gateway: Gateway, arguments: Sequence[str]) -> Result:
    key, value = arguments
    gateway.scenario = gateway.scenario.changed(key, value)
    return f"{key} is {value or 'unset'} from the next start of the gateway on"


async def _set_now(gateway: Gateway, arguments: Sequence[str]) -> Result:
    key, value = arguments
    gateway.scenario = gateway.scenario.changed(key, value)
    gateway.apply_behaviour()
    return f"{key} is {value or 'unset'} from now on"


async def _approve(gateway: Gateway, _: Sequence[str]) -> Result:
    gateway.approve()
    return "approved"


async def _disconnect(gateway: Gateway, _: Sequence[str]) -> Result:
    return f"{await gateway.disconnect_clients()} clients disconnected"


def _happen(happening: Happening) -> Action:
    async def action(gateway: Gateway, _: Sequence[str]) -> Result:
        gateway.happen(happening)
        return happening.value

    return action


def _server(server: Server) -> Action:
    async def action(gateway: Gateway, _: Sequence[str]) -> Result:
        gateway.set_server(server)
        return f"servers are {server.value}"

    return action


COMMANDS: Mapping[str, Command] = {
    "status": Command("state, accounts, open 2FA dialog and its seconds, API clients", (), _status),
    "settings": Command("the scenario's settings as they are now", (), _settings),
    "set": Command("change a setting for the next start of the gateway", ("KEY", "VALUE"), _set),
    "set-now": Command("change a setting and give the API its part of it at once", ("KEY", "VALUE"), _set_now),
    "approve-2fa": Command("approve the second factor that is awaited", (), _approve),
    "restart-daily": Command("the daily restart now: same session, no login", (), _happen(Happening.DAILY_RESTART)),
    "restart-cold": Command("TWS_COLD_RESTART now: full login", (), _happen(Happening.COLD_RESTART)),
    "end-of-week": Command("the week's session ends: logs off, exit 0", (), _happen(Happening.END_OF_WEEK)),
    "logoff": Command("AUTO_LOGOFF_TIME now: exit 0", (), _happen(Happening.AUTO_LOGOFF)),
    "crash": Command("the gateway dies in any state: exit 1", (), _happen(Happening.CRASH)),
    "server-down": Command("IBKR's servers go down: 1100, and no login", (), _server(Server.DOWN)),
    "server-up": Command("IBKR's servers come back: 1102, and login works", (), _server(Server.UP)),
    "existing-session": Command("another session of the user logs in now", (), _happen(Happening.EXISTING_SESSION)),
    "write-access": Command(
        "the dialog that asks to confirm an API client's write access", (), _happen(Happening.WRITE_ACCESS)
    ),
    "disconnect-clients": Command("drop all API clients; the port stays open", (), _disconnect),
}


def describe(gateway: Gateway) -> dict[str, Any]:
    """Return a gateway's state for the status command."""
    view: View = gateway.view
    left = None
    if view.approval_until is not None:
        left = max(0, round(seconds_until(gateway.now(), view.approval_until)))
    return {
        "mode": view.mode,
        "state": view.state.value,
        "note": view.note,
        "dialog": view.dialog,
        "accounts": list(view.accounts),
        "twofa_seconds_left": left,
        "run": view.run,
        "port": gateway.port,
        "clients": gateway.clients,
    }


class ControlServer:
    """Answers control requests for the gateways of this process."""

    def __init__(self, gateways: Sequence[Gateway]) -> None:
        self._gateways = gateways
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, port: int) -> None:
        """Listen on 127.0.0.1; port 0 takes a free one. Raises OSError if the port is taken."""
        self._server = await asyncio.start_server(self._client, HOST, port, limit=LINE_LIMIT)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening. Does nothing on a stopped server."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def answer(self, line: bytes) -> dict[str, Any]:
        """Carry out one request line and return the answer."""
        try:
            return {"ok": True, "result": await self._carry_out(line)}
        except (ControlError, GatewayError, SettingsError) as error:
            return {"ok": False, "error": str(error)}

    async def _carry_out(self, line: bytes) -> Result:
        try:
            request = json.loads(line)
        except ValueError as error:
            raise ControlError(f"the request is no JSON: {error}") from error
        if not isinstance(request, dict):
            raise ControlError("the request must be a JSON object")
        name, arguments, mode = request.get("command"), request.get("arguments", []), request.get("mode")
        command = COMMANDS.get(name) if isinstance(name, str) else None
        if command is None:
            raise ControlError(f"there is no command {name!r}; known are: {', '.join(COMMANDS)}")
        if not isinstance(arguments, list) or not all(isinstance(each, str) for each in arguments):
            raise ControlError("arguments must be a list of texts")
        if len(arguments) != len(command.arguments):
            wanted = " ".join(command.arguments) or "no arguments"
            raise ControlError(f"{name} takes {wanted}, not {len(arguments)} arguments")
        gateways = [each for each in self._gateways if mode in (None, each.settings.mode)]
        if not gateways:
            running = ", ".join(each.settings.mode for each in self._gateways)
            raise ControlError(f"no gateway runs in mode {mode!r}; running: {running}")
        return {each.settings.mode: await command.action(each, arguments) for each in gateways}

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self.answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the client has gone, or its line is longer than LINE_LIMIT
        finally:
            writer.close()
