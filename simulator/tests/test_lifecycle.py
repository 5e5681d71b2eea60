"""The runs of a gateway with its real API on loopback ports, in this process and in one of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest

from gateway_simulator.clock import SystemClock
from gateway_simulator.login import autorestart, totp
from gateway_simulator.login.lifecycle import ControllerEnd, Gateway, GatewayError, View
from gateway_simulator.login.schedule import next_daily, next_sunday, seconds_until
from gateway_simulator.login.steps import Happening, LoginState, OpenDialog
from gateway_simulator.login.stored_scenario import StoredScenario
from gateway_simulator.settings import GatewaySettings, Scenario, Server, read_scenario, read_zone

DEADLINE = 20.0
SOURCES = Path(__file__).parents[1] / "src"


class Log:
    """Collects lines and views, and lets a test wait for one."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.views: list[View] = []
        self._changed = asyncio.Event()

    def write_line(self, line: str) -> None:
        self.lines.append(line)
        self._changed.set()

    def show(self, view: View) -> None:
        self.views.append(view)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def wait_for_line(self, text: str, times: int = 1) -> None:
        await self.until(lambda: sum(text in line for line in self.lines) >= times)

    async def shown(self, state: LoginState) -> None:
        await self.until(lambda: bool(self.views) and self.views[-1].state is state)


def fast(**changes: str) -> Scenario:
    scenario = Scenario().changed("TIME_SCALE", "0.01")
    for key, value in changes.items():
        scenario = scenario.changed(key, value)
    return scenario


@asynccontextmanager
async def running(
    scenario: Scenario, settings_path: Path, *, clock: SystemClock | None = None, **changes: object
) -> AsyncIterator[tuple[Gateway, Log, asyncio.Task[int]]]:
    settings = GatewaySettings(
        user="user", password="secret", relogin=True, twofa_restart=True, settings_path=settings_path
    )
    settings = replace(settings, **changes)  # type: ignore[arg-type]  # wrong or mixed on purpose
    log = Log()
    gateway = Gateway(
        settings,
        scenario,
        clock=clock or SystemClock(),
        host="127.0.0.1",
        port=0,
        write_line=log.write_line,
        show=log.show,
    )
    run = asyncio.create_task(gateway.run())
    try:
        yield gateway, log, run
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


async def ask_version(port: int, wait: float = 5.0) -> bytes:
    """Send the version offer; return the server's first bytes, empty if it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        offer = b"v157..176"
        writer.write(b"API\0" + len(offer).to_bytes(4, "big") + offer)
        async with asyncio.timeout(wait):
            return await reader.read(100)
    finally:
        writer.close()


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_api_answers_after_the_login_and_is_refused_between_the_runs(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(fast(TWOFA="approve_after:20"), tmp_path) as (gateway, log, _):
            await log.shown(LoginState.LOGGED_IN)
            assert b"176" in await ask_version(gateway.port)
            port = gateway.port
            gateway.scenario = gateway.scenario.changed("TWOFA", "never").changed("TWOFA_SECONDS", "9000")
            gateway.happen(Happening.COLD_RESTART)
            await log.shown(LoginState.AWAITING_2FA)
            assert is_refused(port)
            gateway.approve()
            await log.shown(LoginState.LOGGED_IN)
            assert gateway.port == port
            assert b"176" in await ask_version(port)
            assert gateway.view.run == 2

    asyncio.run(scene())


def test_daily_restart_needs_no_second_factor_and_leaves_no_file(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(fast(TWOFA="approve_after:1"), tmp_path) as (gateway, log, _):
            await log.shown(LoginState.LOGGED_IN)
            gateway.happen(Happening.DAILY_RESTART)
            await log.wait_for_line("Login has completed", 2)
        text = "\n".join(log.lines)
        assert f"autorestart file found at {tmp_path}/" in text
        assert text.count("Second Factor Authentication initiated") == 1
        assert autorestart.find(tmp_path) is None

    asyncio.run(scene())


def test_restart_goes_on_in_the_next_container_if_the_file_survives(tmp_path: Path) -> None:
    async def scene() -> None:
        path = autorestart.write(tmp_path, "user")
        async with running(fast(TWOFA="never"), tmp_path) as (_, log, _run):
            await log.wait_for_line("Login has completed")
        assert f"autorestart file found at {path}: authentication will not be required" in log.lines
        assert f"AUTORESTART_OPTION is -Drestart={path.parent.name}" in log.lines
        assert not path.exists()

    asyncio.run(scene())


def test_autorestart_file_is_deleted_when_it_is_read_so_a_refused_token_does_not_loop(tmp_path: Path) -> None:
    async def scene() -> None:
        path = autorestart.write(tmp_path, "user")
        async with running(fast(TOKEN_REFUSED="yes"), tmp_path) as (_, log, _run):
            await log.shown(LoginState.HANGING)
            assert any("Re-login to session" in line for line in log.lines)
            assert not path.exists(), "the gateway deletes it before it logs in"
        async with running(fast(TOKEN_REFUSED="yes"), tmp_path) as (_, log, _run):
            await log.shown(LoginState.LOGGED_IN)
        assert any("full authentication will be required" in line for line in log.lines)
        assert any("Login attempt: 1" in line for line in log.lines)

    asyncio.run(scene())


@pytest.mark.parametrize("left_by", ["gateway", "hand"])
def test_stale_autorestart_file_holds_every_start_until_it_is_deleted(left_by: str, tmp_path: Path) -> None:
    async def scene() -> None:
        if left_by == "gateway":
            async with running(fast(STALE_AUTORESTART="yes"), tmp_path) as (gateway, log, _run):
                await log.shown(LoginState.LOGGED_IN)
                gateway.happen(Happening.DAILY_RESTART)
                await log.shown(LoginState.HANGING)
        else:
            (tmp_path / "abcdef").mkdir()
            (tmp_path / "abcdef" / "autorestart").touch()
        for _ in range(2):
            async with running(fast(), tmp_path) as (_, log, _run):
                await log.shown(LoginState.HANGING)
            assert log.lines[-3].endswith("Login dialog WINDOW_OPENED: LoginState is LOGGED_OUT")
            assert not any("Login attempt" in line for line in log.lines)
        found = autorestart.find(tmp_path)
        assert found is not None
        found.unlink()
        async with running(fast(), tmp_path) as (_, log, _run):
            await log.shown(LoginState.LOGGED_IN)

    asyncio.run(scene())


def test_two_autorestart_files_are_both_deleted(tmp_path: Path) -> None:
    paths = [autorestart.write(tmp_path, user) for user in ("one", "two")]
    assert autorestart.find(tmp_path) is None
    assert not any(path.exists() for path in paths)


def test_daily_restart_ends_the_gateway_if_the_session_cannot_be_kept(tmp_path: Path) -> None:
    async def scene() -> None:
        path = tmp_path / "is-a-file"
        path.write_text("")
        async with running(fast(), path) as (gateway, log, run):
            await log.shown(LoginState.LOGGED_IN)
            gateway.happen(Happening.DAILY_RESTART)
            assert await asyncio.wait_for(run, DEADLINE) == 0
        assert any("cannot keep its session" in line for line in log.lines)

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"JAVA_MISSING": "yes"}, 1),
        ({"EXIT_CODE": "1107"}, 1107 % 256),
        ({"EXISTING_SESSION": "2"}, 0),
        ({"CRASH_AFTER": "1"}, 1),
    ],
)
def test_exit_status(changes: dict[str, str], status: int, tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(fast(**changes), tmp_path) as (_, log, run):
            assert await asyncio.wait_for(run, DEADLINE) == status
        if "JAVA_MISSING" in changes:
            assert log.lines[-1] == r"Error: Can\'t find suitable Java installation"

    asyncio.run(scene())


def test_slow_login_exits_87_or_restarts_as_configured(tmp_path: Path) -> None:
    scenario = fast(TWOFA="approve_after:1", SLOW_AFTER_2FA="100")

    async def scene() -> None:
        async with running(scenario, tmp_path, twofa_restart=False) as (_, _log, run):
            assert await asyncio.wait_for(run, DEADLINE) == 87
        async with running(scenario, tmp_path, twofa_restart=True) as (_, log, run):
            await log.wait_for_line("exit code=1111", 2)
            assert not run.done()

    asyncio.run(scene())


def test_crash_works_in_any_state_and_a_hanging_gateway_stays(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(fast(CREDENTIALS="bad_b"), tmp_path) as (gateway, log, run):
            await log.shown(LoginState.HANGING)
            with pytest.raises(GatewayError, match="daily restart needs a gateway that has logged in"):
                gateway.happen(Happening.DAILY_RESTART)
            with pytest.raises(GatewayError, match="no second factor is awaited"):
                gateway.approve()
            gateway.happen(Happening.CRASH)
            assert await asyncio.wait_for(run, DEADLINE) == 1

    asyncio.run(scene())


def test_only_the_code_of_the_authenticator_app_is_taken(tmp_path: Path) -> None:
    async def scene() -> None:
        key = b"1234567890"
        async with running(fast(TWOFA="code", TOTP_KEY=key.hex(), TWOFA_SECONDS="9000"), tmp_path) as (gateway, log, _):
            await log.shown(LoginState.AWAITING_2FA)
            assert gateway.view.code
            right = totp.code(key, int(datetime.now(UTC).timestamp()) // totp.PERIOD)
            gateway.enter_code("123456" if right != "123456" else "654321")
            assert (gateway.view.state, gateway.view.wrong_codes) == (LoginState.AWAITING_2FA, 1)
            gateway.enter_code(right)
            await log.shown(LoginState.LOGGED_IN)
            assert not gateway.view.code

    asyncio.run(scene())


def test_refusals_end_with_the_next_run(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(fast(REFUSAL="login_failed"), tmp_path) as (gateway, log, _):
            await log.wait_for_line("IBC will cold-restart shortly", 3)
            gateway.change("REFUSAL", "none")
            await log.shown(LoginState.LOGGED_IN)

    asyncio.run(scene())


def test_first_connect_is_silent_once_after_each_start(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(fast(FIRST_CONNECT="silent"), tmp_path) as (gateway, log, _):
            for run in (1, 2):
                await log.wait_for_line("Login has completed", run)
                await log.shown(LoginState.LOGGED_IN)
                with pytest.raises(TimeoutError):
                    await ask_version(gateway.port, wait=0.3)
                assert b"176" in await ask_version(gateway.port)
                if run == 1:
                    gateway.happen(Happening.DAILY_RESTART)

    asyncio.run(scene())


def test_dead_api_keeps_its_port_open(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(fast(), tmp_path) as (gateway, log, _):
            await log.shown(LoginState.LOGGED_IN)
            gateway.scenario = gateway.scenario.changed("CONNECT", "dead")
            gateway.apply_behaviour()
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    await ask_version(gateway.port, wait=0.3)

    asyncio.run(scene())


def test_server_down_outlasts_the_run(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(fast(), tmp_path) as (gateway, log, _):
            await log.shown(LoginState.LOGGED_IN)
            gateway.set_server(Server.DOWN)
            gateway.happen(Happening.COLD_RESTART)
            await log.wait_for_line("Connection to server failed", 2)
            gateway.set_server(Server.UP)
            await log.shown(LoginState.LOGGED_IN)

    asyncio.run(scene())


def test_outage_in_a_running_session_is_over_by_itself(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(fast(), tmp_path) as (gateway, log, _):
            await log.shown(LoginState.LOGGED_IN)
            gateway.set_server(Server.DOWN)
            await log.wait_for_line(
                "entitled: Attempt 3: Authenticating (trying for another 60 seconds)...; event=Opened"
            )
            assert b"176" in await ask_version(gateway.port), "the API stays open"
            gateway.set_server(Server.UP)
            await log.until(lambda: log.views[-1].note == "The API port is open")
            assert gateway.view.run == 1
        closed = next(line for line in reversed(log.lines) if line.endswith("event=Closed"))
        assert "entitled: Attempt" in closed
        assert sum("Login has completed" in line for line in log.lines) == 1

    asyncio.run(scene())


def test_dialog_after_the_login_holds_the_api_until_it_is_dismissed(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(fast(DIALOG="Login Messages"), tmp_path) as (gateway, log, _):
            await log.wait_for_line("detected dialog entitled: Login Messages; event=Opened")
            await log.until(lambda: log.views[-1].dialog == "Login Messages")
            with pytest.raises(TimeoutError):
                await ask_version(gateway.port, wait=0.3)
            gateway.happen(Happening.DISMISS_DIALOG)
            await log.wait_for_line("detected dialog entitled: Login Messages; event=Closed")
            await log.until(lambda: log.views[-1].dialog == "")
            assert b"176" in await ask_version(gateway.port)
            gateway.happen(OpenDialog("Something new"))
            await log.wait_for_line("detected dialog entitled: Something new; event=Opened")

    asyncio.run(scene())


class Ends:
    """A login controller's process that ends when the test requests it."""

    def __init__(self) -> None:
        self.end: asyncio.Future[ControllerEnd] = asyncio.get_running_loop().create_future()
        self.stopped_after: list[str] | None = None
        self.lines: list[str] = []

    async def ended(self) -> ControllerEnd:
        return await asyncio.shield(self.end)

    async def stop(self) -> None:
        self.stopped_after = list(self.lines)


@pytest.mark.parametrize(
    ("how", "status", "logs_out"),
    [(ControllerEnd.TERMINATED, 143, True), (ControllerEnd.KILLED, 137, False), (None, None, False)],
)
def test_only_a_terminated_controller_logs_out_and_frees_the_session(
    how: ControllerEnd | None, status: int | None, logs_out: bool, tmp_path: Path
) -> None:
    scenario = fast(EXISTING_SESSION="after_hard_stop")

    async def scene() -> None:
        settings = GatewaySettings(
            user="user", password="secret", existing_session_action="primary", settings_path=tmp_path
        )
        log, process = Log(), Ends()
        process.lines = log.lines

        async def start() -> Ends:
            return process

        clock = SystemClock()
        gateway = Gateway(
            settings,
            scenario,
            clock=clock,
            host="127.0.0.1",
            port=0,
            write_line=log.write_line,
            show=log.show,
            controller=start,
        )
        run = asyncio.create_task(gateway.run())
        await log.shown(LoginState.LOGGED_IN)
        assert not any("Existing session" in line for line in log.lines)
        if how is None:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
        else:
            process.end.set_result(how)
            assert await asyncio.wait_for(run, DEADLINE) == status
            assert f"IBC returned exit status {status}" in log.lines
        assert process.stopped_after is not None
        assert any("Shutdown progress" in line for line in process.stopped_after) is logs_out
        for times in (1, 2):
            async with running(scenario, tmp_path, existing_session_action="primary") as (_, log, _run):
                await log.shown(LoginState.LOGGED_IN)
            found = [line for line in log.lines if "(scenario 3)" in line]
            assert len(found) == (0 if logs_out and times == 1 else 1)

    asyncio.run(scene())


def test_ibkr_forgets_a_session_that_did_not_log_out(tmp_path: Path) -> None:
    async def scene() -> None:
        scenario = fast(EXISTING_SESSION="after_hard_stop", EXISTING_SESSION_SECONDS="0")
        for _ in range(2):
            async with running(scenario, tmp_path, existing_session_action="primary") as (_, log, _run):
                await log.shown(LoginState.LOGGED_IN)
            assert not any("Existing session" in line for line in log.lines)

    asyncio.run(scene())


def test_ibkrs_side_of_the_scenario_outlives_the_container(tmp_path: Path) -> None:
    variables = {"GATEWAY_SIMULATOR_TIME_SCALE": "0.01"}

    def next_container(environ: dict[str, str] = variables) -> Gateway:
        return Gateway(
            GatewaySettings(user="user", password="secret", settings_path=tmp_path),
            read_scenario(environ),
            clock=SystemClock(),
            host="127.0.0.1",
            port=0,
            write_line=lambda line: None,
            show=lambda view: None,
            stored=StoredScenario(tmp_path, environ),
        )

    first = next_container()
    assert first.change("CREDENTIALS", "bad_a")
    first.set_server(Server.DOWN)
    assert not first.change("CONNECT", "silent"), "the container's own faults end with it"
    second = next_container()
    assert second.scenario.as_text()["CREDENTIALS"] == "bad_a"
    assert second.scenario.as_text()["SERVER"] == "down"
    assert second.scenario.as_text()["CONNECT"] == "normal"
    other = next_container(variables | {"GATEWAY_SIMULATOR_CREDENTIALS": "good"})
    assert other.scenario.as_text()["CREDENTIALS"] == "good", "other variables are another scenario"
    assert next_container().scenario.as_text()["CREDENTIALS"] == "good"


def test_taken_port_is_a_clear_error(tmp_path: Path) -> None:
    async def scene() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            async with running(fast(), tmp_path) as (gateway, _, run):
                gateway.port = taken.getsockname()[1]
                with pytest.raises(GatewayError, match=r"cannot open the API port \d+ .*--port"):
                    await asyncio.wait_for(run, DEADLINE)

    asyncio.run(scene())


class HurriedClock(SystemClock):
    """A clock whose waits of a minute and more end when the test requests it, at the time they were for."""

    def __init__(self, now: datetime) -> None:
        super().__init__(UTC)
        self._now = now
        self.arrive = asyncio.Event()

    def now(self) -> datetime:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds < 60:
            await super().sleep(seconds)
            return
        await self.arrive.wait()
        self.arrive.clear()
        self._now += timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("planned", "sign", "moment"),
    [
        ({"auto_restart": time(2, 0)}, "Re-starting session", "2026-11-24 02:00:00:000"),
        ({"auto_logoff": time(23, 45)}, "Gateway finished", "2026-11-23 23:45:00:000"),
        ({"cold_restart": time(13, 0)}, "IBC will cold-restart shortly", "2026-11-29 13:00:00:000"),
    ],
)
def test_planned_restart_comes_at_its_time(planned: dict[str, time], sign: str, moment: str, tmp_path: Path) -> None:
    async def scene() -> None:
        clock = HurriedClock(datetime(2026, 11, 23, 12, 0, tzinfo=UTC))
        async with running(fast(), tmp_path, clock=clock, **planned) as (_, log, _run):
            await log.shown(LoginState.LOGGED_IN)
            clock.arrive.set()
            await log.wait_for_line(sign)
        ends = next(line for line in log.lines if "progress; event=Opened" in line)
        assert ends.startswith(moment)

    asyncio.run(scene())


def test_schedule_over_a_change_of_summer_time() -> None:
    zone = read_zone({"TZ": "America/New_York"})
    now = datetime(2026, 10, 31, 12, 0, tzinfo=zone)  # the clock goes back in the night that follows
    due = next_daily(now, time(2, 0))
    assert due == datetime(2026, 11, 1, 2, 0, tzinfo=zone)
    assert seconds_until(now, due) == 15 * 3600
    assert next_daily(due, time(2, 0)).day == 2, "a time that is just reached is due again tomorrow"
    assert next_sunday(now, time(13, 0)) == datetime(2026, 11, 1, 13, 0, tzinfo=zone)
    assert next_sunday(datetime(2026, 11, 1, 13, 0, tzinfo=zone), time(13, 0)).day == 8


def test_program_alone_on_a_laptop() -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SOURCES),
        "GATEWAY_SIMULATOR_TIME_SCALE": "0.01",
    }
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gateway_simulator.main", "--port", str(port), "--control-port", "0"]
    with subprocess.Popen([*command, "--no-display"], env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.strip())
            if "Configuration tasks completed" in line:
                break
        assert b"176" in asyncio.run(ask_version(port))
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 143
    assert "IBC returned exit status 143" in rest
    assert any("Login has completed" in line for line in lines)
    assert is_refused(port)


def test_program_refuses_a_bad_setting() -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SOURCES),
        "GATEWAY_SIMULATOR_CREDENTIALS": "x",
    }
    done = subprocess.run(
        [sys.executable, "-m", "gateway_simulator.main"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("gateway-simulator: GATEWAY_SIMULATOR_CREDENTIALS is 'x': it must be one of")
