"""The last step before an order is sent: check again, evaluate every gate, record the order, pass it to the socket.

Nothing else in the position manager calls `Broker.send`. Between the answer of the broker and the socket there is no
waiting, so what the gates saw still holds when the order is sent. Orders that wait for the same answer go through the
gates one after the other, are recorded together, and are sent once all of them are on disk.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from position_manager.brokers.broker import Broker, BrokerError, Reread
from position_manager.config.schema import Config
from position_manager.engine.gate_facts import GateFacts
from position_manager.engine.guard import Key
from position_manager.engine.guarded_accounts import GuardedAccounts
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.sending_halts import SendingHalts
from position_manager.engine.tasks import Tasks
from position_manager.halt import Halt
from position_manager.journal.records import OrderToSend
from position_manager.model import ZERO, Position, Quote
from position_manager.orders.evidence import OpenOrder
from position_manager.orders.gates import Clearance, check
from position_manager.orders.intents import Intent, OutOfSight, closing_side


class NotSentError(Exception):
    """The gates refuse; ``clearance`` has all their numbers, ``reread`` what the broker has just reported."""

    def __init__(self, clearance: Clearance, reread: Reread) -> None:
        super().__init__("; ".join(f"{check.gate}: {check.detail}" for check in clearance.refusals))
        self.clearance = clearance
        self.reread = reread


class WithdrawnError(Exception):
    """The decision was withdrawn while the gates were asked; nothing was sent."""


def _always() -> bool:
    return True


@dataclass(frozen=True)
class Wish:
    """A requested order: ``decided`` is the signed position that the decision saw, ``limit`` the price per unit.
    ``resting``: a stop-limit with the trigger ``stop``, which waits at the broker: it needs no quote and no open
    market. ``approved``: a person has approved the limit. ``leaves``: how much of the position is not closed.
    ``is_wanted``: whether the order is still requested."""

    leg: Position
    decided: Decimal
    limit: Decimal
    rule: str
    text: str
    approved: bool = False
    stop: Decimal = ZERO
    leaves: Decimal = ZERO
    is_wanted: Callable[[], bool] = _always

    @property
    def resting(self) -> bool:
        return self.stop > 0


@dataclass(frozen=True)
class _Due:
    """A requested order, with what the broker has just reported; ``sent`` receives the intent, or why there is none."""

    wish: Wish
    reread: Reread
    sent: asyncio.Future[Intent]


@dataclass(frozen=True)
class Unwritten:
    """What must be on disk before an order is, and is not yet: ``write`` it within a transaction; after the end of
    that, it ``is_written``."""

    write: Callable[[], None]
    is_written: Callable[[], None]


_Written = tuple[_Due, Intent, OrderToSend]


class Sender:
    """Sends orders that close. Those that are wanted at the same moment share one write to the disk, as they share the
    broker's answer."""

    def __init__(
        self,
        unwritten: Unwritten,
        *,
        access: JournalAccess,
        broker: Broker,
        config: Callable[[], Config],
        facts: GateFacts,
        guarded: GuardedAccounts,
        halts: SendingHalts,
        tasks: Tasks,
    ) -> None:
        self._access = access
        self._broker = broker
        self._config = config
        self._facts = facts
        self._guarded = guarded
        self._halts = halts
        self._tasks = tasks
        self._unwritten = unwritten
        self._due: list[_Due] = []

    async def send(self, wish: Wish) -> Intent:
        """Send one order; the intent it belongs to.

        Raises NotSentError if a gate refuses, BrokerError if the broker does not answer, JournalError if it cannot be
        recorded, WithdrawnError if the order is no longer requested: in each case nothing was sent.
        """
        reread = await self._broker.read_again(*wish.leg.key)
        due = _Due(wish, reread, asyncio.get_running_loop().create_future())
        self._due.append(due)
        if len(self._due) == 1:
            # Whoever has got the same answer comes before that, and nothing that the broker sends later.
            self._tasks.spawn(self._send_all())
        return await due.sent

    async def _send_all(self) -> None:
        """In one step: it waits for nothing."""
        every, self._due = self._due, []
        for one in every:
            if not one.sent.done() and not one.wish.is_wanted():
                one.sent.set_exception(WithdrawnError())
        # Whoever was cancelled meanwhile wants nothing any more.
        due = [one for one in every if not one.sent.done()]
        if not self._send_together(due) and len(due) > 1:
            # Nothing of them is on disk. One that cannot be written must not block the others.
            for one in due:
                self._send_together([one])

    def _send_together(self, due: list[_Due]) -> bool:
        """Whether they were recorded. If not, one that was alone has received the error, several have not yet."""
        refused: list[tuple[_Due, NotSentError]] = []
        written: list[_Written] = []
        try:
            with self._access.journal.transaction():
                self._unwritten.write()
                self._check_for_rivals(due)
                halts = self._halts.read()
                rests = _Rests()
                for one in due:
                    clearance, evidence = self._clear(one, halts, rests)
                    if clearance.passed:
                        written.append(self._write(one, clearance, evidence))
                    else:
                        refused.append((one, NotSentError(clearance, one.reread)))
        except Exception as error:  # of any kind: each sender receives it
            if len(due) == 1:
                due[0].sent.set_exception(error)
            return False
        self._unwritten.is_written()
        for one, why in refused:
            one.sent.set_exception(why)
        for one, intent, order in written:
            self._hand_over(one, intent, order)
        return True

    def _check_for_rivals(self, due: list[_Due]) -> None:
        """Several orders share an answer with the open orders of all clients."""
        for open_orders in {id(one.reread.open_orders): one.reread.open_orders for one in due}.values():
            self._halts.see(self._guarded.names, open_orders)

    def _clear(self, due: _Due, halts: tuple[Halt, ...], rests: _Rests) -> tuple[Clearance, Mapping[str, object]]:
        """The result of the gates now, and what the journal must record of it."""
        wish, reread = due.wish, due.reread
        facts = self._facts.of(
            wish.leg,
            wish.decided,
            reread,
            leaves=wish.leaves,
            limit=wish.limit,
            halts=halts,
            open_orders=rests.of(reread, wish.leg.key),
            approved=wish.approved,
            waits=wish.resting,
        )
        clearance = check(facts, self._config().limits())
        return clearance, {
            **clearance.evidence(),
            "rule": wish.text,
            "quote": None if facts.quote is None else quote_evidence(facts.quote),
            "limit": wish.limit,
        }

    def _write(self, due: _Due, clearance: Clearance, evidence: Mapping[str, object]) -> _Written:
        wish, position = due.wish, due.reread.quantity
        intent = self._access.journal.create_intent(
            *wish.leg.key, closing_side(wish.decided), position, clearance.quantity, wish.rule, evidence
        )
        order = self._access.journal.record_sending(
            intent.id,
            client_id=self._broker.client_id,
            next_valid_id=self._broker.next_order_id(),
            position=position,
            quantity=clearance.quantity,
            limit=wish.limit,
            stop=wish.stop,
            evidence={},
        )
        return due, intent, order

    def _hand_over(self, due: _Due, intent: Intent, order: OrderToSend) -> None:
        """The order is on disk: to the socket with it."""
        wish, orders = due.wish, self._config().orders
        try:
            try:
                self._broker.send(
                    order,
                    wish.leg.instrument,
                    tif="GTC" if wish.resting else orders.tif,
                    outside_rth=orders.outside_rth or wish.approved,
                )
            except BrokerError as error:
                # The error states that nothing was sent; the journal believes only what the broker's books show.
                due.sent.set_result(self._access.journal.record(intent.id, OutOfSight(str(error))).intent)
            else:
                due.sent.set_result(self._access.journal.intent(intent.id))
        except Exception as error:  # of any kind: the other orders are on disk, and must still be passed on
            due.sent.set_exception(error)


class _Rests:
    """The open orders of answers of the broker, by holding: several orders share an answer with hundreds of them."""

    def __init__(self) -> None:
        self._of: dict[int, dict[Key, list[OpenOrder]]] = {}

    def of(self, reread: Reread, key: Key) -> list[OpenOrder]:
        answer = self._of.get(id(reread.open_orders))
        if answer is None:
            answer = self._of[id(reread.open_orders)] = defaultdict(list)
            for order in reread.open_orders:
                answer[order.account, order.con_id].append(order)
        return answer[key]


def quote_evidence(quote: Quote) -> dict[str, object]:
    """A quote for the journal."""
    return {
        "time": quote.time,
        "bid": quote.bid,
        "ask": quote.ask,
        "last": quote.last,
        "live": quote.live,
        "delta": quote.delta,
        "underlying": quote.underlying,
    }
