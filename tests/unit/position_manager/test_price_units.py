"""Prices in pence and cents: converted once, where IB's words come in and orders go out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.position_manager.rule_fixtures import ACCOUNT, HOURS, assess, rules

from ib_connection.ib_library import Contract, ContractDetails, Ticker
from position_manager.brokers.ib_contracts import ContractBook, per_unit
from position_manager.brokers.ib_words import execution_of, number, quote_of
from position_manager.journal import stored_instruments
from position_manager.journal.journal import Journal
from position_manager.journal.records import Stamp
from position_manager.model import Instrument, Kind, Position
from position_manager.rules.evaluation import Hold

NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)
PENCE = Contract(
    secType="STK", conId=1, symbol="BARC", exchange="SMART", primaryExchange="LSE", currency="GBP", localSymbol="BARC"
)


def reported(contract: Contract) -> ContractDetails:
    return ContractDetails(
        contract=contract, minTick=0.0001, priceMagnifier=100, validExchanges="SMART", marketRuleIds="983"
    )


def book(contract: Contract = PENCE, steps: tuple[tuple[float, float], ...] = ((0, 0.01), (500, 0.05))) -> ContractBook:
    made = ContractBook()
    made.learn(reported(contract), NOW)
    made.rules[983] = [SimpleNamespace(lowEdge=edge, increment=step) for edge, step in steps]
    return made


def test_shares_in_pence_do_not_reach_a_target_at_once() -> None:
    """They cost 3.37 pounds each and are quoted at 340 pence: a target of 60 % would have sold them all."""
    known = book()
    instrument = known.instrument(PENCE)
    position = Position(ACCOUNT, instrument, Decimal(1000), number(3.37) / per_unit(PENCE))
    position = Position(ACCOUNT, _open(instrument), position.quantity, position.average_price)
    quote = quote_of(Ticker(contract=PENCE, bid=340.1, ask=340.3, last=340.2), NOW, live=True, magnifier=100)
    assert (quote.bid, quote.ask, quote.last) == (Decimal("3.401"), Decimal("3.403"), Decimal("3.402"))
    verdict, _ = assess(position, rules(stop={"percent_of_premium": 20}, target={"percent_of_premium": 60}), quote, NOW)
    assert isinstance(verdict, Hold)
    assert verdict.pending == ()
    assert verdict.target is not None
    assert verdict.target.level == Decimal("5.392")


def _open(instrument: Instrument) -> Instrument:
    return Instrument(
        instrument.con_id, "BARC", Kind.STOCK, currency="GBP", increments=instrument.increments, liquid_hours=HOURS
    )


@pytest.mark.parametrize("steps", [((0.0, 0.01), (500.0, 0.05)), ((0.0, 0.0001), (5.0, 0.0005))])
def test_increments_are_in_the_currency_in_whichever_unit_a_market_rule_is(
    steps: tuple[tuple[float, float], ...],
) -> None:
    assert book(steps=steps).instrument(PENCE).increments == (
        (Decimal(0), Decimal("0.0001")),
        (Decimal(5), Decimal("0.0005")),
    )


def test_strikes_are_in_the_currency() -> None:
    option = Contract(
        secType="FOP", conId=1, symbol="ZC", exchange="CBOT", currency="USD", strike=450.0, right="C",
        multiplier="5000", lastTradeDateOrContractMonth="20261218",
    )  # fmt: skip
    instrument = book(option).instrument(option)
    assert (instrument.strike, instrument.label) == (Decimal("4.5"), "ZC 2026-12-18 4.5C")


def test_executions_are_in_the_currency() -> None:
    execution = SimpleNamespace(
        execId="1", shares=5.0, price=340.1, time=NOW, acctNumber=ACCOUNT, side="SLD", permId=7, clientId=7, orderRef=""
    )
    found = execution_of(PENCE, execution, 100)
    assert found is not None
    assert found.fill.price == Decimal("3.401")


def test_without_details_no_price_is_used_until_they_are_known() -> None:
    known = ContractBook()
    assert known.lacks(PENCE)
    known.unknown(PENCE, NOW)
    assert known.instrument(PENCE).magnifier == 0
    quote = quote_of(Ticker(contract=PENCE, bid=340.1, ask=340.3), NOW, live=True, magnifier=0)
    assert (quote.bid, quote.ask, quote.last, quote.underlying) == (None, None, None, None)
    assert known.lacks(PENCE), "they are asked for again"
    known.learn(reported(PENCE), NOW)
    known.rules[983] = ()
    assert known.instrument(PENCE).magnifier == 100
    assert not known.lacks(PENCE)


def test_a_journal_of_a_release_without_magnifiers_is_asked_for_again(tmp_path: Path) -> None:
    stamp = Stamp("paper", frozenset({ACCOUNT}))
    journal = Journal(tmp_path / "journal.db", stamp, clock=lambda: NOW, new_id=lambda: "id")
    journal.recover()
    instrument = Instrument(1, "BARC", Kind.STOCK, currency="GBP", local_symbol="BARC", magnifier=100)
    stored_instruments.store(journal, instrument)
    assert stored_instruments.recall(journal, NOW)[1].magnifier == 100
    (text,) = journal.memory().values()
    journal.remember("", 1, "instrument", json.dumps({k: v for k, v in json.loads(text).items() if k != "magnifier"}))
    old = stored_instruments.recall(journal, NOW)[1]
    journal.close()
    assert old.magnifier == 0
    known = ContractBook()
    known.recall([old], NOW)
    assert known.lacks(PENCE)


@given(
    st.sampled_from([1, 100]),
    st.decimals(min_value="0.01", max_value="100000", places=4, allow_nan=False),
    st.decimals(min_value="0", max_value="1", places=4, allow_nan=False),
)
def test_a_price_goes_out_as_it_came_in(magnifier: int, price: Decimal, spread: Decimal) -> None:
    bid, ask = float(price), float(price + spread)
    quote = quote_of(Ticker(contract=PENCE, bid=bid, ask=ask), NOW, live=True, magnifier=magnifier)
    assert quote.bid is not None
    assert quote.ask is not None
    assert float(quote.bid * magnifier) == bid
    assert float(quote.ask * magnifier) == ask
