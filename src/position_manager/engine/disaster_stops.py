"""Maintains the disaster stops at the broker: one for each guarded position that nothing else closes, of a group for
each short leg, if they are configured there."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator

from position_manager.brokers.broker import BrokerError
from position_manager.engine.closer import Closer
from position_manager.engine.desk import Desk
from position_manager.engine.followed_orders import FollowedOrders
from position_manager.engine.guard import Key
from position_manager.engine.sending import NotSentError, Wish, WithdrawnError
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

    def __init__(self, desk: Desk, orders: FollowedOrders, closer: Closer) -> None:
        self._desk = desk
        self._orders = orders
        self._closer = closer
        self._refused: dict[Key, str] = {}

    def steps(self) -> Iterator[None]:
        """The next step for each unit, one at a time. Nothing is done unless READY."""
        desk, policy = self._desk, self._desk.config.disaster_stop
        if policy is None and not (desk.opened and desk.journal.open_intents()):
            return
        shown = desk.seen
        by_key: dict[Key, list[OpenOrder]] = defaultdict(list)
        for resting_order in shown.open_orders:
            by_key[resting_order.account, resting_order.con_id].append(resting_order)
        for unit in desk.guard.units:
            if not desk.ready or desk.fault is not None or not desk.config.mode.sends or desk.seen is not shown:
                # The next loop starts over, with the state at that time.
                return
            if desk.guard.guards(unit) and self._closer.decisions.of(unit) is None:
                left = self._closer.wings.holds(unit)
                for leg in unit.legs:
                    order = None if policy is None or left else disaster.wanted(unit, leg, policy)
                    self._ensure_rest(unit, leg.position, order, by_key[leg.position.key])
                yield

    def _ensure_rest(
        self, unit: Unit, position: Position, order: disaster.StopOrder | None, shown: list[OpenOrder]
    ) -> None:
        desk = self._desk
        if position.key in desk.busy or position.key in desk.locks:
            return
        intent = desk.journal.open_intent(*position.key)
        if intent is not None:
            others = (other for other in shown if other.ref != intent.ref)
            room = closable(position.quantity, resting(others, *position.key, closing_side(position.quantity)))
            if order is not None:
                caps, multiplier = desk.config.limits().caps.of_resting, position.instrument.multiplier
                room = caps.slice_of(room, order.limit, multiplier) or room
            why = disaster.outdated(intent, position, order, room)
            if why is not None:
                self._orders.cancel(intent, why)
        elif order is not None and not desk.halted:
            desk.busy.add(position.key)
            text = f"{disaster.RULE}: triggers at {order.trigger}, limit {order.limit}"
            wish = Wish(
                *(position, position.quantity, order.limit, disaster.RULE, text),
                stop=order.trigger,
                is_wanted=lambda: self._closer.decisions.of(unit) is None,
            )
            desk.spawn(self._send(unit, wish))

    async def _send(self, unit: Unit, wish: Wish) -> None:
        desk = self._desk
        try:
            await self._closer.sender.send(wish)
        except NotSentError as error:
            gates = ", ".join(check.gate for check in error.clearance.refusals)
            if self._refused.get(wish.leg.key) != gates:
                self._refused[wish.leg.key] = gates
                name = unit.name if unit.group is None else f"{wish.leg.instrument.label} of {unit.name}"
                desk.notify(desk.author.notice(f"{name} has no disaster stop: {error}"))
        except WithdrawnError:
            _log.info("no disaster stop for %s: it is being closed", unit.name)
        except (UnsettledError, BrokerError) as error:
            _log.warning("the disaster stop of %s was not sent: %s", unit.name, error)
        else:
            self._refused.pop(wish.leg.key, None)
        finally:
            desk.busy.discard(wish.leg.key)
            desk.wake.set()
            if self._closer.decisions.of(unit) is not None:
                # It has waited for this.
                desk.advance_by(desk.clock.now())
