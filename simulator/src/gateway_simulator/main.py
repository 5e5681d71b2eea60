"""gateway-simulator: the image's first program, or one simulated gateway on this machine."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gateway_simulator.clock import SystemClock
from gateway_simulator.container.children import Window
from gateway_simulator.container.image import TERMINATED, Container, no_window
from gateway_simulator.control import ControlServer
from gateway_simulator.login.lifecycle import Gateway, GatewayError, View
from gateway_simulator.settings import (
    NATIVE_PORTS,
    PREFIX,
    SettingsError,
    read_control_port,
    read_gateway,
    read_scenario,
    read_zone,
)

BAD_USAGE = 2
ALONE = {"TWS_USERID": "demo", "TWS_PASSWORD": "demo", "READ_ONLY_API": "no", f"{PREFIX}START_SECONDS": "0"}
"""The variables' defaults on a laptop: any user, ready at once, and orders are accepted."""
SCENARIO_OPTIONS = {
    "seed": "seed of the market",
    "accounts": "accounts, separated by commas",
    "clock": "real or held",
    "clock-start": "moment at which the servers' clock starts, for example 2026-11-23T14:30:00+00:00",
    "clock-speed": "seconds of the servers in one of this machine's",
    "trading-hours": "always or exchange",
    "catalog": "file of stocks that add to the sample or replace some of it",
    "unknown-symbols": "invent or refuse stocks that are not listed",
    "tape": "file of a recorded market",
    "latency-ms": "milliseconds from an order to the market",
    "cancel-seconds": "seconds from a cancel to the market",
    "account-currency": "USD, GBP or EUR: in which the accounts are kept",
    "market-data": "live, delayed, frozen, none or competing",
    "market-data-lines": "tickers that a client may have at a time",
    "master-client-id": "client that hears of every client's orders",
    "server-version": "newest version of the API that is offered: 176 to 178, or 213",
    "messages-per-second": "messages that a client may send in a second; 0: any number",
    "state-file": "file in which the state outlives the program",
    "journal-file": "file to which the brokerage's journal is written",
    "faults": "faults at chosen messages, separated by semicolons",
    "start-seconds": "seconds from start to ready",
}
"""Settings of the scenario that are options too; the option wins over the variable."""


def write_line(line: str) -> None:
    """Write a line of the log at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def parser() -> argparse.ArgumentParser:
    """Create the command line."""
    top = argparse.ArgumentParser(
        prog="gateway-simulator",
        description="Simulates an IB Gateway under IBC. Scenarios: GATEWAY_SIMULATOR_ variables, see README.md.",
    )
    top.add_argument("--image", action="store_true", help="be the container's first program (the image does this)")
    top.add_argument("--mode", choices=tuple(NATIVE_PORTS), default="paper", help="account mode (default: paper)")
    top.add_argument("--host", default="127.0.0.1", help="address of the API (default: 127.0.0.1)")
    top.add_argument("--port", type=_port, help="port of the API (default: 4001 live, 4002 paper)")
    top.add_argument("--control-port", type=_port, help="port of the control interface; 0: a free one")
    top.add_argument("--no-display", action="store_true", help="show no window, though there is a DISPLAY")
    for option, meaning in SCENARIO_OPTIONS.items():
        top.add_argument(f"--{option}", metavar="VALUE", help=f"{meaning} ({PREFIX}{_key(option)})")
    return top


def _key(option: str) -> str:
    return option.upper().replace("-", "_")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = parser().parse_args(argv)
    try:
        return asyncio.run(_image() if options.image else _one_gateway(options, os.environ))
    except SettingsError as error:
        sys.stderr.write(f"gateway-simulator: {error}\n")
        return BAD_USAGE
    except (GatewayError, OSError) as error:
        sys.stderr.write(f"gateway-simulator: {error}\n")
        return 1


async def _image() -> int:
    container = Container(os.environ, write_line)
    _on_signal(container.stop)
    return await container.run()


async def _one_gateway(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Run one gateway with the image's variables as far as they are set."""
    environ = {**ALONE, **environ}
    for option in SCENARIO_OPTIONS:
        value = getattr(options, option.replace("-", "_"))
        if value is not None:
            environ[f"{PREFIX}{_key(option)}"] = value
    scenario = read_scenario(environ)
    settings = read_gateway(environ, options.mode)
    clock = SystemClock(read_zone(environ))
    with tempfile.TemporaryDirectory(prefix="gateway-simulator-") as temporary:
        if settings.settings_path is None:
            settings = replace(settings, settings_path=Path(temporary), settings_last=False)
        window = None
        if environ.get("DISPLAY") and not options.no_display:
            window = await Window.open(0, dict(environ))
        show: Callable[[View], None] = window.show if window is not None else no_window
        port = settings.native_port if options.port is None else options.port
        gateway = Gateway(
            settings, scenario, clock=clock, host=options.host, port=port, write_line=write_line, show=show
        )
        control = ControlServer([gateway])
        wanted = read_control_port(environ) if options.control_port is None else options.control_port
        try:
            await control.start(wanted)
        except OSError as error:
            raise GatewayError(
                f"cannot open the control port {wanted}: {error}; choose another with --control-port"
            ) from error
        write_line(f"gateway-simulator: control port {control.port}")
        run = asyncio.create_task(gateway.run())
        _on_signal(run.cancel)
        try:
            return await run
        except asyncio.CancelledError:
            write_line(f"IBC returned exit status {TERMINATED}")
            return TERMINATED
        finally:
            await control.stop()
            if window is not None:
                await window.close()


def _on_signal(action: Callable[[], object]) -> None:
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, action)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port number")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
