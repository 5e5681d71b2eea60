"""Quotes: repeatable, on their increments, and as they were set."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from time import process_time

import pytest

from gateway_simulator.trading.catalog import Catalog, increment_at, sample_catalog
from gateway_simulator.trading.market import STEP, Market, MarketError, UnknownContractError
from gateway_simulator.trading.model import ContractQuery, Halted, Quote
from gateway_simulator.trading.tradinghours import TradingHours

TODAY = date(2026, 11, 23)
NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)  # 10:00 in New York
AAPL, MSFT, SPX, EUR = 265598, 272093, 416904, 12087792


def build(kind: str = "always", seed: int = 1) -> Market:
    return Market(sample_catalog(TODAY), TradingHours(kind), seed)


@pytest.fixture
def market() -> Market:
    return build()


def id_of(market: Market, name: str) -> int:
    return market.named(name).contract.con_id


def prices(quote: Quote) -> tuple[Decimal | None, Decimal | None, Decimal | None]:
    return quote.bid, quote.ask, quote.last


def chain(catalog: Catalog) -> list[int]:
    found = catalog.find(ContractQuery(symbol="AAPL", sec_type="OPT", exchange="SMART"))
    return [each.contract.con_id for each in found[:600:6]]


NAMES = (
    "AAPL",
    "SPY",
    "ESZ6",
    "EUR.USD",
    "SPX",
    "AAPL 261204C00190000",
    "SPXW 261204P05500000",
    "AAPL 261204C00245000",
)


@pytest.mark.parametrize("kind", ["always", "exchange"])
def test_quote_depends_on_seed_contract_and_moment_alone(kind: str) -> None:
    moments = [NOW + timedelta(seconds=seconds) for seconds in (0, 0.25, 1, 3600, 86400, 40)]
    first, second = build(kind), build(kind)
    forwards = {(name, now): first.quote(id_of(first, name), now) for now in moments for name in NAMES}
    for (name, now), quote in reversed(forwards.items()):
        assert second.quote(id_of(second, name), now) == quote
    assert build(kind, seed=2).quote(AAPL, NOW) != first.quote(AAPL, NOW)


@pytest.mark.parametrize("name", NAMES)
def test_prices_lie_on_their_increments_and_in_order(market: Market, name: str) -> None:
    instrument = market.named(name)
    for number in range(200):
        quote = market.quote(instrument.contract.con_id, NOW + number * timedelta(seconds=61))
        known = [each for each in prices(quote) if each is not None]
        assert known and all(each > 0 and each % increment_at(instrument, each) == 0 for each in known)
        if quote.bid is not None and quote.ask is not None and quote.last is not None:
            assert quote.bid <= quote.last <= quote.ask and quote.bid < quote.ask
        assert quote.mark is not None and (quote.bid or 0) <= quote.mark <= (quote.ask or quote.mark)


def test_stock_spread_is_small_and_option_spread_wider(market: Market) -> None:
    stock, option = market.quote(AAPL, NOW), market.quote(id_of(market, "AAPL 261204C00180000"), NOW)
    assert stock.bid and stock.ask and option.bid and option.ask
    assert (stock.ask - stock.bid) / stock.ask < Decimal("0.0003")
    assert (option.ask - option.bid) / option.ask > Decimal("0.02")


def test_index_has_only_a_last_price_and_a_currency_none(market: Market) -> None:
    index, euro = market.quote(SPX, NOW), market.quote(EUR, NOW)
    assert index.bid is index.ask is None and index.bid_size == 0 and index.last is not None
    assert euro.bid is not None and euro.ask is not None
    assert euro.last is None and euro.last_size == 0 and euro.mark == (euro.bid + euro.ask) / 2


def test_option_has_all_four_computations_that_agree_with_its_prices(market: Market) -> None:
    quote = market.quote(id_of(market, "AAPL 261218C00190000"), NOW)
    bid, ask, last, model = (
        quote.bid_computation,
        quote.ask_computation,
        quote.last_computation,
        quote.model_computation,
    )
    assert bid and ask and last and model
    assert (bid.price, ask.price, last.price) == tuple(float(each) for each in prices(quote) if each is not None)
    assert bid.implied_volatility < model.implied_volatility < ask.implied_volatility
    assert 0 < model.delta < 1 and model.theta < 0 and model.underlying_price == pytest.approx(182.45, abs=0.01)


def test_worthless_option_has_no_bid(market: Market) -> None:
    quote = market.quote(id_of(market, "AAPL 261204C00245000"), NOW)
    assert quote.bid is None and quote.bid_computation is None
    assert quote.bid_size == 0 and quote.ask == Decimal("0.02")


def test_expired_contract_has_no_quotes(market: Market) -> None:
    option = id_of(market, "AAPL 261127C00190000")
    before = datetime(2026, 11, 27, 17, 59, 59, tzinfo=UTC)
    assert market.quote(option, before).ask is not None
    after = market.quote(option, before + timedelta(seconds=1))
    assert (*prices(after), after.mark, after.model_computation) == (None,) * 5
    assert not after.open and not after.extended
    assert market.catalog.get(option) is not None


def test_future_follows_its_index_with_the_cost_of_carry(market: Market) -> None:
    index, near, far = (market.quote(id_of(market, name), NOW).last for name in ("SPX", "ESZ6", "ESU7"))
    assert index and near and far and index < near < far < index * Decimal("1.04")


def test_closed_market_shows_what_it_showed_last() -> None:
    market = build("exchange")
    late, night = datetime(2026, 11, 24, 0, 59, 59, 750_000, tzinfo=UTC), datetime(2026, 11, 24, 3, tzinfo=UTC)
    assert prices(market.quote(AAPL, night)) == prices(market.quote(AAPL, late))
    assert market.quote(AAPL, late).extended and not market.quote(AAPL, late).open
    assert not market.quote(AAPL, night).extended
    monday_evening = datetime(2026, 11, 23, 22, tzinfo=UTC)
    option = id_of(market, "AAPL 261204C00180000")
    assert prices(market.quote(option, monday_evening)) == prices(market.quote(option, night))


def test_day_values_hold_every_quote_since_the_opening() -> None:
    market = build("exchange")
    opening = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
    lasts = [market.quote(AAPL, opening + number * STEP).last for number in range(2000)]
    seen = [each for each in lasts if each is not None]
    quote = market.quote(AAPL, opening + 1999 * STEP)
    assert (quote.day_open, quote.day_high, quote.day_low) == (seen[0], max(seen), min(seen))
    # Asked for the first time at the end of the day, they are the same.
    assert build("exchange").quote(AAPL, opening + 1999 * STEP) == quote


def test_day_values_stay_while_the_market_is_closed() -> None:
    market = build("exchange")
    late, night = datetime(2026, 11, 24, 0, 59, 59, 750_000, tzinfo=UTC), datetime(2026, 11, 24, 8, tzinfo=UTC)
    evening, morning = market.quote(AAPL, late), market.quote(AAPL, night)
    assert (evening.day_high, evening.day_low) == (morning.day_high, morning.day_low)
    assert morning.volume == pytest.approx(evening.volume, rel=Decimal("0.001"))


def test_day_opens_at_a_price_that_is_set_in_its_first_step(market: Market) -> None:
    midnight = datetime(2026, 11, 23, 5, tzinfo=UTC)
    market.quote(AAPL, midnight)
    market.set_price("AAPL", midnight, last=Decimal(100))
    assert market.quote(AAPL, midnight).day_open == 100


def test_close_is_the_last_price_of_the_regular_session_before() -> None:
    market = build("exchange")
    friday = datetime(2026, 11, 20, 20, 59, 59, 750_000, tzinfo=UTC)
    assert market.quote(AAPL, NOW).close == market.quote(AAPL, friday).last


def test_volume_grows_over_the_day_and_starts_again(market: Market) -> None:
    day = [market.quote(AAPL, NOW + number * timedelta(minutes=20)).volume for number in range(42)]
    assert day == sorted(day) and day[0] > 1_000_000
    assert market.quote(AAPL, NOW + timedelta(hours=14, minutes=1)).volume < day[0]


def test_hundred_options_are_quoted_quickly(market: Market) -> None:
    options = chain(market.catalog)
    for con_id in options:
        market.quote(con_id, NOW)
    start = process_time()
    for _ in range(4):
        for con_id in options:
            market.quote(con_id, NOW + STEP)
    assert len(options) == 100 and process_time() - start < 0.05


def test_quote_lasts_for_a_step(market: Market) -> None:
    assert market.quote(AAPL, NOW + timedelta(milliseconds=249)) is market.quote(AAPL, NOW)
    assert market.next_change(NOW + timedelta(milliseconds=249)) == NOW + STEP


def test_unknown_contract_is_refused(market: Market) -> None:
    with pytest.raises(UnknownContractError, match="no contract has the id 7"):
        market.quote(7, NOW)


# Prices that are set


def test_set_prices_apply_at_once_and_until_they_are_released(market: Market) -> None:
    free = build()
    market.quote(AAPL, NOW)
    market.set_price("AAPL", NOW, bid=Decimal("150.10"), ask=Decimal("150.20"), last=Decimal("150.15"))
    later = NOW + timedelta(hours=5)
    expected = (Decimal("150.10"), Decimal("150.20"), Decimal("150.15"))
    assert prices(market.quote(AAPL, NOW)) == prices(market.quote(AAPL, later)) == expected
    market.release("AAPL", later)
    assert prices(market.quote(AAPL, later)) == prices(free.quote(AAPL, later))
    assert prices(market.quote(AAPL, NOW)) == expected
    assert market.revision == 2


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"last": "150"}, ("149.99", "150.01", "150")),
        ({"bid": "150"}, ("150", "150.02", "150.01")),
        ({"ask": "150"}, ("149.98", "150", "149.99")),
        ({"bid": "150", "ask": "151"}, ("150", "151", "150.50")),
        ({"bid": "150", "last": "152"}, ("150", "152", "152")),
        ({"ask": "150", "last": "149"}, ("149", "150", "149")),
    ],
)
def test_prices_not_given_are_derived(market: Market, given: dict[str, str], expected: tuple[str, ...]) -> None:
    market.set_price("AAPL", NOW, **{key: Decimal(text) for key, text in given.items()})
    assert prices(market.quote(AAPL, NOW)) == tuple(Decimal(each) for each in expected)


def test_last_price_is_kept_between_bid_and_ask_that_lie_between_increments(market: Market) -> None:
    name = "SPXW 261204C06000000"
    for bid, ask, last in (("3.06", "3.07", "3.07"), ("3.03", "3.04", "3.03")):
        market.set_price(name, NOW, bid=Decimal(bid), ask=Decimal(ask))
        assert market.quote(id_of(market, name), NOW).last == Decimal(last)


def test_market_without_bid_and_ask_keeps_its_last_trade(market: Market) -> None:
    before = market.quote(AAPL, NOW).last
    market.set_price("AAPL", NOW)
    assert prices(market.quote(AAPL, NOW)) == (None, None, before)
    assert market.quote(AAPL, NOW).bid_size == 0


def test_options_follow_a_set_underlying_unless_they_are_set_themselves(market: Market) -> None:
    call, put = "AAPL 261204C00190000", "AAPL 261204P00190000"
    market.set_price(put, NOW, bid=Decimal("1.00"), ask=Decimal("1.10"))
    market.set_price("AAPL", NOW, last=Decimal(210))
    followed, own = market.quote(id_of(market, call), NOW), market.quote(id_of(market, put), NOW)
    assert followed.last == pytest.approx(Decimal("20.4"), abs=Decimal("0.5"))
    assert followed.model_computation and followed.model_computation.underlying_price == pytest.approx(210, abs=0.01)
    assert (own.bid, own.ask) == (Decimal("1.00"), Decimal("1.10"))
    assert own.model_computation and own.model_computation.price < 0.5
    assert followed.day_high is not None and followed.last is not None and followed.day_high >= followed.last


def test_futures_follow_their_index_and_no_other(market: Market) -> None:
    before = market.quote(SPX, NOW).last
    market.set_price("ES", NOW, last=Decimal(5000))
    last = market.quote(id_of(market, "ESZ6"), NOW).last
    assert last is not None and 5000 < last < 5020
    assert market.quote(SPX, NOW).last == before


def test_day_range_holds_set_prices_and_forgets_those_taken_back(market: Market) -> None:
    market.set_price("AAPL", NOW, last=Decimal(100))
    market.set_price("AAPL", NOW + timedelta(minutes=1), last=Decimal(300))
    quote = market.quote(AAPL, NOW + timedelta(minutes=2))
    assert (quote.day_low, quote.day_high) == (Decimal(100), Decimal(300))
    market.release("AAPL")
    assert market.quote(AAPL, NOW) == build().quote(AAPL, NOW)


@pytest.mark.parametrize(
    ("name", "given", "error"),
    [
        ("NOSUCH", {"last": "1"}, "no contract is called 'NOSUCH'; give a symbol"),
        ("AAPL", {"bid": "2", "ask": "1"}, "the bid of AAPL, 2, is above the ask 1"),
        ("AAPL", {"last": "0"}, "the last of AAPL is 0; it must be above 0"),
        ("AAPL", {"bid": "NaN"}, "the bid of AAPL is NaN"),
        ("SPX", {"bid": "5000"}, "SPX is an index; it has a last price"),
    ],
)
def test_price_that_cannot_be_is_refused(market: Market, name: str, given: dict[str, str], error: str) -> None:
    with pytest.raises(MarketError, match=error):
        market.set_price(name, NOW, **{key: Decimal(text) for key, text in given.items()})
    assert market.revision == 0


def test_expired_contract_cannot_be_set_and_unset_ones_not_released(market: Market) -> None:
    with pytest.raises(MarketError, match="AAPL  261127C00190000 has expired"):
        market.set_price("AAPL 261127C00190000", NOW + timedelta(days=5), last=Decimal(1))
    with pytest.raises(MarketError, match="no price of AAPL is set"):
        market.release("AAPL")


def test_halt_stops_a_contract_and_its_options_until_it_is_resumed(market: Market) -> None:
    call = id_of(market, "AAPL 261204C00190000")
    market.halt("AAPL", Halted.VOLATILITY)
    assert market.quote(AAPL, NOW).halted is market.quote(call, NOW).halted is Halted.VOLATILITY
    assert market.quote(MSFT, NOW).halted is Halted.NO
    market.resume("AAPL")
    assert market.quote(AAPL, NOW).halted is market.quote(call, NOW).halted is Halted.NO
    with pytest.raises(MarketError, match="AAPL is not halted"):
        market.resume("AAPL")


def test_what_was_set_survives_as_json(market: Market) -> None:
    later = NOW + timedelta(minutes=1)
    market.set_price("AAPL", NOW, last=Decimal("150.00"))
    market.release("AAPL", NOW + timedelta(seconds=10))
    market.set_price("EUR.USD", later)
    market.halt("MSFT", Halted.GENERAL)
    again = build()
    again.restore_scripted(json.loads(json.dumps(market.scripted())))
    for con_id in (AAPL, EUR, MSFT):
        for now in (NOW, NOW + timedelta(seconds=10), later):
            assert again.quote(con_id, now) == market.quote(con_id, now)
    assert again.scripted() == market.scripted()


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({}, "prices: must be an object"),
        ({"prices": {}, "halted": {"265598": 7}}, "halted.265598: 7 is not a valid Halted"),
        ({"prices": {"apple": []}, "halted": {}}, "prices.apple: is no contract id"),
        ({"prices": {"7": []}, "halted": {}}, "contract 7: is not in the catalog"),
        ({"prices": {"265598": [["noon", None]]}, "halted": {}}, "prices.265598: .*noon"),
        ({"prices": {"265598": [["2026-11-23T15:00:00+00:00", {"bid": "x"}]]}, "halted": {}}, "prices.265598: "),
        ({"prices": {"265598": 5}, "halted": {}}, "prices.265598: "),
    ],
)
def test_damaged_document_is_refused_and_changes_nothing(
    market: Market, document: dict[str, object], error: str
) -> None:
    market.set_price("AAPL", NOW, last=Decimal(1))
    with pytest.raises(MarketError, match=error):
        market.restore_scripted(document)
    assert market.quote(AAPL, NOW).last == 1


# The calculator


def test_calculator_gives_price_for_volatility_and_back(market: Market) -> None:
    call = id_of(market, "AAPL 261218C00190000")
    worth = market.option_computation(call, 0.35, 200.0, NOW)
    back = market.option_volatility(call, worth.price, 200.0, NOW)
    assert back.implied_volatility == pytest.approx(0.35, abs=1e-5)
    assert worth.underlying_price == back.underlying_price == 200.0


def test_calculator_refuses_what_it_cannot_do(market: Market) -> None:
    call = id_of(market, "AAPL 261218C00190000")
    with pytest.raises(MarketError, match=r"AAPL \(STK\) is not an option"):
        market.option_computation(AAPL, 0.3, 200.0, NOW)
    with pytest.raises(MarketError, match="volatility is 0; it must be above 0"):
        market.option_computation(call, 0, 200.0, NOW)
    with pytest.raises(MarketError, match="underlying's price is -1"):
        market.option_computation(call, 0.3, -1, NOW)
    with pytest.raises(MarketError, match="no volatility gives the option the price 5"):
        market.option_volatility(call, 5, 200.0, NOW)
    with pytest.raises(MarketError, match="has expired"):
        market.option_volatility(call, 5, 200.0, NOW + timedelta(days=30))
