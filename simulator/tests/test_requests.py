"""Requests read from their fields: what clients send, and that nothing else does harm."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import ib_insync
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator.tests.captured_requests import CAPTURED
from simulator.tests.insync_ends import SERVER_VERSION, InsyncEncoder

from gateway_simulator.api import requests
from gateway_simulator.api.requests import MalformedRequestError, UnknownRequestError, Unserved, decode_request
from gateway_simulator.api.wire import HEADER_LENGTH, FrameReader, WireError, decode_fields
from gateway_simulator.trading.model import ComboLeg, Contract, ContractQuery, ExecutionFilter

STOCK = Contract(265598, "AAPL", primary_exchange="NASDAQ")
OPTION = Contract(0, "AAPL", "OPT", expiry="20261218", strike=Decimal("187.5"), right="C", multiplier="100")

EXPECTED = {
    "reqMktData": requests.MarketData(1, STOCK, (100, 233), snapshot=True, generic_list="100,233"),
    "reqHistoricalData": requests.HistoricalData(
        request_id=2,
        contract=OPTION,
        include_expired=False,
        end=datetime(2026, 11, 20, 21, tzinfo=UTC),
        bar_size="5 mins",
        duration="1 D",
        use_rth=True,
        what="TRADES",
        format_date=2,
        keep_up_to_date=False,
    ),
    "reqHeadTimeStamp": requests.HeadTimestamp(
        3, STOCK, include_expired=False, use_rth=True, what="TRADES", format_date=1
    ),
    "reqRealTimeBars": requests.RealTimeBars(4, STOCK, bar_size=5, what="MIDPOINT", use_rth=False),
    "reqContractDetails": requests.ContractDetails(5, ContractQuery.of(OPTION)),
    "reqHistoricalTicks": requests.HistoricalTicks(
        6,
        STOCK,
        start=datetime(2026, 11, 20, 14, 30, tzinfo=UTC),
        end=None,
        number=100,
        what="BID_ASK",
        use_rth=True,
        ignore_size=True,
    ),
    "reqTickByTickData": requests.TickByTick(7, STOCK, "BidAsk", number_of_ticks=10, ignore_size=True),
    "calculateImpliedVolatility": requests.CalculateImpliedVolatility(8, OPTION, Decimal("2.5"), Decimal(190)),
    "calculateOptionPrice": requests.CalculateOptionPrice(9, OPTION, Decimal("0.25"), Decimal(190)),
    "reqSecDefOptParams": requests.OptionParameters(10, "AAPL", "", "STK", 265598),
    "reqPnLSingle": requests.ProfitAndLossSingle(11, "DU1", "", 265598),
    "reqPnL": requests.ProfitAndLoss(12, "DU1", ""),
    "reqMarketDataType": requests.MarketDataType(3),
    "cancelOrder": requests.CancelOrder(5),
    "reqExecutions": requests.Executions(13, ExecutionFilter(symbol="AAPL")),
}


@pytest.mark.parametrize("client", CAPTURED)
def test_every_client_means_the_same_request(client: str) -> None:
    captured = {name: text for name, text in CAPTURED[client][178].items() if not name.startswith("placeOrder")}
    assert set(captured) == set(EXPECTED)
    for name, text in captured.items():
        fields = text.split("|")
        for server_version in (176, 177, 178):
            assert decode_request(fields, server_version) == EXPECTED[name], name
        assert requests.request_name(fields) == name


BAG = ib_insync.Contract(
    symbol="AAPL",
    secType="BAG",
    exchange="SMART",
    currency="USD",
    comboLegs=[ib_insync.ComboLeg(conId=1, ratio=1, action="BUY"), ib_insync.ComboLeg(conId=2, ratio=1, action="SELL")],
    deltaNeutralContract=ib_insync.DeltaNeutralContract(9, 0.5, 1.5),
)
APPLE = ib_insync.Stock("AAPL", "SMART", "USD")
OURS = Contract(0, "AAPL")


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        (
            "reqMktData",
            (1, BAG, "", False, True, []),
            requests.MarketData(
                1,
                Contract(0, "AAPL", "BAG", combo_legs=(ComboLeg(1, 1, "BUY"), ComboLeg(2, 1, "SELL"))),
                (),
                False,
                True,
            ),
        ),
        ("cancelMktData", (1,), requests.CancelMarketData(1)),
        (
            "reqHistoricalData",
            (2, BAG, "", "1 D", "1 day", "MIDPOINT", False, 1, True, []),
            requests.HistoricalData(
                2, Contract(0, "AAPL", "BAG"), False, None, "1 day", "1 D", False, "MIDPOINT", 1, True
            ),
        ),
        ("cancelHistoricalData", (2,), requests.CancelHistoricalData(2)),
        ("cancelRealTimeBars", (2,), requests.CancelRealTimeBars(2)),
        ("cancelHeadTimeStamp", (2,), requests.CancelHeadTimestamp(2)),
        ("cancelTickByTickData", (2,), requests.CancelTickByTick(2)),
        ("cancelPnL", (2,), requests.CancelProfitAndLoss(2)),
        ("cancelPnLSingle", (2,), requests.CancelProfitAndLossSingle(2)),
        ("cancelCalculateImpliedVolatility", (2,), requests.CancelCalculateImpliedVolatility(2)),
        ("cancelCalculateOptionPrice", (2,), requests.CancelCalculateOptionPrice(2)),
        ("cancelAccountUpdatesMulti", (2,), requests.CancelAccountUpdatesMulti(2)),
        ("cancelPositionsMulti", (2,), requests.CancelPositionsMulti(2)),
        ("cancelAccountSummary", (2,), requests.CancelAccountSummary(2)),
        ("cancelPositions", (), requests.CancelPositions()),
        ("cancelNewsBulletins", (), requests.CancelNewsBulletins()),
        (
            "calculateImpliedVolatility",
            (3, APPLE, 2.5, 190.0, []),
            requests.CalculateImpliedVolatility(3, OURS, Decimal("2.5"), Decimal(190)),
        ),
        (
            "calculateOptionPrice",
            (3, APPLE, 0.2, 190.0, []),
            requests.CalculateOptionPrice(3, OURS, Decimal("0.2"), Decimal(190)),
        ),
        ("reqMatchingSymbols", (4, "app"), requests.MatchingSymbols(4, "app")),
        ("reqSecDefOptParams", (4, "ES", "CME", "FUT", 5), requests.OptionParameters(4, "ES", "CME", "FUT", 5)),
        ("reqMarketRule", (26,), requests.MarketRule(26)),
        ("reqSmartComponents", (4, "9c0001"), requests.SmartComponents(4, "9c0001")),
        ("reqSoftDollarTiers", (4,), requests.SoftDollarTiers(4)),
        ("reqNewsProviders", (), requests.NewsProviders()),
        ("reqMktDepthExchanges", (), requests.MarketDepthExchanges()),
        ("reqAutoOpenOrders", (True,), requests.AutoOpenOrders(True)),
        ("reqCompletedOrders", (True,), requests.CompletedOrders(True)),
        ("reqUserInfo", (6,), requests.UserInfo(6)),
        ("reqFamilyCodes", (), requests.FamilyCodes()),
        ("reqGlobalCancel", (), requests.GlobalCancel()),
        ("cancelOrder", (6,), requests.CancelOrder(6)),
        ("cancelMktDepth", (6, True), Unserved("cancelMktDepth", 6, True)),
        ("reqHistogramData", (6, APPLE, True, "1 week"), Unserved("reqHistogramData", 6, False)),
        ("replaceFA", (6, 1, "<xml/>"), Unserved("replaceFA", 6, False)),
    ],
)
def test_what_ib_insync_asks(name: str, arguments: tuple[object, ...], expected: requests.Request) -> None:
    fields = InsyncEncoder().fields_of(name, *arguments)
    assert decode_request(fields, SERVER_VERSION) == expected
    assert requests.request_name(fields) == name


def test_an_expired_contract_may_be_asked_for() -> None:
    contract = ib_insync.Contract(symbol="ES", secType="FUT", includeExpired=True, right="?", issuerId="e1")
    read = decode_request(InsyncEncoder().fields_of("reqContractDetails", 1, contract), SERVER_VERSION)
    assert read == requests.ContractDetails(1, ContractQuery(symbol="ES", sec_type="FUT"), include_expired=True)


@pytest.mark.parametrize(("right", "read"), [("CALL", "C"), ("Put", "P"), ("0", ""), ("?", ""), ("", "")])
def test_the_ways_to_name_a_right(right: str, read: str) -> None:
    contract = ib_insync.Contract(symbol="SPY", secType="OPT", right=right)
    request = decode_request(InsyncEncoder().fields_of("reqContractDetails", 1, contract), SERVER_VERSION)
    assert isinstance(request, requests.ContractDetails)
    assert request.query.right == read


@pytest.mark.parametrize(("multiplier", "read"), [("100", "100"), ("0.1", "0.1"), ("0", ""), ("", "")])
def test_a_multiplier_of_0_is_none(multiplier: str, read: str) -> None:
    contract = ib_insync.Contract(symbol="SPY", multiplier=multiplier)
    request = decode_request(InsyncEncoder().fields_of("reqContractDetails", 1, contract), SERVER_VERSION)
    assert isinstance(request, requests.ContractDetails)
    assert request.query.multiplier == read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("", None),
        ("20261123 10:00:00", datetime(2026, 11, 23, 10, tzinfo=UTC)),
        ("20261123-10:00:00", datetime(2026, 11, 23, 10, tzinfo=UTC)),
        ("20261123  10:00:00", datetime(2026, 11, 23, 10, tzinfo=UTC)),
        ("20261123 10:00:00 US/Eastern", datetime(2026, 11, 23, 10, tzinfo=ZoneInfo("US/Eastern"))),
    ],
)
def test_the_ways_to_write_a_moment(text: str, read: datetime | None) -> None:
    fields = InsyncEncoder().fields_of(
        "reqHistoricalTicks", 1, APPLE, text, "20261124-10:00:00", 10, "TRADES", 1, False, []
    )
    request = decode_request(fields, SERVER_VERSION)
    assert isinstance(request, requests.HistoricalTicks)
    assert request.start == read
    assert read is None or (request.start is not None and request.start.tzinfo == read.tzinfo)


@pytest.mark.parametrize(
    ("name", "at", "text", "complaint"),
    [
        ("reqMktData", 1, "10", r"version 10 is not the one in use \(11\)"),
        ("reqMktData", 16, "233,mdon", "generic tick 'mdon' is not a number"),
        ("reqMktData", 16, "233:BZ", "generic tick '233:BZ' is not a number"),
        ("reqMktData", 15, "2", "delta neutral contract '2' is neither 0 nor 1"),
        ("reqHistoricalData", 15, "20260231 10:00:00", "end '20260231 10:00:00'"),
        ("reqHistoricalData", 15, "20261120 21:00:00 ../../etc/passwd", "end '20261120 21:00:00 ../../etc/pass"),
        ("reqHistoricalData", 15, "20261120 21:00:00 America", "end '20261120 21:00:00 America'"),
        ("reqHistoricalData", 15, "20261120 21:00:00 " + "x" * 300, "is not 'YYYYMMDD HH:MM:SS"),
        ("reqHistoricalData", 20, "", "date format '' is not an integer"),
        ("reqHistoricalTicks", 17, "many", "number of ticks 'many' is not an integer"),
        ("reqPnLSingle", 4, "AAPL", "underlying|contract id 'AAPL' is not an integer"),
    ],
)
def test_a_wrong_field_is_named(name: str, at: int, text: str, complaint: str) -> None:
    fields = CAPTURED["ib_async"][178][name].split("|")
    fields[at] = text
    with pytest.raises(MalformedRequestError, match=complaint) as caught:
        decode_request(fields, 178)
    assert str(caught.value).startswith(f"{name}: ")


@pytest.mark.parametrize("name", EXPECTED)
def test_a_request_cut_off_is_refused_and_surplus_fields_are_ignored(name: str) -> None:
    fields = CAPTURED["ibapi"][178][name].split("|")
    # The options at the end of a computation are the only field that may be missing.
    needed = len(fields) - (1 if name.startswith("calculate") else 0)
    for length in range(1, needed):
        with pytest.raises(MalformedRequestError, match="is missing"):
            decode_request(fields[:length], 178)
    assert decode_request([*fields, "", "newer", "1"], 178) == decode_request(fields, 178)


@pytest.mark.parametrize("message_id", ["0", "110", "-1", "", "x", "9" * 30, "٣"])
def test_a_request_that_does_not_exist_is_refused(message_id: str) -> None:
    with pytest.raises(UnknownRequestError, match="Unknown message id"):
        decode_request([message_id, "1"], 178)
    assert requests.request_name([message_id]).startswith("message ")


# Fields that get past the first checks of a layout, so that the later ones are reached too.
LIKELY = st.sampled_from(
    ["", "0", "1", "2", "3", "8", "11", "-1", "2147483647", "5.5", "BAG", "OPT", "MKT", "a", "1e9"]
)
KNOWN = [text.split("|") for client in CAPTURED.values() for text in client[178].values()]


@st.composite
def damaged(draw: st.DrawFn) -> list[str]:
    """A request of a real client with some fields replaced, repeated or dropped."""
    fields = list(draw(st.sampled_from(KNOWN)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(1, len(fields) - 1)) if len(fields) > 1 else 0
        match draw(st.sampled_from(["replace", "repeat", "drop"])):
            case "replace":
                fields[at : at + 1] = [draw(LIKELY | st.text(max_size=12))]
            case "repeat":
                fields[at:at] = fields[at : at + draw(st.integers(1, 40))]
            case _:
                del fields[at : at + draw(st.integers(1, 3))]
    return fields or [""]


def decode_or_refuse(fields: list[str], server_version: int) -> None:
    """Decode, and take note of nothing else than a proper refusal."""
    requests.request_name(fields)
    try:
        decode_request(fields, server_version)
    except MalformedRequestError as error:
        assert str(error).startswith(f"{requests.request_name(fields)}: ")
        assert len(str(error)) < 600  # forty characters of a field, each written as an escape at worst
    except UnknownRequestError as error:
        assert len(str(error)) < 300


@settings(max_examples=1500, deadline=None)
@given(
    fields=damaged() | st.lists(LIKELY | st.text(max_size=10), min_size=1, max_size=40),
    server_version=st.integers(176, 178),
)
def test_whatever_the_fields_are_a_request_is_read_or_refused(fields: list[str], server_version: int) -> None:
    decode_or_refuse(fields, server_version)


@settings(max_examples=600, deadline=None)
@given(
    chunks=st.lists(
        st.binary(max_size=64)
        | damaged().map(lambda fields: "\0".join([*fields, ""]).encode()).map(lambda p: struct.pack(">I", len(p)) + p),
        max_size=12,
    ),
    preface=st.sampled_from([b"API\0", b"API\0", b"AP", b""]),
)
def test_whatever_the_bytes_are_frames_come_out_or_the_stream_is_refused(chunks: list[bytes], preface: bytes) -> None:
    limit = 4096
    reader = FrameReader(max_length=limit)
    try:
        for chunk in [preface, *chunks]:
            reader.feed(chunk)
            while (payload := reader.next_frame()) is not None:
                decode_or_refuse(decode_fields(payload), 178)
            # What is left is less than one frame: nothing piles up.
            assert reader.buffered < HEADER_LENGTH + limit
    except WireError as error:
        assert error.code in (507, 508)
        assert len(error.reason) < 200


def test_the_time_to_read_an_order_grows_with_its_length_and_no_faster() -> None:
    """A number of legs far beyond the fields costs nothing, and reading goes through the fields once."""
    fields = CAPTURED["ibapi"][178]["placeOrder: everything"].split("|")
    legs = fields.index("2", fields.index("ISIN"))
    fields[legs] = "9" * 18
    with pytest.raises(MalformedRequestError, match=r"is missing|is not"):
        decode_request(fields, 178)

    class Counting(list[str]):
        reads = 0

        def __getitem__(self, at: Any) -> Any:
            Counting.reads += 1
            return super().__getitem__(at)

    for count in (100, 1000):
        Counting.reads = 0
        leg = ["265598", "1", "BUY", "SMART", "0", "0", "", "-1"]
        many = Counting([*fields[:legs], str(count), *leg * count, *fields[legs + 17 :]])
        placed = decode_request(many, 178)
        assert isinstance(placed, requests.PlaceOrder)
        assert len(many) <= Counting.reads < 2 * len(many)


def test_a_stream_that_comes_byte_by_byte_is_not_copied_for_each() -> None:
    """A frame of the longest length, fed in small parts, is taken out once; the buffer never exceeds it."""
    reader = FrameReader()
    payload = b"x" * (200 * 1024) + b"\0"
    stream = b"API\0" + struct.pack(">I", len(payload)) + payload
    for start in range(0, len(stream), 16):
        assert reader.next_frame() is None
        reader.feed(stream[start : start + 16])
    assert reader.next_frame() == payload
    assert reader.buffered == 0
