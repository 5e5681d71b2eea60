"""Combinations in IB's terms: a contract of type BAG with legs, and one order for all of them.

IB shows such an order once, with the contract id that every combination has. Only its legs show what it rests for, and
executions of it are reported for each leg in addition to those of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from ib_connection.ib_library import ComboLeg, Contract
from position_manager.brokers.broker import BrokerError
from position_manager.brokers.ib_words import side_of
from position_manager.journal.records import ComboToSend
from position_manager.orders.evidence import OpenOrder
from position_manager.orders.intents import Side

ShownLeg = tuple[int, Decimal, Side]
"""Contract id, number of contracts in one combination, and the side when the combination is bought."""
SMART = "SMART"


def legs_of(contract: Contract) -> tuple[ShownLeg, ...]:
    """The legs of a combination; none of any other contract."""
    if contract.secType != "BAG":
        return ()
    return tuple((leg.conId, Decimal(leg.ratio), side_of(leg.action)) for leg in contract.comboLegs or [])


def by_leg(order: OpenOrder, legs: Sequence[ShownLeg]) -> tuple[OpenOrder, ...]:
    """An open order as one for each contract that it trades."""
    return tuple(
        replace(
            order,
            con_id=con_id,
            side=side if order.side is Side.BUY else Side.BUY if side is Side.SELL else Side.SELL,
            remaining=order.remaining * ratio,
        )
        for con_id, ratio, side in legs
    ) or (order,)


def bag(order: ComboToSend, legs: Sequence[tuple[Contract, Decimal]]) -> Contract:
    """The contract of a combination. Options on stocks are routed by SMART, others go where all legs trade. Raises
    BrokerError if a leg is not known, or if the legs trade at different exchanges."""
    exchanges = {contract.exchange or SMART for contract, _ in legs}
    if len(legs) != len(order.legs) or len(exchanges) != 1:
        raise BrokerError(f"the legs of combination {order.ref} are not all known, or trade at different exchanges")
    exchange = exchanges.pop()
    return Contract(
        secType="BAG",
        symbol=order.symbol,
        currency=order.currency,
        exchange=exchange,
        comboLegs=[
            ComboLeg(
                conId=contract.conId, ratio=int(abs(ratio)), action="BUY" if ratio > 0 else "SELL", exchange=exchange
            )
            for contract, ratio in legs
        ],
    )
