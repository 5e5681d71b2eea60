"""Tapes are read as documented, and a bad one is refused with the place of the fault."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from simulator.tests.trading_desk import order

from gateway_simulator.trading.catalog import sample_catalog
from gateway_simulator.trading.market import Market
from gateway_simulator.trading.model import ContractQuery, Halted
from gateway_simulator.trading.persistence import restore, to_document
from gateway_simulator.trading.sample import sample_brokerage
from gateway_simulator.trading.tape import Tape, TapeError
from gateway_simulator.trading.tradinghours import TradingHours

START = datetime(2026, 11, 23, 15, tzinfo=UTC)
SAMPLE = Path(__file__).parents[1] / "samples" / "tape.csv"
CHAIN_SAMPLE = SAMPLE.with_name("chain.csv")
CHAIN = "time,symbol,expiry,strike,right,bid"
AAPL = 265598
D = Decimal


def read(*lines: str) -> Tape:
    return Tape.read("demo.csv", lines)


def market(tape: Tape | None, start: datetime | None = START) -> Market:
    return Market(sample_catalog(date(2026, 11, 23)), TradingHours("always"), 1, tape, start=start)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_rows_apply_until_the_next_and_empty_cells_leave_values_unchanged() -> None:
    tape = read(
        "time,name,bid,ask,last,bid_size,ask_size,last_size,halted",
        "0,AAPL,189.20,189.24,189.22,300,500,100,0",
        "# the bid falls",
        "",
        "2,aapl,189.10,,,,,,",
        "4,AAPL,none,none,,,,,1",
    )
    played = market(tape)
    seen = [played.quote(AAPL, at(seconds)) for seconds in (0, 1.75, 2, 3.75, 4, 3600)]
    assert [(each.bid, each.ask, each.last) for each in seen[1:4]] == [
        (Decimal("189.20"), Decimal("189.24"), Decimal("189.22")),
        (Decimal("189.10"), Decimal("189.24"), Decimal("189.22")),
        (Decimal("189.10"), Decimal("189.24"), Decimal("189.22")),
    ]
    assert [seen[0].bid_size, seen[0].ask_size, seen[0].last_size] == [Decimal(size) for size in (300, 500, 100)]
    assert all((each.bid, each.ask, each.halted) == (None, None, Halted.GENERAL) for each in seen[4:])
    assert seen[0].halted is Halted.NO


def test_contract_moves_by_itself_before_its_first_row() -> None:
    played, free = market(read("time,name,last", "10,AAPL,150")), market(None)
    assert played.quote(AAPL, at(9.75)).bid == free.quote(AAPL, at(9.75)).bid
    assert played.quote(AAPL, at(10)).last == 150
    assert played.quote(272093, at(10)) == free.quote(272093, at(10))


def test_price_set_by_hand_overrides_the_tape() -> None:
    played = market(read("time,name,last", "0,AAPL,150", "5,AAPL,151", "10,AAPL,152"))
    played.set_price("AAPL", at(3), last=Decimal(99))
    assert [played.quote(AAPL, at(seconds)).last for seconds in (2, 3, 6)] == [150, 99, 99]
    played.release("AAPL", at(7))
    assert [played.quote(AAPL, at(seconds)).last for seconds in (6, 7, 10)] == [99, 151, 152]


def test_dates_need_no_start() -> None:
    played = market(read("time,name,last", "2026-11-23T10:00:01-05:00,8314,99"), start=None)
    assert played.quote(8314, at(1)).last == 99 != played.quote(8314, at(0)).last


def test_taped_underlying_moves_its_options() -> None:
    played = market(read("time,name,last", "0,AAPL,150", "1,AAPL,240"))
    call = played.named("AAPL 261204C00190000").contract.con_id
    low, high = played.quote(call, at(0)).last, played.quote(call, at(1)).last
    assert low == Decimal("0.01") and high is not None and high > 50


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ([], "tape demo.csv: is empty; its first line must name the columns"),
        (["time,bid"], "line 1, column name: is missing"),
        (["time,name,price"], "line 1, column price: no such column; there are time, name, bid"),
        (["time,name,bid,bid"], "line 1, column bid: is there twice"),
        (["time,name,bid", "0,AAPL"], "line 2: has 2 cells; the header names 3 columns"),
        (["time,name,bid", "0,AAPL,abc"], "line 2, column bid: 'abc' must be a number above 0, or none"),
        (["time,name,bid", "0,AAPL,0"], "line 2, column bid: '0' must be a number above 0, or none"),
        (["time,name,bid", "0,AAPL,nan"], "line 2, column bid: 'nan' must be"),
        (["time,name,bid_size", "0,AAPL,-1"], "line 2, column bid_size: '-1' must be a number of 0 or more"),
        (["time,name,bid,ask", "0,AAPL,2,1"], "line 2, column bid: 2 is above the ask 1"),
        (["time,name,halted", "0,AAPL,yes"], "line 2, column halted: 'yes' must be 0, 1 or 2"),
        (["time,name,bid", "soon,AAPL,1"], "line 2, column time: 'soon' must be seconds or a date"),
        (["time,name,bid", "inf,AAPL,1"], "line 2, column time: 'inf' must be 0 or more seconds"),
        (["time,name,bid", "2026-11-23T10:00:00,AAPL,1"], "line 2, column time: .* has no zone"),
        (["time,name,bid", "5,AAPL,1", "#", "4,MSFT,1"], "line 4, column time: goes back before line 2"),
        (["time,name,bid", "5,AAPL,1", "2026-11-23T10:00:00Z,MSFT,1"], "line 3, column time: is of another kind"),
        (["time,name,bid", "5,,1"], "line 2, column name: is empty"),
        (["time,symbol,bid", "5,,1"], "line 2, column symbol: is empty"),
        (["time,name,symbol,bid", "5,AAPL,AAPL,1"], "line 2, column symbol: is given beside a name"),
        (["time,symbol,strike,right,bid"], "line 1, column expiry: is missing; an option has the columns"),
        (["time,name,expiry,strike,right,bid"], "line 1, column symbol: is missing; an option has the columns"),
        ([CHAIN, "0,AAPL,20261204,190,,1"], "line 2, column right: is empty; an option has a symbol"),
        ([CHAIN, "0,,20261204,190,C,1"], "line 2, column symbol: is empty; an option has a symbol"),
        ([CHAIN, "0,AAPL,20261304,190,C,1"], "line 2, column expiry: '20261304' must be a date like"),
        ([CHAIN, "0,AAPL,2026-1-24,190,C,1"], "line 2, column expiry: '2026-1-24' must be a date like"),
        ([CHAIN, "0,AAPL,2026124,190,C,1"], "line 2, column expiry: '2026124' must be a date like"),
        ([CHAIN, "0,AAPL,4 Dec,190,C,1"], "line 2, column expiry: '4 Dec' must be a date like"),
        ([CHAIN, "0,AAPL,20261204,-5,C,1"], "line 2, column strike: '-5' must be a number above 0$"),
        ([CHAIN, "0,AAPL,20261204,190,X,1"], "line 2, column right: 'X' must be C, P, CALL or PUT"),
    ],
)
def test_bad_tape_is_refused_with_its_place(lines: list[str], error: str) -> None:
    with pytest.raises(TapeError, match=error):
        read(*lines)


def test_unknown_contract_is_refused_with_its_line() -> None:
    with pytest.raises(TapeError, match=r"tape demo\.csv, line 2: no contract is called 'NOSUCH'"):
        market(read("time,name,bid", "0,NOSUCH,1"))


def test_relative_tape_needs_a_start() -> None:
    with pytest.raises(TapeError, match="seconds from a start that is not known"):
        market(read("time,name,bid", "0,AAPL,1"), start=None)


def test_missing_file_and_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TapeError, match=r"nowhere\.csv: cannot be read"):
        Tape.load(tmp_path / "nowhere.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TapeError, match=r"binary\.csv: cannot be read"):
        Tape.load(tmp_path / "binary.csv")


def test_sample_tape_plays() -> None:
    tape = Tape.load(SAMPLE)
    played = market(tape)
    assert played.quote(AAPL, at(0)).last == Decimal("189.22")
    assert played.quote(AAPL, at(3600)).last == Decimal("171.00")


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ("0,NOSUCH,20261204,190,C,1", "line 2: NOSUCH has no options, so there is no NOSUCH 20261204 190 C"),
        ("0,EUR,20261204,1,C,1", "line 2: EUR has no options"),
        ("0,AAPL,20261205,190,C,1", "line 2: AAPL 20261205 190 C ends on a day without trading"),
        ("0,AAPL,20261120,190,C,1", "line 2: AAPL  261120C00190000 has expired by then"),
    ],
)
def test_an_option_that_cannot_be_is_refused_with_its_line(row: str, error: str) -> None:
    with pytest.raises(TapeError, match=f"tape demo.csv, {error}"):
        market(read(CHAIN, row))


def test_a_class_that_a_symbol_does_not_have_is_refused() -> None:
    with pytest.raises(TapeError, match=r"line 2: SPX has no options of the class AMZN"):
        market(read("time,symbol,class,expiry,strike,right,bid", "0,SPX,AMZN,20261204,6000,C,1"))


def test_a_recorded_chain_plays_and_lists_what_it_quotes() -> None:
    played = market(Tape.load(CHAIN_SAMPLE))
    catalog = played.catalog
    (listed,) = catalog.find(ContractQuery(symbol="AAPL", sec_type="OPT", expiry="20261204", strike=D("191.25")))
    (between,) = catalog.find(ContractQuery(symbol="AAPL", sec_type="OPT", expiry="20261209"))
    assert catalog.get(listed.contract.con_id) == listed
    assert catalog.find(ContractQuery(local_symbol="AAPL  261204C00191250")) == [listed]
    assert catalog.find(ContractQuery(con_id=between.contract.con_id)) == [between]
    (chain,) = catalog.chains(AAPL, "SMART")
    assert "20261209" in chain.expirations
    assert D("191.25") in chain.strikes
    quote = played.quote(listed.contract.con_id, at(0))
    assert (quote.bid, quote.ask, quote.bid_size) == (D("2.40"), D("2.55"), D(10))
    assert quote.bid_computation is not None
    assert 0.1 < quote.bid_computation.implied_volatility < 0.6
    call = played.named("AAPL 261204C00190000").contract.con_id
    seen = [(each.bid, each.ask) for each in (played.quote(call, at(seconds)) for seconds in (0, 30, 60))]
    assert seen == [(D("2.95"), D("3.05")), (D("2.10"), D("2.20")), (None, D("0.05"))]
    assert played.quote(played.named("SPXW 261124C06005000").contract.con_id, at(1)).last == D("11.20")
    assert played.quote(AAPL, at(1)).ask == D("189.24")


def test_an_option_that_a_tape_lists_is_the_same_in_every_run_and_trades() -> None:
    ids = set()
    for _ in range(2):
        brokerage = sample_brokerage(now=START, tape=Tape.load(CHAIN_SAMPLE))
        (option,) = brokerage.catalog.find(ContractQuery(symbol="AAPL", expiry="20261209"))
        ids.add(option.contract.con_id)
        brokerage.advance(START)
        brokerage.place(1, order(1, quantity=2, contract=replace(option.contract, exchange="SMART")), START)
        brokerage.advance(at(1))
        again = sample_brokerage(now=START, tape=Tape.load(CHAIN_SAMPLE))
        restore(again, to_document(brokerage))
        assert [each.price for each in again.executions] == [D("4.25")]
        assert again.accounts["DU1234567"].positions[option.contract.con_id].quantity == 2
    assert len(ids) == 1
