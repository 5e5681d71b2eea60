"""The rule loop: all that is guarded, a slice at a time, so that broker events are handled in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from position_manager.clock import Clock
from position_manager.engine.account_watch import AccountWatch
from position_manager.engine.agenda import Agenda
from position_manager.engine.assignment_watch import AssignmentWatch
from position_manager.engine.closer import Closer
from position_manager.engine.cooldown import Cooldowns
from position_manager.engine.disaster_stops import DisasterStops
from position_manager.engine.guard import Guard
from position_manager.engine.in_flight import InFlight
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.unit_evaluator import UnitEvaluator
from position_manager.engine.unprotected_watch import UnprotectedWatch

SLICE = 10
"""How many units are evaluated in a row before broker events are handled again: an order must not wait for them."""


class RuleLoop:
    """``on_loop`` is called after each whole loop."""

    def __init__(
        self,
        evaluator: UnitEvaluator,
        closer: Closer,
        accounts: AccountWatch,
        cooldowns: Cooldowns,
        assignments: AssignmentWatch,
        disaster_stops: DisasterStops,
        unprotected: UnprotectedWatch,
        *,
        access: JournalAccess,
        agenda: Agenda,
        clock: Clock,
        guard: Guard,
        in_flight: InFlight,
        on_loop: Callable[[], None],
    ) -> None:
        self._evaluator = evaluator
        self._closer = closer
        self._accounts = accounts
        self._cooldowns = cooldowns
        self._assignments = assignments
        self._disaster_stops = disaster_stops
        self._unprotected = unprotected
        self._access = access
        self._agenda = agenda
        self._clock = clock
        self._guard = guard
        self._in_flight = in_flight
        self._on_loop = on_loop
        self._loop: Iterator[bool] | None = None
        self._again = False
        self._store_due = False

    def store_next(self) -> None:
        """Store in the next loop what rules remember."""
        self._store_due = True

    def start(self) -> None:
        """Evaluate all that is guarded; after the current loop, if one is running."""
        if self._loop is None:
            self._loop = self._steps()
        else:
            self._again = True
        self._agenda.wake()

    def abort(self) -> None:
        """End the current loop, and start no other after it."""
        self._loop, self._again = None, False

    def run_slice(self) -> None:
        """The next slice of the current loop: a small one while an order is on its way to the socket."""
        loop = self._loop
        if loop is None:
            return
        for _ in range(1 if self._in_flight else SLICE):
            long = next(loop, None)
            if long is None:
                self._loop = self._steps() if self._again else None
                self._again = False
            if long is not False:
                break
        if self._loop is not None:
            self._agenda.wake()

    def _steps(self) -> Iterator[bool]:
        """One rule loop, in steps: what is held, what is being closed, what rests in case we are gone. Each step
        reports whether it has taken so long that broker events must be handled before the next one."""
        guard, clock = self._guard, self._clock
        for unit in guard.units:
            if guard.guards(unit):
                self._evaluator.evaluate(unit, clock.now())
                yield False
        if self._access.opened is not None:
            guard.store_new(self._access.journal)
            if self._store_due:
                self._store_due = False
                for _ in guard.store_in_parts(self._access.journal):
                    yield True
            self._accounts.close_remaining(clock.now())
            self._cooldowns.update(clock.now())
            self._closer.cancel_the_unwanted()
            for closing in list(self._closer.closings.values()):
                if self._closer.closings.get(closing.unit) is closing:
                    self._closer.advance(closing)
                    yield False
            for _ in self._disaster_stops.steps():
                yield False
            self._unprotected.check(clock.now())
            self._accounts.watch_the_unprotected(clock.now())
            self._assignments.warn(clock.now())
        self._on_loop()
