"""`ib-dashboard`: serve the status page on 127.0.0.1, read-only.

Exit status: 0 stopped, 1 the port is taken, 2 a faulty command.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import uvicorn

from dashboard.collector import Collector, Sources
from dashboard.hub import Hub
from dashboard.places import Host, ManagerPlace, OneManager
from dashboard.screens import Screens
from dashboard.server import application
from host_service.notify import Notifier
from position_manager.paths import Paths

PORT = 8765
SCREENS = Path("/run/ib-gateway-screen")
STOP_SECONDS = 2
"""Pages that are still open are closed after this."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        listener = bound(options.port)
    except OSError as error:
        print(  # noqa: T201 - the error of a command
            f"ib-dashboard: port {options.port} of 127.0.0.1 cannot be used: {error.strerror}. "
            "Choose another one (--port; dashboard_port on a host).",
            file=sys.stderr,
        )
        return 1
    with listener, suppress(KeyboardInterrupt):
        serve(listener, sources(options), options.history, options.screens)
    return 0


def bound(port: int) -> socket.socket:
    """A socket that listens on 127.0.0.1 only. Raises OSError."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        # From now on: who reads the address, or waits for the unit, may connect at once.
        listener.listen(64)
    except OSError:
        listener.close()
        raise
    return listener


def sources(options: argparse.Namespace) -> Sources:
    if options.state is None:
        return Host()
    paths = Paths(options.config or Path(), options.state, options.runtime)
    return OneManager(ManagerPlace(options.manager, paths))


def serve(listener: socket.socket, found: Sources, history: Path | None, screens_directory: Path) -> None:
    """Serve until a signal ends it."""
    screens = Screens(screens_directory)
    collector = Collector(
        found,
        now=lambda: datetime.now(UTC),
        monotonic=time.monotonic,
        history_file=history,
        has_screen=screens.has,
    )
    notifier = Notifier.from_environment(os.environ)
    port = listener.getsockname()[1]

    def ready() -> None:
        print(f"http://127.0.0.1:{port}/", flush=True)  # noqa: T201 - the output of a command
        notifier.ready()

    async def run() -> None:
        hub = Hub(collector, monotonic=time.monotonic)
        config = uvicorn.Config(
            application(hub, screens, ready=ready),
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            limit_concurrency=64,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        await Server(config, hub).serve(sockets=[listener])

    asyncio.run(run())


class Server(uvicorn.Server):
    """Awaits its end instead of checking for it ten times a second, and ends the streams, for which it would wait."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub
        self._loop = asyncio.get_running_loop()
        self._exit = asyncio.Event()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._loop.call_soon_threadsafe(self._exit.set)

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self._exit.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._hub.end()
        await super().shutdown(sockets)


def _port(text: str) -> int:
    number = int(text) if text.isdecimal() else -1
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port from 0 (any free one) to 65535")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ib-dashboard", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=_port, default=PORT, metavar="PORT", help=f"on 127.0.0.1; default: {PORT}")
    parser.add_argument("--history", type=Path, metavar="FILE", help="where the states of the last 7 days are stored")
    parser.add_argument("--screens", type=Path, default=SCREENS, metavar="DIR", help=argparse.SUPPRESS)
    alone = parser.add_argument_group("one position manager instead of a whole host (position-manager dashboard)")
    alone.add_argument("--manager", default="position-manager", metavar="NAME")
    alone.add_argument("--config", type=Path, metavar="FILE")
    alone.add_argument("--state", type=Path, metavar="DIR")
    alone.add_argument("--runtime", type=Path, metavar="DIR")
    return parser
