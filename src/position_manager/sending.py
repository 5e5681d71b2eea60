"""The last step before an order leaves: look again, ask every gate, write it down, hand it to the socket.

Nothing else in the position manager calls `Broker.send`. Between the answer of the broker and the socket there is no
waiting, so what the gates saw is what holds when the order leaves.
"""

from __future__ import annotations

from decimal import Decimal

from position_manager.broker import BrokerError, Reread
from position_manager.caps import Sent, windows
from position_manager.closing import Closing
from position_manager.desk import Desk
from position_manager.evidence import resting
from position_manager.gates import Clearance, Facts, check
from position_manager.intents import Intent, OutOfSight, closing_side
from position_manager.model import Position, Quote


class NotSentError(Exception):
    """The gates refuse; ``clearance`` has all their numbers, ``reread`` what the broker has just told."""

    def __init__(self, clearance: Clearance, reread: Reread) -> None:
        super().__init__("; ".join(f"{check.gate}: {check.detail}" for check in clearance.refusals))
        self.clearance = clearance
        self.reread = reread


async def clear_and_send(desk: Desk, closing: Closing, leg: Position, price: Decimal) -> Intent:
    """Send one order that closes ``leg``, at a limit of ``price``; the intent it belongs to.

    Raises NotSentError if a gate refuses, BrokerError if the broker does not answer, JournalError if it cannot be
    written down: in each case nothing was sent.
    """
    broker, journal, config = desk.broker, desk.journal, desk.config
    account, con_id = leg.key
    reread = await broker.read_again(account, con_id)
    now, link = desk.clock.now(), desk.connection
    lock, blocking = journal.lock(account, con_id), journal.open_intent(account, con_id)
    holding = journal.holding(account, con_id)
    minute, day = windows(now)
    decided = closing.legs[con_id]
    market = desk.guard.quote(con_id)
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
        wanted=abs(decided),
        position=reread.quantity,
        read_at=reread.time,
        expected=None if holding is None else holding.quantity,
        resting=resting(reread.open_orders, account, con_id, closing_side(decided)),
        limit=price,
        sent=Sent(journal.sent_since(minute), journal.sent_since(day)),
        quote=market,
        hours=desk.calendar.sessions(leg.instrument, now),
        approved=closing.approved is not None,
    )
    clearance = check(facts, config.limits())
    if not clearance.passed:
        raise NotSentError(clearance, reread)
    evidence = {
        **clearance.evidence(),
        "rule": closing.text,
        "quote": None if market is None else quote_evidence(market),
        "limit": price,
    }
    with journal.transaction():
        intent = journal.begin_intent(
            account, con_id, facts.side, reread.quantity, clearance.quantity, closing.rule, evidence
        )
        order = journal.record_sending(
            intent.id,
            client_id=broker.client_id,
            next_valid_id=broker.next_order_id(),
            position=reread.quantity,
            quantity=clearance.quantity,
            limit=price,
            evidence={},
        )
    try:
        broker.send(order, leg.instrument, tif=config.orders.tif, outside_rth=config.orders.outside_rth)
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
