"""Tapes are read as documented, and a bad one is refused with the place of the fault."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from gateway_simulator.trading.catalog import sample_catalog
from gateway_simulator.trading.market import Market
from gateway_simulator.trading.model import Halted
from gateway_simulator.trading.tape import Tape, TapeError
from gateway_simulator.trading.tradinghours import TradingHours

START = datetime(2026, 11, 23, 15, tzinfo=UTC)
SAMPLE = Path(__file__).parents[1] / "samples" / "tape.csv"
AAPL = 265598


def read(*lines: str) -> Tape:
    return Tape.read("demo.csv", lines)


def market(tape: Tape | None, start: datetime | None = START) -> Market:
    return Market(sample_catalog(date(2026, 11, 23)), TradingHours("always"), 1, tape, start=start)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_rows_stand_until_the_next_and_empty_cells_keep_what_was_said() -> None:
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


def test_price_set_by_hand_stands_above_the_tape() -> None:
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
