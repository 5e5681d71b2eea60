"""Conditions of orders: what has to be so before an order trades, or for it to be cancelled.

| kind | it holds while |
|---|---|
| price | the price of a contract is at or above (below) the value; the trigger method selects the price |
| time | the moment is at or after (before) it |
| margin | the cushion of the account, in percent of its value, is at or above (below) it |
| execution | the account had one of the symbol and kind today, after the order was placed; SMART is any exchange |
| volume | the day's volume of a contract is at or above (below) it |
| percent change | the last price, against the close before, is up (or down) to it |

The default price is the last one, of options and pairs the bid for a rise and the ask for a fall. Methods that ask for
two prices in a row take one. Each condition is joined to the next by "a" (and) or "o" (or); "and" binds first. Prices
and volumes count during regular hours only, unless the order sets otherwise. Decisions only: no accounts, no market.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from gateway_simulator.trading.matching import BID_ASK, DEFAULT, DOUBLE_BID_ASK, LAST_OR_BID_ASK, MIDPOINT
from gateway_simulator.trading.model import Condition, Execution, Order, Quote

PRICE, TIME, MARGIN, EXECUTION, VOLUME, PERCENT = 1, 3, 4, 5, 6, 7
FIELDS: dict[int, tuple[str, ...]] = {
    PRICE: ("is_more", "value", "con_id", "exchange", "trigger_method"),
    TIME: ("is_more", "time"),
    MARGIN: ("is_more", "value"),
    EXECUTION: ("sec_type", "exchange", "symbol"),
    VOLUME: ("is_more", "value", "con_id", "exchange"),
    PERCENT: ("is_more", "value", "con_id", "exchange"),
}
"""The fields of each kind, in the order in which messages have them after the conjunction."""
OF_CONTRACTS = (PRICE, VOLUME, PERCENT)
AND, OR = "a", "o"
HUNDRED = Decimal(100)
QUOTED = ("OPT", "CASH")


@dataclass(frozen=True)
class Present:
    """What conditions are compared with. ``quote_of`` gives a contract's kind and quote, ``moment_of`` reads a time;
    ``cushion`` returns the account's in percent, None for an account that is worth nothing."""

    now: datetime
    quote_of: Callable[[int], tuple[str, Quote]]
    moment_of: Callable[[str], datetime | None]
    cushion: Callable[[], Decimal | None]
    executions: Iterable[Execution]


def are_met(order: Order, present: Present) -> bool:
    """Return whether the conditions of an order, all together, are met now."""
    groups: list[list[bool]] = [[]]
    for each in order.conditions:
        groups[-1].append(_is_met(each, order, present))
        if each.conjunction == OR:
            groups.append([])
    return any(all(group) for group in groups if group)


def _is_met(condition: Condition, order: Order, present: Present) -> bool:
    if condition.kind == EXECUTION:
        return any(_is_wanted(condition, order, each) for each in present.executions)
    if condition.kind == TIME:
        moment = present.moment_of(condition.time)
        return moment is not None and (present.now >= moment if condition.is_more else present.now <= moment)
    if condition.kind == MARGIN:
        return _reaches(condition, present.cushion())
    kind, quote = present.quote_of(condition.con_id)
    if not quote.open and not order.conditions_ignore_rth:
        return False
    if condition.kind == VOLUME:
        return _reaches(condition, quote.volume)
    if condition.kind == PERCENT:
        if quote.last is None or not quote.close:
            return False
        return _reaches(condition, (quote.last / quote.close - 1) * HUNDRED)
    return any(_reaches(condition, each) for each in _prices(condition, kind, quote))


def _reaches(condition: Condition, value: Decimal | None) -> bool:
    if value is None:
        return False
    return value >= condition.value if condition.is_more else value <= condition.value


def _is_wanted(condition: Condition, order: Order, execution: Execution) -> bool:
    return (
        execution.account == order.account
        and (execution.contract.symbol, execution.contract.sec_type) == (condition.symbol, condition.sec_type)
        and condition.exchange in ("", "*", "SMART", execution.exchange)
        and order.submitted_at is not None
        and execution.time >= order.submitted_at
    )


def _prices(condition: Condition, kind: str, quote: Quote) -> list[Decimal | None]:
    side = quote.bid if condition.is_more else quote.ask
    method = condition.trigger_method
    if method == DEFAULT:
        method = BID_ASK if kind in QUOTED else method
    if method in (BID_ASK, DOUBLE_BID_ASK):
        return [side]
    if method == LAST_OR_BID_ASK:
        return [quote.last, side]
    if method == MIDPOINT:
        return [(quote.bid + quote.ask) / 2 if quote.bid is not None and quote.ask is not None else None]
    return [quote.last]
