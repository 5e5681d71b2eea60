"""A close that a person asks for: which unit is meant, what is refused, and what will happen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from ib_connection.accounts import masked
from position_manager.engine.closer import Closer
from position_manager.engine.desk import Desk
from position_manager.model import Instrument
from position_manager.orders.closing import Closing
from position_manager.refused import RefusedError
from position_manager.rules.groups import Unit

ANOTHER_UNIT = 10
"""A limit within this factor of the price in pence is taken for one in pence."""


RULE = "by hand"


class CloseRequests:
    """Checks what a person asks for, and passes it on to the closer."""

    def __init__(self, desk: Desk, closer: Closer) -> None:
        self._desk = desk
        self._closer = closer
        self._decisions = closer.decisions
        self._dry_run = closer.dry_run
        self._bars = closer.bars

    def close(self, what: str, *, by: str, limit: Decimal | None) -> str:
        """Close a unit, at the ladder's prices or at a ``limit`` that the person approves; what will happen, as a
        sentence. Raises RefusedError."""
        desk = self._desk
        if not desk.config.mode.sends:
            raise RefusedError(f"Mode {desk.config.mode} sends nothing.")
        if halts := desk.read_halts():
            raise RefusedError("; ".join(f"Halted: {halt.reason}. To end it: {halt.remedy}" for halt in halts))
        under_way = [closing for closing in self._closer.closings.values() if self._decisions.means(closing, what)]
        for closing in under_way:
            self._refuse_locked(closing.account, closing.legs)
        if len(under_way) == 1:
            closing = under_way[0]
            if closing.leaves:
                # A person who closes means all of it.
                closing = closing.whole(RULE, f"asked for by {by}", desk.clock.now(), by)
            closing = closing if limit is None else self._approve(closing, what, limit, by)
            # Whoever asks now means the market of now, and that it is closed even if the rule's condition has gone.
            closing = replace(closing, ladders={}, by=by) if limit is None else closing
            self._decisions.store(closing)
            self._closer.advance(closing)
            return self._outlook(closing, "" if limit is None else f" at {limit}")
        unit = self._unit(what)
        self._refuse_locked(unit.account, [leg.instrument.con_id for leg in unit.legs])
        if limit is not None:
            self._refuse_another_unit(unit.account, [leg.instrument for leg in unit.legs], limit)
        if limit is not None and len(unit.legs) > 1:
            remedy = (
                "Close it without a price; then approve one for a leg that reaches its bounds, by the leg's own name"
            )
            raise RefusedError(f"{unit.name} has {len(unit.legs)} legs, and each has a price of its own. {remedy}.")
        rule = RULE if limit is None else f"{RULE}, price approved"
        prices = {} if limit is None else {unit.legs[0].instrument.con_id: limit}
        self._closer.decide(unit, rule, f"asked for by {by}", by=by, prices=prices)
        decided = self._closer.closings.get(unit.key)
        if decided is None:
            return f"{unit.name} is closed."
        return self._outlook(decided, "" if limit is None else f" at {limit}")

    def _outlook(self, closing: Closing, at: str) -> str:
        """The reply to a person who has asked for a close: that it goes on, or what prevents it."""
        desk, now = self._desk, self._desk.clock.now()
        if closing.unit not in self._closer.closings:
            return f"{closing.name} is closed."
        why = self._bars.text(closing)
        unit = desk.guard.unit(closing.unit)
        for leg in () if unit is None or why is not None else unit.legs:
            approved = leg.instrument.con_id in closing.prices
            why = self._dry_run.refusal(leg.position, approved=approved) or None
            if why is None and not approved and self._dry_run.usable(leg.instrument.con_id) is None:
                why = f"{leg.instrument.label} has no usable quote"
            if why is not None:
                break
        if why is None and unit is not None and not closing.prices:
            why = self._dry_run.blocked(unit, desk.guard.market(unit, now))
        if why is None:
            return f"{closing.name} is being closed{at}; follow it with: position-manager status"
        return (
            f"{closing.name} is to be closed{at}, but nothing can be sent now: {why}. It is tried again by itself; "
            f"to approve a price: position-manager close '{closing.name}' --emergency --limit PRICE"
        )

    def _refuse_locked(self, account: str, con_ids: Iterable[int]) -> None:
        desk = self._desk
        locked = [desk.label(con_id) for con_id in con_ids if (account, con_id) in desk.locks]
        if locked:
            remedy = f"Check it, then: position-manager release '{locked[0]}'"
            raise RefusedError(f"{', '.join(locked)} is locked. {remedy}")

    def _refuse_another_unit(self, account: str, instruments: Iterable[Instrument], limit: Decimal) -> None:
        """A price that the contract cannot have, or one in pence or cents for a contract whose prices here are in
        pounds or dollars: near a hundred times the market it is no opinion on its value. Without any quote nothing can
        be compared."""
        for instrument in instruments:
            if limit <= 0 and not instrument.may_be_negative:
                raise RefusedError(
                    f"{limit} is no price for {instrument.label}: only a future may trade at 0 or below."
                )
            quote, magnifier = self._desk.guard.quotes.get(instrument.con_id), instrument.magnifier
            seen = None if quote is None else quote.mid or quote.last
            held = self._desk.guard.positions.get((account, instrument.con_id))
            if seen is None and held is not None:
                seen = held.average_price
            if magnifier > 1 and seen is not None and seen > 0 and limit * ANOTHER_UNIT >= seen * magnifier:
                raise RefusedError(
                    f"Prices of {instrument.label} are in {instrument.currency} here: it is at {seen:.4g}, and {limit} "
                    f"seems to be in the unit of its quotes. Did you mean {limit / magnifier:f}?"
                )

    def _approve(self, closing: Closing, what: str, limit: Decimal, by: str) -> Closing:
        """With a price for the contract that ``what`` names: that of one leg means nothing for another."""
        desk, legs = self._desk, list(closing.legs)
        named = legs if len(legs) == 1 else [leg for leg in legs if desk.names((closing.account, leg), what)]
        if len(named) != 1:
            names = ", ".join(desk.label(leg) for leg in legs)
            raise RefusedError(f"{what!r} names no single leg of {closing.name}: approve a price for one of {names}.")
        if named[0] in desk.instruments:
            self._refuse_another_unit(closing.account, [desk.instruments[named[0]]], limit)
        return replace(closing, prices={**closing.prices, named[0]: limit}, by=by)

    def _unit(self, what: str) -> Unit:
        desk = self._desk
        found = [
            unit
            for unit in desk.guard.units
            if what in (unit.name, unit.shown_key)
            or any(desk.names((unit.account, leg.instrument.con_id), what) for leg in unit.legs)
        ]
        if len(found) == 1:
            return found[0]
        names = ", ".join(f"{unit.name} ({masked(unit.account)})" for unit in found or desk.guard.units)
        if not found:
            raise RefusedError(f"No position is called {what!r}. There are: {names or 'none'}")
        raise RefusedError(f"{what!r} means several positions: {names}. Name one by its key, see: status --json")
