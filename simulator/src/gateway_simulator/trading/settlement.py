"""How a derivative ends: what each holding of it turns into. A decision only; no commission is charged for it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from gateway_simulator.trading.model import ZERO, Contract, Position

EXERCISED_FROM = Decimal("0.01")
"""An option that is worth at least so much at its expiry is exercised by itself."""


@dataclass(frozen=True)
class Trade:
    """A signed quantity of a contract at a price."""

    contract: Contract
    quantity: Decimal
    price: Decimal


def settle(held: Position, underlying: Contract, price: Decimal) -> list[Trade]:
    """Return the trades that end a holding at its expiry when its underlying is at a price.

    An option on a stock that is exercised or assigned delivers shares at its strike, one on an index is paid out in
    cash, a future is closed at the underlying's price. Whatever else is held ends worthless.
    """
    contract = held.contract
    if contract.sec_type == "FUT":
        return [Trade(contract, -held.quantity, price)]
    call = contract.right == "C"
    worth = price - contract.strike if call else contract.strike - price
    if worth < EXERCISED_FROM:
        return [Trade(contract, -held.quantity, ZERO)]
    if underlying.sec_type != "STK":
        return [Trade(contract, -held.quantity, worth)]
    shares = held.quantity * contract.unit_multiplier
    return [
        Trade(contract, -held.quantity, ZERO),
        Trade(underlying, shares if call else -shares, contract.strike),
    ]
