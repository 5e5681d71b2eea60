"""One evaluation of a unit's rules: the verdict is recorded, and a rule that fires is decided on."""

from __future__ import annotations

from datetime import datetime

from position_manager.engine.closer import Closer
from position_manager.engine.contract_locks import ContractLocks
from position_manager.engine.current_connection import CurrentConnection
from position_manager.engine.guard import Guard
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.sending_halts import SendingHalts
from position_manager.rules.evaluation import Blind, Cause, Hold
from position_manager.rules.groups import Unit


class UnitEvaluator:
    """Evaluates one unit at a time."""

    def __init__(
        self,
        closer: Closer,
        *,
        access: JournalAccess,
        connection: CurrentConnection,
        guard: Guard,
        halts: SendingHalts,
        locks: ContractLocks,
    ) -> None:
        self._closer = closer
        self._access = access
        self._connection = connection
        self._guard = guard
        self._halts = halts
        self._locks = locks

    def evaluate(self, unit: Unit, now: datetime) -> None:
        """Evaluate the rules of a unit, unless all of it is being closed."""
        guard = self._guard
        closing = self._closer.decisions.of(unit)
        # The rules continue for the rest when only a part is being closed.
        in_part = closing is not None and bool(closing.leaves) and closing.unit == unit.key
        if closing is not None and not in_part:
            # Whatever blocks a close counts as unprotected.
            bar = self._closer.bars.text(closing)
            blind = self._blind(unit) or (Blind(Cause.CANNOT_CLOSE, bar) if bar else None)
            guard.record_verdict(unit, blind or Hold(pending=(closing.text,)), now)
            return
        if (left := self._closer.wings.text(unit, now)) is not None:
            guard.record_verdict(unit, Hold(pending=(left,)), now)
            return
        fired = guard.evaluate_unit(unit, now, self._blind, self._closer.dry_run.blocked)
        if fired is not None and closing is None:
            self._closer.decide(unit, str(fired.rule), fired.text, part=fired.part, level=fired.level)
        elif fired is not None and closing is not None and fired.part is None:
            self._closer.widen(closing, unit, str(fired.rule), fired.text)

    def _blind(self, unit: Unit) -> Blind | None:
        """Why nothing could be sent for a unit, whatever the result of its rules."""
        if not self._connection.ready:
            return Blind(Cause.NOT_READY, f"the connection is {self._connection.state.phase}")
        if self._halts.present:
            halt = self._halts.present[0]
            return Blind(Cause.HALTED, f"{halt.reason}; to end it: {halt.remedy}")
        if self._access.fault is not None:
            return Blind(Cause.HALTED, self._access.fault)
        for leg in unit.legs:
            lock = self._locks.present.get((unit.account, leg.instrument.con_id))
            if lock is not None:
                return Blind(Cause.LOCKED, f"{leg.instrument.label} is locked: {lock.reason}")
        return None
