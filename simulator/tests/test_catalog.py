"""What the brokerage lists, and how descriptions find it."""

from __future__ import annotations

import time
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from gateway_simulator.trading.catalog import Catalog, OptionChain, increment_at, sample_catalog
from gateway_simulator.trading.model import ContractQuery, Instrument

TODAY = date(2026, 11, 23)
STOCKS = {"AAPL": 265598, "MSFT": 272093, "SPY": 756733, "TSLA": 76792991, "NVDA": 4815747}


@pytest.fixture
def catalog() -> Catalog:
    return sample_catalog(TODAY)


def everything(catalog: Catalog) -> list[Instrument]:
    names = ("AAPL", "MSFT", "SPY", "TSLA", "NVDA", "IBM", "SPX", "VIX")
    found = [
        each
        for name in names
        for each in catalog.find(ContractQuery(symbol=name, sec_type="OPT"), include_expired=True)
    ]
    listed = [
        each
        for name in (*names, "ES", "EUR")
        for kind in ("STK", "IND", "FUT", "CASH")
        for each in catalog.find(ContractQuery(symbol=name, sec_type=kind), include_expired=True)
    ]
    return found + listed


@pytest.mark.parametrize("symbol", STOCKS)
def test_stock_is_found_by_symbol_with_the_id_that_ib_gave_it(catalog: Catalog, symbol: str) -> None:
    (found,) = catalog.find(ContractQuery(symbol=symbol, sec_type="STK", exchange="SMART", currency="USD"))
    assert found.contract.con_id == STOCKS[symbol]


def test_symbol_of_two_exchanges_is_ambiguous_until_a_currency_is_given(catalog: Catalog) -> None:
    both = catalog.find(ContractQuery(symbol="IBM", sec_type="STK", exchange="SMART"))
    assert {each.contract.currency for each in both} == {"USD", "EUR"}
    (american,) = catalog.find(ContractQuery(symbol="IBM", sec_type="STK", currency="USD"))
    assert american.contract.con_id == 8314


def test_every_id_is_unique_fits_the_wire_and_leads_back_to_its_contract(catalog: Catalog) -> None:
    for days in (0, 40, 400):
        catalog.roll(TODAY + timedelta(days=days))
        instruments = everything(catalog)
        ids = {each.contract.con_id for each in instruments}
        assert len(instruments) > 10_000 and len(ids) == len(instruments)
        assert all(0 < each < 2**31 for each in ids)
        fresh = sample_catalog(catalog.today)
        assert all(fresh.get(each.contract.con_id) == each for each in instruments[::97])


def test_ids_that_mean_nothing_are_unknown(catalog: Catalog) -> None:
    (known,) = catalog.find(ContractQuery(symbol="AAPL", expiry="20261204", strike=Decimal(190), right="C"))
    assert catalog.get(known.contract.con_id) == known
    for con_id in (0, -1, 7, 2**30, 2**31 - 1, known.contract.con_id + (1000 << 1), 2**40):
        assert catalog.get(con_id) is None


def test_options_and_futures_keep_their_ids_for_ever(catalog: Catalog) -> None:
    (call,) = catalog.find(ContractQuery(symbol="AAPL", expiry="20261204", strike=Decimal(190), right="C"))
    (future,) = catalog.find(ContractQuery(local_symbol="ESZ6"))
    assert (call.contract.con_id, future.contract.con_id) == (1085243544, 623625717)


@pytest.mark.parametrize("right", ["P", "PUT", "put"])
def test_option_is_found_by_its_terms(catalog: Catalog, right: str) -> None:
    query = ContractQuery(
        symbol="AAPL", sec_type="OPT", expiry="20261127", strike=Decimal("192.50"), right=right, exchange="SMART"
    )
    (found,) = catalog.find(query)
    assert found.contract.local_symbol == "AAPL  261127P00192500"
    assert len(found.contract.local_symbol) == 21
    assert found.underlying is not None and found.underlying.con_id == 265598
    assert (found.contract.multiplier, found.last_trade_time) == ("100", "13:00")  # the half day after Thanksgiving
    assert catalog.find(ContractQuery(local_symbol="AAPL  261127P00192500")) == [found]


def test_month_strike_0_and_no_right_mean_any(catalog: Catalog) -> None:
    month = catalog.find(ContractQuery(symbol="AAPL", sec_type="OPT", expiry="202612", strike=Decimal(190)))
    assert [(each.contract.expiry, each.contract.right) for each in month] == [
        (day, right) for day in ("20261204", "20261211", "20261218", "20261224", "20261231") for right in "CP"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "query",
    [
        ContractQuery(),
        ContractQuery(symbol="NOSUCH", sec_type="STK"),
        ContractQuery(symbol="AAPL", sec_type="BAG"),
        ContractQuery(symbol="AAPL", sec_type="STK", exchange="IDEALPRO"),
        ContractQuery(con_id=265598, exchange="IDEALPRO"),
        ContractQuery(symbol="AAPL", sec_type="OPT", expiry="20261127", strike=Decimal("190.01")),
        ContractQuery(symbol="ES", sec_type="FUT", exchange="SMART"),
        ContractQuery(local_symbol="AAPL  261127P00190010"),
        ContractQuery(con_id=1),
    ],
)
def test_what_does_not_exist_is_not_found(catalog: Catalog, query: ContractQuery) -> None:
    assert catalog.find(query) == []


def test_contract_comes_with_the_exchange_that_was_asked_for(catalog: Catalog) -> None:
    (found,) = catalog.find(ContractQuery(symbol="AAPL", sec_type="STK", exchange="NASDAQ"))
    assert (found.contract.con_id, found.contract.exchange) == (265598, "NASDAQ")


def test_futures_are_quarterly_and_expired_ones_come_when_asked_for(catalog: Catalog) -> None:
    query = ContractQuery(symbol="ES", sec_type="FUT", exchange="CME")
    now = [(each.contract.local_symbol, each.contract.expiry) for each in catalog.find(query)]
    assert now == [("ESZ6", "20261218"), ("ESH7", "20270319"), ("ESM7", "20270617"), ("ESU7", "20270917")]
    every = [each.contract.local_symbol for each in catalog.find(query, include_expired=True)]
    assert every[-5:-3] == ["ESU6", "ESZ6"] and len(every) == 13 - 1
    (december,) = catalog.find(ContractQuery(symbol="ES", sec_type="FUT", expiry="202612"))
    assert december.contract.multiplier == "50"


def test_roll_lists_new_expiries_and_keeps_old_contracts(catalog: Catalog) -> None:
    query = ContractQuery(symbol="AAPL", expiry="20261127", strike=Decimal(190), right="C")
    (old,) = catalog.find(query)
    before = catalog.chains(265598, "SMART")[0].expirations
    catalog.roll(date(2026, 11, 28))
    after = catalog.chains(265598, "SMART")[0].expirations
    assert set(before) - set(after) == {"20261127"} and set(after) - set(before) == {"20270108"}
    assert catalog.find(query) == [] and catalog.find(ContractQuery(con_id=old.contract.con_id)) == []
    assert catalog.find(query, include_expired=True) == [old]
    assert sample_catalog(date(2027, 11, 28)).get(old.contract.con_id) == old


def test_chain_lists_weeklies_monthlies_and_leaps(catalog: Catalog) -> None:
    chain = catalog.chains(265598, "SMART")[0]
    assert chain.expirations == (
        "20261127", "20261204", "20261211", "20261218", "20261224", "20261231",
        "20270115", "20270219", "20270319", "20270416", "20270521", "20280121", "20290119",
    )  # fmt: skip
    assert Decimal("190") in chain.strikes and chain.strikes[0] < Decimal("133") < Decimal("245") <= chain.strikes[-1]
    assert {each.exchange for each in catalog.chains(265598)} == {"SMART", "AMEX", "CBOE", "ISE", "PHLX"}
    assert catalog.chains(12087792) == []


def test_index_options_have_two_classes_that_end_at_different_times(catalog: Catalog) -> None:
    third_friday = ContractQuery(symbol="SPX", sec_type="OPT", expiry="20261218", strike=Decimal(6000), right="C")
    weekly, monthly = catalog.find(third_friday)
    assert (weekly.contract.trading_class, weekly.last_trade_time) == ("SPXW", "16:00")
    assert (monthly.contract.trading_class, monthly.last_trade_time) == ("SPX", "09:30")
    assert weekly.contract.con_id != monthly.contract.con_id
    (only,) = catalog.find(ContractQuery(symbol="SPX", expiry="20261204", strike=Decimal(6000), right="C"))
    assert only.contract.trading_class == "SPXW"


@pytest.mark.parametrize(
    ("symbol", "exchange", "increments"),
    [
        ("AAPL", "SMART", ("0.01", "0.01")),
        ("AAPL", "CBOE", ("0.01", "0.05")),
        ("SPY", "CBOE", ("0.01", "0.01")),
        ("SPX", "SMART", ("0.05", "0.10")),
        ("SPX", "CBOE", ("0.05", "0.10")),
    ],
)
def test_increments_of_an_option_follow_class_exchange_and_price(
    catalog: Catalog, symbol: str, exchange: str, increments: tuple[str, str]
) -> None:
    found = catalog.find(ContractQuery(symbol=symbol, sec_type="OPT", exchange=exchange))[0]
    below, above = (increment_at(found, Decimal(price)) for price in ("2.99", "3"))
    assert (below, above) == tuple(map(Decimal, increments))


def test_stocks_have_an_isin_with_a_right_check_digit(catalog: Catalog) -> None:
    isins = {name: catalog.find(ContractQuery(symbol=name, sec_type="STK"))[0].isin for name in (*STOCKS, "IBM")}
    assert isins["AAPL"] == "US0378331005"
    for isin in isins.values():
        digits = "".join(str(int(each, 36)) for each in isin)
        assert sum(sum(divmod(int(each) * (2 - at % 2), 10)) for at, each in enumerate(digits[::-1], 1)) % 10 == 0


def test_search_finds_symbols_before_names(catalog: Catalog) -> None:
    assert [each.contract.symbol for each in catalog.search("sp")][:2] == ["SPY", "SPX"]
    (apple,) = catalog.search("apple")
    assert (apple.contract.symbol, apple.derivative_types) == ("AAPL", ("OPT",))
    assert catalog.search("  ") == []


@pytest.mark.parametrize(
    ("name", "con_id"), [("aapl", 265598), ("EUR.USD", 12087792), ("EUR", 12087792), ("8314", 8314), ("SPX", 416904)]
)
def test_person_may_name_a_contract_in_several_ways(catalog: Catalog, name: str, con_id: int) -> None:
    assert catalog.named(name)[0].contract.con_id == con_id


def test_person_may_name_a_derivative_by_its_local_symbol(catalog: Catalog) -> None:
    assert catalog.named("ESZ6")[0].contract.sec_type == "FUT"
    assert catalog.named("AAPL 261204C00190000")[0].contract.strike == 190
    assert catalog.named("NOSUCH") == []


def test_catalog_is_built_fast() -> None:
    start = time.perf_counter()
    sample_catalog(TODAY)
    assert time.perf_counter() - start < 0.3


def chain(catalog: Catalog, con_id: int, trading_class: str) -> OptionChain:
    (found,) = [each for each in catalog.chains(con_id, "SMART") if each.trading_class == trading_class]
    return found


def test_spxw_ends_on_every_trading_day_of_the_next_weeks(catalog: Catalog) -> None:
    days = chain(catalog, 416904, "SPXW").expirations
    # Thanksgiving is the 26th, and the weekends are closed.
    assert days[:8] == (
        *("20261123", "20261124", "20261125", "20261127"),
        *("20261130", "20261201", "20261202", "20261203"),
    )
    assert len([each for each in days if each < "20261222"]) == 20
    assert {"20270115", "20270319"} <= set(days)


def test_spxw_has_strikes_five_points_apart_about_the_index(catalog: Catalog) -> None:
    strikes = chain(catalog, 416904, "SPXW").strikes
    near = [each for each in strikes if 5700 <= each <= 6300]
    assert {later - earlier for earlier, later in pairwise(near)} == {5}
    assert {later - earlier for earlier, later in pairwise(strikes)} == {5, 25}
    (found,) = catalog.find(
        ContractQuery(symbol="SPX", trading_class="SPXW", expiry="20261124", strike=Decimal(6005), right="P")
    )
    assert found.contract.local_symbol == "SPXW  261124P06005000"
    assert increment_at(found, Decimal("2.95")) == Decimal("0.05")
    assert increment_at(found, Decimal(3)) == Decimal("0.10")
    assert catalog.find(ContractQuery(local_symbol="SPXW  261124P06005000")) == [found]
    assert catalog.get(found.contract.con_id) == found


@pytest.mark.parametrize("expiry", ["20261216", "20270120", "20270217", "20270317"])
def test_vix_options_end_on_the_wednesday_thirty_days_before_the_next_third_friday(
    catalog: Catalog, expiry: str
) -> None:
    found = catalog.find(ContractQuery(symbol="VIX", sec_type="OPT", expiry=expiry, right="C"))
    assert [each.contract.strike for each in found] == [Decimal(each) for each in range(10, 61)]
    assert {each.last_trade_time for each in found} == {"09:30"}
    assert increment_at(found[0], Decimal(1)) == Decimal("0.05")
    day = date.fromisoformat(f"{expiry[:4]}-{expiry[4:6]}-{expiry[6:]}")
    friday = day + timedelta(days=30)
    assert (day.weekday(), friday.weekday()) == (2, 4)
    assert 15 <= friday.day <= 21


def test_a_symbol_that_is_added_never_takes_the_numbers_of_vix_and_spxw(catalog: Catalog) -> None:
    for number in range(300):
        first, rest = divmod(number, 26)
        catalog.invent(f"Q{chr(65 + first)}{chr(65 + rest)}")
    (found,) = catalog.find(ContractQuery(symbol="VIX", expiry="20261216", strike=Decimal(16), right="C"))
    assert catalog.get(found.contract.con_id) == found
