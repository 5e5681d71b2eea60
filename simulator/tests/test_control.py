"""The control interface and its command line, against a real gateway and a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from ib_insync import MarketOrder, Stock
from simulator.tests.insync_client import Client

from gateway_simulator import ctl
from gateway_simulator.clock import SystemClock
from gateway_simulator.control import COMMANDS, ControlServer
from gateway_simulator.login.lifecycle import Gateway, View
from gateway_simulator.login.steps import LoginState
from gateway_simulator.settings import GatewaySettings, Scenario
from gateway_simulator.trading.model import Halted

DEADLINE = 20.0


@asynccontextmanager
async def simulator(
    tmp_path: Path, modes: tuple[str, ...] = ("paper",), **changes: str
) -> AsyncIterator[tuple[ControlServer, dict[str, Gateway], dict[str, asyncio.Queue[View]]]]:
    scenario = Scenario().changed("TIME_SCALE", "0.01")
    for key, value in changes.items():
        scenario = scenario.changed(key, value)
    views: dict[str, asyncio.Queue[View]] = {mode: asyncio.Queue() for mode in modes}
    gateways = {
        mode: Gateway(
            GatewaySettings(mode=mode, user="user", password="secret", settings_path=tmp_path / mode),
            scenario,
            clock=SystemClock(),
            host="127.0.0.1",
            port=0,
            write_line=lambda line: None,
            show=views[mode].put_nowait,
        )
        for mode in modes
    }
    control = ControlServer(list(gateways.values()))
    await control.start(0)
    runs = [asyncio.create_task(gateway.run()) for gateway in gateways.values()]
    try:
        yield control, gateways, views
    finally:
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)
        await control.stop()


async def shown(views: asyncio.Queue[View], state: LoginState) -> None:
    async with asyncio.timeout(DEADLINE):
        while (await views.get()).state is not state:
            pass


async def ask(control: ControlServer, command: str, *arguments: str, mode: str | None = None) -> dict[str, Any]:
    """Send a request over the socket, as the command line does."""
    return await asyncio.to_thread(ctl.request, control.port, command, arguments, mode)


def test_second_factor_is_seen_and_approved(tmp_path: Path) -> None:
    async def scene() -> None:
        async with simulator(tmp_path, TWOFA="never", TWOFA_SECONDS="18000") as (control, _, views):
            await shown(views["paper"], LoginState.AWAITING_2FA)
            status = (await ask(control, "status"))["result"]["paper"]
            assert status["state"] == "awaiting_2fa"
            assert status["dialog"] == "Second Factor Authentication"
            assert 170 <= status["twofa_seconds_left"] <= 180
            assert await ask(control, "approve-2fa") == {"ok": True, "result": {"paper": "approved"}}
            await shown(views["paper"], LoginState.LOGGED_IN)
            status = (await ask(control, "status"))["result"]["paper"]
            assert status["accounts"] == ["DU1234567"]
            assert status["twofa_seconds_left"] is None
            refused = await ask(control, "approve-2fa")
            assert refused == {
                "ok": False,
                "error": "no second factor is awaited: the paper gateway is logged_in",
            }

    asyncio.run(scene())


@pytest.mark.parametrize("command", ["restart-daily", "restart-cold"])
def test_restart_commands_start_a_second_run(command: str, tmp_path: Path) -> None:
    async def scene() -> None:
        async with simulator(tmp_path) as (control, gateways, views):
            await shown(views["paper"], LoginState.LOGGED_IN)
            assert (await ask(control, command))["ok"]
            await shown(views["paper"], LoginState.RESTARTING)
            await shown(views["paper"], LoginState.LOGGED_IN)
            assert gateways["paper"].view.run == 2

    asyncio.run(scene())


@pytest.mark.parametrize("command", ["end-of-week", "logoff", "crash", "existing-session"])
def test_commands_that_stop_the_gateway_or_hold_it(command: str, tmp_path: Path) -> None:
    async def scene() -> None:
        async with simulator(tmp_path) as (control, _, views):
            await shown(views["paper"], LoginState.LOGGED_IN)
            assert (await ask(control, command))["ok"]
            # EXISTING_SESSION_DETECTED_ACTION is manual here: that dialog waits for ever.
            held = command == "existing-session"
            await shown(views["paper"], LoginState.HANGING if held else LoginState.STOPPED)

    asyncio.run(scene())


def test_server_and_dialog_commands_change_the_screen(tmp_path: Path) -> None:
    async def scene() -> None:
        async with simulator(tmp_path) as (control, gateways, views):
            await shown(views["paper"], LoginState.LOGGED_IN)
            for command, dialog in (
                ("server-down", "Connecting to server..."),
                ("server-up", ""),
                ("write-access", "API client needs write access action confirmation"),
            ):
                assert (await ask(control, command))["ok"]
                async with asyncio.timeout(DEADLINE):
                    assert (await views["paper"].get()).dialog == dialog
            assert gateways["paper"].scenario.as_text()["SERVER"] == "up"

    asyncio.run(scene())


def test_disconnect_clients_drops_connections_and_listens_again(tmp_path: Path) -> None:
    async def scene() -> None:
        async with simulator(tmp_path) as (control, gateways, views):
            await shown(views["paper"], LoginState.LOGGED_IN)
            port = gateways["paper"].port
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert (await ask(control, "disconnect-clients"))["result"] == {"paper": "0 clients disconnected"}
            async with asyncio.timeout(DEADLINE):
                assert await reader.read() == b""
            writer.close()
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()

    asyncio.run(scene())


def test_set_waits_for_the_next_start_and_set_now_does_not(tmp_path: Path) -> None:
    async def scene() -> None:
        async with simulator(tmp_path) as (control, gateways, views):
            await shown(views["paper"], LoginState.LOGGED_IN)
            port = gateways["paper"].port
            await ask(control, "set", "CONNECT", "accept_and_close")
            assert (await ask(control, "settings"))["result"]["paper"]["CONNECT"] == "accept_and_close"
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(), 0.2)
            writer.close()
            await ask(control, "set-now", "CONNECT", "accept_and_close")
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            async with asyncio.timeout(DEADLINE):
                assert await reader.read() == b""
            writer.close()
            refused = await ask(control, "set", "TWOFA", "maybe")
            assert not refused["ok"]
            assert "GATEWAY_SIMULATOR_TWOFA is 'maybe'" in refused["error"]

    asyncio.run(scene())


def test_mode_chooses_the_gateway(tmp_path: Path) -> None:
    async def scene() -> None:
        async with simulator(tmp_path, ("live", "paper")) as (control, gateways, _):
            await ask(control, "set", "TWOFA", "never", mode="live")
            assert gateways["live"].scenario.as_text()["TWOFA"] == "never"
            assert gateways["paper"].scenario.as_text()["TWOFA"] == "none"
            assert set((await ask(control, "status"))["result"]) == {"live", "paper"}
        async with simulator(tmp_path) as (control, _, _):
            refused = await ask(control, "status", mode="live")
            assert refused == {"ok": False, "error": "no gateway runs in mode 'live'; running: paper"}

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"hello\n", "the request is no JSON"),
        (b"[1]\n", "must be a JSON object"),
        (b"{}\n", "there is no command None; known are: status"),
        (b'{"command": ["set"]}\n', "there is no command"),
        (b'{"command": "set", "arguments": ["TWOFA"]}\n', "set takes KEY VALUE, not 1 arguments"),
        (b'{"command": "status", "arguments": [1]}\n', "list of texts"),
    ],
)
def test_bad_requests_are_answered_and_the_connection_goes_on(line: bytes, error: str, tmp_path: Path) -> None:
    async def scene() -> None:
        async with simulator(tmp_path) as (control, _, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", control.port)
            writer.write(line + b'{"command": "status"}\n')
            async with asyncio.timeout(DEADLINE):
                answers = [json.loads(await reader.readline()) for _ in range(2)]
            writer.close()
            assert error in answers[0]["error"]
            assert answers[1]["ok"]

    asyncio.run(scene())


def test_command_line_prints_answers_and_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def scene() -> int:
        async with simulator(tmp_path) as (control, _, views):
            await shown(views["paper"], LoginState.LOGGED_IN)
            port = ["--port", str(control.port)]
            assert await asyncio.to_thread(ctl.main, [*port, "status"]) == 0
            assert await asyncio.to_thread(ctl.main, [*port, "--json", "settings"]) == 0
            assert await asyncio.to_thread(ctl.main, [*port, "approve-2fa"]) == 1
            return control.port

    port = asyncio.run(scene())
    out, err = capsys.readouterr()
    status, _, settings = out.partition("{")
    assert "paper state logged_in\n" in status
    assert json.loads("{" + settings)["paper"]["CREDENTIALS"] == "good"
    assert "no second factor is awaited" in err
    assert ctl.main(["--port", str(port), "status"]) == 2
    assert f"no simulator answers on 127.0.0.1:{port}" in capsys.readouterr().err


async def done(control: ControlServer, command: str, *arguments: str) -> Any:
    """Send a request that must succeed; return the result."""
    answer = await ask(control, command, *arguments)
    assert answer["ok"], answer
    return answer["result"]["paper"]


def test_the_market_and_the_clock_are_moved_by_command(tmp_path: Path) -> None:
    async def scene() -> None:
        start = "2026-11-23T15:00:00+00:00"
        async with simulator(tmp_path, CLOCK="held", CLOCK_START=start, READ_ONLY="no") as (control, gateways, views):
            await shown(views["paper"], LoginState.LOGGED_IN)
            gateway = gateways["paper"]
            assert await done(control, "clock") == {"now": start, "held": True, "speed": 1.0}
            await done(control, "set-price", "AAPL", "bid=199.9", "ask=200.1", "last=200")
            assert quoted(gateway) == (Decimal("199.9"), Decimal("200.1"), Decimal(200))
            await done(control, "set-price", "AAPL", "150")
            assert quoted(gateway) == (Decimal("149.99"), Decimal("150.01"), Decimal(150))
            await done(control, "halt", "AAPL", "volatility")
            assert gateway.api.brokerage.market.quote(265598, gateway.api.clock.utc()).halted is Halted.VOLATILITY
            await done(control, "resume", "AAPL")
            await done(control, "release", "AAPL")
            assert quoted(gateway) != (Decimal("149.99"), Decimal("150.01"), Decimal(150))
            assert await done(control, "advance", "90") == "2026-11-23T15:01:30+00:00"
            async with Client() as client:
                ib = await client.connect(gateway.api)
                trade = ib.placeOrder(Stock("AAPL", "SMART", "USD"), MarketOrder("BUY", 3))
                await client.until(lambda: trade.orderStatus.status == "Submitted")
                (order,) = await done(control, "orders")
                assert f"client 5 order {trade.order.orderId} " in order
                assert "BUY 3 AAPL MKT DAY Submitted filled 0" in order
                await done(control, "advance", "1")
                await client.until(lambda: trade.orderStatus.status == "Filled")
            assert (await done(control, "positions"))[0].startswith("DU1234567 AAPL 103 at ")
            journal = await done(control, "journal", "500")
            assert sum(json.loads(line)["event"] == "OrderFilled" for line in journal) == 1
            assert await done(control, "journal", "1") == journal[-1:]

    asyncio.run(scene())


def quoted(gateway: Gateway) -> tuple[Decimal | None, Decimal | None, Decimal | None]:
    quote = gateway.api.brokerage.market.quote(265598, gateway.api.clock.utc())
    return quote.bid, quote.ask, quote.last


def test_faults_and_connections_are_commanded(tmp_path: Path) -> None:
    async def scene() -> None:
        async with simulator(tmp_path) as (control, gateways, views):
            await shown(views["paper"], LoginState.LOGGED_IN)
            await done(control, "fault", "disconnect", "before", "out:openOrder", "nth=2")
            await done(control, "fault", "stall 1 in:reqPositions")
            assert await done(control, "faults") == ["disconnect before out:openOrder nth=2", "stall 1 in:reqPositions"]
            assert await done(control, "fault-clear") == "2 faults cleared"
            assert await done(control, "faults") == []
            async with Client() as client:
                await client.connect(gateways["paper"].api, readonly=True)
                for command, code in (
                    (("lose-connection",), 1100),
                    (("restore-connection", "--data-lost"), 1101),
                    (("restore-connection",), 1102),
                    (("farm-down",), 2103),
                    (("farm-up",), 2106),
                ):
                    await done(control, *command)
                    await client.until(lambda: code in client.codes)  # noqa: B023 - called at once
                await done(control, "competing-session", "on")
                client.ib.reqMktData(Stock("AAPL", "SMART", "USD"))
                await client.until(lambda: 10197 in client.codes)
                await done(control, "competing-session", "off")
                assert await done(control, "stall", "0.01") == "1 clients stalled"

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("command", "arguments", "error"),
    [
        ("advance", ("5",), "the clock runs by itself"),
        ("advance", ("soon",), "'soon' is not a number of seconds"),
        ("advance", ("5", "0"), "'0' is no number of steps; it must be from 1 to 2400"),
        ("stall", ("0",), "more than 0"),
        ("set-price", ("AAPL", "cheap"), "'cheap' is no price"),
        ("set-price", ("AAPL", "bid=1", "2"), "'2' is not understood"),
        ("set-price", ("AAPL", "high=1"), "'high=1' is not understood"),
        ("set-price", ("AAPL", "-1"), "it must be more than 0"),
        ("set-price", ("NOSUCH", "1"), "no contract is called 'NOSUCH'"),
        ("set-price", ("AAPL",), "takes NAME PRICE..."),
        ("release", ("AAPL",), "no price of AAPL is set"),
        ("halt", ("AAPL", "slow"), "'slow' is no kind of halt"),
        ("resume", ("AAPL",), "AAPL is not halted"),
        ("fault", ("explode",), "at least three words"),
        ("competing-session", ("maybe",), "neither on nor off"),
        ("restore-connection", ("now",), "takes --data-lost or nothing"),
        ("journal", ("0",), "no number of lines"),
        ("faults", ("x",), "takes no arguments"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(
    command: str, arguments: tuple[str, ...], error: str, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with simulator(tmp_path) as (control, _, views):
            await shown(views["paper"], LoginState.LOGGED_IN)
            answer = await ask(control, command, *arguments)
            assert not answer["ok"]
            assert error in answer["error"]

    asyncio.run(scene())


def test_trading_commands_need_a_login(tmp_path: Path) -> None:
    async def scene() -> None:
        async with simulator(tmp_path, TWOFA="never", TWOFA_SECONDS="18000") as (control, _, views):
            await shown(views["paper"], LoginState.AWAITING_2FA)
            answer = await ask(control, "orders")
            assert answer["error"] == ("this needs a gateway that has logged in; the paper gateway is awaiting_2fa")

    asyncio.run(scene())


def test_the_command_line_passes_words_on_unchanged(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    async def scene() -> None:
        async with simulator(tmp_path, CLOCK="held") as (control, gateways, views):
            await shown(views["paper"], LoginState.LOGGED_IN)

            async def run(*words: str) -> int:
                return await asyncio.to_thread(ctl.main, ["--port", str(control.port), *words])

            assert await run("set-price", "MSFT", "bid=300", "ask=300.5") == 0
            assert await run("fault", "delay", "2", "out:error:201", "client=3") == 0
            assert await run("faults") == 0
            assert await run("restore-connection", "--data-lost") == 0
            assert await run("journal") == 0
            assert await run("journal", "3") == 0
            quote = gateways["paper"].api.brokerage.market.quote(272093, gateways["paper"].api.clock.utc())
            assert (quote.bid, quote.ask) == (Decimal(300), Decimal("300.5"))

    asyncio.run(scene())
    out = capsys.readouterr().out
    assert "paper: delay 2 out:error:201 client=3\n" in out
    assert "data lost" in out


def test_every_command_is_in_the_readme() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    missing = [name for name in COMMANDS if f"`{name}" not in readme]
    missing += [key for key in Scenario().as_text() if f"`{key}`" not in readme]
    assert missing == []
