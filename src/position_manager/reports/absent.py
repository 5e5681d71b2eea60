"""What is known of a position manager that does not run: from its journal and the files beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from pydantic import TypeAdapter

from ib_connection.accounts import masked
from notifications.message import clean
from position_manager.halt import Halt
from position_manager.journal import stored_instruments
from position_manager.journal.reader import JournalReader
from position_manager.reports.explain import label_of
from position_manager.reports.status import IntentStatus, LockStatus


@dataclass(frozen=True)
class HoldingStatus:
    """A position as the journal counted it last."""

    account: str
    con_id: int
    label: str
    quantity: Decimal


@dataclass(frozen=True)
class Absent:
    """All of it at ``time``. ``why``: why the service could not be asked; ``journal``: whose journal it is, or why it
    cannot be read. Accounts are masked."""

    time: datetime
    why: str
    journal: str
    halts: tuple[str, ...]
    holdings: tuple[HoldingStatus, ...] = ()
    intents: tuple[IntentStatus, ...] = ()
    locks: tuple[LockStatus, ...] = ()
    running: bool = False

    def to_json(self) -> bytes:
        return _ABSENT.dump_json(self)


_ABSENT = TypeAdapter(Absent)


def halt_texts(halts: Iterable[Halt]) -> tuple[str, ...]:
    """Halts in words, each with what ends it."""
    return tuple(f"{halt.reason} (to end it: {halt.remedy})" for halt in halts)


def read(reader: JournalReader, why: str, halts: Iterable[Halt], now: datetime) -> Absent:
    """Raises JournalError."""
    known = stored_instruments.read(reader)
    return Absent(
        time=now,
        why=why,
        journal=f"{reader.path} ({reader.stamp})",
        halts=halt_texts(halts),
        holdings=tuple(
            HoldingStatus(masked(account), con_id, label_of(known, con_id), holding.quantity)
            for (account, con_id), holding in reader.holdings().items()
            if holding.quantity
        ),
        intents=tuple(
            IntentStatus(
                id=intent.id,
                account=masked(intent.account),
                con_id=intent.con_id,
                label=label_of(known, intent.con_id),
                side=intent.side.value,
                quantity=intent.quantity,
                filled=intent.filled,
                limit=intent.limit,
                state=intent.state.value,
                rule=intent.rule,
                reason=clean(intent.reason),
                created=intent.created,
            )
            for intent in reader.open_intents()
        ),
        locks=tuple(
            LockStatus(masked(lock.account), lock.con_id, label_of(known, lock.con_id), clean(lock.reason), lock.since)
            for lock in reader.locks()
        ),
    )
