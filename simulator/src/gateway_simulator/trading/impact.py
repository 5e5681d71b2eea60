"""What an order would do to its account."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from gateway_simulator.trading.accounts import Account
from gateway_simulator.trading.commissions import CommissionSchedule
from gateway_simulator.trading.market import Market
from gateway_simulator.trading.model import ZERO, Instrument, Order, OrderImpact


def impact_of(
    order: Order,
    instrument: Instrument,
    account: Account,
    market: Market,
    commissions: CommissionSchedule,
    now: datetime,
) -> OrderImpact:
    """Return what an order would do if it were filled at its limit or, without one, at the far side."""
    quote = market.quote(order.contract.con_id, now)
    far = quote.ask if order.action == "BUY" else quote.bid
    price = next(
        (each for each in (order.limit_price, order.aux_price, far, quote.last, quote.mark) if each is not None),
        ZERO,
    )
    commission = commissions.of_order(order.contract, order.remaining, price)
    after = replace(
        account,
        positions=dict(account.positions),
        realized=dict(account.realized),
        day_flows=dict(account.day_flows),
        underlying_prices=_underlying_prices(account, instrument, market, now),
    )
    signed = order.remaining if order.action == "BUY" else -order.remaining
    position = after.trade(instrument.contract, signed, price, commission)
    mark = quote.mark if quote.mark is not None else price
    after.hold(replace(position, market_price=mark))
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


def _underlying_prices(account: Account, instrument: Instrument, market: Market, now: datetime) -> dict[int, Decimal]:
    prices = dict(account.underlying_prices)
    if instrument.underlying is not None:
        quote = market.quote(instrument.underlying.con_id, now)
        price = quote.last if quote.last is not None else quote.mark
        if price is not None:
            prices[instrument.contract.con_id] = price
    return prices
