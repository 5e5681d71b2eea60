"""The API frame by frame: the handshake, layouts per server version, and refusals that keep a session."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from simulator.tests.api_client import RawClient, events, frame, held_clock, journaled, running_server
from simulator.tests.test_api_sync import FILLED_AT, traded_brokerage

from gateway_simulator.api import messages
from gateway_simulator.api.behaviour import ApiBehaviour
from gateway_simulator.api.serving.desk import READ_ONLY
from gateway_simulator.api.wire import decode_fields
from gateway_simulator.trading.model import Bulletin
from gateway_simulator.trading.sample import sample_brokerage

pytestmark = pytest.mark.asyncio


def fields(frame: bytes) -> list[str]:
    return decode_fields(frame[4:])


@pytest.mark.parametrize(
    ("own", "offer", "agreed"),
    [
        (178, "v157..176", "176"),
        (178, "v157..178", "178"),
        (178, "v100..226", "178"),
        (178, "v177", "177"),
        (177, "v157..178", "177"),
        (176, "v100..193 +PACEAPI", "176"),
        (178, "v200..226", "178"),  # the client closes by itself
        (213, "v100..226", "213"),
        (213, "v200..213", "213"),
        (213, "v157..212", "178"),
    ],
)
async def test_the_version_agreed_on_is_the_lower_maximum(own: int, offer: str, agreed: str) -> None:
    async with running_server(clock=held_clock(), behaviour=ApiBehaviour(server_version=own)) as server:
        client = await RawClient.connect(server.port)
        assert await client.shake_hands(offer) == [agreed, "20261123 15:04:05 UTC"]
        client.close()


@pytest.mark.parametrize(
    ("opening", "named"),
    [
        (b"API\0" + frame(b"v100..157"), "100 to 157"),
        (b"62\0", "client version is 62"),  # as the npm package ib 0.2.9 opens
        (b"66\x003\0", "client version is 66"),
    ],
)
async def test_a_client_too_old_for_the_gateway_is_closed_without_a_frame(
    opening: bytes, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_server() as server:
        client = await RawClient.connect(server.port)
        client.writer.write(opening)
        assert await client.closed() == b""
        assert await journaled(server, "client_too_old")
    [line] = [each.getMessage() for each in caplog.records if "API client" in each.getMessage()]
    assert named in line and "176" in line


async def test_surplus_fields_of_a_request_are_ignored() -> None:
    async with running_server() as server:
        client = await RawClient.started(server.port)
        client.send(49, 1, "new", "", 7)
        assert (await client.receive())[:2] == ["49", "1"]
        client.close()


async def test_the_start_of_a_session() -> None:
    async with running_server(sample_brokerage(["DU1", "U2"])) as server:
        client = await RawClient.connect(server.port)
        await client.shake_hands("v157..178")
        client.send(71, 2, 0, "")
        assert [await client.receive() for _ in range(5)] == [
            ["15", "1", "DU1,U2"],
            ["9", "1", "1"],
            ["4", "2", "-1", "2104", "Market data farm connection is OK:usfarm", ""],
            ["4", "2", "-1", "2106", "HMDS data farm connection is OK:ushmds", ""],
            ["4", "2", "-1", "2158", "Sec-def data farm connection is OK:secdefnj", ""],
        ]
        client.close()


async def test_the_next_order_id_follows_the_clients_own_orders() -> None:
    async with running_server(traded_brokerage()) as server:
        for client_id, expected in ((5, "12"), (6, "13"), (7, "1")):
            client = await RawClient.started(server.port, client_id)
            client.send(8, 1, 1)
            assert await client.receive() == ["9", "1", expected]
            client.close()


async def test_orders_have_a_profile_field_up_to_176_only() -> None:
    order = traded_brokerage().orders[1]
    old, newer, newest = (fields(messages.open_order(order, version)) for version in (176, 177, 178))
    assert (len(old), len(newer), len(newest)) == (136, 135, 135)
    assert newer == newest == old[:34] + old[35:]
    assert old[30:35] == ["900012.0/DU7654321/100", "", "", "", ""]
    assert old[62] == "None"


async def test_completed_orders_have_a_profile_field_up_to_176_only() -> None:
    order = traded_brokerage().completed_orders[0]
    old, newer, newest = (fields(messages.completed_order(order, version)) for version in (176, 177, 178))
    assert newer == newest == old[:31] + old[32:]
    assert old[27:32] == [""] * 5
    assert old[-7:-5] == ["20261123 14:31:07 UTC", "Filled Size: 3"]


@pytest.mark.parametrize(("version", "length"), [(176, 31), (177, 31), (178, 32)])
async def test_executions_end_with_a_price_revision_flag_from_178_on(version: int, length: int) -> None:
    fill = replace(traded_brokerage().executions[0], pending_price_revision=True)
    sent = fields(messages.execution(3, fill, version))
    assert len(sent) == length
    assert sent[30:] == ["2", "1"][: length - 30]


async def test_a_time_in_a_zone_is_written_with_the_zones_name() -> None:
    local = FILLED_AT.astimezone(ZoneInfo("America/New_York"))
    fill = replace(traded_brokerage().executions[0], time=local)
    assert fields(messages.execution(3, fill, 178))[15] == "20261123 09:31:07 America/New_York"


async def test_read_only_refuses_every_request_about_orders() -> None:
    async with running_server(traded_brokerage(), behaviour=ApiBehaviour(read_only=True)) as server:
        client = await RawClient.started(server.port, 5)
        for request, request_id in (
            ((5, 1), "-1"),
            ((16, 1), "-1"),
            ((15, 1, 1), "-1"),
            ((99, 0), "-1"),
            ((4, 1, 11, ""), "11"),
            ((58, 1), "-1"),
        ):
            client.send(*request)
            assert await client.receive() == ["4", "2", request_id, "321", READ_ONLY, ""], request
        client.send(49, 1)
        assert (await client.receive())[0] == "49"
        client.close()


async def test_cancelling_names_what_is_wrong_with_the_order() -> None:
    async with running_server(traded_brokerage()) as server:
        client = await RawClient.started(server.port, 5)
        for order_id, code in ((99, "10147"), (9, "10148"), (12, "10147")):
            client.send(4, 1, order_id, "")
            assert (await client.receive())[2:4] == [str(order_id), code]
        client.close()


async def test_only_client_0_may_bind_orders_made_by_hand() -> None:
    async with running_server() as server:
        other = await RawClient.started(server.port, 5)
        other.send(15, 1, 1)
        assert (await other.receive())[:4] == ["4", "2", "-1", "327"]
        zero = await RawClient.started(server.port, 0)
        zero.send(15, 1, 1)
        zero.send(49, 1)
        assert (await zero.receive())[0] == "49"
        other.close()
        zero.close()


async def test_requests_without_an_answer_and_then_one_with() -> None:
    async with running_server(clock=held_clock()) as server:
        client = await RawClient.started(server.port)
        for request in ((14, 1, 3), (59, 1, 4), (64, 1), (13, 1), (77, 1, 5), (75, 1, 5), (6, 2, 0, "DU1234567")):
            client.send(*request)
        client.send(49, 1)
        assert await client.receive() == ["49", "1", "1795446245"]
        client.close()


async def test_positions_of_one_account() -> None:
    async with running_server(sample_brokerage(["DU1", "DU2"])) as server:
        client = await RawClient.started(server.port)
        client.send(74, 1, 8, "DU2", "")
        received = await client.until("72", "1", "8")
        assert [(r[3], r[5], r[-3:]) for r in received[:-1]] == [
            ("DU2", "AAPL", ["100", "185.5", ""]),
            ("DU2", "MSFT", ["50", "410.2", ""]),
        ]
        client.close()


async def test_a_contract_may_be_asked_for_with_most_fields_left_empty() -> None:
    async with running_server() as server:
        client = await RawClient.started(server.port)
        client.send(9, 8, 3, "", "SPY", *[""] * 14)
        details, end = await client.until("52", "1")
        assert details[:4] == ["10", "3", "SPY", "STK"]
        assert end == ["52", "1", "3"]
        client.close()


async def test_with_several_accounts_one_must_be_named() -> None:
    async with running_server(sample_brokerage(["DU1", "DU2"])) as server:
        client = await RawClient.started(server.port)
        client.send(6, 2, 1, "")
        assert (await client.receive())[3] == "321"
        client.send(6, 2, 1, "DU2")
        assert {row[-1] for row in await client.until("54", "1") if row[0] != "8"} == {"DU2"}
        client.close()


async def test_the_ledger_of_an_account_is_less_than_all_its_values() -> None:
    async with running_server() as server:
        client = await RawClient.started(server.port)
        keys = {}
        for ledger_only in (0, 1):
            client.send(76, 1, 4, "DU1234567", "", ledger_only)
            rows = (await client.until("74", "1", "4"))[:-1]
            assert {tuple(row[:5]) for row in rows} == {("73", "1", "4", "DU1234567", "")}
            keys[ledger_only] = {row[5] for row in rows}
        assert keys[1] < keys[0]
        assert {"NetLiquidation", "CashBalance"} <= keys[1]
        assert "BuyingPower" in keys[0] - keys[1]
        client.close()


async def test_a_third_account_summary_is_refused_until_one_ends() -> None:
    async with running_server() as server:
        client = await RawClient.started(server.port)
        for request_id in (1, 2, 3):
            client.send(62, 1, request_id, "All", "NetLiquidation")
        assert (await client.until("4", "2", "3"))[-1][3] == "322"
        client.send(63, 1, 1)
        client.send(62, 1, 3, "All", "$LEDGER")
        received = await client.until("64", "1", "3")
        assert {row[-1] for row in received[:-1]} == {"USD"}
        assert {row[4] for row in received[:-1]} >= {"CashBalance", "ExchangeRate"}
        client.close()


async def test_bulletins_reach_those_who_asked_and_the_days_earlier_ones_on_request() -> None:
    brokerage = sample_brokerage()
    brokerage.bulletins.append(Bulletin(1, 1, "Early"))
    async with running_server(brokerage) as server:
        early, late, never = [await RawClient.started(server.port, number) for number in (1, 2, 3)]
        early.send(12, 1, 1)
        late.send(12, 1, 0)
        assert await early.receive() == ["14", "1", "1", "1", "Early", ""]
        for client in (late, never):
            client.send(49, 1)
            assert (await client.receive())[0] == "49"
        server.broadcast_bulletin(Bulletin(2, 2, "NYSE is closed", "NYSE"))
        for client in (early, late):
            assert await client.receive() == ["14", "1", "2", "2", "NYSE is closed", "NYSE"]
        assert await never.silent()
        for client in (early, late, never):
            client.close()


@pytest.mark.parametrize(
    ("request_fields", "request_id", "code", "text"),
    [
        ((1, 11, 42, 0, "AAPL"), "42", "320", "reqMktData: field 5 (security type) is missing"),
        ((10, 5, 42, 0, "AAPL"), "42", "10092", "Deep market data"),
        ((11, 1, 42, 0), "42", "300", "42"),
        ((24, 1), "-1", "322", "reqScannerParameters"),
        ((71, 2, 9, ""), "-1", "322", "started already"),
        ((7, 3, 4, "x", "", "", "", "", "", ""), "4", "320", "client id 'x' is not an integer"),
        ((7, 3, 4, 0, "", "yesterday", "", "", "", ""), "4", "320", "time 'yesterday'"),
        ((7, 3, 4, 0, "", "20261123 10:00:00 Mars/Base", "", "", "", ""), "4", "320", "Mars/Base"),
        ((7, 3, 4, 0, "", "20261123 10:00:00 America", "", "", "", ""), "4", "320", "America"),
        ((7, 3, 4), "4", "320", "field 3 (client id) is missing"),
        ((5, 2), "-1", "320", "version 2"),
        ((6, 2, "yes", ""), "-1", "320", "'yes' is neither 0 nor 1"),
        ((3, 4, *[""] * 14, "BUY", "1e999999999"), "4", "320", "quantity"),
        ((8, 1, "9" * 5000), "-1", "320", "number of ids"),
        ((8, 1, "٣"), "-1", "320", "number of ids"),
    ],
)
async def test_a_bad_request_is_an_error_that_states_why_and_the_session_goes_on(
    request_fields: tuple[object, ...], request_id: str, code: str, text: str
) -> None:
    async with running_server() as server:
        client = await RawClient.started(server.port)
        client.send(*request_fields)
        answer = await client.receive()
        assert answer[2:4] == [request_id, code]
        assert text in answer[4]
        client.send(49, 1)
        assert (await client.receive())[0] == "49"
        client.close()


async def test_the_journal_shows_what_happened() -> None:
    async with running_server() as server:
        client = await RawClient.started(server.port, 7)
        client.send(49, 1)
        await client.receive()
        client.close()
        await server.stop()
        names = [entry.event for entry in server.journal]
        assert names == [
            *("listening", "connected", "handshake", "request", "started", "request", "disconnected", "stopped")
        ]
        assert events(server, "request") == ["startApi", "reqCurrentTime"]
        assert events(server, "started") == ["client id 7"]


@pytest.mark.parametrize("wrong", [{"server_version": 175}, {"server_version": 179}, {"sync_delay": -1.0}])
async def test_settings_no_gateway_can_have_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ApiBehaviour(**wrong)  # type: ignore[arg-type]  # wrong or mixed on purpose


@pytest.mark.parametrize(
    ("accounts", "mode", "complaint"),
    [(None, "papre", "papre"), (["DU1,U2"], "paper", "DU1,U2"), (["D", "D"], "live", "D")],
)
async def test_a_sample_that_cannot_be_is_refused(accounts: list[str] | None, mode: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        sample_brokerage(accounts, mode)


async def test_a_server_listens_once() -> None:
    async with running_server() as server:
        with pytest.raises(RuntimeError, match="listens already"):
            await server.start("127.0.0.1", 0)
        other = type(server)(sample_brokerage(), ApiBehaviour())
        with pytest.raises(OSError, match="address already in use"):
            await other.start("127.0.0.1", server.port)
        await asyncio.wait_for(other.stop(), 1)
