"""The container's first program: what the image's run script does, in its order and with its lines."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

from gateway_simulator.clock import Clock, SystemClock
from gateway_simulator.container.children import (
    DISPLAY,
    ChildError,
    ControllerProcess,
    Process,
    Window,
    run_relay,
    run_script,
    start_x11vnc,
    start_xvfb,
    stop,
)
from gateway_simulator.control import ControlServer
from gateway_simulator.login.lifecycle import Controller, Gateway, GatewayError, View
from gateway_simulator.login.startscript import GATEWAY_VERSION
from gateway_simulator.login.steps import Happening
from gateway_simulator.login.stored_scenario import StoredScenario
from gateway_simulator.settings import (
    GatewaySettings,
    Scenario,
    SettingsError,
    read_command_server,
    read_control_port,
    read_gateway,
    read_scenario,
    read_secret,
    read_zone,
    settings_path,
    trading_modes,
)

RULE = "*" * 73
TERMINATED = 143
"""Exit status after SIGTERM: that of the gateway's Java."""
SED_FAILED = 4


class StartError(Exception):
    """The container cannot start; ``status`` is its exit status."""

    def __init__(self, reason: str, status: int = 1) -> None:
        super().__init__(reason)
        self.status = status


class Container:
    """Everything that runs in the container, from its start to its end."""

    def __init__(self, environ: Mapping[str, str], write_line: Callable[[str], None]) -> None:
        self._environ = environ
        self._write_line = write_line
        self._gateways: list[Gateway] = []
        self._runs: list[asyncio.Task[int]] = []
        self._relays: list[asyncio.Task[None]] = []
        self._all_runs: asyncio.Task[int] | None = None
        self._xvfb_watch: asyncio.Task[None] | None = None
        self._windows: list[Window] = []
        self._code_readers: list[asyncio.Task[None]] = []
        self._control: ControlServer | None = None
        self._xvfb: Process | None = None
        self._vnc: Process | None = None
        self._stopping = asyncio.Event()
        self._deaf_until = 0.0

    def stop(self) -> None:
        """Handle the signal to end. The image's run script ignores it until it has started everything."""
        if asyncio.get_running_loop().time() >= self._deaf_until:
            self._stopping.set()

    async def run(self) -> int:
        """Run until every gateway has ended or :meth:`stop` is called; return the exit status."""
        work = asyncio.create_task(self._work())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((work, stopping), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            return await self._end_by_signal(work)
        except StartError as error:
            sys.stderr.write(f"{error}\n")
            return error.status
        except (SettingsError, ChildError, GatewayError) as error:
            sys.stderr.write(f"{error}\n")
            return 1
        finally:
            stopping.cancel()
            await self._clean_up()

    async def _work(self) -> int:
        scenario = read_scenario(self._environ)
        self._deaf_until = asyncio.get_running_loop().time() + scenario.stop_deaf_seconds * scenario.time_scale
        clock = SystemClock(read_zone(self._environ))
        self._write_line(RULE)
        self._write_line(".> Starting IBC/IB gateway")
        self._write_line(RULE)
        await self._run_scripts("START_SCRIPTS")
        self._write_line(".> Starting Xvfb server")
        self._xvfb = await start_xvfb()
        self._xvfb_watch = asyncio.create_task(self._crash_without(self._xvfb))
        self._write_line(".> SSH tunnel disabled")
        self._set_java_heap()
        await self._start_vnc()
        await self._run_scripts("X_SCRIPTS")
        self._control = ControlServer(self._gateways)
        await self._control.start(read_control_port(self._environ))
        modes = trading_modes(self._environ)
        for number, mode in enumerate(modes):
            if number:
                await clock.sleep(scenario.second_gateway_seconds * scenario.time_scale)
            await self._start_gateway(mode, number, scenario, clock, dual=len(modes) > 1)
        await self._run_scripts("IBC_SCRIPTS")
        self._all_runs = asyncio.create_task(self._end_of_runs())
        await asyncio.wait((self._all_runs, *self._relays), return_when=asyncio.FIRST_COMPLETED)
        for relay in self._relays:
            if relay.done():
                relay.result()  # a relay ends by an error only
        return self._all_runs.result()

    async def _run_scripts(self, variable: str) -> None:
        """Run the *.sh of the directory under HOME that a variable names, one after the other."""
        name = self._environ.get(variable, "")
        if not name:
            return
        directory = Path(self._environ.get("HOME", "")) / name
        if not directory.is_dir():
            self._write_line(f"> No start scripts defined on {directory}")
            return
        self._write_line(f"> Running start up scripts on {directory}")
        scripts = sorted(directory.glob("*.sh")) or [directory / "*.sh"]
        for script in scripts:
            self._write_line(f"> Running {script}")
            # The image logs the same for a script that failed and one that is missing, and continues.
            if not script.is_file() or await run_script(script, {**os.environ, "DISPLAY": DISPLAY}) != 0:
                self._write_line(f"File {script} not found.")

    async def _end_of_runs(self) -> int:
        """Wait until every gateway has ended; the status of the last started one is the container's."""
        return (await asyncio.gather(*self._runs))[-1]

    async def _start_vnc(self) -> None:
        password = read_secret(self._environ, "VNC_SERVER_PASSWORD")
        if password:
            self._write_line(".> Starting VNC server")
            self._vnc = await start_x11vnc(password)
        else:
            self._write_line(".> VNC server disabled")

    def _set_java_heap(self) -> None:
        heap = self._environ.get("JAVA_HEAP_SIZE", "")
        if not heap:
            self._write_line(".> Usign default Java heap size 768m.")
            return
        if not heap.isascii() or not heap.isdigit():
            raise SettingsError(f"JAVA_HEAP_SIZE is {heap!r}: it must be a number of MB, digits only")
        options = Path(self._environ.get("TWS_PATH", "")) / "ibgateway.vmoptions"
        try:
            options.write_text(f"-Xmx{heap}m\n", encoding="ascii")
        except OSError as error:
            raise StartError(f"sed: couldn't edit {options}: {error.strerror}", SED_FAILED) from error
        self._write_line(f".> Java heap size set to {heap}m")

    async def _start_gateway(self, mode: str, number: int, scenario: Scenario, clock: Clock, *, dual: bool) -> None:
        settings = replace(
            read_gateway(self._environ, mode, dual=dual), command_server=read_command_server(self._template())
        )
        self._write_line(f".> API_PORT set to: {settings.native_port}")
        self._write_line(f".> SOCAT_PORT set to: {settings.relay_port}")
        self._apply_settings(settings, dual=dual)
        self._write_line(".> Starting Port Forwarding.")
        self._write_line(".> Starting socat")
        relay = run_relay(settings.relay_port, settings.native_port, mode, self._write_line)
        self._relays.append(asyncio.create_task(relay))
        window = await Window.open(number, {**os.environ, "DISPLAY": DISPLAY})
        self._windows.append(window)
        self._announce_ibc(settings)
        gateway = Gateway(
            settings,
            scenario,
            clock=clock,
            host="0.0.0.0",  # noqa: S104 - as the real one: it listens everywhere and serves 127.0.0.1
            port=settings.native_port,
            write_line=self._write_line,
            show=window.show,
            stored=StoredScenario(settings.settings_path, self._environ),
            controller=self._controller(settings, dual=dual),
        )
        self._gateways.append(gateway)
        self._code_readers.append(asyncio.create_task(window.read_codes(gateway.enter_code)))
        self._runs.append(asyncio.create_task(gateway.run()))

    def _template(self) -> str:
        """The template of IBC's configuration, from which the image creates config.ini."""
        path = Path(self._environ.get("IBC_INI_TMPL", ""))
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StartError(f"IBC_INI_TMPL is {str(path)!r}, which cannot be read: {error}") from error

    def _ini(self, settings: GatewaySettings, *, dual: bool) -> Path:
        return Path(self._environ.get("IBC_INI", "") + (f"_{settings.mode}" if dual else ""))

    def _controller(self, settings: GatewaySettings, *, dual: bool) -> Callable[[], Awaitable[Controller]]:
        async def start() -> Controller:
            return await ControllerProcess.start(self._ini(settings, dual=dual), settings.mode)

        return start

    def _apply_settings(self, settings: GatewaySettings, *, dual: bool) -> None:
        """Create IBC's config.ini and the settings directory, where the image does."""
        self._write_line(".> Appling settings to IBC's config.ini")
        ini = self._ini(settings, dual=dual)
        action = settings.existing_session_action
        try:
            descriptor = os.open(ini, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(
                    f"IbLoginId={settings.user}\nIbPassword={settings.password}\n"
                    f"TradingMode={settings.mode}\nExistingSessionDetectedAction={action}\n"
                    f"{_command_server_lines(settings)}"
                )
        except OSError as error:
            raise StartError(
                f"IBC_INI is {str(ini)!r}, which cannot be written: {error.strerror}; "
                "with a read-only root it must lie on a tmpfs"
            ) from error
        path = settings_path(self._environ, settings.mode, dual=dual)
        if path is None:
            raise StartError("neither TWS_SETTINGS_PATH nor TWS_PATH is set")
        if self._environ.get("TWS_SETTINGS_PATH"):
            self._write_line(f".> Settings directory set to: {path}")
        else:
            self._write_line(f".> Settings directory NOT set, defaulting to: {path}")
        jts = path / "jts.ini"
        try:
            if not path.is_dir():
                self._write_line(f".> Creating directory: {path}")
                path.mkdir()
            if jts.exists():
                self._write_line(".> File jts.ini already exists, not setting timezone")
            else:
                self._write_line(f".> Setting timezone in {jts}")
                zone = self._environ.get("TIME_ZONE", "")
                jts.write_text(f"[Logon]\nTimeZone={zone}\n[IBGateway]\nTrustedIPs=127.0.0.1\n", encoding="utf-8")
        except OSError as error:
            raise StartError(f"the settings directory {path} cannot be written: {error}") from error

    def _announce_ibc(self, settings: GatewaySettings) -> None:
        self._write_line(f".> Starting IBC in {settings.mode} mode, with params:")
        self._write_line(f".>\t\tVersion: {GATEWAY_VERSION}")
        self._write_line(".>\t\tprogram: gateway")
        self._write_line(f".>\t\ttws-settings-path: {settings.settings_path}")
        self._write_line(f".>\t\ton2fatimeout: {'restart' if settings.twofa_restart else 'exit'}")

    async def _crash_without(self, xvfb: Process) -> None:
        await xvfb.wait()
        for gateway in self._gateways:
            gateway.happen(Happening.CRASH)

    async def _end_by_signal(self, work: asyncio.Task[int]) -> int:
        self._write_line(".> 😘 Received SIGINT or SIGTERM. Shutting down IB Gateway.")
        if self._vnc is not None:
            self._write_line(".> Stopping x11vnc.")
        self._write_line(".> Stopping Xvfb.")
        self._write_line(".> Stopping socat.")
        self._write_line(".> Stopping IBC.")
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        for _ in self._runs:
            self._write_line(f"IBC returned exit status {TERMINATED}")
            self._write_line("Gateway finished")
        return TERMINATED

    async def _clean_up(self) -> None:
        tasks = [each for each in (self._all_runs, self._xvfb_watch, *self._runs, *self._relays) if each]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._control is not None:
            await self._control.stop()
        await asyncio.gather(*(window.close() for window in self._windows))
        await asyncio.gather(*self._code_readers, return_exceptions=True)
        for process in (self._vnc, self._xvfb):
            if process is not None:
                await stop(process)


def _command_server_lines(settings: GatewaySettings) -> str:
    server = settings.command_server
    port, address, control = (server.port, server.address, server.control_from) if server else (0, "", "")
    return f"CommandServerPort={port}\nBindAddress={address}\nControlFrom={control}\n"


def no_window(_: View) -> None:
    """Show nothing: for a gateway without a screen."""
