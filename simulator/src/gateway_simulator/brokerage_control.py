"""Commands of the control interface for events at the broker: manual trades, splits, hours, market data that
stop, and cancels that never arrive.

Each takes the gateway and the command's arguments and returns what was done; a MarketError has the reason why not.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from gateway_simulator.api.serving.market import INTERRUPTIONS
from gateway_simulator.login.lifecycle import Gateway
from gateway_simulator.trading.events import OrderError
from gateway_simulator.trading.market import MarketError
from gateway_simulator.trading.model import Order, OrderStatus
from gateway_simulator.trading.splits import read_ratio
from gateway_simulator.trading.tradinghours import SetHours, zone_of

BY_HAND = 0
"""The client id of orders that are placed at the gateway itself."""
NO_ERROR = "silent"
ALL = "all"
USUAL = "usual"


async def trade(gateway: Gateway, arguments: Sequence[str]) -> str:
    """Trade at the market as a person does in another window of the broker's: an order of client 0."""
    name, text = arguments[:2]
    server = gateway.api
    try:
        quantity = Decimal(text)
    except InvalidOperation as error:
        raise MarketError(f"{text!r} is no quantity; write 100 to buy and -100 to sell") from error
    if not quantity.is_finite() or not quantity:
        raise MarketError(f"{text!r} is no quantity: it must be a number other than 0")
    brokerage = server.brokerage
    order = Order(
        order_id=brokerage.next_order_id(BY_HAND),
        client_id=BY_HAND,
        perm_id=0,
        account=arguments[2] if len(arguments) > 2 else "",
        contract=brokerage.market.named(name).contract,
        action="BUY" if quantity > 0 else "SELL",
        quantity=abs(quantity),
        order_type="MKT",
        outside_rth=True,
    )
    events = brokerage.place(BY_HAND, order, server.clock.utc())
    server.floor.publish(events)
    server.floor.tick()
    placed = brokerage.find_order(BY_HAND, order.order_id)
    if placed is None or placed.status is OrderStatus.INACTIVE:
        refusals = [f"{each.code}: {each.text}" for each in events if isinstance(each, OrderError)]
        raise MarketError(f"{order.action} {order.quantity} {name} was refused, {'; '.join(refusals)}")
    return f"order {order.order_id} of client {BY_HAND}: {order.action} {order.quantity} {name} {placed.status.value}"


async def split(gateway: Gateway, arguments: Sequence[str]) -> str:
    """Split a stock."""
    name, ratio = arguments
    server = gateway.api
    instrument = server.brokerage.market.named(name)
    try:
        new, old = read_ratio(ratio)
        events = server.brokerage.split(instrument.contract.con_id, new, old, server.clock.utc())
    except ValueError as error:
        raise MarketError(str(error)) from error
    server.floor.publish(events)
    server.floor.tick()
    return f"{name} is split: {new} new for {old} old"


async def hours(gateway: Gateway, arguments: Sequence[str]) -> str:
    """Set the hours of one contract."""
    name, word = arguments
    kinds = {kind.value: kind for kind in SetHours} | {USUAL: None}
    if word not in kinds:
        raise MarketError(f"{word!r} is no kind of hours; it must be one of {', '.join(kinds)}")
    server = gateway.api
    now = server.floor.advance()
    market = server.brokerage.market
    instrument = market.set_hours(name, kinds[word], now)
    server.brokerage.forget_derived(market_changed=True)
    server.floor.tick()
    parts = (market.hours.trading_hours(instrument, now), market.hours.liquid_hours(instrument, now))
    here = f"{now.astimezone(zone_of(instrument)):%Y%m%d:%H%M}"
    trading, liquid = (_next_stretch(each.split(";"), here) for each in parts)
    return f"{name}: trading hours {trading}, liquid hours {liquid} {instrument.time_zone}"


def _next_stretch(stretches: list[str], moment: str) -> str:
    """The stretch that runs at a moment, or the next one."""
    return next((each for each in stretches if each.rpartition("-")[2] > moment and "-" in each), stretches[0])


async def feed(gateway: Gateway, arguments: Sequence[str]) -> str:
    """Stop or resume market data."""
    name, word, *more = arguments
    server = gateway.api
    con_id = 0 if name == ALL else server.brokerage.market.named(name).contract.con_id
    whose = "all market data" if name == ALL else f"market data of {name}"
    if word == "live" and not more:
        server.brokerage.market.end_silence(con_id)
        server.floor.tick()
        return f"{whose} resume"
    text = more[0] if more else NO_ERROR
    codes = {str(code): code for code in INTERRUPTIONS} | {NO_ERROR: 0}
    if word != "stale" or text not in codes:
        raise MarketError(f"write live, or stale and one of {', '.join(codes)}")
    server.silence(con_id, codes[text])
    return f"{whose} stop" + (f" with error {text}" if codes[text] else " without an error")


async def pending_cancel(gateway: Gateway, arguments: Sequence[str]) -> str:
    """Leave cancels pending for ever, or let them take effect."""
    word = arguments[0]
    if word not in ("on", "off"):
        raise MarketError(f"{word!r} is neither on nor off")
    server = gateway.api
    server.floor.publish(server.brokerage.hold_cancels(server.clock.utc(), held=word == "on"))
    server.floor.store()
    server.floor.tick()
    return "cancels stay PendingCancel" if word == "on" else "cancels take effect"
