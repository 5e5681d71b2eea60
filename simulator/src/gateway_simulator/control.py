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
from decimal import Decimal, InvalidOperation
from typing import Any

from gateway_simulator import brokerage_control
from gateway_simulator.api.faults import USAGE, FaultError, parse_rule
from gateway_simulator.api.floor import MAX_STEPS
from gateway_simulator.api.requests import REQUEST_NAMES
from gateway_simulator.clock import HeldClockError
from gateway_simulator.login.lifecycle import Gateway, GatewayError, View
from gateway_simulator.login.schedule import seconds_until
from gateway_simulator.login.steps import Happening, OpenDialog
from gateway_simulator.settings import Server, SettingsError
from gateway_simulator.trading.market import MarketError
from gateway_simulator.trading.model import CENT, Halted, Order

HOST = "127.0.0.1"
LINE_LIMIT = 64 * 1024
JOURNAL_LINES = 20
MAX_ADVANCE = 400 * 86400.0
"""Seconds that a held clock can be advanced at once."""

_OUTLIVES = ", in the next container too"

Result = Any
Action = Callable[[Gateway, Sequence[str]], Awaitable[Result]]


class ControlError(Exception):
    """A request that cannot be handled; the text is for the requester."""


@dataclass(frozen=True)
class Command:
    """A command: what it does in one line, the names of its arguments, and the action.

    ``[NAME]`` is optional, ``[--name]`` is a flag, ``NAME...`` represents one or more.
    """

    help: str
    arguments: tuple[str, ...]
    action: Action

    def takes(self, count: int) -> bool:
        """Return whether a number of arguments is possible."""
        least = sum(not name.startswith("[") for name in self.arguments)
        return least <= count and (count <= len(self.arguments) or any(name.endswith("...") for name in self.arguments))


async def _status(gateway: Gateway, _: Sequence[str]) -> Result:
    return describe(gateway)


async def _settings(gateway: Gateway, _: Sequence[str]) -> Result:
    return gateway.scenario.as_text()


async def _set(gateway: Gateway, arguments: Sequence[str]) -> Result:
    key, value = arguments
    outlives = gateway.change(key, value)
    return f"{key} is {value or 'unset'} from the next start of the gateway on{_OUTLIVES if outlives else ''}"


async def _set_now(gateway: Gateway, arguments: Sequence[str]) -> Result:
    key, value = arguments
    outlives = gateway.change(key, value)
    gateway.apply_behaviour()
    return f"{key} is {value or 'unset'} from now on{_OUTLIVES if outlives else ''}"


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


async def _server_down(gateway: Gateway, _: Sequence[str]) -> Result:
    gateway.set_server(Server.DOWN)
    return "servers are down"


async def _server_up(gateway: Gateway, arguments: Sequence[str]) -> Result:
    data_lost = _data_lost("server-up", arguments)
    gateway.set_server(Server.UP, data_lost=data_lost)
    return "servers are up" + (", data lost" if data_lost else "")


async def _open_dialog(gateway: Gateway, arguments: Sequence[str]) -> Result:
    title = arguments[0]
    if not title or not title.isprintable():
        raise ControlError(f"{title!r} is no title: it must be one line of text")
    gateway.happen(OpenDialog(title))
    return f"{title} is open"


async def _set_price(gateway: Gateway, arguments: Sequence[str]) -> Result:
    name, *words = arguments
    prices = read_prices(words)
    server = gateway.api
    server.brokerage.market.set_price(name, server.clock.utc(), **prices)
    server.floor.tick()
    return f"{name}: {' '.join(f'{key}={price}' for key, price in prices.items() if price is not None)}"


async def _release(gateway: Gateway, arguments: Sequence[str]) -> Result:
    server = gateway.api
    server.brokerage.market.release(arguments[0], server.clock.utc())
    server.floor.tick()
    return f"{arguments[0]} follows the market again"


async def _halt(gateway: Gateway, arguments: Sequence[str]) -> Result:
    name, kind = arguments[0], arguments[1] if len(arguments) > 1 else "general"
    kinds = {"general": Halted.GENERAL, "volatility": Halted.VOLATILITY}
    if kind not in kinds:
        raise ControlError(f"{kind!r} is no kind of halt; it must be one of {', '.join(kinds)}")
    gateway.api.brokerage.market.halt(name, kinds[kind])
    gateway.api.floor.tick()
    return f"{name} is halted"


async def _resume(gateway: Gateway, arguments: Sequence[str]) -> Result:
    gateway.api.brokerage.market.resume(arguments[0])
    gateway.api.floor.tick()
    return f"{arguments[0]} trades again"


async def _advance(gateway: Gateway, arguments: Sequence[str]) -> Result:
    seconds, *steps = arguments
    if steps and not (steps[0].isascii() and steps[0].isdigit() and 1 <= int(steps[0]) <= MAX_STEPS):
        raise ControlError(f"{steps[0]!r} is no number of steps; it must be from 1 to {MAX_STEPS}")
    try:
        return gateway.api.floor.move(_read_seconds(seconds), *map(int, steps)).isoformat()
    except (HeldClockError, ValueError) as error:
        raise ControlError(str(error)) from error


async def _clock(gateway: Gateway, _: Sequence[str]) -> Result:
    clock = gateway.api.clock
    return {"now": clock.now().isoformat(), "held": clock.held, "speed": clock.speed}


async def _fault(gateway: Gateway, arguments: Sequence[str]) -> Result:
    try:
        rule = parse_rule([word for each in arguments for word in each.split()], REQUEST_NAMES)
    except FaultError as error:
        raise ControlError(str(error)) from error
    gateway.api.faults.add(rule)
    return f"waits: {rule}"


async def _faults(gateway: Gateway, _: Sequence[str]) -> Result:
    return [str(rule) for rule in gateway.api.faults.rules]


async def _fault_clear(gateway: Gateway, _: Sequence[str]) -> Result:
    return f"{gateway.api.faults.clear()} faults cleared"


async def _stall(gateway: Gateway, arguments: Sequence[str]) -> Result:
    return f"{gateway.api.stall(_read_seconds(arguments[0]))} clients stalled"


async def _lose_connection(gateway: Gateway, _: Sequence[str]) -> Result:
    gateway.api.lose_connection()
    return "connection to the servers lost"


async def _restore_connection(gateway: Gateway, arguments: Sequence[str]) -> Result:
    data_lost = _data_lost("restore-connection", arguments)
    gateway.api.restore_connection(data_lost=data_lost)
    return "connection to the servers restored" + (", data lost" if data_lost else "")


def _data_lost(command: str, arguments: Sequence[str]) -> bool:
    if arguments not in ([], ["--data-lost"]):
        raise ControlError(f"{command} takes --data-lost or nothing, not {arguments[0]!r}")
    return bool(arguments)


def _farms(*, down: bool) -> Action:
    async def action(gateway: Gateway, _: Sequence[str]) -> Result:
        gateway.api.set_farms(down=down)
        return f"data farms are {'down' if down else 'up'}"

    return action


async def _competing_session(gateway: Gateway, arguments: Sequence[str]) -> Result:
    if arguments[0] not in ("on", "off"):
        raise ControlError(f"{arguments[0]!r} is neither on nor off")
    gateway.set_competing_session(on=arguments[0] == "on")
    return f"competing session {arguments[0]}"


async def _orders(gateway: Gateway, _: Sequence[str]) -> Result:
    brokerage = gateway.api.brokerage
    return [_describe_order(each) for each in (*brokerage.orders, *brokerage.completed_orders)]


async def _positions(gateway: Gateway, _: Sequence[str]) -> Result:
    return [
        f"{account.account_id} {held.contract.local_symbol or held.contract.symbol} {held.quantity} at "
        f"{held.average_cost.normalize():f}"
        for account in gateway.api.brokerage.accounts.values()
        for held in account.positions.values()
    ]


async def _journal(gateway: Gateway, arguments: Sequence[str]) -> Result:
    count = arguments[0] if arguments else str(JOURNAL_LINES)
    if not count.isascii() or not count.isdigit() or int(count) < 1:
        raise ControlError(f"{count!r} is no number of lines; it must be 1 or more")
    return list(gateway.api.brokerage.journal)[-int(count) :]


def read_prices(words: Sequence[str]) -> dict[str, Decimal | None]:
    """Read ``bid=``, ``ask=`` and ``last=``, or one bare price: that of the last trade, a cent below and above it."""
    prices: dict[str, Decimal | None] = {"bid": None, "ask": None, "last": None}
    for word in words:
        key, equals, number = word.rpartition("=")
        try:
            price = Decimal(number)
        except InvalidOperation as error:
            raise ControlError(f"{word!r} is no price; write bid=P ask=P last=P, or one price") from error
        if not price.is_finite() or price <= 0:
            raise ControlError(f"{word!r} is no price: it must be more than 0")
        if equals and key in prices:
            prices[key] = price
        elif not equals and len(words) == 1:
            prices = {"bid": price - CENT, "ask": price + CENT, "last": price}
        else:
            raise ControlError(f"{word!r} is not understood; write bid=P ask=P last=P, or one price")
    return prices


def _read_seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError as error:
        raise ControlError(f"{word!r} is not a number of seconds") from error
    if not 0 < seconds <= MAX_ADVANCE:
        raise ControlError(f"{word} seconds: it must be more than 0 and at most {MAX_ADVANCE:g}")
    return seconds


def _describe_order(order: Order) -> str:
    prices = (order.limit_price, order.trail_stop_price or order.aux_price)
    price = "".join(f" {each}" for each in prices if each is not None)
    contract = order.contract
    return (
        f"client {order.client_id} order {order.order_id} perm {order.perm_id} {order.account} {order.action} "
        f"{order.quantity} {contract.local_symbol or contract.symbol} {order.order_type}{price} "
        f"{order.time_in_force} {order.status.value} filled {order.filled} at {order.average_fill_price.normalize():f}"
    )


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
    "server-down": Command("IBKR's servers go down: 1100, attempts to reconnect, and no login", (), _server_down),
    "server-up": Command(
        "IBKR's servers come back: 1102, or 1101 with subscriptions to market data lost; login works",
        ("[--data-lost]",),
        _server_up,
    ),
    "existing-session": Command("another session of the user logs in now", (), _happen(Happening.EXISTING_SESSION)),
    "write-access": Command(
        "the dialog that asks to confirm an API client's write access", (), _happen(Happening.WRITE_ACCESS)
    ),
    "dialog": Command("a dialog that IBC does not know opens, and no API client is served", ("TITLE",), _open_dialog),
    "dismiss-dialog": Command("the dialog closes: the API goes on", (), _happen(Happening.DISMISS_DIALOG)),
    "disconnect-clients": Command("drop all API clients; the port stays open", (), _disconnect),
    "set-price": Command(
        "script a contract's prices: bid=P ask=P last=P, or one price", ("NAME", "PRICE..."), _set_price
    ),
    "release": Command("let a contract with scripted prices follow the market again", ("NAME",), _release),
    "halt": Command("halt a contract; KIND is general or volatility", ("NAME", "[KIND]"), _halt),
    "resume": Command("let a halted contract trade again", ("NAME",), _resume),
    "clock": Command("the servers' time, whether it is held, and its speed", (), _clock),
    "advance": Command("move a held clock on", ("SECONDS", "[STEPS]"), _advance),
    "fault": Command(f"let a fault wait for its message; {USAGE}", ("RULE...",), _fault),
    "faults": Command("the faults that wait", (), _faults),
    "fault-clear": Command("forget the faults that wait", (), _fault_clear),
    "stall": Command("serve no client for some seconds", ("SECONDS",), _stall),
    "lose-connection": Command("the connection to IBKR is lost: 1100; orders wait", (), _lose_connection),
    "restore-connection": Command(
        "it is back: 1102, or 1101 with subscriptions to market data lost", ("[--data-lost]",), _restore_connection
    ),
    "farm-down": Command("the data farms go down: 2103, and no market data", (), _farms(down=True)),
    "farm-up": Command("the data farms come back: 2104", (), _farms(down=False)),
    "competing-session": Command(
        "another session has the market data: 10197; on or off", ("ON|OFF",), _competing_session
    ),
    "trade": Command(
        "buy or (a negative quantity) sell at the market as a person does, as client 0",
        ("NAME", "QUANTITY", "[ACCOUNT]"),
        brokerage_control.trade,
    ),
    "split": Command(
        "split a stock, its options and what is held of both; RATIO is new:old, such as 4:1",
        ("NAME", "RATIO"),
        brokerage_control.split,
    ),
    "hours": Command(
        "set a contract's hours as from now: regular, night (outside liquid hours), closed, or usual again",
        ("NAME", "KIND"),
        brokerage_control.hours,
    ),
    "feed": Command(
        "let the market data of a contract (or all) stop: stale, with an error CODE or silent; or live again",
        ("NAME", "STATE", "[CODE]"),
        brokerage_control.feed,
    ),
    "pending-cancel": Command(
        "let cancels stay PendingCancel for ever; on or off", ("ON|OFF",), brokerage_control.pending_cancel
    ),
    "orders": Command("every order, working and done", (), _orders),
    "positions": Command("every holding", (), _positions),
    "journal": Command(f"the last N lines of the brokerage's journal [{JOURNAL_LINES}]", ("[N]",), _journal),
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
        "logins": gateway.logins,
        "port": gateway.port,
        "clients": gateway.clients,
    }


class ControlServer:
    """Handles control requests for the gateways of this process."""

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
        except (ControlError, GatewayError, SettingsError, MarketError) as error:
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
        if not command.takes(len(arguments)):
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
