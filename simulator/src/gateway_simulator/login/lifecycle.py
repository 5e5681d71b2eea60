"""Plays a gateway's runs: carries out the login script's steps and starts it again as IBC's script would."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from enum import Enum
from typing import Protocol

from gateway_simulator.api.behaviour import ApiBehaviour, ConnectMode, MarketDataAccess
from gateway_simulator.api.server import ApiServer
from gateway_simulator.clock import Clock
from gateway_simulator.login import autorestart, totp
from gateway_simulator.login.commands import Answer as CommandAnswer
from gateway_simulator.login.commands import CommandServer
from gateway_simulator.login.loginscript import EXIT_CRASHED, command_lines, gateway_run, terminated_run
from gateway_simulator.login.schedule import next_daily, next_sunday, seconds_until
from gateway_simulator.login.startscript import EXIT_NO_LOGIN_DIALOG, after_run, java_missing_lines, launch_lines
from gateway_simulator.login.steps import (
    Answer,
    AskApproval,
    AskSlot,
    Broadcast,
    CloseApi,
    Event,
    Hang,
    Happening,
    HoldApi,
    Ibc,
    LoginState,
    OpenApi,
    OpenDialog,
    Pause,
    Raw,
    ReadSession,
    Reply,
    RestartCommand,
    RunEnd,
    Script,
    Serve,
    Show,
    Step,
    stamp,
)
from gateway_simulator.login.stored_scenario import LoginCount, Slot, StoredScenario
from gateway_simulator.login.trading import Trading, open_trading
from gateway_simulator.login.windows import Screen
from gateway_simulator.settings import (
    Configuration,
    Connect,
    ExistingSession,
    FirstConnect,
    GatewaySettings,
    RestartByCommand,
    Scenario,
    Server,
)
from gateway_simulator.trading.invented import CatalogFileError
from gateway_simulator.trading.persistence import StateFileError
from gateway_simulator.trading.tape import TapeError

NO_JAVA_EXIT = 1
KILLED = 137
"""Exit status of a controller that got SIGKILL."""


class ControllerEnd(Enum):
    """How the login controller's process was ended from outside."""

    TERMINATED = "terminated"
    KILLED = "killed"


class Controller(Protocol):
    """The login controller's process of one run."""

    async def ended(self) -> ControllerEnd:
        """Wait until somebody ends the process."""
        ...

    async def stop(self) -> None:
        """End the process."""
        ...


class GatewayError(Exception):
    """The request cannot be handled: the port is taken, or the gateway is in the wrong state."""


@dataclass(frozen=True)
class View:
    """What a screen shows of a gateway.

    ``approval_until`` when the 2FA dialog closes by itself, on the gateway's clock; None: no dialog. ``code``: the
    dialog has a field for the code of an authenticator app, which is emptied when ``wrong_codes`` changes.
    """

    mode: str
    state: LoginState = LoginState.STARTING
    note: str = ""
    dialog: str = ""
    accounts: tuple[str, ...] = ()
    approval_until: datetime | None = None
    run: int = 0
    code: bool = False
    wrong_codes: int = 0


class Gateway:
    """One gateway under IBC: one account mode, one API port, one settings directory.

    ``write_line`` gets each line of the log, ``show`` each :class:`View` when it changes. The scenario is read
    again at each run of the gateway. ``stored`` holds the changes of it that outlive the container. ``controller``
    starts the login controller's process of a run; None: there is no such process.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        scenario: Scenario,
        *,
        clock: Clock,
        host: str,
        port: int,
        write_line: Callable[[str], None],
        show: Callable[[View], None],
        stored: StoredScenario | None = None,
        controller: Callable[[], Awaitable[Controller]] | None = None,
    ) -> None:
        self.settings = settings
        self._stored = stored or StoredScenario(None, {})
        self.scenario, self._changed = self._stored.apply(scenario)
        self._slot = Slot(settings.settings_path)
        self._logins = LoginCount(settings.settings_path)
        self._resumes = False
        self._requested: asyncio.Task[None] | None = None
        self._start_controller = controller
        self.view = View(mode=settings.mode)
        self.port = port
        self._host = host
        self._clock = clock
        self._write_line = write_line
        self._show = show
        self._happenings: asyncio.Queue[Event] = asyncio.Queue()
        self._approved = asyncio.Event()
        self._held = False
        self._crashed = asyncio.Event()
        self._trading: Trading | None = None
        self._behaviour: ApiBehaviour | None = None
        self._server: ApiServer | None = None

    async def run(self) -> int:
        """Run until the start script ends; return its exit status, 0 to 255.

        Cancelling it ends the gateway as SIGTERM does. Raises GatewayError when the API port is taken.
        """
        planned = [
            asyncio.create_task(self._daily(at, happening))
            for at, happening in (
                (self.settings.auto_restart, Happening.DAILY_RESTART),
                (self.settings.auto_logoff, Happening.AUTO_LOGOFF),
            )
            if at is not None
        ]
        if self.settings.cold_restart is not None:
            planned.append(asyncio.create_task(self._weekly(self.settings.cold_restart)))
        try:
            return await self._start_script()
        finally:
            for task in planned:
                task.cancel()
            await self._close_api()

    async def _start_script(self) -> int:
        for key in self._changed:
            value = self.scenario.as_text()[key]
            self._write_line(
                f"gateway-simulator: {key} is {value}, as set by gateway-simulatorctl in an earlier container"
            )
        found = autorestart.find(self.settings.settings_path)
        for line in launch_lines(self.settings, str(found) if found else None, self._clock.now()):
            self._write_line(line)
        if self.scenario.java_missing:
            for line in java_missing_lines():
                self._write_line(line)
            return NO_JAVA_EXIT
        restart, again = found is not None, True
        while again:
            end = await self._one_run(restart=restart)
            found = autorestart.find(self.settings.settings_path)
            lines, again = after_run(end, self.settings, str(found) if found else None)
            # The script discards the file it found at a cold restart only.
            if end.cold_restart:
                restart = False
            elif end.code != EXIT_NO_LOGIN_DIALOG:
                restart = restart or found is not None
            for line in lines:
                self._write_line(line)
        return end.code % 256

    async def _one_run(self, *, restart: bool) -> RunEnd:
        self._crashed.clear()
        self._held = False
        self._resumes = restart
        self.view = View(mode=self.settings.mode, run=self.view.run + 1)
        commands = await self._start_commands()
        screen = Screen()
        script = gateway_run(self.settings, self.scenario, self._clock.now, restart=restart, screen=screen)
        controller = await self._start_controller() if self._start_controller else None
        playing = asyncio.create_task(self._play(script))
        crash = asyncio.create_task(self._crashed.wait())
        ended = asyncio.create_task(controller.ended() if controller else _never())
        end: RunEnd | None = None
        try:
            await asyncio.wait((playing, crash, ended), return_when=asyncio.FIRST_COMPLETED)
            if playing.done():
                end = playing.result()
            elif ended.done() and ended.result() is ControllerEnd.TERMINATED:
                await _cancel(playing)
                logout = terminated_run(screen, self.scenario.logout_seconds, logged_in=self._server is not None)
                end = await self._play(logout)
            else:
                await _cancel(playing)
                self._set(Show(LoginState.STOPPED, "Crashed"))
                end = RunEnd(KILLED if ended.done() else EXIT_CRASHED)
        finally:
            for task in (playing, crash, ended, *([self._requested] if self._requested else [])):
                await _cancel(task)
            self._requested = None
            if commands is not None:
                await commands.stop()
            await self._close_api()
            if end is not None and end.logged_off:
                self._slot.give_back()
            else:
                self._slot.abandon(self._clock.now())
            if controller is not None:
                await controller.stop()
        if end.autorestart:
            self._store_session()
        return end

    async def _start_commands(self) -> CommandServer | None:
        if self.settings.command_server is None:
            return None
        server = CommandServer(self.settings.command_server, self._on_command)
        try:
            await server.start()
        except OSError as error:
            raise GatewayError(
                f"cannot open the command server's port {self.settings.command_server.port}: {error}"
            ) from error
        return server

    async def _on_command(self, line: str, sender: str) -> CommandAnswer:
        """Answer a command as IBC does; RESTART and PAUSE come into effect at the next full minute."""
        settings, verb = self.settings.command_server, line.upper()
        if settings is None or verb not in ("RESTART", "PAUSE"):
            self._write_line(stamp(self._clock.now(), f"CommandServer: invalid command received: {line}"))
            return CommandAnswer(("ERROR Command invalid",), closes=False)
        how = self.scenario.restart_command
        if how is RestartByCommand.REFUSED or self._requested is not None or self._server is None:
            for step in command_lines(verb, sender, settings.control_from):
                await self._carry_out(step)
            self._write_line(stamp(self._clock.now(), f"{verb} already in progress"))
            self._write_line(stamp(self._clock.now(), "Closing command channel"))
            return CommandAnswer((f"ERROR {verb} already in progress",))
        now = self._clock.now()
        due = (now + timedelta(minutes=1)).replace(second=0, microsecond=0)
        at = f"{due:%I:%M %p}"
        self._happenings.put_nowait(RestartCommand(verb, at, sender, settings.control_from))
        if how is RestartByCommand.ACCEPTED:
            happening = Happening.PAUSE if verb == "PAUSE" else Happening.DAILY_RESTART
            self._requested = asyncio.create_task(self._happen_in(seconds_until(now, due), happening))
        return CommandAnswer((f"OK {verb} in progress", f"OK {verb} at {at}"))

    async def _happen_in(self, seconds: float, happening: Happening) -> None:
        await self._clock.sleep(seconds * self.scenario.time_scale)
        self._happenings.put_nowait(happening)

    def _store_session(self) -> None:
        if self.settings.settings_path is None:
            return
        try:
            autorestart.write(self.settings.settings_path, self.settings.user, stale=self.scenario.stale_autorestart)
        except OSError as error:
            self._write_line(f"The gateway cannot keep its session for the restart: {error}")

    async def _play(self, script: Script) -> RunEnd:
        reply: Reply = None
        while True:
            try:
                step = script.send(reply)
            except StopIteration as finished:
                end: RunEnd = finished.value
                return end
            reply = await self._carry_out(step)

    async def _carry_out(self, step: Step) -> Reply:
        match step:
            case Ibc(text):
                self._write_line(stamp(self._clock.now(), text))
            case Raw(text):
                self._write_line(text)
            case Pause(seconds):
                await self._clock.sleep(seconds * self.scenario.time_scale)
            case Show():
                self._set(step)
            case AskApproval():
                return await self._ask(step)
            case ReadSession():
                return autorestart.read(self.settings.settings_path)
            case AskSlot():
                seconds = self.scenario.existing_session_seconds * self.scenario.time_scale
                return self._slot.is_taken(self._clock.now(), seconds)
            case HoldApi(held):
                self._held = held
                self.apply_behaviour()
            case OpenApi(accounts):
                await self._open_api(accounts)
            case CloseApi():
                await self._close_api()
            case Broadcast():
                self._broadcast(step)
            case Serve(seconds):
                return await self._serve(seconds)
            case Hang():
                await asyncio.Event().wait()
        return None

    def _broadcast(self, step: Broadcast) -> None:
        """Notify every client; the loss of the connection to the servers, and its return, take effect too."""
        if self._server is None:
            return
        match step.code:
            case 1100:
                self._server.lose_connection()
            case 1101 | 1102:
                self._server.restore_connection(data_lost=step.code == 1101)
            case _:
                self._server.broadcast_system(step.code, step.text)

    async def _ask(self, step: AskApproval) -> Answer:
        scale = self.scenario.time_scale
        opened = self._clock.now()
        seconds = step.seconds
        approves_itself = step.approved_after is not None and step.approved_after < step.seconds
        if step.approved_after is not None and approves_itself:
            seconds = step.approved_after
        self._approved.clear()
        asked = asyncio.create_task(self._approved.wait())
        over = asyncio.create_task(self._clock.sleep(seconds * scale))
        try:
            await asyncio.wait((asked, over), return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                return Answer(True, seconds_until(opened, self._clock.now()) / scale)
            return Answer(approves_itself, seconds)
        finally:
            await _cancel(asked)
            await _cancel(over)

    async def _serve(self, seconds: float | None) -> Event | None:
        waiting = [asyncio.create_task(self._happenings.get())]
        over = (
            [asyncio.create_task(self._clock.sleep(seconds * self.scenario.time_scale))] if seconds is not None else []
        )
        try:
            await asyncio.wait((*waiting, *over), return_when=asyncio.FIRST_COMPLETED)
            return waiting[0].result() if waiting[0].done() else None
        finally:
            for task in (*waiting, *over):
                await _cancel(task)

    async def _open_api(self, accounts: tuple[str, ...]) -> None:
        trading = self._open_trading(accounts)
        self._behaviour = ApiBehaviour()
        self.apply_behaviour()
        if self.scenario.first_connect is FirstConnect.SILENT and self._behaviour.connect is ConnectMode.NORMAL:
            self._behaviour.connect = ConnectMode.SILENT_ONCE
        while not self._happenings.empty():
            self._happenings.get_nowait()
        server = ApiServer(trading.brokerage, self._behaviour, trading.clock, store=self._store)
        for rule in self.scenario.faults:
            server.faults.add(rule)
        try:
            await server.start(self._host, self.port)
        except OSError as error:
            raise GatewayError(
                f"cannot open the API port {self.port} on {self._host}: {error}; "
                "stop what uses it or choose another with --port"
            ) from error
        self._server, self.port = server, server.port
        if not self._resumes:
            self._count_login()
        if self.scenario.existing_session is ExistingSession.AFTER_HARD_STOP:
            self._slot.take()

    def _count_login(self) -> None:
        try:
            self._logins.add()
        except OSError as error:
            self._write_line(f"gateway-simulator: the count of logins is not stored: {error}")

    def _open_trading(self, accounts: tuple[str, ...]) -> Trading:
        """Return the trading: created when the gateway first opens, and retained over its runs."""
        if self._trading is None or tuple(self._trading.brokerage.accounts) != accounts:
            zone = self._clock.now().tzinfo or UTC
            try:
                self._trading = open_trading(self.scenario, self.settings, accounts, zone)
            except (StateFileError, TapeError, CatalogFileError, OSError) as error:
                raise GatewayError(f"the gateway cannot start to trade: {error}") from error
            if self._trading.note:
                self._write_line(self._trading.note)
        return self._trading

    def _store(self) -> None:
        if self._trading is not None and (problem := self._trading.files.store()):
            self._write_line(problem)

    async def _close_api(self) -> None:
        server, self._server, self._behaviour = self._server, None, None
        if server is not None:
            await server.stop()

    def _set(self, shown: Show) -> None:
        until = None
        if shown.state is LoginState.AWAITING_2FA:
            until = datetime.fromtimestamp(
                self._clock.now().timestamp() + self.scenario.twofa_seconds * self.scenario.time_scale,
                tz=self._clock.now().tzinfo,
            )
        self.view = View(
            mode=self.settings.mode,
            state=shown.state,
            note=shown.note,
            dialog=shown.dialog,
            accounts=tuple(self._server.brokerage.accounts) if self._server else (),
            approval_until=until,
            run=self.view.run,
            code=shown.code,
        )
        self._show(self.view)

    async def _daily(self, at: time, happening: Happening) -> None:
        while True:
            now = self._clock.now()
            await self._clock.sleep(seconds_until(now, next_daily(now, at)))
            self._happenings.put_nowait(happening)

    async def _weekly(self, at: time) -> None:
        while True:
            now = self._clock.now()
            await self._clock.sleep(seconds_until(now, next_sunday(now, at)))
            self._happenings.put_nowait(Happening.COLD_RESTART)

    def apply_behaviour(self) -> None:
        """Apply the scenario's settings to the open API at once; without an open API nothing happens."""
        if self._behaviour is None:
            return
        scenario = self.scenario
        connect = Connect.SILENT if self._held else scenario.connect
        self._behaviour.connect = ConnectMode.STALLED if connect is Connect.DEAD else ConnectMode(connect.value)
        configured = scenario.configuration in (Configuration.APPLIED, Configuration.NO_MENU)
        read_only = self.settings.read_only if configured else None
        if scenario.read_only is not None:
            read_only = scenario.read_only
        self._behaviour.read_only = True if read_only is None else read_only
        self._behaviour.managed_accounts = scenario.managed_accounts
        self._behaviour.client_ids_in_use = set(scenario.client_ids_in_use)
        self._behaviour.sync_delay = scenario.sync_seconds
        self._behaviour.omit_executions_end = scenario.omit_executions_end
        self._behaviour.omit_account_download_end = scenario.omit_account_download_end
        self._behaviour.market_data_lines = scenario.market_data_lines
        self._behaviour.messages_per_second = scenario.messages_per_second
        self._behaviour.historical_pacing = scenario.historical_pacing
        self._behaviour.server_version = scenario.server_version
        self._behaviour.master_client_id = (
            self.settings.master_client_id if scenario.master_client_id is None else scenario.master_client_id
        )
        if self._server is None:
            self._behaviour.market_data = scenario.market_data
        else:
            self._server.set_market_data(scenario.market_data)

    def approve(self) -> None:
        """Approve the second factor; GatewayError when no 2FA dialog is open."""
        if self.view.state is not LoginState.AWAITING_2FA:
            raise GatewayError(
                f"no second factor is awaited: the {self.settings.mode} gateway is {self.view.state.value}"
            )
        self._approved.set()

    def enter_code(self, code: str) -> None:
        """Handle the entry in the dialog's field: the right code approves, a wrong one empties the field.

        As IBKR does, a code is taken for some seconds longer than it is shown.
        """
        if not self.view.code:
            return
        step = int(self._clock.now().timestamp()) // totp.PERIOD
        right = (totp.code(bytes.fromhex(self.scenario.totp_key), each) for each in (step, step - 1))
        if self.scenario.totp_key and code in right:
            self._approved.set()
            return
        self.view = replace(self.view, wrong_codes=self.view.wrong_codes + 1)
        self._show(self.view)

    def change(self, key: str, value: str) -> bool:
        """Change the scenario for the next run; return whether the change outlives the container too.

        Raises SettingsError for an unknown key or value, GatewayError where the change cannot be stored.
        """
        self.scenario = self.scenario.changed(key, value)
        try:
            return self._stored.store(key, value)
        except OSError as error:
            raise GatewayError(f"{key} is changed, but not stored for the next container: {error}") from error

    def happen(self, happening: Event) -> None:
        """Trigger an event of the gateway; all but a crash need it to be logged in (GatewayError)."""
        if happening is Happening.CRASH:
            self._crashed.set()
            return
        if self._server is None:
            name = happening.title if isinstance(happening, OpenDialog) else _name(happening)
            raise GatewayError(
                f"{name} needs a gateway that has logged in; "
                f"the {self.settings.mode} gateway is {self.view.state.value}"
            )
        self._happenings.put_nowait(happening)

    def set_server(self, server: Server, *, data_lost: bool = False) -> None:
        """Stop or start IBKR's servers: for the next login, and at once if the gateway is logged in."""
        self.change("SERVER", server.value)
        if self._server is None:
            return
        if server is Server.DOWN:
            self.happen(Happening.SERVER_DOWN)
        else:
            self.happen(Happening.SERVER_UP_DATA_LOST if data_lost else Happening.SERVER_UP)

    def set_competing_session(self, *, on: bool) -> None:
        """Start or end another session of the user that takes the market data (GatewayError without an open API)."""
        own = self.scenario.market_data
        without = MarketDataAccess.LIVE if own is MarketDataAccess.COMPETING else own
        self.api.set_market_data(MarketDataAccess.COMPETING if on else without)

    @property
    def api(self) -> ApiServer:
        """The API's server; GatewayError while the gateway is not logged in."""
        if self._server is None:
            raise GatewayError(
                f"this needs a gateway that has logged in; the {self.settings.mode} gateway is {self.view.state.value}"
            )
        return self._server

    def now(self) -> datetime:
        """Return the present on the gateway's clock."""
        return self._clock.now()

    @property
    def logins(self) -> int:
        """How many full logins this user has had, in earlier containers too."""
        return self._logins.value

    @property
    def clients(self) -> list[int]:
        """The client ids of the API sessions."""
        return self._server.clients if self._server is not None else []

    async def disconnect_clients(self) -> int:
        """Close the connections of all API clients and listen again; return how many clients there were."""
        if self._server is None:
            return 0
        count = len(self._server.clients)
        await self._server.stop()
        await self._server.start(self._host, self.port)
        return count


def _name(happening: Happening | RestartCommand) -> str:
    return happening.value if isinstance(happening, Happening) else happening.verb


async def _never() -> ControllerEnd:
    await asyncio.Event().wait()
    raise AssertionError("an event that nobody sets")


async def _cancel(task: asyncio.Task[object]) -> None:
    if not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
