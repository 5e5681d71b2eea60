"""Random histories over journal, intents, evidence, gates and connection: never a second close, never through zero.

A manager of the test's own drives the real parts against `model_broker`. It may die at every step of the way to the
broker; only the journal survives. ORDER_SAFETY_HISTORIES sets how many histories are tried (1000 if it is not set).
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.unit.position_manager.model_broker import ACCOUNT, CON_ID, PRICE, Broker, Message, Order

from position_manager.connection_state import (
    STEPS,
    ApiCode,
    Connection,
    Event,
    OrdersOutOfSight,
    Patience,
    SessionVerified,
    SocketDown,
    SocketUp,
    SyncDone,
    SyncDue,
    SyncFailed,
    after,
    initial,
)
from position_manager.journal.journal import Journal
from position_manager.journal.records import Stamp
from position_manager.model import Hours, Instrument, Kind, Quote
from position_manager.orders import evidence
from position_manager.orders.caps import Caps, Sent
from position_manager.orders.evidence import Search, Snapshot, account_for, resolve, resting, strays
from position_manager.orders.gates import Facts, Limits, check
from position_manager.orders.intents import (
    AT_BROKER,
    TERMINAL,
    Acknowledged,
    CancelSent,
    Executed,
    OutOfSight,
    Said,
    State,
    closing_side,
)
from position_manager.ulid import ulid

HISTORIES = int(os.environ.get("ORDER_SAFETY_HISTORIES", "1000"))
BEGIN = datetime(2026, 11, 23, 15, tzinfo=UTC)
OPTION = Instrument(CON_ID, "SPY", Kind.OPTION, Decimal(100))
HOURS = (Hours(BEGIN - timedelta(hours=1), BEGIN + timedelta(days=300)),)
LIMITS = Limits(caps=Caps(orders_per_minute=1000, orders_per_day=1000, notional=Decimal(1_000_000)))
LATE = st.sampled_from([0, 0, 5, 20])
PATIENCE = evidence.Patience()
LINK_PATIENCE = Patience()


class CrashedError(Exception):
    """The process is gone."""


class Manager:
    """What the engine will do, in its shortest form. All that it knows and that is not in the journal dies with it."""

    def __init__(self, path: Path, broker: Broker, ids: random.Random) -> None:
        self.broker = broker
        self.until_crash: int | None = None
        self.connection: Connection = initial(broker.now, LINK_PATIENCE)
        self.searches: dict[str, Search] = {}
        self.account_search = Search()
        self.seen: Snapshot | None = None
        self.journal = Journal(
            path,
            Stamp("paper", frozenset({ACCOUNT})),
            clock=self.clock,
            new_id=lambda: ulid(broker.now, ids.randbytes),
        )
        self.journal.recover()

    def clock(self) -> datetime:
        """The time; and the place where a process dies in the middle of a transaction."""
        if self.until_crash is not None:
            self.until_crash -= 1
            if self.until_crash < 0:
                raise CrashedError
        return self.broker.now

    def on_event(self, event: Event) -> None:
        self.connection, actions = after(self.connection, event, self.broker.now, LINK_PATIENCE)
        for action in actions:
            if isinstance(action, OrdersOutOfSight):
                self.searches.clear()
                self.account_search = Search()
                for intent in self.journal.open_intents():
                    self.journal.record(intent.id, OutOfSight(action.why))

    def decide(self, wanted: Decimal, die: str, send: Callable[[object], None], next_valid_id: int) -> None:
        """The way to the broker: decision, gates, journal, socket."""
        if self.seen is None:
            return
        decided = self.seen.position(ACCOUNT, CON_ID)
        if not decided:
            return
        now, journal = self.broker.now, self.journal
        blocking, lock = journal.open_intent(ACCOUNT, CON_ID), journal.lock(ACCOUNT, CON_ID)
        holding = journal.holding(ACCOUNT, CON_ID)
        position = self.broker.shown_position()
        side = closing_side(decided)
        facts = Facts(
            now=now,
            ready=self.connection.may_send,
            link=self.connection.phase,
            halts=(),
            mode="paper",
            sending_mode=True,
            lock=None if lock is None else lock.reason,
            open_intent=None if blocking is None else blocking.state,
            instrument=OPTION,
            decided=decided,
            wanted=wanted,
            position=position,
            read_at=now,
            expected=None if holding is None else holding.quantity,
            resting=resting(self.broker.shown_open(), ACCOUNT, CON_ID, side),
            limit=PRICE,
            sent=Sent(0, 0),
            quote=Quote(now, PRICE, PRICE),
            hours=HOURS,
        )
        clearance = check(facts, LIMITS)
        if not clearance.passed:
            return
        if die == "before journal":
            raise CrashedError
        intent = journal.create_intent(
            ACCOUNT, CON_ID, side, position, clearance.quantity, "stop", clearance.evidence()
        )
        if die == "after decision":
            raise CrashedError
        if die == "while writing":
            self.until_crash = 1
        order = journal.record_sending(
            intent.id,
            client_id=100,
            next_valid_id=next_valid_id,
            position=position,
            quantity=clearance.quantity,
            limit=PRICE,
            evidence={},
        )
        if die == "after journal":
            raise CrashedError
        written = journal.intent_of_ref(order.ref)
        assert written is not None
        assert written.state is State.SENDING
        send(order)
        if die == "after send":
            raise CrashedError

    def receive(self, message: Message) -> None:
        intent = self.journal.intent_of_order(100, message.order.order_id)
        assert intent is not None
        assert intent.ref == message.order.ref
        if message.kind == "ack":
            self.journal.record(intent.id, Acknowledged(message.order.perm_id))
        elif message.fill is not None:
            self.journal.record(intent.id, Executed(message.fill))
        else:
            self.journal.record(intent.id, Said(message.code))

    def sync(self, snapshot: Snapshot) -> None:
        journal = self.journal
        for intent in journal.open_intents():
            finding = resolve(intent, snapshot, self.searches.get(intent.id, Search()), PATIENCE)
            assert not finding.cancel
            self.searches[intent.id] = finding.search
            journal.record_finding(intent.id, finding)
        assert not strays(snapshot, {intent.ref for intent in journal.open_intents()})
        if not any(intent.state in AT_BROKER for intent in journal.open_intents()):
            self.account(snapshot)
        self.seen = snapshot
        number = self.connection.sync
        for step in STEPS:
            self.on_event(SyncDone(number, step))

    def account(self, snapshot: Snapshot) -> None:
        reported = snapshot.position(ACCOUNT, CON_ID)
        others = self.journal.uncounted(ACCOUNT, CON_ID, snapshot.executions)
        holding = self.journal.holding(ACCOUNT, CON_ID)
        if holding is None:
            self.journal.count_holding(ACCOUNT, CON_ID, reported, "first seen", others)
            return
        account = account_for(
            holding.quantity,
            reported,
            others,
            expired=False,
            delivered=None,
            per_unit=Decimal(100),
            search=self.account_search,
            snapshot=snapshot,
            patience=PATIENCE,
        )
        self.account_search = account.search
        if account.cause is evidence.Cause.USER:
            self.journal.count_holding(ACCOUNT, CON_ID, reported, account.cause, others)
        elif account.unexplained:
            self.journal.add_lock(ACCOUNT, CON_ID, f"position {reported}, expected {holding.quantity}")


DEATHS = st.sampled_from(
    ["", "", "", "", "before journal", "after decision", "while writing", "after journal", "after send"]
)


class Histories(RuleBasedStateMachine):
    """One history: the world does what it likes, the manager decides, dies and comes back."""

    @initialize(position=st.sampled_from([-5, -1, 1, 3, 10]))
    def start_history(self, position: int) -> None:
        shared = Path("/dev/shm")  # noqa: S108 - only to be fast: the directory below has a name of its own
        self.directory = Path(tempfile.mkdtemp(dir=shared if shared.is_dir() else None))
        self.path = self.directory / "journal.db"
        self.ids = random.Random(0)  # noqa: S311 - ids that can be repeated
        self.broker = Broker(BEGIN, Decimal(position))
        self.broker.pass_time(timedelta())
        self.manager: Manager | None = None
        self.silent = False
        self.start()

    def start(self) -> None:
        self.broker.wire.clear()
        self.broker.link = True
        self.manager = Manager(self.path, self.broker, self.ids)
        self.manager.on_event(SocketUp())
        self.manager.on_event(SessionVerified())
        self.manager.sync(self.broker.snapshot())

    def die(self) -> None:
        assert self.manager is not None
        self.manager.journal.close()
        self.manager = None
        self.broker.wire.clear()
        self.broker.link = False

    def alive(self) -> Manager:
        assert self.manager is not None
        return self.manager

    @rule(
        wanted=st.integers(1, 10),
        syncs=st.sampled_from([0, 0, 1, 4]),
        shows_filled=st.booleans(),
        die=DEATHS,
        fate=st.sampled_from(["arrives", "arrives", "arrives late", "vanishes"]),
    )
    @precondition(lambda self: self.manager is not None)
    def decide(self, wanted: int, syncs: int, shows_filled: bool, die: str, fate: str) -> None:
        """Syncs in a hurry, then a decision to close."""
        if syncs and self.broker.link:
            self.sync(shows_filled, syncs, apart=1)

        def send(order: object) -> None:
            assert self.alive().connection.may_send, "an order outside READY"
            if fate == "arrives":
                self.broker.receive(order)  # type: ignore[arg-type]
            elif fate == "arrives late":
                self.broker.in_flight.append((self.broker.now + timedelta(seconds=30), order))  # type: ignore[arg-type]

        try:
            self.alive().decide(Decimal(wanted), die, send, next_valid_id=1)
        except CrashedError:
            self.die()

    @rule(seconds=st.sampled_from([1, 7, 20, 35]))
    def time_passes(self, seconds: int) -> None:
        self.broker.pass_time(timedelta(seconds=seconds))

    @rule(which=st.integers(0, 3), part=st.integers(1, 10), executions=LATE, position=LATE)
    @precondition(lambda self: self.broker.live())
    def fills(self, which: int, part: int, executions: int, position: int) -> None:
        live = self.broker.live()
        order = live[which % len(live)]
        if not order.ref:
            position = 0  # what others trade is in the position that is read just before sending, or nothing helps
        self.broker.fill(order, min(Decimal(part), order.remaining), executions, position)

    @rule(code=st.sampled_from([201, 202, 202, 399, 10349, 110, 161, 10148, 2161]), late=LATE)
    @precondition(lambda self: any(order.ref for order in self.broker.orders))
    def reports_code(self, code: int, late: int) -> None:
        """A code about the last order of ours; 201 and 202 end it, if that can be."""
        order = [order for order in self.broker.orders if order.ref][-1]
        if code in (201, 202):
            if order.over or (code == 201 and order.filled):
                return
            self.broker.end(order, "Inactive" if code == 201 else "Cancelled", late)
        self.broker.emit(Message("code", order, code=code))

    @rule(what=st.sampled_from(["deliver", "deliver", "deliver", "twice", "lose", "later"]))
    @precondition(lambda self: self.manager is not None and self.broker.wire)
    def message(self, what: str) -> None:
        message = self.broker.wire.pop(0)
        if what == "later":
            self.broker.wire.append(message)
        elif what != "lose":
            self.alive().receive(message)
        if what == "twice":
            self.alive().receive(message)

    @rule(arrives=st.booleans(), die=st.booleans(), late=LATE)
    @precondition(lambda self: self.manager is not None and self.manager.connection.may_send)
    def cancel(self, arrives: bool, die: bool, late: int) -> None:
        manager = self.alive()
        for intent in manager.journal.open_intents():
            if intent.state not in (State.WORKING, State.PARTIAL):
                continue
            manager.journal.record(intent.id, CancelSent())
            order = next(order for order in self.broker.orders if order.ref == intent.ref)
            if arrives and not order.over:
                self.broker.end(order, "Cancelled", late)
                self.broker.emit(Message("code", order, code=202))
            elif arrives:
                self.broker.emit(Message("code", order, code=10148))
        if die:
            self.die()

    @rule(shows_filled=st.booleans(), times=st.sampled_from([1, 1, 4]), apart=st.sampled_from([1, 20, 25]))
    @precondition(lambda self: self.manager is not None and self.broker.link)
    def sync(self, shows_filled: bool, times: int, apart: int) -> None:
        manager = self.alive()
        for _ in range(times):
            manager.on_event(SyncDue())
            manager.sync(self.broker.snapshot(shows_filled))
            if times > 1:
                self.broker.pass_time(timedelta(seconds=apart))

    @rule(part=st.integers(1, 3), executions=LATE, position=LATE)
    @precondition(lambda self: self.broker.live(ours=True))
    def fills_in_part_and_ends(self, part: int, executions: int, position: int) -> None:
        """The race between a fill and a cancel, with views that lag behind it."""
        (order,) = self.broker.live(ours=True)
        self.broker.fill(order, min(Decimal(part), order.remaining), executions, position)
        if not order.over:
            self.reports_code(code=202, late=0)

    @rule(
        what=st.sampled_from(["dies", "dies while writing", "link", "link", "socket", "sync"]),
        code=st.sampled_from([1100, 2110]),
    )
    @precondition(lambda self: self.manager is not None)
    def interruption(self, what: str, code: int) -> None:
        manager = self.alive()
        if what == "dies":
            self.die()
        elif what == "dies while writing" and self.broker.wire:
            manager.until_crash = 0
            try:
                manager.receive(self.broker.wire.pop(0))
            except CrashedError:
                self.die()
            else:
                manager.until_crash = None
        elif what == "link":
            manager.on_event(ApiCode(code, "connectivity lost"))
            self.broker.link = False
            self.broker.wire.clear()
        elif what == "socket":
            self.reconnect()
        elif what == "sync":
            manager.on_event(SyncDue())
            manager.on_event(SyncFailed(manager.connection.sync, STEPS[0], "timeout"))

    def reconnect(self) -> None:
        manager = self.alive()
        manager.on_event(SocketDown("closed"))
        self.broker.wire.clear()
        self.broker.link = True
        manager.on_event(SocketUp())
        manager.on_event(SessionVerified())

    @rule(code=st.sampled_from([1101, 1102]))
    @precondition(lambda self: self.manager is None or not self.broker.link)
    def back(self, code: int) -> None:
        """A new process, or the link restored."""
        if self.manager is None:
            self.start()
        else:
            self.broker.link = True
            self.alive().on_event(ApiCode(code, "connectivity restored"))

    def user_may_act(self) -> bool:
        """Whether nothing of ours is under way: against a person who trades at the same moment nothing helps."""
        if self.manager is None or self.broker.live(ours=True) or self.broker.in_flight:
            return False
        return not any(intent.state in AT_BROKER for intent in self.manager.journal.open_intents())

    @rule(
        what=st.sampled_from(["rests an order", "adds", "is assigned", "releases", "releases"]),
        quantity=st.integers(1, 4),
    )
    @precondition(user_may_act)
    def user(self, what: str, quantity: int) -> None:
        """What a person does, or what happens to the position without a word."""
        broker = self.broker
        free = abs(broker.position) - sum((order.remaining for order in broker.live()), Decimal(0))
        if what == "rests an order" and free > 0:
            side = closing_side(broker.position)
            broker.orders.append(Order(1000 + len(broker.orders), side, min(free, Decimal(quantity))))
        elif what == "adds":
            order = Order(1000 + len(broker.orders), closing_side(-broker.position), Decimal(quantity))
            broker.orders.append(order)
            broker.fill(order, Decimal(quantity), 0, 0)
        elif what == "is assigned" and free > 0:
            broker.position += closing_side(broker.position).sign
            self.silent = True
        elif what == "releases" and broker.shown_position() == broker.position:
            # A person answers for the position that the broker shows when it is at rest.
            snapshot, journal = broker.snapshot(), self.alive().journal
            others = journal.uncounted(ACCOUNT, CON_ID, snapshot.executions)
            journal.release(ACCOUNT, CON_ID, snapshot.position(ACCOUNT, CON_ID), "test", others)

    def teardown(self) -> None:
        if not hasattr(self, "directory"):
            return
        try:
            self.come_to_rest()
            self.compare_with_the_truth()
        finally:
            if self.manager is not None:
                self.manager.journal.close()
            shutil.rmtree(self.directory)

    def come_to_rest(self) -> None:
        if self.manager is None:
            self.start()
        self.reconnect()
        for _ in range(8):
            self.broker.pass_time(timedelta(seconds=25))
            self.sync(shows_filled=True, times=1, apart=0)
            journal = self.alive().journal
            holding = journal.holding(ACCOUNT, CON_ID)
            settled = holding is not None and holding.quantity == self.broker.position
            if settled and not journal.open_intents() and not self.broker.in_flight:
                return
            self.cancel(arrives=True, die=False, late=0)

    def compare_with_the_truth(self) -> None:
        journal = self.alive().journal
        truth = {order.ref: order for order in self.broker.orders if order.ref}
        for intent in journal.intents(ACCOUNT, CON_ID):
            assert intent.state in TERMINAL | {State.LOCKED}, f"no proven end: {intent}"
            order = truth.get(intent.ref)
            assert intent.filled == (Decimal(0) if order is None else order.filled), f"{intent} {order}"
            if intent.state is State.FILLED:
                assert not intent.remaining
            if intent.state is State.LOST:
                # One that arrived late and was refused just before the search ended is over too, and traded nothing.
                dead = order is None or (bool(order.over) and not order.filled)
                assert dead or intent.reason.startswith("released"), f"{intent} {order}"
        written = [fill.exec_id for intent in journal.intents(ACCOUNT, CON_ID) for fill in intent.fills]
        assert len(written) == len(set(written))
        holding = journal.holding(ACCOUNT, CON_ID)
        assert holding is not None
        if self.silent:
            assert holding.quantity == self.broker.position or journal.lock(ACCOUNT, CON_ID) is not None
        else:
            assert holding.quantity == self.broker.position, f"{holding}, truly {self.broker.position}"


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=HISTORIES,
    stateful_step_count=14,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    print_blob=True,
)
