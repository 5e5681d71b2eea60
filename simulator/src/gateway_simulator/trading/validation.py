"""What an order must be for the brokerage to take it, and the codes of refusals.

A refused order never existed (its id may be used again); a rejected one (201) exists as Inactive.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gateway_simulator.trading import combination, conditions
from gateway_simulator.trading.catalog import Catalog, increment_at
from gateway_simulator.trading.matching import TRIGGER_METHODS
from gateway_simulator.trading.model import ZERO, Contract, ContractQuery, Instrument, Order
from gateway_simulator.trading.tradinghours import ZONES
from gateway_simulator.trading.working import (
    AT_ONCE,
    AT_OPENING,
    COMBINED_TYPES,
    LIMITED,
    ON_CLOSE,
    ORDER_TYPES,
    PEGGED,
    TRAILING,
    TRIGGERED,
    UNPLAYED_TYPES,
)

TIMES_IN_FORCE = ("DAY", "GTC", "GTD", *AT_ONCE, AT_OPENING)
OPENED = ("STK", "OPT", "FUT")
"""What has an opening that an order can be for."""
TRADED = ("STK", "OPT", "FUT", "CASH", "BAG")
IDEALPRO_MINIMUMS = {"EUR": 20_000, "GBP": 20_000, "AUD": 25_000, "NZD": 35_000, "USD": 25_000}
"""What an order in a currency pair must have at least, in its first currency, not to be an odd lot."""
NOT_FOUND = "No security definition has been found for the request"
MOMENT = re.compile(r"(?:(\d{8})([ -]))?(\d\d:\d\d:\d\d)(?: +(\S+))?")
MAX_ORDER_ID = 2**31 - 1
MAX_QUANTITY = Decimal(10**9)
MAX_PRICE = Decimal(10**12)
MAX_CASH = Decimal(10**15)


class OrderRefusedError(Exception):
    """An order, change or cancel that is refused, as the API reports it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class OrderRejectedError(OrderRefusedError):
    """An order that is taken in and rejected (201)."""

    def __init__(self, reason: str) -> None:
        super().__init__(201, f"Order rejected - reason:{reason}")


def invalid(cause: str) -> OrderRefusedError:
    """Return the rejection of an invalid request."""
    return OrderRefusedError(321, f"Error validating request.-'bW' : cause - {cause}")


def resolve_instrument(catalog: Catalog, contract: Contract) -> Instrument:
    """Return the one instrument that an order's contract means, expired ones too."""
    if not contract.exchange:
        raise invalid("Missing order exchange")
    if contract.sec_type == "BAG":
        try:
            return combination.resolve(catalog, contract)
        except combination.CombinationError as error:
            raise OrderRefusedError(error.code, error.text) from error
    query = ContractQuery.of(contract)
    found = catalog.find(query) or catalog.find(query, include_expired=True)
    if not found:
        raise OrderRefusedError(200, NOT_FOUND)
    if len(found) > 1:
        text = f"The contract description specified for {contract.symbol} is ambiguous."
        raise OrderRefusedError(200, text)
    return found[0]


def choose_account(wanted: str, accounts: Collection[str]) -> str:
    """Return the account an order is for; the only one there is may be left out."""
    if not wanted and len(accounts) == 1:
        return next(iter(accounts))
    if not wanted:
        raise OrderRefusedError(435, "You must specify an account.")
    if wanted not in accounts:
        raise OrderRefusedError(
            436, f"You must specify an allocation (either a single account, group, or profile): no account {wanted}."
        )
    return wanted


def normalized(order: Order) -> Order:
    """Leave out the prices that the order's type does not have: clients send 0 for them, or what they last held."""
    kind = order.order_type.upper()
    return replace(
        order,
        order_type=kind,
        time_in_force=order.time_in_force.upper() or "DAY",
        limit_price=order.limit_price if kind in LIMITED else (order.limit_price or None) if kind in PEGGED else None,
        aux_price=(order.aux_price or None) if kind in (*TRIGGERED, *PEGGED) else None,
        trail_stop_price=(order.trail_stop_price or None) if kind in TRAILING else None,
        trailing_percent=(order.trailing_percent or None) if kind in TRAILING else None,
        limit_price_offset=order.limit_price_offset if kind == "TRAIL LIMIT" else None,
    )


def check_terms(order: Order, instrument: Instrument) -> None:
    """Reject an order whose terms no order on this instrument can have."""
    if not 0 < order.order_id <= MAX_ORDER_ID:
        raise invalid(f"The order id {order.order_id} must be between 1 and {MAX_ORDER_ID}")
    if order.action not in ("BUY", "SELL"):
        raise invalid(f"Invalid side '{order.action}'")
    if order.order_type not in (*ORDER_TYPES, *UNPLAYED_TYPES):
        raise OrderRefusedError(321, "Error validating request.-'bF' : cause - Invalid order type was entered")
    played = COMBINED_TYPES if instrument.legs else ORDER_TYPES
    if instrument.contract.sec_type not in TRADED or order.order_type not in played:
        raise unsupported(order, instrument)
    if order.order_type in PEGGED and instrument.contract.sec_type != "STK":
        _refuse_peg(order, instrument)
    _check_size(order, instrument)
    _check_time_in_force(order, instrument)
    _check_prices(order, instrument)
    _check_routing(order)
    if order.trigger_method not in TRIGGER_METHODS:
        raise invalid(f"Invalid trigger method {order.trigger_method}")
    if order.oca_group and order.oca_type not in (1, 2, 3):
        raise invalid(f"The OCA type is {order.oca_type}; it must be 1, 2 or 3")


def check_cash_quantity(order: Order) -> None:
    """Reject an amount of money from which no size follows."""
    if not order.cash_quantity.is_finite() or not ZERO < order.cash_quantity <= MAX_CASH:
        raise invalid(f"The cash quantity {order.cash_quantity} must be above 0 and at most {MAX_CASH}")


def check_change(before: Order, after: Order) -> None:
    """Reject a change of the terms that identify an order."""
    same = (
        before.contract.con_id == after.contract.con_id
        and combination.same_legs(before.contract, after.contract)
        and before.action == after.action
        and before.account == after.account
        and before.parent_id == after.parent_id
    )
    if not same:
        raise OrderRefusedError(105, "Order being modified does not match original order.")
    if after.quantity < before.filled:
        text = f"Modify order failed. The quantity {after.quantity} is below the {before.filled} that are filled."
        raise OrderRefusedError(134, text)


def parse_moment(text: str, now: datetime, zone_name: str) -> datetime | None:
    """Read a time of the API: ``20261123 15:59:00 US/Eastern`` or, in UTC, ``20261123-20:59:00``.

    The date may be left out (today's), and so may the zone (``zone_name`` then). None for anything else.
    """
    matched = MOMENT.fullmatch(text.strip())
    if matched is None:
        return None
    day, mark, clock, name = matched.groups()
    if mark == "-" and name:
        return None
    name = name or zone_name
    try:
        zone = UTC if mark == "-" else ZoneInfo(ZONES.get(name, name))
        day = day or f"{now.astimezone(zone):%Y%m%d}"
        return datetime.strptime(f"{day} {clock}", "%Y%m%d %H:%M:%S").replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, ZoneInfoNotFoundError, IsADirectoryError):
        return None


def good_after(order: Order, now: datetime, instrument: Instrument) -> datetime | None:
    """Return the moment before which an order does not trade."""
    if not order.good_after_time:
        return None
    moment = parse_moment(order.good_after_time, now, instrument.time_zone)
    if moment is None:
        raise _bad_moment(order.good_after_time)
    return moment


def good_till(order: Order, now: datetime, instrument: Instrument) -> datetime | None:
    """Return the moment at which a GTD order ends."""
    if order.time_in_force != "GTD":
        return None
    moment = parse_moment(order.good_till_date, now, instrument.time_zone)
    if moment is None:
        raise _bad_moment(order.good_till_date)
    if moment <= now:
        raise OrderRefusedError(334, f"Invalid Good Till Date order: {order.good_till_date} has passed.")
    return moment


def _bad_moment(text: str) -> OrderRefusedError:
    return OrderRefusedError(
        337,
        f"The date, time, or time-zone entered is invalid: '{text}'. "
        "The correct format is yyyymmdd hh:mm:ss xxx where yyyymmdd and xxx are optional.",
    )


def _check_size(order: Order, instrument: Instrument) -> None:
    if order.cash_quantity and instrument.contract.sec_type != "CASH":
        raise OrderRefusedError(10244, "Cash Quantity cannot be used for this order.")
    if not order.quantity:
        raise OrderRefusedError(434, "The order size cannot be zero.")
    if not order.quantity.is_finite() or not ZERO < order.quantity <= MAX_QUANTITY:
        raise invalid(f"The quantity {order.quantity} must be above 0 and at most {MAX_QUANTITY}")
    if order.quantity < instrument.min_size:
        text = f"Order size {order.quantity} is smaller than the minimum required size of {instrument.min_size}."
        raise OrderRefusedError(388, text)
    if order.quantity % instrument.size_increment:
        raise OrderRefusedError(10243, "Fractional-sized order cannot be placed via API. Please use TWS instead.")


def _refuse_peg(order: Order, instrument: Instrument) -> None:
    if order.order_type == "REL":
        raise OrderRefusedError(114, "Relative orders are valid for stocks only.")
    raise unsupported(order, instrument)


def unsupported(order: Order, instrument: Instrument) -> OrderRefusedError:
    """Return the refusal of an order type that does not go with the kind of contract, or is not played."""
    what = f"{order.order_type or 'none'} on {instrument.contract.sec_type}"
    return OrderRefusedError(387, f"Unsupported order type for this exchange and security type: {what}.")


def _check_time_in_force(order: Order, instrument: Instrument) -> None:
    if order.order_type in ON_CLOSE and order.time_in_force != "DAY":
        raise OrderRefusedError(113, "The Tif option should be set to DAY for MOC and LOC orders.")
    if (
        order.time_in_force not in TIMES_IN_FORCE
        or (order.time_in_force in (*AT_ONCE, AT_OPENING) and order.order_type not in ("MKT", "LMT"))
        or (order.time_in_force == AT_OPENING and instrument.contract.sec_type not in OPENED)
    ):
        raise OrderRefusedError(
            111,
            "The TIF (Tif type) and the order type are incompatible: "
            f"{order.time_in_force or 'none'} with {order.order_type}.",
        )


def _check_prices(order: Order, instrument: Instrument) -> None:
    percent = order.trailing_percent
    trails = order.order_type in TRAILING
    if order.order_type in LIMITED and order.order_type != "TRAIL LIMIT" and order.limit_price is None:
        raise invalid(f"A {order.order_type} order must have a limit price")
    if order.order_type in TRIGGERED and not trails and order.aux_price is None:
        raise invalid(f"A {order.order_type} order must have an auxiliary (trigger) price")
    if trails and (percent is None) == (order.aux_price is None):
        raise invalid(f"A {order.order_type} order must have either a trailing amount or a trailing percentage")
    if trails and percent is not None and not ZERO < percent < 100:
        raise invalid(f"The trailing percentage {percent} must be between 0 and 100")
    if (
        order.order_type == "TRAIL LIMIT"
        and order.limit_price_offset is None
        and (order.limit_price is None or order.trail_stop_price is None)
    ):
        raise invalid("A TRAIL LIMIT order must have a limit price offset, or a limit price and a trail stop price")
    prices = {"limit": order.limit_price, "auxiliary": order.aux_price, "trail stop": order.trail_stop_price}
    for name, price in prices.items():
        if price is None:
            continue
        if not price.is_finite() or (price <= 0 and not instrument.legs):
            raise invalid(f"The {name} price {price} must be above 0")
        if abs(price) > MAX_PRICE:
            raise invalid(f"The {name} price {price} must be at most {MAX_PRICE}")
        if price % increment_at(instrument, price):
            raise OrderRefusedError(110, "The price does not conform to the minimum price variation for this contract.")


def _check_routing(order: Order) -> None:
    for name, value in order.combo_params:
        if name == "NonGuaranteed" and value not in ("0", "1"):
            raise OrderRefusedError(10043, "Missing or invalid NonGuaranteed value. It must be either 0 or 1.")


def odd_lot_warning(order: Order) -> str:
    """Return the warning (399) about an order in a currency pair that is too small for IDEALPRO; empty if it is not."""
    contract = order.contract
    least = IDEALPRO_MINIMUMS.get(contract.symbol, 0) if contract.sec_type == "CASH" else 0
    if order.quantity >= least:
        return ""
    return (
        f"Order Message:\n{order.action} {order.quantity} {contract.local_symbol} Forex\nWarning: Your order size is "
        f"below the {contract.symbol} {least} IdealPro minimum and will be routed as an odd lot order."
    )


def check_conditions(order: Order, instrument: Instrument, catalog: Catalog, now: datetime) -> None:
    """Reject conditions that can never be evaluated."""
    for each in order.conditions:
        if each.kind not in conditions.FIELDS:
            raise invalid(f"Invalid condition type {each.kind}")
        if each.conjunction not in (conditions.AND, conditions.OR):
            raise invalid(f"Invalid condition conjunction '{each.conjunction}'")
        if each.kind in conditions.OF_CONTRACTS and catalog.get(each.con_id) is None:
            raise invalid(f"Invalid contract id {each.con_id} in a condition")
        if each.kind == conditions.PRICE and each.trigger_method not in TRIGGER_METHODS:
            raise invalid(f"Invalid trigger method {each.trigger_method} in a condition")
        if each.kind == conditions.TIME and parse_moment(each.time, now, instrument.time_zone) is None:
            raise _bad_moment(each.time)
