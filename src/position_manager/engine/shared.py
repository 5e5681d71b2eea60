"""The collaborators of one engine. Only `engine`, `wiring` and `engine_status` know them all: each part of the engine
receives those that it uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from notifications.message import Message
from position_manager.brokers.broker import Broker
from position_manager.clock import Clock
from position_manager.config.schema import Config
from position_manager.connection_state import Connection
from position_manager.engine.agenda import Agenda
from position_manager.engine.broker_view import BrokerView
from position_manager.engine.contract_locks import ContractLocks
from position_manager.engine.current_connection import CurrentConnection
from position_manager.engine.guard import Guard
from position_manager.engine.guarded_accounts import GuardedAccounts
from position_manager.engine.in_flight import InFlight
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.known_instruments import KnownInstruments
from position_manager.engine.notices import Notices
from position_manager.engine.sending_halts import SendingHalts
from position_manager.engine.tasks import Tasks
from position_manager.halt import Halts
from position_manager.orders.evidence import Snapshot
from position_manager.sessions.hours import Calendar


@dataclass(frozen=True)
class Shared:
    """Each has its own state; nothing here is replaced while the engine runs."""

    broker: Broker
    calendar: Calendar
    clock: Clock
    guard: Guard
    access: JournalAccess
    agenda: Agenda
    connection: CurrentConnection
    guarded: GuardedAccounts
    halts: SendingHalts
    in_flight: InFlight
    instruments: KnownInstruments
    locks: ContractLocks
    notices: Notices
    tasks: Tasks
    view: BrokerView

    def config(self) -> Config:
        """The present configuration, which a reload replaces."""
        return self.guard.config


def collaborators(
    config: Config,
    broker: Broker,
    *,
    clock: Clock,
    calendar: Calendar,
    halts: Halts,
    connection: Connection,
    patience: timedelta,
    deliver: Callable[[Message], object],
) -> Shared:
    """Those of a new engine. ``patience`` is how long a unit may go without an evaluation (`Guard`), ``deliver`` must
    not block for long."""
    guard = Guard(config, calendar, patience=patience)
    agenda = Agenda(clock)
    notices = Notices(lambda: guard.config, clock, deliver, agenda.wake)
    access = JournalAccess(notices)
    return Shared(
        broker=broker,
        calendar=calendar,
        clock=clock,
        guard=guard,
        access=access,
        agenda=agenda,
        connection=CurrentConnection(connection),
        guarded=GuardedAccounts(),
        halts=SendingHalts(halts, clock),
        in_flight=InFlight(),
        instruments=KnownInstruments(),
        locks=ContractLocks(access),
        notices=notices,
        tasks=Tasks(access, agenda.wake),
        view=BrokerView(Snapshot(clock.now())),
    )
