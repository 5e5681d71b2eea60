"""The last step before a combination leaves: each leg passes every gate by itself, then one order goes for all.

As in `position_manager.engine.sending`, nothing waits between the answer of the broker and the socket.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

from position_manager.brokers.broker import Broker, BrokerError, Reread
from position_manager.engine.gate_facts import GateFacts
from position_manager.engine.guard import Guard
from position_manager.engine.guarded_accounts import GuardedAccounts
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.sending import NotSentError, WithdrawnError, quote_evidence
from position_manager.engine.sending_halts import SendingHalts
from position_manager.halt import Halt
from position_manager.journal.records import LegToSend
from position_manager.model import ZERO
from position_manager.orders.combos import Combination
from position_manager.orders.gates import Check, Clearance, Facts, check
from position_manager.orders.intents import OutOfSight, closing_side
from position_manager.rules.groups import Leg


@dataclass(frozen=True)
class ComboWish:
    """A requested combination order, at a ``limit`` for one combination. ``decided``: the signed position of each leg
    that the decision saw; ``leaves``: how much of each is left. ``is_wanted``: whether the order is still
    requested."""

    combination: Combination
    decided: Mapping[int, Decimal]
    leaves: Mapping[int, Decimal]
    limit: Decimal
    rule: str
    text: str
    is_wanted: Callable[[], bool]


class ComboSender:
    """Sends orders that close all legs of a combination."""

    def __init__(
        self,
        *,
        access: JournalAccess,
        broker: Broker,
        facts: GateFacts,
        guard: Guard,
        guarded: GuardedAccounts,
        halts: SendingHalts,
    ) -> None:
        self._access = access
        self._broker = broker
        self._facts = facts
        self._guard = guard
        self._guarded = guarded
        self._halts = halts

    async def send(self, wish: ComboWish) -> None:
        """Send one order that closes all legs.

        Raises NotSentError if a gate refuses for any leg, BrokerError if the broker does not answer, JournalError if it
        cannot be recorded, WithdrawnError if the order is no longer requested: in each case nothing was sent.
        """
        broker, journal, config = self._broker, self._access.journal, self._guard.config
        combination = wish.combination
        account = combination.legs[0].position.account
        rereads = await broker.read_legs_again(account, [leg.instrument.con_id for leg in combination.legs])
        if not wish.is_wanted():
            raise WithdrawnError
        self._halts.see(self._guarded.names, next(iter(rereads.values())).open_orders)
        halts = self._halts.read()
        found = {
            leg.instrument.con_id: check(self._facts_of(wish, leg, rereads, halts), config.limits())
            for leg in combination.legs
        }
        fits = (found[leg.instrument.con_id].quantity / abs(leg.ratio) for leg in combination.legs)
        quantity = min([combination.quantity, *fits]).to_integral_value(ROUND_FLOOR)
        checks = tuple(
            Check(one.gate, one.passed, f"{leg.instrument.label}: {one.detail}")
            for leg in combination.legs
            for one in found[leg.instrument.con_id].checks
        )
        if quantity < 1:
            if all(one.passed for one in checks):
                checks = (*checks, Check("quantity", False, "less than one combination may be sent"))
            raise NotSentError(Clearance(checks, ZERO), next(iter(rereads.values())))
        evidence = {
            **Clearance(checks, quantity).evidence(),
            "rule": wish.text,
            "quotes": {
                leg.instrument.label: quote_evidence(quote)
                for leg in combination.legs
                if (quote := self._guard.quote(leg.instrument.con_id)) is not None
            },
            "limit": wish.limit,
        }
        first = combination.legs[0].instrument
        order = journal.record_combo(
            account,
            [
                LegToSend(
                    leg.instrument.con_id,
                    closing_side(leg.position.quantity),
                    rereads[leg.instrument.con_id].quantity,
                    abs(leg.ratio) * quantity,
                    abs(leg.ratio),
                )
                for leg in combination.legs
            ],
            wish.rule,
            client_id=broker.client_id,
            next_valid_id=broker.next_order_id(),
            side=combination.side,
            quantity=quantity,
            limit=wish.limit,
            symbol=first.symbol,
            currency=first.currency,
            sold=combination.sold,
            evidence=evidence,
        )
        try:
            broker.send_combo(
                order,
                {leg.instrument.con_id: leg.instrument for leg in combination.legs},
                tif=config.orders.tif,
                outside_rth=config.orders.outside_rth,
            )
        except BrokerError as error:
            # The error states that nothing was sent; the journal believes only what the broker's books show.
            for intent in journal.legs_of(order.ref.removeprefix("pm:")):
                journal.record(intent.id, OutOfSight(str(error)))

    def _facts_of(self, wish: ComboWish, leg: Leg, rereads: Mapping[int, Reread], halts: tuple[Halt, ...]) -> Facts:
        """The input of the gates for one leg; the price is that of the side it trades on."""
        con_id = leg.instrument.con_id
        quote, reread = self._guard.quote(con_id), rereads[con_id]
        price = None if quote is None else quote.bid if leg.ratio > 0 else quote.ask
        return self._facts.of(
            leg.position,
            wish.decided[con_id],
            reread,
            leaves=abs(wish.leaves.get(con_id, ZERO)),
            limit=price or ZERO,
            halts=halts,
            open_orders=reread.open_orders,
        )
