"""The release of locked contracts and of decisions, asked for by a person who has checked the position."""

from __future__ import annotations

from decimal import Decimal

from position_manager.clock import Clock
from position_manager.engine.account_watch import AccountWatch
from position_manager.engine.agenda import Agenda
from position_manager.engine.broker_view import BrokerView
from position_manager.engine.closer import Closer
from position_manager.engine.contract_locks import ContractLocks
from position_manager.engine.current_connection import CurrentConnection
from position_manager.engine.guard import Guard, Key
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.known_instruments import KnownInstruments
from position_manager.engine.link_status import LinkStatus
from position_manager.engine.notices import Notices
from position_manager.engine.syncing import Syncing
from position_manager.refused import RefusedError
from position_manager.rules.evaluation import Blind, Cause, Close

UNSEEN = frozenset({Cause.MARKET_CLOSED, Cause.HOURS_UNKNOWN, Cause.OPENING, Cause.NO_QUOTE, Cause.WIDE_SPREAD})
"""Causes for which the current price of a unit is unknown."""


class Releasing:
    """Ends locks and withdraws decisions."""

    def __init__(
        self,
        closer: Closer,
        accounts: AccountWatch,
        syncing: Syncing,
        status: LinkStatus,
        *,
        access: JournalAccess,
        agenda: Agenda,
        clock: Clock,
        connection: CurrentConnection,
        guard: Guard,
        instruments: KnownInstruments,
        locks: ContractLocks,
        notices: Notices,
        view: BrokerView,
    ) -> None:
        self._access = access
        self._agenda = agenda
        self._clock = clock
        self._connection = connection
        self._guard = guard
        self._instruments = instruments
        self._locks = locks
        self._notices = notices
        self._view = view
        self._closer = closer
        self._accounts = accounts
        self._syncing = syncing
        self._status = status

    def release(self, what: str, *, by: str) -> str:
        """A person has checked the position: locks of a contract end, and a decision to close it is withdrawn. The
        position counts as it is shown now. Raises RefusedError."""
        if not self._connection.ready:
            raise RefusedError(
                f"The connection is {self._connection.state.phase}: the position cannot be read. {self._status.why}"
            )
        locked = [key for key in self._locks.present if self._instruments.matches(key, what)]
        for key in locked:
            self._refuse_to_sell_at_once(key)
        done = []
        for closing in [c for c in self._closer.closings.values() if self._closer.decisions.means(c, what)]:
            self._accounts.spare(closing)
            self._closer.withdraw(closing, f"by {by}")
            done.append(f"{closing.name} is no longer being closed; its rules hold again.")
        # Without this a lock that ends days after the stop would be followed by an order at once.
        done += self._accounts.release(what)
        for key in locked:
            held = None if self._syncing.is_absent(key) else self._guard.positions.get(key)
            quantity = Decimal(0) if held is None else held.quantity
            if self._access.journal.release(
                *key, quantity, by, self._access.journal.uncounted(*key, self._view.latest.executions)
            ):
                self._syncing.restart_searches()
                self._notices.notify(self._notices.author.released(self._instruments.label(key[1]), key[0], by))
                done.append(f"{self._instruments.label(key[1])} is released; {quantity} are held.")
        if not done:
            raise RefusedError(f"Nothing that is called {what!r} is locked or being closed.")
        self._guard.count(
            {key: holding.episode for key, holding in self._access.journal.holdings().items() if holding.quantity}
        )
        self._closer.withdraw_past()
        self._locks.refresh()
        self._agenda.sync_soon()
        return " ".join(done)

    def _refuse_to_sell_at_once(self, key: Key) -> None:
        """A rule that was written before a split names prices of before it, and an average cost may lag behind a size
        that grew: a release would close it at once, for no loss at all."""
        held, holding = self._guard.positions.get(key), self._access.journal.holding(*key)
        if held is None or (holding is not None and holding.quantity == held.quantity):
            return
        grew = holding is None or abs(held.quantity) > abs(holding.quantity)
        for unit in self._guard.units_of(key[1]):
            if unit.account != key[0]:
                continue
            rules, verdict = self._guard.rules[unit.key].rules, self._guard.at_first_sight(unit, self._clock.now())
            if isinstance(verdict, Close) and (grew or rules.names_a_price(verdict.rule)):
                raise RefusedError(
                    f"{unit.name} is now {held.quantity} and would be closed at once by its {verdict.text}. "
                    "Correct the rule and reload, then release it; or close it by hand after the release."
                )
            if isinstance(verdict, Blind) and verdict.cause in UNSEEN and grew and rules.name_prices:
                # At night it is unknown whether that price is of before a split; the opening would sell it all.
                raise RefusedError(
                    f"{unit.name} is now {held.quantity}, a rule of it names a price, and that cannot be compared "
                    f"with the market now: {verdict.text}. Release it when it is quoted, or take the price out of "
                    "the rule and reload first."
                )
