"""What an order would do to its account."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from gateway_simulator.trading.accounts import Account
from gateway_simulator.trading.combination import net, unit_of
from gateway_simulator.trading.commissions import CommissionSchedule
from gateway_simulator.trading.market import Market
from gateway_simulator.trading.model import ZERO, Instrument, Order, OrderImpact, Quote
from gateway_simulator.trading.working import TRAILING, TRIGGERED


def impact_of(
    order: Order,
    instrument: Instrument,
    account: Account,
    market: Market,
    commissions: CommissionSchedule,
    now: datetime,
) -> OrderImpact:
    """Return what an order would do if it were filled at its limit or, without one, at the far side."""
    legs = instrument.parts
    quotes = [market.quote(each.instrument.contract.con_id, now) for each in legs]
    signed = order.remaining if order.action == "BUY" else -order.remaining
    prices = [
        _price(order, quote, buys=leg.ratio * signed > 0, alone=not instrument.legs)
        for leg, quote in zip(legs, quotes, strict=True)
    ]
    after = replace(
        account,
        positions=dict(account.positions),
        realized=dict(account.realized),
        day_flows=dict(account.day_flows),
        underlying_prices=dict(account.underlying_prices),
        balances=dict(account.balances),
    )
    commission = ZERO
    for leg, quote, price in zip(legs, quotes, prices, strict=True):
        contract, quantity = leg.instrument.contract, leg.ratio * signed
        cost = commissions.of_order(contract, abs(quantity), price)
        commission += cost
        after.underlying_prices.update(_underlying_price(leg.instrument, market, now))
        position = after.trade(contract, quantity, price, cost)
        after.hold(replace(position, market_price=quote.mark if quote.mark is not None else price))
    if instrument.legs and order.limit_price is not None:
        whole = net(legs, prices) or ZERO
        after.cash += signed * (whole - order.limit_price) * unit_of(legs)
    held, coming = account.margin(), after.margin()
    return OrderImpact(
        initial_margin_before=held.initial,
        maintenance_margin_before=held.maintenance,
        equity_with_loan_before=account.equity_with_loan,
        initial_margin_change=coming.initial - held.initial,
        maintenance_margin_change=coming.maintenance - held.maintenance,
        equity_with_loan_change=after.equity_with_loan - account.equity_with_loan,
        initial_margin_after=coming.initial,
        maintenance_margin_after=coming.maintenance,
        equity_with_loan_after=after.equity_with_loan,
        commission=commission,
        commission_currency=account.currency,
    )


def _price(order: Order, quote: Quote, *, buys: bool, alone: bool) -> Decimal:
    """What a contract is taken to trade at; the order's own prices count if it is the order's contract."""
    trigger = order.aux_price if order.order_type in TRIGGERED and order.order_type not in TRAILING else None
    own = (order.limit_price, trigger) if alone else ()
    far = quote.ask if buys else quote.bid
    return next((each for each in (*own, far, quote.last, quote.mark) if each is not None), ZERO)


def _underlying_price(instrument: Instrument, market: Market, now: datetime) -> dict[int, Decimal]:
    if instrument.underlying is None:
        return {}
    quote = market.quote(instrument.underlying.con_id, now)
    price = quote.last if quote.last is not None else quote.mark
    return {} if price is None else {instrument.contract.con_id: price}
