"""Maintains the disaster stops at the broker: one for each guarded position that nothing else closes, of a group for
each short leg, if they are configured there."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator

from position_manager.brokers.broker import BrokerError
from position_manager.clock import Clock
from position_manager.engine.agenda import Agenda
from position_manager.engine.broker_view import BrokerView
from position_manager.engine.closer import Closer
from position_manager.engine.contract_locks import ContractLocks
from position_manager.engine.current_connection import CurrentConnection
from position_manager.engine.followed_orders import FollowedOrders
from position_manager.engine.guard import Guard, Key
from position_manager.engine.in_flight import InFlight
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.notices import Notices
from position_manager.engine.sending import NotSentError, Wish, WithdrawnError
from position_manager.engine.sending_halts import SendingHalts
from position_manager.engine.tasks import Tasks
from position_manager.journal.errors import UnsettledError
from position_manager.model import Position
from position_manager.orders import disaster
from position_manager.orders.evidence import OpenOrder, resting
from position_manager.orders.gates import closable
from position_manager.orders.intents import closing_side
from position_manager.rules.groups import Unit

_log = logging.getLogger(__name__)


class DisasterStops:
    """Sends, replaces and cancels them, one step at each rule loop."""

    def __init__(
        self,
        orders: FollowedOrders,
        closer: Closer,
        *,
        access: JournalAccess,
        agenda: Agenda,
        clock: Clock,
        connection: CurrentConnection,
        guard: Guard,
        halts: SendingHalts,
        in_flight: InFlight,
        locks: ContractLocks,
        notices: Notices,
        tasks: Tasks,
        view: BrokerView,
    ) -> None:
        self._access = access
        self._agenda = agenda
        self._clock = clock
        self._connection = connection
        self._guard = guard
        self._halts = halts
        self._in_flight = in_flight
        self._locks = locks
        self._notices = notices
        self._tasks = tasks
        self._view = view
        self._orders = orders
        self._closer = closer
        self._refused: dict[Key, str] = {}

    def steps(self) -> Iterator[None]:
        """The next step for each unit, one at a time. Nothing is done unless READY."""
        policy = self._guard.config.disaster_stop
        if policy is None and not (self._access.opened and self._access.journal.open_intents()):
            return
        shown = self._view.latest
        by_key: dict[Key, list[OpenOrder]] = defaultdict(list)
        for resting_order in shown.open_orders:
            by_key[resting_order.account, resting_order.con_id].append(resting_order)
        for unit in self._guard.units:
            if (
                not self._connection.ready
                or self._access.fault is not None
                or not self._guard.config.mode.sends
                or self._view.latest is not shown
            ):
                # The next loop starts over, with the state at that time.
                return
            if self._guard.guards(unit) and self._closer.decisions.of(unit) is None:
                left = self._closer.wings.holds(unit)
                for leg in unit.legs:
                    order = None if policy is None or left else disaster.wanted(unit, leg, policy)
                    self._ensure_rest(unit, leg.position, order, by_key[leg.position.key])
                yield

    def _ensure_rest(
        self, unit: Unit, position: Position, order: disaster.StopOrder | None, shown: list[OpenOrder]
    ) -> None:
        if position.key in self._in_flight or position.key in self._locks.present:
            return
        intent = self._access.journal.open_intent(*position.key)
        if intent is not None:
            others = (other for other in shown if other.ref != intent.ref)
            room = closable(position.quantity, resting(others, *position.key, closing_side(position.quantity)))
            if order is not None:
                caps, multiplier = self._guard.config.limits().caps.of_resting, position.instrument.multiplier
                room = caps.slice_of(room, order.limit, multiplier) or room
            why = disaster.outdated(intent, position, order, room)
            if why is not None:
                self._orders.cancel(intent, why)
        elif order is not None and not self._halts.present:
            self._in_flight.add([position.key])
            text = f"{disaster.RULE}: triggers at {order.trigger}, limit {order.limit}"
            wish = Wish(
                *(position, position.quantity, order.limit, disaster.RULE, text),
                stop=order.trigger,
                is_wanted=lambda: self._closer.decisions.of(unit) is None,
            )
            self._tasks.spawn(self._send(unit, wish))

    async def _send(self, unit: Unit, wish: Wish) -> None:
        try:
            await self._closer.sender.send(wish)
        except NotSentError as error:
            gates = ", ".join(check.gate for check in error.clearance.refusals)
            if self._refused.get(wish.leg.key) != gates:
                self._refused[wish.leg.key] = gates
                name = unit.name if unit.group is None else f"{wish.leg.instrument.label} of {unit.name}"
                self._notices.notify(self._notices.author.notice(f"{name} has no disaster stop: {error}"))
        except WithdrawnError:
            _log.info("no disaster stop for %s: it is being closed", unit.name)
        except (UnsettledError, BrokerError) as error:
            _log.warning("the disaster stop of %s was not sent: %s", unit.name, error)
        else:
            self._refused.pop(wish.leg.key, None)
        finally:
            self._in_flight.remove([wish.leg.key])
            self._agenda.wake()
            if self._closer.decisions.of(unit) is not None:
                # It has waited for this.
                self._agenda.advance_by(self._clock.now())
