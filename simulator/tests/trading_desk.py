"""A brokerage at a chosen moment, and short words for orders and for its reports."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from gateway_simulator.trading import events
from gateway_simulator.trading.accounts import Account
from gateway_simulator.trading.brokerage import Brokerage, BrokerageSettings
from gateway_simulator.trading.model import Contract, ContractQuery, Instrument, Order, Position
from gateway_simulator.trading.sample import sample_brokerage

MONDAY_MORNING = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
"""10:00 in New York on a trading day."""
ACCOUNT = "DU1234567"
AAPL, MSFT, SPY = 265598, 272093, 756733
STOCK = Contract(0, "AAPL", currency="USD")


def order(order_id: int, action: str = "BUY", quantity: int | str = 10, order_type: str = "MKT", **terms: Any) -> Order:
    """An order as a client sends it. Prices may be given as text or whole numbers."""
    for name in ("limit_price", "aux_price", "trail_stop_price", "trailing_percent", "limit_price_offset"):
        if terms.get(name) is not None:
            terms[name] = Decimal(terms[name])
    terms.setdefault("contract", STOCK)
    return Order(
        order_id=order_id,
        client_id=0,
        perm_id=0,
        account=terms.pop("account", ""),
        action=action,
        quantity=Decimal(quantity),
        order_type=order_type,
        **terms,
    )


class Desk:
    """The sample brokerage with AAPL's price set, and a clock that the test moves."""

    def __init__(self, hours: str = "always", now: datetime = MONDAY_MORNING, **settings: Any) -> None:
        self.settings = BrokerageSettings(**settings)
        self.brokerage: Brokerage = sample_brokerage(hours=hours, now=now, settings=self.settings)
        self.now = now
        self.price("189.00", "189.10")
        self.brokerage.advance(now)

    @property
    def account(self) -> Account:
        return self.brokerage.accounts[ACCOUNT]

    def held(self, con_id: int = AAPL) -> Decimal:
        """The quantity held of a contract."""
        position = self.account.positions.get(con_id)
        return position.quantity if position is not None else Decimal(0)

    def price(self, bid: str, ask: str, last: str | None = None, name: str = "AAPL") -> None:
        """Set a price from now on; the last one is the bid unless given."""
        self.brokerage.market.set_price(name, self.now, bid=Decimal(bid), ask=Decimal(ask), last=Decimal(last or bid))

    def place(self, *orders: Order, client_id: int = 1) -> list[str]:
        """Place orders now; return what is reported."""
        return [line for each in orders for line in reported(self.brokerage.place(client_id, each, self.now))]

    def cancel(self, order_id: int, client_id: int = 1) -> list[str]:
        return reported(self.brokerage.cancel(client_id, order_id, self.now))

    def wait(self, seconds: float = 1) -> list[str]:
        """Advance the time; return what is reported."""
        return self.until(self.now + timedelta(seconds=seconds))

    def until(self, moment: datetime) -> list[str]:
        self.now = moment
        return reported(self.brokerage.advance(moment))

    def option(self, right: str = "C", strike: int = 190, symbol: str = "AAPL") -> Instrument:
        """The symbol's option of the nearest expiry."""
        query = ContractQuery(symbol=symbol, sec_type="OPT", right=right, strike=Decimal(strike))
        return min(self.brokerage.catalog.find(query), key=lambda each: each.contract.expiry)

    def hold(self, instrument: Instrument, quantity: int, average_cost: str) -> None:
        """Add a position to the account without a trade."""
        contract = instrument.contract
        price = Decimal(average_cost) / contract.unit_multiplier
        self.account.hold(Position(contract, Decimal(quantity), Decimal(average_cost), price))
        self.brokerage.forget_derived(market_changed=True)


def accepted(order_id: int) -> list[str]:
    """The reports of an order that will trade: PreSubmitted first."""
    return [line for status in ("PreSubmitted", "Submitted") for line in _of_both_kinds(order_id, status, "")]


def waiting(order_id: int, why_held: str = "") -> list[str]:
    """The reports of an order that is held: PreSubmitted twice."""
    return 2 * _of_both_kinds(order_id, "PreSubmitted", f" {why_held}" if why_held else "")


def _of_both_kinds(order_id: int, status: str, why_held: str) -> list[str]:
    return [f"opened {order_id} {status}{why_held}", f"status {order_id} {status} 0{why_held}"]


def reported(happened: Iterable[events.Event]) -> list[str]:
    """Events in short: ``opened 1 Submitted``, ``status 1 Filled 10``, ``fill 1 10@189.1``, ``error 1 202`` …"""
    return [_short(each) for each in happened]


def _short(event: events.Event) -> str:
    match event:
        case events.OrderOpened(placed):
            return f"opened {placed.order_id} {placed.status.value}" + (
                f" {placed.why_held}" if placed.why_held else ""
            )
        case events.OrderStatusChanged(placed):
            held = f" {placed.why_held}" if placed.why_held else ""
            return f"status {placed.order_id} {placed.status.value} {placed.filled:f}{held}"
        case events.OrderFilled(placed, execution):
            return f"fill {placed.order_id} {execution.shares:f}@{execution.price.normalize():f}"
        case events.CommissionCharged(execution):
            return f"commission {execution.order_id} {execution.commission:f}"
        case events.OrderError(_, order_id, code, _):
            return f"error {order_id} {code}"
        case events.OrderPreviewed(placed, _):
            return f"previewed {placed.order_id}"
        case events.PositionChanged(_, position):
            return f"position {position.contract.symbol} {position.quantity:f}"
        case events.AccountChanged():
            return "account"
