"""Random histories over the whole engine: never a second close, never through zero, every order to its proven end.

The real engine with its real journal runs against `engine_world`; the world does what it likes, the process dies where
it likes. ENGINE_HISTORIES sets how many histories are tried (1000 if it is not set); a failing one shrinks and prints
how to play it again.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Coroutine, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.unit.position_manager.engine_world import (
    ACCOUNT,
    BEGIN,
    COMBO,
    COMBO_PARTS,
    CONFIG,
    DISASTER,
    GROUP,
    GROUP_DISASTER,
    GROUP_PARTS,
    PARTS,
    KilledError,
    Manager,
    ManualClock,
    Order,
    World,
    put,
    settle,
)

from position_manager.brokers.broker import CodeReceived, PositionReceived
from position_manager.journal.errors import JournalError
from position_manager.journal.reader import JournalReader
from position_manager.orders.intents import TERMINAL, State, closing_side

HISTORIES = int(os.environ.get("ENGINE_HISTORIES", "1000"))
QUOTES = {
    "calm": ("2.45", "2.55"),
    "beyond the stop": ("3.75", "3.85"),
    "further": ("4.10", "4.30"),
    "beyond the target": ("0.90", "0.95"),
    "at the partial target": ("1.40", "1.50"),
    "wide": ("2.00", "4.00"),
    "one-sided": (None, "3.85"),
}
HABITS = (
    *("lag", "catch up", "no acks", "acks", "slow cancels", "cancels", "swallow", "deliver"),
    *("silent at first", "quotes at first"),
)
KINDS: dict[str, Mapping[str, object]] = {
    "plain": CONFIG,
    "two at once": CONFIG,
    "disaster stop": DISASTER,
    "group": GROUP,
    "group disaster stop": GROUP_DISASTER,
    "parts": PARTS,
    "group parts": GROUP_PARTS,
    "group combo": COMBO,
    "group combo parts": COMBO_PARTS,
}


class Histories(RuleBasedStateMachine):
    """One history."""

    @initialize(quantity=st.sampled_from([-3, -2, -1, 1, 2]), kind=st.sampled_from(sorted(KINDS)), rests=st.booleans())
    def start_history(self, quantity: int, kind: str, rests: bool) -> None:
        shared = Path("/dev/shm")  # noqa: S108 - only to be fast: the directory below has a name of its own
        self.directory = Path(tempfile.mkdtemp(dir=shared if shared.is_dir() else None))
        self.loop = asyncio.new_event_loop()
        self.config = KINDS[kind]
        self.world = World(ManualClock(BEGIN))
        self.contracts = [42]
        self.world.hold(put(42), quantity)
        if kind.startswith("group"):
            self.world.positions[42] = -Decimal(abs(quantity))
            self.world.hold(put(43, 440), abs(quantity), "1.50")
            self.contracts.append(43)
        if kind == "two at once":
            self.world.hold(put(43, 440), quantity)
            self.contracts.append(43)
        if rests:
            self.world.foreign(42, closing_side(self.world.positions[42]), 1)
        self.manager: Manager | None = None
        self.reported: list[str] = []
        self.starts = 0
        self.silent = False
        self.kind = kind
        self.away = timedelta()
        self.since: datetime | None = None
        self.counted = True
        self.world.clock.passing = self.passes
        self.blocker: sqlite3.Connection | None = None
        self.start()

    def passes(self, span: timedelta) -> None:
        """Add up the time in which nothing could be sent for contract 42, once it is guarded."""
        self.record_the_start()
        engine = None if self.manager is None else self.manager.engine
        if self.since is not None and (engine is None or not engine.ready):
            self.away += span

    def record_the_start(self) -> None:
        if self.since is None and self.manager is not None and self.manager.engine.synced:
            self.since = self.world.clock.now()

    def run(self, story: Coroutine[Any, Any, None]) -> None:
        """A piece of the history. A process that dies in it is gone."""
        try:
            self.loop.run_until_complete(story)
        except KilledError:
            self.gone()
        self.record_the_start()
        if self.manager is not None and self.manager.running is not None and self.manager.running.done():
            error = self.manager.running.exception()
            # A journal that cannot be opened ends the process; systemd starts another one.
            assert isinstance(error, (KilledError, JournalError)), f"the engine ended: {error!r}"
            self.gone()
        self.memory_equals_the_disk()

    def memory_equals_the_disk(self) -> None:
        journal = None if self.manager is None else self.manager.engine.shared.access.opened
        if journal is not None:
            assert journal.open_intents() == JournalReader.open_intents(journal)
            assert journal.holdings() == JournalReader.holdings(journal)

    def start(self) -> None:
        self.starts += 1
        self.world.deaf = False
        self.manager = Manager(self.world, self.directory, self.config, seed=self.starts)
        self.world.on_send = self.sending
        self.run(self.manager.start())

    def sending(self, moment: str) -> None:
        manager = self.manager
        assert manager is not None
        shared = manager.engine.shared
        assert shared.connection.ready, f"an order outside READY: {shared.connection.state.phase}"
        assert not shared.halts.read(), "an order under a halt"
        if moment == "after send":
            sent = self.world.received[-1]
            assert sent.stop or sent.con_id in self.world.quoted, f"no quote of this session is behind {sent}"
        if moment == self.dies_at:
            self.dies_at = ""
            raise KilledError

    dies_at = ""

    def gone(self) -> None:
        manager, self.manager = self.manager, None
        if manager is not None:
            self.reported += [message.title + message.text() for message in manager.reported]
            manager.until_crash = None
            self.loop.run_until_complete(manager.kill())

    def alive(self) -> Manager:
        assert self.manager is not None
        return self.manager

    def ours(self) -> list[Order]:
        return [order for order in self.world.orders if order.client_id == 100 and not order.over]

    # ----- the market and time

    @rule(con_id=st.sampled_from([42, 42, 43]), quote=st.sampled_from(sorted(QUOTES)), times=st.sampled_from([1, 2, 3]))
    def quotes(self, con_id: int, quote: str, times: int) -> None:
        async def story() -> None:
            for _ in range(times):
                self.world.quote(con_id, *QUOTES[quote])
                await self.world.clock.advance(1)

        if con_id in self.contracts:
            self.run(story())

    @rule(quote=st.sampled_from(sorted(QUOTES)), times=st.sampled_from([1, 2, 3]))
    def quotes_together(self, quote: str, times: int) -> None:
        async def story() -> None:
            for _ in range(times):
                self.world.quote_together(self.contracts, *QUOTES[quote])
                await self.world.clock.advance(1)

        self.run(story())

    @rule(seconds=st.sampled_from([1, 6, 6, 30]))
    def time_passes(self, seconds: int) -> None:
        self.run(self.world.clock.advance(seconds))

    @rule(hours=st.sampled_from([-2, 1]))
    def the_clock_jumps(self, hours: int) -> None:
        async def story() -> None:
            self.world.clock.jump(timedelta(hours=hours))
            self.counted = False
            await settle()

        self.run(story())

    # ----- the broker

    @rule(which=st.integers(0, 3), part=st.integers(1, 3))
    @precondition(lambda self: self.ours())
    def fills(self, which: int, part: int) -> None:
        async def story() -> None:
            live = self.ours()
            order = live[which % len(live)]
            if order.legs:
                held = min(abs(self.world.positions[con_id]) // ratio for con_id, _, ratio in order.legs)
                if held:
                    self.world.fill(order, min(part, int(order.remaining), int(held)))
                await settle()
                return
            # What is left of an order beside a person who trades while the engine sees nothing, nobody can help.
            held = abs(self.world.positions[order.sent.con_id])
            if held:
                self.world.fill(order, min(part, int(order.remaining), int(held)))
            await settle()

        self.run(story())

    @rule(code=st.sampled_from([201, 202, 399, 10349, 10148, 10147, 110]))
    @precondition(lambda self: self.ours())
    def reports_code(self, code: int) -> None:
        async def story() -> None:
            order = self.ours()[-1]
            if code in (201, 202) and not (code == 201 and order.filled):
                self.world.end(order, "Inactive" if code == 201 else "Cancelled", code)
            elif code not in (201, 202):
                self.world.emit(CodeReceived(code, "said", order.sent.order_id))
            await settle()

        self.run(story())

    @rule(what=st.sampled_from(HABITS))
    def habits(self, what: str) -> None:
        async def story() -> None:
            world = self.world
            match what:
                case "silent at first" | "quotes at first":
                    world.first_quotes = what == "quotes at first"
                case "lag":
                    world.lag = True
                case "catch up":
                    world.catch_up()
                case "no acks" | "acks":
                    world.acknowledges = what == "acks"
                case "swallow" | "deliver":
                    world.swallow = what == "swallow"
                case "slow cancels":
                    world.cancels_at_once = False
                case "cancels":
                    self.cancels_come_true()
            await settle()

        self.run(story())

    def cancels_come_true(self) -> None:
        self.world.cancels_at_once = True
        for order in self.ours():
            if order.cancelling:
                self.world.end(order)

    @rule(code=st.sampled_from([1100, 1101, 1102, 2103, 2104]))
    def the_link(self, code: int) -> None:
        async def story() -> None:
            if code == 1100:
                self.world.emit(CodeReceived(1100, "lost"))
                self.world.deaf = True
            else:
                self.world.deaf = False
                self.world.emit(CodeReceived(code, "farm:usfarm"))
            await settle()

        self.run(story())

    @rule(forgets=st.booleans(), up=st.booleans())
    @precondition(lambda self: self.manager is not None)
    def the_gateway_restarts(self, forgets: bool, up: bool) -> None:
        async def story() -> None:
            self.world.up = up
            self.alive().broker.drop()
            idle = [order for order in self.ours() if not order.filled]
            if forgets and idle:
                self.world.forget(idle[-1])
            await settle()

        self.run(story())

    @rule()
    def the_gateway_is_up(self) -> None:
        self.world.up = True

    @rule(question=st.sampled_from(["positions", "open orders", "completed orders", "executions", ""]))
    def a_question_is_not_answered(self, question: str) -> None:
        self.world.fail = {question} - {""}

    # ----- the process and its disk

    @rule()
    @precondition(lambda self: self.manager is not None)
    def is_killed(self) -> None:
        self.gone()

    @rule(moment=st.sampled_from(["before send", "after send"]))
    def will_die_at_the_socket(self, moment: str) -> None:
        self.dies_at = moment

    @rule(writes=st.integers(0, 4))
    @precondition(lambda self: self.manager is not None)
    def will_die_while_writing(self, writes: int) -> None:
        self.alive().until_crash = writes

    @rule()
    @precondition(lambda self: self.manager is None)
    def is_started_again(self) -> None:
        self.dies_at = ""
        self.start()

    @rule(blocked=st.booleans())
    @precondition(lambda self: self.manager is not None)
    def the_journal_cannot_be_written(self, blocked: bool) -> None:
        self.unblock()
        if blocked and self.alive().engine.shared.access.opened is not None:
            self.blocker = sqlite3.connect(self.directory / "journal.db", isolation_level=None)
            self.blocker.execute("BEGIN IMMEDIATE")

    def unblock(self) -> None:
        if self.blocker is not None:
            self.blocker.execute("ROLLBACK")
            self.blocker.close()
            self.blocker = None

    # ----- people

    @rule(away=st.booleans())
    @precondition(lambda self: self.manager is not None)
    def people_are_away(self, away: bool) -> None:
        self.alive().people_are_away = away

    def sees_all(self) -> bool:
        """Whether the engine can know at once of a trade by hand, and take back what rests."""
        if self.manager is None or not self.manager.broker.open or self.world.deaf or self.world.unseen:
            return False
        shared = self.manager.engine.shared
        journal_works = self.blocker is None and shared.access.fault is None and self.manager.until_crash is None
        if not shared.connection.ready or shared.in_flight or not journal_works or not self.world.cancels_at_once:
            return False
        states = {intent.state for intent in shared.access.journal.open_intents()}
        return bool(self.ours()) and states <= {State.WORKING, State.PARTIAL}

    @rule(quantity=st.integers(1, 3), assigned=st.booleans())
    @precondition(sees_all)
    def the_position_shrinks_beside_our_order(self, quantity: int, assigned: bool) -> None:
        async def story() -> None:
            world = self.world
            held = world.positions[42]
            free = int(abs(held)) - sum(int(order.remaining) for order in world.live(42) if order.client_id != 100)
            less = min(quantity, free)
            if less > 0 and assigned:
                world.positions[42] += closing_side(held).sign * less
                world.emit(PositionReceived(ACCOUNT, 42, world.positions[42]))
                self.silent = True
            elif less > 0:
                world.fill(world.foreign(42, closing_side(held), less), less)
            await settle()
            parts = (part for order in self.ours() if (part := order.part(42)) is not None)
            left = sum((remaining for _, remaining in parts), Decimal(0))
            assert left <= abs(world.positions[42]), f"{left} of ours rest, {world.positions[42]} are held"

        self.run(story())

    def quiet(self) -> bool:
        """Whether nothing of ours is under way: against a person who trades at the same moment nothing helps."""
        if self.manager is None or self.ours() or self.world.unseen or self.alive().engine.shared.in_flight:
            return False
        journal = self.alive().engine.shared.access.opened
        return journal is not None and not journal.open_intents()

    @rule(what=st.sampled_from(["rests", "trades", "adds", "halts", "resumes", "releases", "is assigned"]))
    @precondition(quiet)
    def a_person(self, what: str) -> None:
        async def story() -> None:
            world, held, shared = self.world, self.world.positions[42], self.alive().engine.shared
            live = sum((order.remaining for order in world.live(42)), Decimal(0))
            match what:
                case "rests" if abs(held) > live:
                    world.foreign(42, closing_side(held), 1)
                case "trades" if abs(held) > live:
                    world.fill(world.foreign(42, closing_side(held), 1), 1)
                case "adds" if held:
                    world.fill(world.foreign(42, closing_side(-held), 1), 1)
                case "is assigned" if abs(held) > live:
                    world.positions[42] += closing_side(held).sign
                    self.silent = True
                case "halts":
                    shared.halts.record.write("a test", world.clock.now())
                case "resumes":
                    shared.halts.record.resume()
                case "releases" if shared.locks.present and shared.connection.ready:
                    self.alive().engine.release("42", by="a test")
            await settle()

        self.run(story())

    @rule(what=st.sampled_from(["1100", "drop", "halt", "trade", "dies"]))
    @precondition(lambda self: self.manager is not None)
    def in_the_last_check(self, what: str) -> None:
        """Between the decision and the order, while the position is read again."""

        def happens(question: str) -> None:
            world, manager = self.world, self.manager
            if question != "open orders" or manager is None or not manager.engine.shared.in_flight:
                return
            world.on_ask = lambda _question: None
            held = world.positions[42]
            match what:
                case "1100":
                    world.emit(CodeReceived(1100, "lost"))
                    world.deaf = True
                case "drop":
                    manager.broker.drop()
                case "halt":
                    manager.engine.shared.halts.record.write("a test", world.clock.now())
                case "trade" if held and not world.live(42):
                    world.fill(world.foreign(42, closing_side(held), 1), 1)
                case "dies":
                    raise KilledError

        self.world.on_ask = happens

    # ----- the end

    def teardown(self) -> None:
        if not hasattr(self, "directory"):
            return
        try:
            self.come_to_rest()
            self.compare_with_the_truth()
        finally:
            self.unblock()
            self.gone()
            self.loop.close()
            shutil.rmtree(self.directory)

    def come_to_rest(self) -> None:
        world = self.world
        self.unblock()
        self.dies_at = ""
        world.up, world.deaf, world.fail, world.swallow, world.acknowledges = True, False, set(), False, True
        world.on_ask = lambda _question: None
        if self.manager is not None:
            self.manager.until_crash = None
        world.catch_up()
        self.cancels_come_true()
        world.on_send = lambda _moment: None
        while self.manager is None:
            self.start()

        async def story() -> None:
            world.emit(CodeReceived(1102, "restored"))
            for _ in range(6):
                await world.clock.advance(25)
                if self.at_rest():
                    break

        self.run(story())

    def at_rest(self) -> bool:
        journal = self.alive().engine.shared.access.journal
        states = {intent.state for intent in journal.open_intents()}
        if not states <= {State.WORKING, State.PARTIAL, State.LOCKED}:
            return False
        for con_id in self.contracts:
            holding = journal.holding(ACCOUNT, con_id)
            known = holding is not None and holding.quantity == self.world.positions[con_id]
            if not known and journal.lock(ACCOUNT, con_id) is None:
                return False
        return True

    def compare_with_the_truth(self) -> None:
        manager = self.alive()
        journal, world = manager.engine.shared.access.journal, self.world
        truth = {order.sent.ref: order.filled for order in world.orders if order.sent.ref}
        for con_id in self.contracts:
            for intent in journal.intents(ACCOUNT, con_id):
                resting = any(order.sent.ref == intent.ref for order in self.ours())
                proven = TERMINAL | ({State.WORKING, State.PARTIAL} if resting else {State.LOCKED})
                assert intent.state in proven, f"no proven end: {intent}"
                traded = truth.get(intent.ref, Decimal(0)) * intent.per_unit
                assert intent.filled == traded, f"{intent}, truly {traded}"
                if intent.state is State.LOCKED:
                    assert journal.lock(ACCOUNT, con_id) is not None
            holding = journal.holding(ACCOUNT, con_id)
            assert holding is not None
            known = holding.quantity == world.positions[con_id] or journal.lock(ACCOUNT, con_id) is not None
            assert known, f"{holding}, truly {world.positions[con_id]}"
            parts = self.parts_decided(con_id)
            traded = sum(
                (i.filled for i in journal.intents(ACCOUNT, con_id) if i.rule == "partial_targets"), Decimal(0)
            )
            assert traded <= max(parts, default=0), f"{traded} traded for one level of {parts}"
            if not self.silent:
                assert holding.quantity == world.positions[con_id], f"{holding}, truly {world.positions[con_id]}"
        self.compare_the_count()
        self.reported += [message.title + message.text() for message in manager.reported]
        shown = [text for text in self.reported if re.search(ACCOUNT, text)]
        assert not shown, "an account number is shown"

    def parts_decided(self, con_id: int) -> list[Decimal]:
        """How much each decision for the partial target was for. The position lives once, so the level is done once,
        whatever happens; a decision may be withdrawn before anything was executed."""
        fired = self.alive().engine.shared.access.journal.events(instrument=(ACCOUNT, con_id))
        return [Decimal(r.data["part"]) for r in fired if r.kind == "rule fired" and r.data.get("level")]

    def compare_the_count(self) -> None:
        """All the time in which nothing could be sent is counted as unprotected, and no more than has passed."""
        engine, clock = self.alive().engine, self.world.clock
        units = [unit for unit in engine.shared.guard.units if unit.key == f"{ACCOUNT} contract 42"]
        if not self.counted or self.since is None or self.kind.startswith("group") or not units:
            return
        guard, key = engine.shared.guard, units[0].key
        # With the stretch since the last evaluation.
        count = guard.counts[key].after_verdict(guard.verdicts[key], clock.now(), guard._patience)
        assert self.away.total_seconds() <= count.total + 0.001, f"{self.away} without protection, {count}"
        assert count.total <= (clock.now() - self.since).total_seconds() + 0.001, f"more than has passed: {count}"


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=HISTORIES,
    stateful_step_count=14,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    print_blob=True,
    report_multiple_bugs=False,
)
