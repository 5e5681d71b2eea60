"""The last step before an order leaves: look again, ask every gate, write it down, hand it to the socket.

Nothing else in the position manager calls `Broker.send`. Between the answer of the broker and the socket there is no
waiting, so what the gates saw is what holds when the order leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from position_manager.brokers.broker import BrokerError, Reread
from position_manager.engine.desk import Desk
from position_manager.model import ZERO, Position, Quote
from position_manager.orders.caps import Sent, windows
from position_manager.orders.evidence import resting
from position_manager.orders.gates import Clearance, Facts, check
from position_manager.orders.intents import Intent, OutOfSight, closing_side
from position_manager.sessions.hours import open_hours


class NotSentError(Exception):
    """The gates refuse; ``clearance`` has all their numbers, ``reread`` what the broker has just told."""

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
    """An order that somebody wants: ``decided`` is the signed position that the decision saw, ``limit`` the price per
    unit. ``resting``: a stop-limit with the trigger ``stop``, which waits at the broker: it needs no quote and no open
    market. ``approved``: a person has approved the limit. ``leaves``: so much of the position is not closed.
    ``stands``: whether it is still wanted."""

    leg: Position
    decided: Decimal
    limit: Decimal
    rule: str
    text: str
    approved: bool = False
    stop: Decimal = ZERO
    leaves: Decimal = ZERO
    stands: Callable[[], bool] = _always

    @property
    def resting(self) -> bool:
        return self.stop > 0


async def clear_and_send(desk: Desk, wish: Wish) -> Intent:
    """Send one order that closes; the intent it belongs to.

    Raises NotSentError if a gate refuses, BrokerError if the broker does not answer, JournalError if it cannot be
    written down, WithdrawnError if it no longer stands: in each case nothing was sent.
    """
    broker, journal, config = desk.broker, desk.journal, desk.config
    leg, decided = wish.leg, wish.decided
    account, con_id = leg.key
    reread = await broker.read_again(account, con_id)
    if not wish.stands():
        raise WithdrawnError
    now, link = desk.clock.now(), desk.connection
    lock, blocking = journal.lock(account, con_id), journal.open_intent(account, con_id)
    holding = journal.holding(account, con_id)
    minute, day = windows(now)
    market = desk.guard.quote(con_id)
    # At a price that a person has approved it trades whenever the market is open.
    outside_rth = config.orders.outside_rth or wish.approved
    facts = Facts(
        now=now,
        ready=link.may_send,
        link=link.phase,
        halts=desk.halts.read(),
        mode=config.mode.value,
        sending_mode=config.mode.sends,
        lock=None if lock is None else lock.reason,
        open_intent=None if blocking is None else blocking.state,
        instrument=leg.instrument,
        decided=decided,
        wanted=max(ZERO, min(abs(decided), abs(reread.quantity)) - wish.leaves) if wish.leaves else abs(decided),
        position=reread.quantity,
        read_at=reread.time,
        expected=None if holding is None else holding.quantity,
        resting=resting(reread.open_orders, account, con_id, closing_side(decided)),
        limit=wish.limit,
        sent=Sent(*(journal.sent_since(since, closes_only=not wish.resting) for since in (minute, day))),
        quote=market,
        hours=open_hours(desk.calendar, leg.instrument, now, outside_rth=outside_rth),
        approved=wish.approved,
        waits=wish.resting,
    )
    clearance = check(facts, config.limits())
    if not clearance.passed:
        raise NotSentError(clearance, reread)
    evidence = {
        **clearance.evidence(),
        "rule": wish.text,
        "quote": None if market is None else quote_evidence(market),
        "limit": wish.limit,
    }
    with journal.transaction():
        intent = journal.begin_intent(
            account, con_id, facts.side, reread.quantity, clearance.quantity, wish.rule, evidence
        )
        order = journal.record_sending(
            intent.id,
            client_id=broker.client_id,
            next_valid_id=broker.next_order_id(),
            position=reread.quantity,
            quantity=clearance.quantity,
            limit=wish.limit,
            stop=wish.stop,
            evidence={},
        )
    try:
        broker.send(
            order,
            leg.instrument,
            tif="GTC" if wish.resting else config.orders.tif,
            outside_rth=outside_rth,
        )
    except BrokerError as error:
        # It says that nothing was sent; the journal believes only what the broker's books show.
        return journal.record(intent.id, OutOfSight(str(error))).intent
    return journal.intent(intent.id)


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
