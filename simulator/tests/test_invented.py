"""Stocks that nobody listed, and those of a catalog file."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from simulator.tests.trading_desk import MONDAY_MORNING, Desk, order

from gateway_simulator.trading.catalog import increment_at, sample_catalog
from gateway_simulator.trading.invented import CatalogFileError, invented, read_catalog_file
from gateway_simulator.trading.model import Contract, ContractQuery
from gateway_simulator.trading.persistence import to_document
from gateway_simulator.trading.sample import sample_brokerage
from gateway_simulator.trading.statelog import StateLog, load

TODAY = date(2026, 11, 23)
STOCK = ContractQuery(symbol="ABNB", sec_type="STK")
SAMPLE = {"QQQ": 320227571, "TLT": 15547841, "IWM": 9579970, "AMD": 4391, "INTC": 270639, "AMZN": 3691937}


def test_an_unknown_stock_is_invented_the_same_in_every_run_with_an_option_chain() -> None:
    first, second = (sample_catalog(TODAY, invents=True) for _ in range(2))
    [stock] = first.find(STOCK)
    assert second.find(STOCK) == [stock]
    assert stock.contract.con_id == first.find(STOCK)[0].contract.con_id
    assert stock.isin.startswith("US") and len(stock.isin) == 12
    [chain, *_] = first.chains(stock.contract.con_id, "SMART")
    assert len(chain.expirations) > 8 and 20 < len(chain.strikes) < 80
    option = ContractQuery(
        symbol="ABNB", sec_type="OPT", expiry=chain.expirations[0], strike=chain.strikes[5], right="P"
    )
    [found] = first.find(option)
    assert first.get(found.contract.con_id) == found
    assert second.get(found.contract.con_id) == found
    assert increment_at(found, Decimal(4)) == Decimal("0.10")


@pytest.mark.parametrize("exchange", ["NASDAQ", "NYSE", "ARCA", "ISLAND"])
def test_an_invented_stock_is_found_whatever_primary_exchange_a_client_believes_in(exchange: str) -> None:
    catalog = sample_catalog(TODAY, invents=True)
    asked = ContractQuery(symbol="ABNB", sec_type="STK", primary_exchange=exchange)
    assert len(catalog.find(asked)) == len(catalog.find(asked)) == 1
    assert catalog.find(ContractQuery(symbol="UBER", sec_type="STK", primary_exchange="IBIS")) == []
    assert catalog.added == ["ABNB"]


def test_options_of_a_symbol_that_nobody_asked_for_invent_their_stock() -> None:
    catalog = sample_catalog(TODAY, invents=True)
    assert catalog.find(ContractQuery(symbol="UBER", sec_type="OPT", right="C"))
    assert catalog.added == ["UBER"]


@pytest.mark.parametrize(
    "query",
    [
        ContractQuery(symbol="NOSUCH", sec_type="STK"),
        ContractQuery(symbol="abc1", sec_type="STK"),
        ContractQuery(symbol="ABNB"),
        ContractQuery(symbol="ABNB", sec_type="FUT"),
        ContractQuery(symbol="ABNB", sec_type="STK", currency="EUR"),
        ContractQuery(symbol="IBM", sec_type="STK", exchange="NOWHERE"),
    ],
)
def test_what_is_no_stock_of_the_united_states_is_not_invented(query: ContractQuery) -> None:
    catalog = sample_catalog(TODAY, invents=True)
    assert catalog.find(query) == []
    assert catalog.added == []


def test_a_catalog_that_refuses_invents_nothing() -> None:
    assert sample_catalog(TODAY).find(STOCK) == []


def test_an_invented_stock_trades_and_outlives_the_program_with_its_options(tmp_path: Path) -> None:
    desk, path = Desk(), tmp_path / "state.json"
    log = StateLog(path, desk.brokerage)
    log.store()
    desk.place(order(1, contract=Contract(0, "UBER", currency="USD")))
    chain = desk.option(strike=0, symbol="ABNB")
    desk.place(order(2, "SELL", 1, contract=chain.contract))
    desk.wait()
    log.store()
    held = {each.contract.symbol for each in desk.account.positions.values()}
    assert held == {"AAPL", "MSFT", "UBER", "ABNB"}
    other = sample_brokerage(now=MONDAY_MORNING)
    assert load(path, other)
    assert to_document(other) == to_document(desk.brokerage)
    assert other.catalog.get(chain.contract.con_id) == desk.brokerage.catalog.get(chain.contract.con_id)


@pytest.mark.parametrize(("symbol", "con_id"), SAMPLE.items())
def test_more_stocks_have_their_ids_isins_and_options(symbol: str, con_id: int) -> None:
    catalog = sample_catalog(TODAY)
    [stock] = catalog.find(ContractQuery(symbol=symbol, sec_type="STK"))
    assert stock.contract.con_id == con_id
    assert stock.isin
    for option in catalog.find(ContractQuery(symbol=symbol, sec_type="OPT", right="C"))[::25]:
        assert catalog.get(option.contract.con_id) == option


def test_berkshire_currency_pairs_and_futures_are_listed() -> None:
    catalog = sample_catalog(TODAY)
    assert catalog.find(ContractQuery(symbol="BRK B", sec_type="STK"))[0].contract.con_id == 72063691
    assert catalog.named("BRKB  261218C00475000")[0].contract.symbol == "BRK B"
    assert [catalog.named(each)[0].contract.sec_type for each in ("MESZ6", "NQZ6", "MNQZ6", "GBP.USD", "VIX")] == [
        *("FUT", "FUT", "FUT", "CASH", "IND")
    ]
    [yen] = catalog.find(ContractQuery(symbol="USD", sec_type="CASH", currency="JPY"))
    assert increment_at(yen, Decimal(154)) == Decimal("0.005")


def test_a_file_adds_to_the_sample_and_replaces_some_of_it(tmp_path: Path) -> None:
    path = tmp_path / "catalog.csv"
    path.write_text("symbol,price,name,kind,strike_step\nABNB,130.5,AIRBNB INC,COMMON,5\naapl,50,,ETF,0\n")
    catalog = sample_catalog(TODAY, listings=read_catalog_file(path))
    [airbnb] = catalog.find(STOCK)
    assert airbnb.long_name == "AIRBNB INC"
    reference = catalog.reference(airbnb.contract.con_id)
    assert reference is not None and reference.base_price == Decimal("130.5")
    assert catalog.chains(airbnb.contract.con_id, "SMART")[0].strikes[:2] == (Decimal(95), Decimal(100))
    [apple] = catalog.find(ContractQuery(symbol="AAPL", sec_type="STK"))
    assert (apple.contract.con_id, apple.stock_type) == (265598, "ETF")
    assert catalog.chains(265598) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("symbol\nABNB\n", r":1: columns .* missing: price"),
        ("symbol,price,colour\nABNB,1,red\n", "unknown: colour"),
        ("symbol,price\nNOSUCH,1\n", ":2: symbol is 'NOSUCH'"),
        ("symbol,price\nABNB,dear\n", ":2: price is 'dear'"),
        ("symbol,price\nABNB,0\n", "price is 0"),
        ("symbol,price,exchange\nABNB,1,IBIS\n", "exchange is 'IBIS'"),
        ("symbol,price,volatility\nABNB,1,9\n", "volatility is 9"),
        ("symbol,price,strike_step\nABNB,100,0.1\n", "strike_step is 0.1"),
        ("symbol,price\nABNB,1\nABNB,2\n", ":3: symbol ABNB is there a second time"),
    ],
)
def test_a_bad_file_is_refused_by_line_and_column(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "catalog.csv"
    path.write_text(text)
    with pytest.raises(CatalogFileError, match=complaint):
        read_catalog_file(path)


def test_invented_prices_are_plausible() -> None:
    assert len({invented(symbol).price for symbol in ("A", "BB", "CCC", "DDDD", "EEEEE")}) == 5
    assert all(Decimal(10) <= invented(symbol).price <= Decimal(400) for symbol in ("A", "BB", "CCC", "DDDD"))
