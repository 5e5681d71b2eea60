"""Reading placeOrder, the longest request: an order's terms and the blocks that some of them bring along.

Every field is read. Terms that the simulator plays are in the order; those that would change how an order trades
and that it does not support are named, so that the order can be rejected. The rest (clearing, regulatory marks,
overrides of the desktop's own checks) does not affect how an order trades and is discarded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gateway_simulator.api.requests.orders import PlaceOrder
from gateway_simulator.api.requests.reader import Reader
from gateway_simulator.api.versions import FA_PROFILE_DROPPED
from gateway_simulator.trading.conditions import FIELDS
from gateway_simulator.trading.model import ComboLeg, Condition, Contract, Order

DEFAULT_OCA_TYPE = 3

_LIMIT_TYPES = ("LMT", "LIMIT", "LIT", "LOC", "LOO")
_PEG_BENCH = ("PEG BENCH", "PEGBENCH")
_PEG_BEST = ("PEG BEST", "PEGBEST")
_PEG_MID = ("PEG MID", "PEGMID")
_UP_TO_MID = ("Infinite", "Infinity")
"""What clients write for the offset that competes up to the midpoint; two offsets follow it."""
_PLAYED_ALGORITHMS = ("Adaptive", "Twap", "Vwap")
_NONE = ("", "None")
"""An order type that is not given; the gateway itself sends "None", and clients send it back."""

_Name = Callable[[str], None]
"""Adds to the names of what the simulator does not play."""


def read_place_order(take: Reader) -> PlaceOrder:
    """Read placeOrder for the reader's server version."""
    unsupported: list[str] = []
    name = unsupported.append
    take.request_id = take.integer("order id")
    contract = take.contract()
    id_type, security_id = take.text("security id type"), take.text("security id")
    if id_type or security_id:
        name(f"identification by {_short(id_type) or 'security id'}")
    order = _head(take, contract, name)
    if contract.sec_type == "BAG":
        order = _combination(take, order, name)
    order = _conditions_of_time_and_size(take, order, name)
    _auction_and_volatility(take, name)
    order = replace(
        order,
        trail_stop_price=take.decimal_or_none("trailing stop price"),
        trailing_percent=take.decimal_or_none("trailing percent"),
    )
    _scale(take, name)
    _hedge_and_clearing(take, name)
    if take.delta_neutral_contract():
        name("delta neutral contract")
    order = _algorithm(take, order, name)
    order = replace(order, what_if=take.flag("what if"))
    _routing_marks(take, order, name)
    order = _conditions(take, order)
    order = _adjustment(take, order, name)
    order = _closing_terms(take, order, name)
    _competing(take, order, name)
    return PlaceOrder(order, tuple(unsupported))


def _short(text: str) -> str:
    return text[:40]


def _head(take: Reader, contract: Contract, name: _Name) -> Order:
    action, quantity, order_type = take.text("action"), take.decimal("quantity"), take.text("order type")
    limit_price, aux_price = take.decimal_or_none("limit price"), take.decimal_or_none("auxiliary price")
    time_in_force, oca_group, account = take.text("time in force"), take.text("OCA group"), take.text("account")
    order = Order(
        order_id=take.request_id,
        client_id=0,
        perm_id=0,
        account=account,
        contract=contract,
        action=action,
        quantity=quantity,
        order_type=order_type,
        limit_price=None if not limit_price and not order_type.endswith(_LIMIT_TYPES) else limit_price,
        aux_price=aux_price or None,  # the gateway sends 0.0 for none, and clients send it back
        time_in_force=time_in_force or "DAY",
        oca_group=oca_group,
        open_close=take.text("open or close"),
        origin=take.optional_integer("origin"),
        order_ref=take.text("order reference"),
        transmit=take.flag("transmit"),
        parent_id=take.optional_integer("parent id"),
    )
    if take.flag("block order"):
        name("block order")
    if take.flag("sweep to fill"):
        name("sweep to fill")
    return replace(
        order,
        display_size=take.integer_or_none("display size") or None,
        trigger_method=take.optional_integer("trigger method"),
        outside_rth=take.flag("outside regular hours"),
        hidden=take.flag("hidden"),
    )


def _combination(take: Reader, order: Order, name: _Name) -> Order:
    legs = tuple(_order_leg(take) for _ in range(take.count("number of combo legs")))
    prices = [take.decimal_or_none("leg's price") for _ in range(take.count("number of leg prices"))]
    if any(each is not None for each in prices):
        name("leg prices")
    params = tuple(
        (take.text("routing parameter's name"), take.text("routing parameter's value"))
        for _ in range(take.count("number of routing parameters"))
    )
    return replace(order, contract=replace(order.contract, combo_legs=legs), combo_params=params)


def _order_leg(take: Reader) -> ComboLeg:
    return replace(
        take.combo_leg(),
        open_close=take.optional_integer("leg's open or close"),
        short_sale_slot=take.optional_integer("leg's short sale slot"),
        designated_location=take.text("leg's designated location"),
        exempt_code=take.optional_integer("leg's exempt code") or -1,  # 0: not given
    )


def _conditions_of_time_and_size(take: Reader, order: Order, name: _Name) -> Order:
    take.text("shares allocation")
    order = replace(
        order,
        discretionary_amount=take.decimal("discretionary amount"),
        good_after_time=take.text("good after time"),
        good_till_date=take.text("good till date"),
    )
    allocation = [take.text("FA group"), take.text("FA method"), take.text("FA percentage")]
    if take.server_version < FA_PROFILE_DROPPED:
        allocation.append(take.text("FA profile"))
    if any(allocation):
        name("FA allocation")
    order = replace(order, model=take.text("model"))
    take.optional_integer("short sale slot")
    take.text("designated location")
    take.optional_integer("exempt code")
    order = replace(order, oca_type=take.optional_integer("OCA type") or DEFAULT_OCA_TYPE)
    take.text("rule 80A")
    take.text("settling firm")
    order = replace(
        order,
        all_or_none=take.flag("all or none"),
        min_quantity=take.integer_or_none("minimum quantity") or None,
    )
    if take.decimal("percent offset"):
        name("percent offset")
    take.flag("electronic trade only")
    take.flag("firm quote only")
    take.decimal_or_none("NBBO price cap")
    return order


def _auction_and_volatility(take: Reader, name: _Name) -> None:
    if take.optional_integer("auction strategy"):
        name("auction strategy")
    references = [
        take.decimal_or_none(what)
        for what in ("starting price", "stock reference price", "delta", "stock range's lower", "stock range's upper")
    ]
    if any(each is not None for each in references):
        name("stock reference price or range")
    take.flag("override percentage constraints")
    if take.decimal_or_none("volatility") is not None:
        name("volatility")
    take.integer_or_none("volatility type")
    delta_neutral_type = take.text("delta neutral order type")
    take.decimal_or_none("delta neutral auxiliary price")
    if delta_neutral_type:
        take.optional_integer("delta neutral contract id")
        take.text("delta neutral settling firm")
        take.text("delta neutral clearing account")
        take.text("delta neutral clearing intent")
        take.text("delta neutral open or close")
        take.flag("delta neutral short sale")
        take.optional_integer("delta neutral short sale slot")
        take.text("delta neutral designated location")
    if delta_neutral_type not in _NONE:
        name(f"delta neutral order {_short(delta_neutral_type)}")
    take.flag("continuous update")
    take.integer_or_none("reference price type")


def _scale(take: Reader, name: _Name) -> None:
    sizes = [take.integer_or_none("scale's initial level size"), take.integer_or_none("scale's subsequent level size")]
    increment = take.decimal_or_none("scale's price increment")
    if increment is not None and increment > 0:
        take.decimal_or_none("scale's price adjustment")
        take.integer_or_none("scale's price adjustment interval")
        take.decimal_or_none("scale's profit offset")
        take.flag("scale's automatic reset")
        take.integer_or_none("scale's initial position")
        take.integer_or_none("scale's initial fill quantity")
        take.flag("scale's random percent")
    table, start, stop = take.text("scale table"), take.text("active start time"), take.text("active stop time")
    if increment or table or any(sizes):
        name("scale")
    if start or stop:
        name("active start or stop time")


def _hedge_and_clearing(take: Reader, name: _Name) -> None:
    hedge = take.text("hedge type")
    if hedge:
        take.text("hedge parameter")
        name(f"hedge {_short(hedge)}")
    if take.flag("opt out of SMART routing"):
        name("opting out of SMART routing")
    take.text("clearing account")
    take.text("clearing intent")
    if take.flag("not held"):
        name("not held")


def _algorithm(take: Reader, order: Order, name: _Name) -> Order:
    """Read the algorithm: some are simulated as the plain order, and echoed with their parameters."""
    strategy = take.text("algorithm")
    parameters: list[tuple[str, str]] = []
    if strategy:
        for _ in range(take.count("number of algorithm parameters")):
            parameters.append((take.text("algorithm parameter's name"), take.text("algorithm parameter's value")))
    take.text("algorithm id")
    if strategy in _PLAYED_ALGORITHMS:
        return replace(order, algo_strategy=strategy, algo_params=tuple(parameters))
    if strategy:
        name(f"algorithm {_short(strategy)}")
    return order


def _routing_marks(take: Reader, order: Order, name: _Name) -> None:
    take.text("miscellaneous options")
    take.flag("solicited")
    if take.flag("randomize size"):
        name("randomized size")
    if take.flag("randomize price"):
        name("randomized price")
    if order.order_type in _PEG_BENCH:
        take.optional_integer("reference contract id")
        take.flag("pegged change is a decrease")
        take.decimal_or_none("pegged change amount")
        take.decimal_or_none("reference change amount")
        take.text("reference exchange")


def _conditions(take: Reader, order: Order) -> Order:
    conditions = tuple(_condition(take) for _ in range(take.count("number of conditions")))
    if not conditions:
        return order
    return replace(
        order,
        conditions=conditions,
        conditions_ignore_rth=take.flag("conditions ignore regular hours"),
        conditions_cancel=take.flag("conditions cancel the order"),
    )


def _condition(take: Reader) -> Condition:
    kind = take.integer("condition's type")
    if kind not in FIELDS:
        raise take.error(f"there is no condition of type {kind}")
    condition = Condition(kind, take.text("condition's conjunction"))
    return replace(condition, **{name: _term(take, name) for name in FIELDS[kind]})


def _term(take: Reader, name: str) -> Any:
    what = f"condition's {name.replace('_', ' ')}"
    if name == "is_more":
        return take.flag(what)
    if name == "value":
        return take.decimal(what)
    if name in ("con_id", "trigger_method"):
        return take.optional_integer(what)
    return take.text(what)


def _adjustment(take: Reader, order: Order, name: _Name) -> Order:
    adjusted_type = take.text("adjusted order type")
    take.decimal_or_none("adjustment's trigger price")
    order = replace(order, limit_price_offset=take.decimal_or_none("limit price offset"))
    take.decimal_or_none("adjusted stop price")
    take.decimal_or_none("adjusted stop limit price")
    take.decimal_or_none("adjusted trailing amount")
    take.optional_integer("adjustable trailing unit")
    if adjusted_type not in _NONE:
        name(f"adjustment to {_short(adjusted_type)}")
    return order


def _closing_terms(take: Reader, order: Order, name: _Name) -> Order:
    take.text("external operator")
    tier = [take.text("soft dollar tier's name"), take.text("soft dollar tier's value")]
    if any(tier):
        name("soft dollar tier")
    order = replace(order, cash_quantity=take.decimal("cash quantity"))
    for what in ("decision maker", "decision algorithm", "execution trader", "execution algorithm"):
        take.text(f"MiFID II {what}")
    take.flag("no automatic price for a hedge")
    if take.flag("OMS container"):
        name("OMS container")
    if take.flag("discretionary up to the limit price"):
        name("discretionary up to the limit price")
    take.integer_or_none("price management algorithm")
    if take.integer_or_none("duration") is not None:
        name("duration")
    if take.integer_or_none("post to ATS") is not None:
        name("posting to an ATS")
    if take.flag("cancel with parent"):
        name("automatic cancel of the parent")
    take.text("advanced error override")
    take.text("manual order time")
    return order


def _competing(take: Reader, order: Order, name: _Name) -> None:
    """Read the last fields of pegged orders and of those to IB's own ATS."""
    if order.contract.exchange == "IBKRATS" and take.integer_or_none("minimum trade quantity") is not None:
        name("minimum trade quantity")
    up_to_mid = order.order_type in _PEG_MID
    if order.order_type in _PEG_BEST:
        take.integer_or_none("minimum compete size")
        up_to_mid = take.peek() in _UP_TO_MID
        if up_to_mid:
            take.text("compete against best offset")
        else:
            take.decimal_or_none("compete against best offset")
    if up_to_mid:
        take.decimal_or_none("offset at whole")
        take.decimal_or_none("offset at half")
