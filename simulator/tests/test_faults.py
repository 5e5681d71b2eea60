"""The rules of faults: how they are written, and at which message they strike."""

from __future__ import annotations

import pytest

from gateway_simulator.api import messages
from gateway_simulator.api.faults import FaultBook, FaultError, Kind, Message, Moment, incoming, outgoing, parse_rule
from gateway_simulator.api.requests import REQUEST_NAMES
from gateway_simulator.trading.model import OrderStatus


@pytest.mark.parametrize(
    "text",
    [
        "disconnect before out:openOrder",
        "disconnect middle out:orderStatus:Filled",
        "disconnect after in:placeOrder nth=2 client=7",
        "stall 3 in:placeOrder",
        "delay 0.5 out:execDetails client=0",
    ],
)
def test_a_rule_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_rule(text.split(), REQUEST_NAMES)) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("disconnect before", "at least three words"),
        ("explode before out:openOrder", "no fault 'explode'"),
        ("disconnect now out:openOrder", "'now' is none of before, middle, after"),
        ("disconnect middle in:placeOrder", "in the middle"),
        ("stall soon in:placeOrder", "'soon' is not a number"),
        ("stall 0 in:placeOrder", "more than 0"),
        ("delay nan out:openOrder", "more than 0"),
        ("delay 1 openOrder", "does not begin with in: or out:"),
        ("delay 1 out:placeOrder", "no message 'placeOrder' \\(out\\)"),
        ("delay 1 in:openOrder", "no message 'openOrder' \\(in\\)"),
        ("delay 1 out:openOrder nth=0", "'nth=0' is neither"),
        ("delay 1 out:openOrder twice", "'twice' is neither"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_its_word(text: str, reason: str) -> None:
    with pytest.raises(FaultError, match=reason):
        parse_rule(text.split(), REQUEST_NAMES)


def message(detail: str = "Filled", client_id: int = 7, name: str = "orderStatus") -> Message:
    return Message("out", name, detail, client_id)


def test_a_rule_strikes_once_at_its_message() -> None:
    book = FaultBook()
    rule = parse_rule(["disconnect", "after", "out:orderStatus:Filled", "client=7"], REQUEST_NAMES)
    book.add(rule)
    for other in (message("Submitted"), message(client_id=8), message(name="openOrder")):
        assert book.strike(other) is None
    assert book.strike(message()) is rule
    assert (rule.kind, rule.moment) == (Kind.DISCONNECT, Moment.AFTER)
    assert not book.armed
    assert book.strike(message()) is None


def test_the_nth_message_counts_those_that_match() -> None:
    book = FaultBook()
    book.add(parse_rule(["stall", "1", "out:orderStatus", "nth=3"], REQUEST_NAMES))
    struck = [
        book.strike(message(name=name)) is not None for name in ("orderStatus", "openOrder", *["orderStatus"] * 3)
    ]
    assert struck == [False, False, False, True, False]


def test_two_rules_for_one_message_strike_one_after_the_other() -> None:
    book = FaultBook()
    for seconds in (1, 2):
        book.add(parse_rule(f"delay {seconds} out:orderStatus".split(), REQUEST_NAMES))
    struck = [book.strike(message()) for _ in range(3)]
    assert [each.seconds if each else None for each in struck] == [1, 2, None]


def test_clearing_forgets_every_rule() -> None:
    book = FaultBook()
    book.add(parse_rule(["stall", "1", "out:orderStatus"], REQUEST_NAMES))
    assert book.clear() == 1
    assert book.strike(message()) is None


def test_frames_and_requests_are_described_by_name_and_detail() -> None:
    assert outgoing(messages.error(5, 201, "no"), 1) == Message("out", "error", "201", 1)
    status = messages.order_status_of(4, OrderStatus.FILLED, client_id=9)
    assert outgoing(status, 9) == Message("out", "orderStatus", "Filled", 9)
    assert incoming("placeOrder", ["3", "12", "0"], 2) == Message("in", "placeOrder", "12", 2)
    assert incoming("cancelOrder", ["4", "1", "12", ""], 2).detail == "12"
    assert incoming("reqPositions", ["61", "1"], 2).detail == ""
