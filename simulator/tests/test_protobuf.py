"""The API in protobuf: IB's own client encodes and decodes it, and must see what it sees in text.

The client is that of the environment that scripts/clients creates; it runs in a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import re
import struct
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulator.tests.api_client import RawClient, frame, running_server
from simulator.tests.captured_protobuf import CAPTURED

from gateway_simulator.api.behaviour import ApiBehaviour
from gateway_simulator.api.floor import Floor
from gateway_simulator.api.protobuf import answers, encoding
from gateway_simulator.api.protobuf.requests import REQUESTS, rewrite
from gateway_simulator.api.requests import SERVED_IDS, decode_request
from gateway_simulator.api.session import ClientIds, Line, Session
from gateway_simulator.clock import ServerClock
from gateway_simulator.trading.events import Event
from gateway_simulator.trading.market import Silence
from gateway_simulator.trading.model import ComboLeg, Condition, ContractQuery
from gateway_simulator.trading.sample import sample_brokerage
from gateway_simulator.trading.tradinghours import SetHours

ROOT = Path(__file__).parents[2]
ORACLE = [str(ROOT / ".sandbox/clients/ibapi/bin/python"), str(ROOT / "simulator/clients/ibapi/oracle.py")]
TEXT, PROTOBUF = 178, 213
START = datetime(2026, 11, 23, 20, 30, tzinfo=UTC)
UNSET = (1.7976931348623157e308, "1.7976931348623157E308", 2147483647.0, 9223372036854775807.0, None)
"""What the client shows for a value that text marks as not set; in protobuf it is absent."""

NUMBER = re.compile(r"-?\d+(\.\d+)?")

Call = tuple[str, list[Any]]


class Oracle:
    """IB's own client in another process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(ORACLE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _ask(self, question: dict[str, Any]) -> list[Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        found: list[Any] = json.loads(self._process.stdout.readline())
        return found

    def encode(self, version: int, calls: list[Call]) -> list[bytes]:
        """The payloads that the client sends for calls."""
        return [bytes.fromhex(each) for each in self._ask({"encode": calls, "version": version})]

    def decode(self, version: int, payloads: list[bytes]) -> list[Any]:
        """The callbacks for payloads, in order."""
        found = self._ask({"decode": [[version, each.hex()] for each in payloads]})
        return [call for calls in found for call in calls]

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    running = Oracle()
    yield running
    running.close()


Happening = Callable[["Gateway"], "list[Event] | None"]


class Gateway:
    """A session on a brokerage of its own, without a socket; ``sent`` has the payloads of what it answers."""

    def __init__(self, version: int) -> None:
        self.sent: list[bytes] = []
        clock = ServerClock(start=START, held=True)
        behaviour = ApiBehaviour(messages_per_second=0)
        brokerage = sample_brokerage(seed=3, now=START)
        brokerage.accounts["DU1234567"].cash = Decimal(10_000_000)  # so that orders larger than a quote are filled
        self.floor = Floor(brokerage, behaviour, clock, lambda: None)
        self.floor.tick()
        self.session = Session(self.floor, ClientIds(), Line(self._send, lambda *_: None, lambda: True))
        self.session.handle(f"v100..{version}".encode())
        self.sent.clear()

    def _send(self, data: bytes) -> None:
        wire = self.session.wire_form(data)
        while wire:
            (length,) = struct.unpack_from(">I", wire)
            self.sent.append(wire[4 : 4 + length])
            wire = wire[4 + length :]

    def do(self, step: bytes | float | Happening) -> None:
        """Handle a payload, move the clock, or trigger an event at the broker."""
        if isinstance(step, bytes):
            assert not self.session.handle(step).close
        elif callable(step):
            self.floor.publish(step(self) or ())
            self.floor.tick()
        else:
            self.floor.move(step)


def difference(text: Any, protobuf: Any) -> str:
    """Return where values read from protobuf and from text differ; what text has not set is absent in protobuf.

    The client shows margins as the text in which they came, so that numbers in text are compared as numbers.
    """
    if text in UNSET or (text == "" and protobuf is None):
        return "" if protobuf in (*UNSET, "", 0.0, False, [], {}) else f": {text!r}, {protobuf!r}"
    if isinstance(text, dict) and isinstance(protobuf, dict) and text.keys() == protobuf.keys():
        found = [(key, difference(text[key], protobuf[key])) for key in text]
        return next((f".{key}{each}" for key, each in found if each), "")
    if isinstance(text, list) and isinstance(protobuf, list) and len(text) == len(protobuf):
        found = [(str(at), difference(one, other)) for at, (one, other) in enumerate(zip(text, protobuf, strict=True))]
        return next((f"[{key}]{each}" for key, each in found if each), "")
    if isinstance(text, str) and isinstance(protobuf, str) and NUMBER.fullmatch(text) and NUMBER.fullmatch(protobuf):
        return "" if float(text) == float(protobuf) else f": {text}, {protobuf}"
    return "" if text == protobuf else f": {text!r}, {protobuf!r}"


def seen(calls: list[Any]) -> list[Any]:
    """Callbacks without the time of an error, which only protobuf has, and with SMART's exchanges in one form."""
    return [[name, _normal(name, values)] for name, values in calls]


def _normal(name: str, values: list[Any]) -> list[Any]:
    if name == "error":
        return values[:1] + values[2:]
    if name == "smartComponents" and isinstance(values[1], list):
        parts = [each["SmartComponent"] for each in values[1]]
        return [values[0], {f"{each['bitNumber']:g}": [each["exchange"], each["exchangeLetter"]] for each in parts}]
    return values


def both(oracle: Oracle, history: list[Call | float] | list[Call | float | Happening]) -> list[Any]:
    """Run the client through a history in text and in protobuf; return the callbacks, which must be alike."""
    calls = [each for each in history if isinstance(each, tuple)]
    results = []
    for version in (TEXT, PROTOBUF):
        payloads = iter(oracle.encode(version, [("startApi", []), *calls]))

        async def live(version: int, payloads: Iterator[bytes]) -> list[bytes]:
            gateway = Gateway(version)
            gateway.do(next(payloads))
            for each in history:
                gateway.do(next(payloads) if isinstance(each, tuple) else each)
            gateway.session.end()
            gateway.floor.close()
            return gateway.sent

        results.append(seen(oracle.decode(version, asyncio.run(live(version, payloads)))))
    text, protobuf = results
    for one, other in zip(text, protobuf, strict=False):
        assert not difference(one, other)
    assert len(text) == len(protobuf)
    return text


def contract(symbol: str, sec_type: str = "STK", exchange: str = "SMART", **others: Any) -> dict[str, Any]:
    return {"Contract": {"symbol": symbol, "secType": sec_type, "exchange": exchange, "currency": "USD", **others}}


def order(action: str, quantity: int, order_type: str, **terms: Any) -> dict[str, Any]:
    values = {"action": action, "totalQuantity": {"Decimal": str(quantity)}, "orderType": order_type, **terms}
    return {"Order": values}


STOCK, EURO = contract("AAPL"), contract("EUR", "CASH", "IDEALPRO")
OPTION = contract("AAPL", "OPT", lastTradeDateOrContractMonth="20261218", strike=190.0, right="C", multiplier="100")


def bag(*legs: tuple[int, int, str]) -> dict[str, Any]:
    combo = [{"ComboLeg": {"conId": each, "ratio": ratio, "action": action}} for each, ratio, action in legs]
    return contract("AAPL", "BAG", comboLegs=[{"ComboLeg": {**leg["ComboLeg"], "exchange": "SMART"}} for leg in combo])


def option_id(strike: str, right: str = "C") -> int:
    """The contract id of an option on AAPL."""
    catalog = sample_brokerage(now=START).catalog
    query = ContractQuery(symbol="AAPL", sec_type="OPT", expiry="20261218", strike=Decimal(strike), right=right)
    [found] = catalog.find(query)
    return found.contract.con_id


VERTICAL = bag((option_id("190"), 1, "BUY"), (option_id("195"), 1, "SELL"))
PAIR = bag((265598, 1, "BUY"), (272093, 1, "SELL"))

MICROSOFT = {"conId": 272093, "exchange": "SMART", "isMore": True, "isConjunctionConnection": True}
PRICE = {"PriceCondition": {**MICROSOFT, "price": 300.0, "triggerMethod": 2}}
CONDITIONS: list[Any] = [
    PRICE,
    {"TimeCondition": {"isMore": True, "time": "20261123 20:30:05 UTC", "isConjunctionConnection": False}},
    {"MarginCondition": {"isMore": False, "percent": 1}},
    {"ExecutionCondition": {"secType": "STK", "exchange": "SMART", "symbol": "AAPL"}},
    {"VolumeCondition": {**MICROSOFT, "volume": 10}},
    {"PercentChangeCondition": {**MICROSOFT, "changePercent": 50.5}},
]
CANCEL: dict[str, Any] = {"OrderCancel": {}}
EVERYTHING: list[Call | float] = [
    ("reqMktData", [1, STOCK, "100,101,104,106,233,236", False, False, []]),
    ("reqMktData", [2, OPTION, "", False, False, []]),
    ("reqMktData", [3, EURO, "", True, False, []]),
    ("reqMktData", [33, VERTICAL, "", False, False, []]),
    ("reqMktData", [34, bag((265598, 1, "BUY")), "", False, False, []]),
    ("reqTickByTickData", [4, STOCK, "Last", 0, False]),
    ("reqTickByTickData", [5, STOCK, "BidAsk", 0, True]),
    ("reqTickByTickData", [6, STOCK, "MidPoint", 0, True]),
    ("reqRealTimeBars", [7, STOCK, 5, "TRADES", False, []]),
    ("reqAccountUpdates", [True, ""]),
    ("reqAccountUpdatesMulti", [8, "DU1234567", "", False]),
    ("reqAccountSummary", [9, "All", "NetLiquidation,BuyingPower,$LEDGER:ALL"]),
    ("reqPositions", []),
    ("reqPositionsMulti", [10, "DU1234567", ""]),
    ("reqPnL", [11, "DU1234567", ""]),
    ("reqPnLSingle", [12, "DU1234567", "", 265598]),
    ("reqNewsBulletins", [True]),
    ("placeOrder", [1, STOCK, order("BUY", 10, "MKT")]),
    ("placeOrder", [2, OPTION, order("SELL", 1, "LMT", lmtPrice=9.07, orderRef="larger")]),
    ("placeOrder", [3, STOCK, order("BUY", 7, "LMT", lmtPrice=100.0, whatIf=True)]),
    ("placeOrder", [4, STOCK, order("BUY", 3000, "MKT")]),
    (
        "placeOrder",
        [8, VERTICAL, order("BUY", 3, "MKT", smartComboRoutingParams=[{"TagValue": ["NonGuaranteed", "0"]}])],
    ),
    ("placeOrder", [9, VERTICAL, order("BUY", 70, "LMT", lmtPrice=0.01)]),
    ("placeOrder", [10, PAIR, order("SELL", 40, "LMT", lmtPrice=-300.0)]),
    ("placeOrder", [16, STOCK, order("BUY", 1, "MKT", conditions=CONDITIONS)]),
    ("placeOrder", [17, STOCK, order("BUY", 1, "LMT", lmtPrice=1.0, conditions=[PRICE], conditionsCancelOrder=True)]),
    ("placeOrder", [18, STOCK, order("BUY", 5, "REL", auxPrice=0.02, lmtPrice=300.0)]),
    ("placeOrder", [19, STOCK, order("SELL", 5, "MIDPRICE")]),
    ("placeOrder", [20, STOCK, order("BUY", 5, "PEG MID", auxPrice=0.01)]),
    ("placeOrder", [21, STOCK, order("SELL", 5, "PEG MKT", auxPrice=0.01, lmtPrice=100.0)]),
    ("placeOrder", [22, STOCK, order("BUY", 5, "LMT", lmtPrice=100.0, tif="OPG")]),
    ("placeOrder", [23, OPTION, order("BUY", 5, "REL", auxPrice=0.02)]),
    ("placeOrder", [24, STOCK, order("BUY", 5, "PEG BEST")]),
    ("placeOrder", [13, EURO, order("BUY", 25000, "MKT")]),
    ("placeOrder", [14, EURO, order("SELL", 100, "LMT", lmtPrice=2.00005)]),
    ("placeOrder", [15, EURO, order("BUY", 0, "MKT", cashQty=5000.0)]),
    ("placeOrder", [11, bag((1, 1, "BUY"), (265598, 1, "SELL")), order("BUY", 1, "MKT")]),
    ("placeOrder", [12, VERTICAL, order("BUY", 1, "LMT", lmtPrice=2.0, whatIf=True)]),
    2.0,
    12.0,
    ("cancelOrder", [9, CANCEL]),
    ("reqContractDetails", [35, VERTICAL]),
    ("placeOrder", [5, STOCK, order("BUY", 1, "FEELINGS")]),
    ("placeOrder", [6, STOCK, order("SELL", 5, "TRAIL", trailingPercent=5.0, tif="GTC")]),
    ("placeOrder", [6, STOCK, order("SELL", 5, "TRAIL", trailingPercent=6.0, tif="GTC")]),
    ("placeOrder", [7, STOCK, order("BUY", 5, "LMT", lmtPrice=1.0, goodTillDate="20261130-20:00:00", tif="GTD")]),
    ("cancelOrder", [7, CANCEL]),
    ("reqOpenOrders", []),
    ("reqAllOpenOrders", []),
    ("reqAutoOpenOrders", [True]),
    ("reqCompletedOrders", [False]),
    ("reqExecutions", [13, {"ExecutionFilter": {"symbol": "AAPL"}}]),
    ("reqIds", [1]),
    ("reqManagedAccts", []),
    ("reqCurrentTime", []),
    ("reqContractDetails", [14, STOCK]),
    ("reqContractDetails", [15, OPTION]),
    ("reqContractDetails", [16, EURO]),
    ("reqContractDetails", [17, contract("NOSUCH", exchange="NOWHERE")]),
    ("reqSecDefOptParams", [18, "AAPL", "", "STK", 265598]),
    ("reqMatchingSymbols", [19, "app"]),
    ("reqMarketRule", [109]),
    ("reqSmartComponents", [20, "a60001"]),
    ("reqMktDepthExchanges", []),
    ("reqNewsProviders", []),
    ("reqFamilyCodes", []),
    ("reqSoftDollarTiers", [21]),
    ("reqUserInfo", [22]),
    ("reqHistoricalData", [23, STOCK, "", "2 D", "1 hour", "TRADES", 1, 1, False, []]),
    ("reqHistoricalData", [24, STOCK, "", "1800 S", "1 min", "MIDPOINT", 0, 2, True, []]),
    ("reqHistoricalData", [25, STOCK, "", "3 D", "1 day", "SCHEDULE", 1, 1, False, []]),
    ("reqHeadTimeStamp", [26, STOCK, "TRADES", 1, 2]),
    ("cancelHeadTimeStamp", [26]),
    ("reqHistoricalTicks", [27, STOCK, "", "20261123-20:00:00", 5, "TRADES", 1, False, []]),
    ("reqHistoricalTicks", [28, STOCK, "", "20261123-20:00:00", 5, "BID_ASK", 1, False, []]),
    ("reqHistoricalTicks", [29, STOCK, "", "20261123-20:00:00", 5, "MIDPOINT", 1, False, []]),
    ("calculateImpliedVolatility", [30, OPTION, 9.0, 190.0, []]),
    ("calculateOptionPrice", [31, OPTION, 0.3, 190.0, []]),
    ("cancelCalculateImpliedVolatility", [30]),
    ("cancelCalculateOptionPrice", [31]),
    ("reqMarketDataType", [3]),
    ("setServerLogLevel", [2]),
    6.0,
    ("cancelMktData", [1]),
    ("cancelMktData", [2]),
    ("cancelMktData", [33]),
    *[("cancelTickByTickData", [each]) for each in (4, 5, 6)],
    ("cancelRealTimeBars", [7]),
    ("cancelHistoricalData", [24]),
    ("cancelAccountSummary", [9]),
    ("cancelAccountUpdatesMulti", [8]),
    ("cancelPositions", []),
    ("cancelPositionsMulti", [10]),
    ("cancelPnL", [11]),
    ("cancelPnLSingle", [12]),
    ("cancelNewsBulletins", []),
    ("reqMktDepth", [32, STOCK, 5, False, []]),
    ("reqScannerParameters", []),
    ("reqGlobalCancel", [CANCEL]),
    200.0,
]


def test_a_whole_day_is_the_same_in_text_and_in_protobuf(oracle: Oracle) -> None:
    names = {name for name, _ in both(oracle, EVERYTHING)}
    assert names >= {
        *("openOrder", "orderStatus", "execDetails", "commissionAndFeesReport", "completedOrder", "position"),
        *("updatePortfolio", "contractDetails", "historicalData", "historicalDataEnd", "historicalDataUpdate"),
        *("historicalSchedule", "tickOptionComputation", "tickByTickBidAsk", "pnlSingle", "marketRule", "error"),
    }


APPLE = 265598


def stop_data(code: int) -> Happening:
    def happens(gateway: Gateway) -> None:
        gateway.floor.brokerage.market.silence(APPLE, Silence(gateway.floor.clock.utc(), code))
        gateway.session.report_interruption(code, APPLE)

    return happens


def be_at_night(gateway: Gateway) -> None:
    gateway.floor.brokerage.market.set_hours("ESZ6", SetHours.NIGHT, START)


BROKER_EVENTS: list[Call | float | Happening] = [
    ("reqPositions", []),
    ("reqAccountUpdates", [True, ""]),
    ("placeOrder", [1, OPTION, order("BUY", 2, "MKT")]),
    2.0,
    lambda gateway: gateway.floor.brokerage.hold_cancels(gateway.floor.clock.utc(), held=True),
    ("placeOrder", [2, OPTION, order("SELL", 1, "LMT", lmtPrice=90.0, tif="GTC")]),
    ("placeOrder", [3, STOCK, order("SELL", 1, "LMT", lmtPrice=900.0, tif="GTC")]),
    1.0,
    ("cancelOrder", [3, CANCEL]),
    60.0,
    ("reqAllOpenOrders", []),
    ("reqMktData", [1, STOCK, "", False, False, []]),
    stop_data(10197),
    2.0,
    ("reqMktData", [2, STOCK, "", False, False, []]),
    lambda gateway: gateway.floor.brokerage.market.end_silence(APPLE),
    lambda gateway: gateway.floor.brokerage.split(APPLE, 4, 1, gateway.floor.clock.utc()),
    1.0,
    (
        "reqContractDetails",
        [3, contract("AAPL", "OPT", lastTradeDateOrContractMonth="20261218", strike=47.5, right="C")],
    ),
    (
        "reqContractDetails",
        [4, {"Contract": {"symbol": "VOD", "secType": "STK", "exchange": "SMART", "currency": "GBP"}}],
    ),
    be_at_night,
    ("reqContractDetails", [5, contract("ES", "FUT", "CME", lastTradeDateOrContractMonth="202612")]),
    ("reqPositions", []),
]


def test_what_happens_at_the_broker_is_the_same_in_text_and_in_protobuf(oracle: Oracle) -> None:
    calls = both(oracle, BROKER_EVENTS)
    held = [values[1:3] for name, values in calls if name == "position"]
    assert [(each["Contract"]["strike"], quantity) for each, quantity in held][-1] == (47.5, 8)
    assert [values[1] for name, values in calls if name == "error"].count(10197) == 2
    statuses = [values[:2] for name, values in calls if name == "orderStatus"]
    assert [3, "PendingCancel"] in statuses
    details = [values[1]["ContractDetails"] for name, values in calls if name == "contractDetails"]
    assert [each["priceMagnifier"] for each in details] == [1, 100, 1]
    assert "20261122:" in details[2]["tradingHours"] or "20261123:" in details[2]["tradingHours"]


places = st.builds(
    lambda action, quantity, kind, limit, aux, tif, parent, transmit, what, more: (
        action, quantity, kind, limit, aux, tif, parent, transmit, what, more
    ),
    st.sampled_from(["BUY", "SELL"]), st.integers(1, 3000),
    st.sampled_from(["MKT", "LMT", "STP", "STP LMT", "MIT", "MIDPRICE", "REL"]),
    st.integers(17000, 20000), st.integers(17000, 20000), st.sampled_from(["DAY", "GTC", "IOC", "FOK", "OPG"]),
    st.booleans(), st.booleans(), st.sampled_from([STOCK, STOCK, VERTICAL, PAIR, EURO]),
    st.sampled_from([{}, {}, {}, {"conditions": [PRICE]}, {"conditions": CONDITIONS, "conditionsCancelOrder": True}]),
)  # fmt: skip
steps = st.one_of(
    places,
    st.tuples(st.just("cancel"), st.integers(1, 8)),
    st.sampled_from([0.05, 0.5, 3.0, 4000.0]),
)


@settings(max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(steps, min_size=5, max_size=25))
def test_any_history_of_orders_is_the_same_in_text_and_in_protobuf(oracle: Oracle, taken: list[Any]) -> None:
    history: list[Call | float] = []
    order_id = 0
    for each in taken:
        if isinstance(each, float):
            history.append(each)
        elif each[0] == "cancel":
            history.append(("cancelOrder", [each[1], CANCEL]))
        else:
            action, quantity, kind, limit, aux, tif, child, transmit, what, more = each
            order_id += 1
            terms = {
                **({"lmtPrice": limit / 100} if "LMT" in kind else {}),
                **({"auxPrice": aux / 100} if kind in ("STP", "STP LMT", "MIT") else {}),
                "tif": tif if kind in ("MKT", "LMT") else "DAY",
                "transmit": transmit,
                **more,
                **({"parentId": order_id - 1} if child and order_id > 1 else {}),
            }
            history.append(("placeOrder", [order_id, what, order(action, quantity, kind, **terms)]))
    both(oracle, [*history, ("reqExecutions", [1, {"ExecutionFilter": {}}]), ("reqCompletedOrders", [True])])


def test_every_request_that_is_served_in_text_is_served_in_protobuf() -> None:
    assert set(REQUESTS) | {3} == set(SERVED_IDS)


CAPTURED_TERMS: dict[str, dict[str, Any]] = {
    "market data: mdoff and news": {"generic_ticks": (292,), "quotes": False, "news_feeds": ("BZ",)},
    "market data: option": {"request_id": 9005, "generic_ticks": (), "snapshot": False},
    "contract details: chain": {
        "query": ContractQuery(symbol="AAPL", sec_type="OPT", expiry="20270115", exchange="SMART", currency="USD"),
        "include_expired": False,
    },
    "historical data: option": {
        "end": None,
        "bar_size": "1 hour",
        "duration": "2 D",
        "what": "MIDPOINT",
        "use_rth": True,
        "format_date": 2,
        "keep_up_to_date": False,
    },
    "executions": {"request_id": 9010},
    "place order: market": {"action": "BUY", "quantity": 100, "order_type": "MKT", "limit_price": None},
    "place order: stop child": {"parent_id": 6, "order_type": "STP", "aux_price": 154, "transmit": True},
    "place order: combination": {
        "quantity": 3,
        "limit_price": 4,
        "combo_params": (("NonGuaranteed", "1"),),
        "contract.combo_legs": (
            ComboLeg(1085292690, 1, "BUY", "SMART"),
            ComboLeg(1085292692, 1, "SELL", "SMART"),
        ),
    },
    "place order: price condition": {
        "limit_price": 186,
        "conditions": (Condition(1, "a", is_more=True, value=Decimal(1), con_id=265598, exchange="SMART"),),
    },
    "place order: adaptive": {"algo_strategy": "Adaptive", "algo_params": (("adaptivePriority", "Normal"),)},
    "place order: trail": {"order_type": "TRAIL", "trail_stop_price": 179, "trailing_percent": 2},
    "place order: currency pair": {"quantity": 25000, "contract.sec_type": "CASH", "contract.exchange": "IDEALPRO"},
    "cancel order": {"order_id": 3},
    "global cancel": {},
}
"""What each captured request asks for."""


@pytest.mark.parametrize("name", CAPTURED)
def test_requests_of_a_client_in_another_language_are_read(name: str) -> None:
    message_id, body = CAPTURED[name]
    request = decode_request(rewrite(message_id - 200, bytes.fromhex(body)), TEXT)
    assert getattr(request, "unsupported", ()) == ()
    terms = getattr(request, "order", request)
    assert {each: attrgetter(each)(terms) for each in CAPTURED_TERMS[name]} == CAPTURED_TERMS[name]


def test_an_unset_number_is_absent_and_an_escape_is_undone() -> None:
    [(message_id, body)] = answers.rewrite(["4", "2", "-1", "2104", "a\\u00fc", ""], 7)
    message = encoding.read(body)
    assert (message_id, message.integer(1), message.integer(2), message.text(4)) == (4, -1, 7, "aü")
    [(_, body)] = answers.rewrite(["94", "7", "1.5", "1.7976931348623157E308", "0"], 0)
    message = encoding.read(body)
    assert (message.double(2), message.has(3), message.double(4)) == (1.5, False, 0.0)


@pytest.mark.parametrize(
    "body",
    [b"\xff", b"\x0a\x05ab", b"\x08" + b"\xff" * 11, b"\x0b", b"\x12\x03\x0a\x01\xff", b"\x1a\x02a\0"],
)
def test_bytes_that_are_no_message_are_an_error_and_nothing_else(body: bytes) -> None:
    with pytest.raises(encoding.ProtobufError):
        rewrite(1, body)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(REQUESTS)), st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(message_id: int, body: bytes) -> None:
    try:
        fields = rewrite(message_id, body)
    except encoding.ProtobufError:
        return
    assert fields[0] == str(message_id)


@pytest.mark.asyncio
async def test_a_malformed_request_is_error_320_and_the_session_goes_on() -> None:
    async with running_server() as server:
        client = await RawClient.connect(server.port)
        assert (await client.shake_hands("v201..213"))[0] == "213"
        client.writer.write(frame(struct.pack(">I", 271) + encoding.integer_field(1, 5)))
        ids = []
        while 204 not in ids:
            ids.append(await message_id(client))
        client.writer.write(frame(struct.pack(">I", 201) + b"\xff"))
        while (received := await message(client))[0] != 204 or received[1].integer(3) != 320:
            pass
        client.writer.write(frame(struct.pack(">I", 249)))
        while (await message_id(client)) != 249:
            pass
        assert server.clients == [5]
        client.close()


async def message(client: RawClient) -> tuple[int, encoding.Fields]:
    (length,) = struct.unpack(">I", await client.reader.readexactly(4))
    payload = await client.reader.readexactly(length)
    return int.from_bytes(payload[:4], "big"), encoding.read(payload[4:])


async def message_id(client: RawClient) -> int:
    return (await message(client))[0]
