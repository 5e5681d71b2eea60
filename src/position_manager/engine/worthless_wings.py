"""Long options that a group's close leaves to expire, since selling them brings next to nothing.

Only once no short leg of the decision is left, and only while the middle of a live quote has been at or below a bound
for some seconds: one bad print does not prove a wing worthless. The bound is fixed with the decision. What is left is
held as before, its rules rest, and they apply again if it is worth a good deal more than the bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from pydantic import TypeAdapter

from position_manager.clock import Clock
from position_manager.engine.agenda import Agenda
from position_manager.engine.guard import Guard, Key
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.notices import Notices
from position_manager.journal.journal import Journal
from position_manager.model import ZERO, Position
from position_manager.orders.closing import Closing
from position_manager.orders.intents import Intent
from position_manager.orders.wings_settings import WorthlessWings
from position_manager.rules.groups import Unit

HOLDS_FOR = timedelta(seconds=5)
WORTH_AGAIN = 5
"""At this multiple of the bound the rules of what was left apply again."""
_STORED = "left to expire"


@dataclass(frozen=True)
class Left:
    """A wing that was left: the episode that it is in, and the bound."""

    episode: str
    bound: Decimal


_LEFT = TypeAdapter(Left)


@dataclass(frozen=True)
class Split:
    """The legs of a decision that are still held: which are to be closed, which are left, and whether that is not
    certain yet for another one."""

    to_close: list[Position]
    left: list[Position]
    undecided: bool


def bounds(settings: WorthlessWings, unit: Unit) -> dict[int, Decimal]:
    """By contract, the price up to which each wing of a group is left; none if the group has no short leg."""
    if all(leg.position.quantity > 0 for leg in unit.legs):
        return {}
    wings = (leg.instrument for leg in unit.legs if leg.position.quantity > 0 and leg.instrument.is_option)
    part = (settings.percent_of_premium or ZERO) / 100
    return {
        wing.con_id: max(ZERO, unit.entry) * part
        if settings.ticks is None
        else settings.ticks * wing.increment_at(ZERO)
        for wing in wings
    }


class Wings:
    """What is left to expire. It is in the journal."""

    def __init__(
        self,
        *,
        access: JournalAccess,
        agenda: Agenda,
        clock: Clock,
        guard: Guard,
        notices: Notices,
    ) -> None:
        self._access = access
        self._agenda = agenda
        self._clock = clock
        self._guard = guard
        self._notices = notices
        self._left: dict[Key, Left] = {}
        self._since: dict[tuple[str, int], datetime] = {}

    def restore(self, journal: Journal) -> None:
        """Raises JournalError."""
        for account, con_id, _, left in journal.remembered(_STORED, _LEFT.validate_json):
            self._left[account, con_id] = left

    def split(self, closing: Closing, held: list[Position], intents: Mapping[int, Intent | None]) -> Split:
        """Which of the held legs of a decision are closed, and which are left."""
        if any(leg.quantity < 0 for leg in held):
            return Split(held, [], undecided=False)
        if self._lacks_a_short_leg(closing):
            return Split([], [], undecided=True)
        if not closing.worthless:
            return Split(held, [], undecided=False)
        to_close, left, undecided = list[Position](), list[Position](), False
        now = self._clock.now()
        for leg in held:
            con_id = leg.instrument.con_id
            bound, key, worth = closing.worthless.get(con_id), (closing.unit, con_id), self._worth(con_id, now)
            if bound is None or worth is None or worth > bound or intents.get(con_id) is not None:
                self._since.pop(key, None)
                to_close.append(leg)
                continue
            since = min(now, self._since.setdefault(key, now))
            if now - since >= HOLDS_FOR:
                left.append(leg)
            else:
                undecided = True
                self._agenda.advance_by(since + HOLDS_FOR)
        return Split(to_close, left, undecided)

    def _lacks_a_short_leg(self, closing: Closing) -> bool:
        """Whether one is held as far as the journal knows, but not listed: such a list proves nothing."""
        positions, journal = self._guard.positions, self._access.journal
        missing = (each for each in closing.legs if not positions.get((closing.account, each)))
        holdings = (journal.holding(closing.account, each) for each in missing)
        return any(holding is not None and holding.quantity < 0 for holding in holdings)

    def _worth(self, con_id: int, now: datetime) -> Decimal | None:
        """The middle of a live quote; without a bid it is half of the ask. None if no quote is trusted."""
        quote = self._guard.quote(con_id)
        if quote is None:
            return None
        quote = replace(quote, bid=ZERO) if quote.bid is None else quote
        return None if quote.problem(now, self._guard.config.quotes.max_age) is not None else quote.mid

    def leave(self, closing: Closing, legs: Iterable[Position]) -> None:
        """Record what is left; within the transaction in which the decision ends."""
        for leg in legs:
            con_id, worth = leg.instrument.con_id, self._worth(leg.instrument.con_id, self._clock.now())
            left = Left(self._guard.episodes.get(leg.key, ""), closing.worthless[con_id])
            self._access.journal.append(
                _STORED, *leg.key, {"unit": closing.name, "worth": worth, "bound": left.bound, "quantity": leg.quantity}
            )
            self._access.journal.remember(*leg.key, _STORED, _LEFT.dump_json(left).decode())
            self._left[leg.key] = left
            self._since.pop((closing.unit, con_id), None)

    def holds(self, unit: Unit) -> bool:
        """Whether a unit is a wing that was left."""
        left = self._left.get(unit.legs[0].position.key) if len(unit.legs) == 1 else None
        if left is None or unit.legs[0].position.quantity < 0:
            return False
        return self._guard.episodes.get(unit.legs[0].position.key, left.episode) == left.episode

    def text(self, unit: Unit, now: datetime) -> str | None:
        """Why the rules of a unit rest, for `status`; None if they do not. Ends it if the wing is worth more again."""
        if not self._left or not self.holds(unit):
            return None
        key = unit.legs[0].position.key
        left, worth = self._left[key], self._worth(key[1], now)
        if worth is not None and worth > left.bound * WORTH_AGAIN:
            if self._access.opened is None or self._access.fault is not None:
                return None
            with self._access.journal.transaction():
                self._access.journal.drop(*key, _STORED)
                self._access.journal.append("no longer left to expire", *key, {"worth": worth, "bound": left.bound})
            del self._left[key]
            self._notices.notify(self._notices.author.worth_again(unit.name, key[0], worth))
            return None
        shown = "not known" if worth is None else f"{worth:.4f}"
        return f"left to expire: its worth is {shown}, bound {left.bound}"
