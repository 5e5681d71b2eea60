"""What is remembered about a position, and what was decided, belongs to one episode of it."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.position_manager.engine_world import (
    ACCOUNT,
    BEGIN,
    CONFIG,
    Manager,
    ManualClock,
    World,
    breach,
    put,
    settle,
    short_puts,
)
from tests.unit.position_manager.test_engine import drive, play

from position_manager.brokers.broker import CodeReceived, PositionReceived
from position_manager.engine.reconcile import Searches, Sync, reconcile
from position_manager.journal.errors import JournalMismatchError
from position_manager.journal.journal import Journal
from position_manager.journal.reader import JournalReader
from position_manager.journal.records import Stamp
from position_manager.model import Instrument, Kind
from position_manager.orders.evidence import Execution, Patience, Snapshot
from position_manager.orders.intents import Fill, Side
from position_manager.refused import RefusedError
from position_manager.rules.evaluation import Memory

TRAILING = {
    **CONFIG,
    "defaults": {
        "trailing": {"activate_percent": 40, "distance_percent": 20},
        "breakeven": {"after_percent": 30},
    },
}


def long_put() -> World:
    at = World(ManualClock(BEGIN))
    at.hold(put(42, always=True), 2, "2.50")
    at.quote(42, "2.50", "2.52")
    return at


async def rise(at: World) -> None:
    """The trailing stop is active at 3.50, and breakeven is armed."""
    for _ in range(4):
        at.quote(42, "4.00", "4.02")
        await at.clock.advance(1)
    await at.clock.advance(35)


async def stay(at: World, seconds: int = 20) -> None:
    for _ in range(seconds):
        at.quote(42, "2.40", "2.42")
        await at.clock.advance(1)


def reopens(at: World) -> None:
    at.fill(at.foreign(42, Side.SELL, 2), 2, "4.00")
    at.fill(at.foreign(42, Side.BUY, 2), 2, "2.41")
    at.average[42] = Decimal("2.41")


def in_sight(at: World, _manager: Manager) -> None:
    reopens(at)


def unseen_executions_known(at: World, _manager: Manager) -> None:
    with_a_lost_link(at)


def with_a_lost_link(at: World, *, forgotten: bool = False) -> None:
    at.emit(CodeReceived(1100, "lost"))
    at.deaf = True
    reopens(at)
    if forgotten:
        at.executions.clear()
    at.deaf = False
    at.emit(CodeReceived(1102, "restored, data maintained"))


def unseen_on_another_day(at: World, _manager: Manager) -> None:
    """Its executions are no longer reported: only the average price shows it."""
    with_a_lost_link(at, forgotten=True)
    at.clock.jump(timedelta(days=1))


def pushed_only(at: World, _manager: Manager) -> None:
    """At the same price, on a book whose executions are late."""
    at.emit(PositionReceived(ACCOUNT, 42, Decimal(0)))
    at.emit(PositionReceived(ACCOUNT, 42, Decimal(2)))


WAYS = [in_sight, unseen_executions_known, unseen_on_another_day, pushed_only]


@pytest.mark.parametrize("way", WAYS)
def test_a_position_that_was_opened_again_is_not_sold_for_the_best_price_of_the_one_before(
    tmp_path: Path, way: Callable[[World, Manager], None]
) -> None:
    async def story(at: World, manager: Manager) -> None:
        await rise(at)
        way(at, manager)
        await stay(at)
        assert not at.received, "the trailing stop and the breakeven of the one before"
        await rise(at)
        await stay(at, 3)
        assert at.received, "those of its own hold"

    play(tmp_path, long_put(), story, TRAILING)


@pytest.mark.parametrize("way", WAYS[:3])
def test_nor_after_a_restart(tmp_path: Path, way: Callable[[World, Manager], None]) -> None:
    async def story() -> None:
        at = long_put()
        manager = Manager(at, tmp_path, TRAILING)
        await manager.start()
        await rise(at)
        await manager.kill()
        way(at, manager)
        again = Manager(at, tmp_path, TRAILING, seed=1)
        await again.start()
        await stay(at)
        assert not at.received
        await again.end()

    drive(story)


def test_what_is_still_the_same_position_keeps_its_memory_over_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        at = long_put()
        manager = Manager(at, tmp_path, TRAILING)
        await manager.start()
        await rise(at)
        await manager.kill()
        # A person buys one more and sells it again: it was never flat.
        at.fill(at.foreign(42, Side.BUY, 1), 1)
        at.fill(at.foreign(42, Side.SELL, 1), 1)
        at.average[42] = Decimal("2.61")
        again = Manager(at, tmp_path, TRAILING, seed=1)
        await again.start()
        await stay(at, 3)
        assert at.received, "its trailing stop was at 3.50"
        await again.end()

    drive(story)


@pytest.mark.parametrize("way", WAYS[:3])
def test_a_decision_about_the_position_before_is_withdrawn(
    tmp_path: Path, way: Callable[[World, Manager], None]
) -> None:
    """Decided, but not sent: the spread is too wide for an order. Then it is closed and opened again by hand."""

    async def story() -> None:
        at = long_put()
        manager = Manager(at, tmp_path, CONFIG)
        await manager.start()
        manager.engine.closer.decide(manager.engine.shared.guard.units[0], "stop", "a test")
        at.quote(42, "0.80", "2.60")
        # As long as a decision without an order may take to be on disk.
        await at.clock.advance(0.1)
        await manager.kill()
        at.orders.clear()
        at.received.clear()
        way(at, manager)
        again = Manager(at, tmp_path, CONFIG, seed=1)
        await again.start()
        await stay(at)
        assert not at.received
        assert "closing_withdrawn" in again.kinds
        assert not again.engine.closer.closings
        await again.end()

    drive(story)


SHARES = Instrument(42, "AAPL", Kind.STOCK, local_symbol="AAPL", liquid_hours=put(42, always=True).liquid_hours)
AT_90 = {**CONFIG, "defaults": {"stop": {"price": 90}}}


def hundred_shares() -> World:
    at = World(ManualClock(BEGIN))
    at.hold(SHARES, 10, "100")
    at.quote(42, "100.00", "100.02")
    return at


async def split(at: World) -> None:
    """Ten for one, overnight."""
    at.positions[42], at.average[42] = Decimal(100), Decimal(10)
    for _ in range(25):
        await at.clock.advance(5)
        at.quote(42, "10.00", "10.01")


def test_after_a_split_a_release_does_not_sell_ten_times_the_position_on_the_old_level(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await split(at)
        (lock,) = manager.engine.shared.locks.present.values()
        assert "split, 10 for 1" in lock.reason
        with pytest.raises(RefusedError, match="would be closed at once by its stop: bid 10"):
            manager.engine.release("AAPL", by="a test")
        assert manager.engine.shared.locks.present
        await at.clock.advance(30)
        assert not at.received
        manager.engine.reload(manager.config.model_validate({**CONFIG, "defaults": {"stop": {"price": 9}}}))
        manager.engine.release("AAPL", by="a test")
        for _ in range(10):
            at.quote(42, "10.00", "10.01")
            await at.clock.advance(1)
        assert not at.received
        assert not manager.engine.closer.closings
        for _ in range(3):
            at.quote(42, "8.99", "9.00")
            await at.clock.advance(1)
        assert at.received

    play(tmp_path, hundred_shares(), story, AT_90)


def test_nor_does_a_release_while_the_market_cannot_be_seen(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await split(at)
        at.quote(42, "10.00", None)
        await at.clock.advance(2)
        with pytest.raises(RefusedError, match="Release it when it is quoted"):
            manager.engine.release("AAPL", by="a test")
        manager.engine.reload(
            manager.config.model_validate({**CONFIG, "defaults": {"stop": {"percent_of_premium": 20}}})
        )
        manager.engine.release("AAPL", by="a test")
        for _ in range(8):
            at.quote(42, "10.00", "10.01")
            await at.clock.advance(1)
        assert not at.received
        assert not manager.engine.shared.locks.present

    play(tmp_path, hundred_shares(), story, AT_90)


def test_after_a_split_the_best_price_of_before_counts_no_longer(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        for _ in range(3):
            at.quote(42, "150.00", "150.02")
            await at.clock.advance(1)
        await split(at)
        manager.engine.release("AAPL", by="a test")
        for _ in range(10):
            at.quote(42, "15.00", "15.01")
            await at.clock.advance(1)
        assert not at.received

    play(tmp_path, hundred_shares(), story, TRAILING)


# ----- journals of the release before


def old_journal(path: Path, memories: dict[tuple[int, str], str]) -> None:
    """A journal as version 1 wrote it: 2 of contract 42 are held, contract 43 was closed."""
    journal = Journal(path, Stamp("paper", frozenset({ACCOUNT})), clock=lambda: BEGIN, new_id=lambda: "one")
    journal.recover()
    journal.count_holding(ACCOUNT, 42, Decimal(2), "first seen")
    journal.count_holding(ACCOUNT, 43, Decimal(0), "gone")
    for (con_id, rule), data in memories.items():
        journal.remember(ACCOUNT, con_id, rule, data)
    journal.close()
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE holdings DROP COLUMN episode")
        db.execute("ALTER TABLE holdings DROP COLUMN average")
        db.execute("PRAGMA user_version = 1")


def test_a_journal_of_version_1_is_read_as_it_is_and_migrated_by_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    kept = Memory(direction=1, best=Decimal(4)).to_json()
    old_journal(path, {(42, f"memory of {ACCOUNT} contract 42"): kept, (43, f"memory of {ACCOUNT} contract 43"): kept})
    with JournalReader(path) as reader:
        assert reader.holdings()[ACCOUNT, 42].quantity == 2
        assert reader.holding(ACCOUNT, 42) is not None
    journal = Journal(path, Stamp("paper", frozenset({ACCOUNT})), clock=lambda: BEGIN, new_id=lambda: "two")
    journal.recover()
    assert journal.holdings()[ACCOUNT, 42].episode
    assert not journal.holdings()[ACCOUNT, 43].episode
    assert {con_id for _, con_id, _ in journal.memory()} == {42}, "what is gone is remembered no longer"
    journal.close()
    with JournalReader(path) as reader:
        assert reader.holding(ACCOUNT, 42) == journal.holdings()[ACCOUNT, 42]


def test_a_migration_that_is_interrupted_leaves_version_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.db"
    old_journal(path, {})
    monkeypatch.setattr("position_manager.journal.journal.FROM_1_TO_2", "ALTER TABLE holdings ADD COLUMN episode TEXT"
                        " NOT NULL DEFAULT '';\nSELECT no_such_function();\n")  # fmt: skip
    with pytest.raises(Exception, match="no_such_function"):
        Journal(path, Stamp("paper", frozenset({ACCOUNT})), clock=lambda: BEGIN, new_id=lambda: "two")
    monkeypatch.undo()
    Journal(path, Stamp("paper", frozenset({ACCOUNT})), clock=lambda: BEGIN, new_id=lambda: "two").close()


def test_the_journal_of_another_account_is_refused_and_not_migrated(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    old_journal(path, {})
    with pytest.raises(JournalMismatchError):
        Journal(path, Stamp("live", frozenset({ACCOUNT})), clock=lambda: BEGIN, new_id=lambda: "two")
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)


def test_a_trailing_stop_outlasts_the_migration(tmp_path: Path) -> None:
    async def story() -> None:
        at = long_put()
        memory = Memory(direction=1, best=Decimal(4), trail=None).to_json()
        old_journal(tmp_path / "journal.db", {(42, f"memory of {ACCOUNT} contract 42"): memory})
        manager = Manager(at, tmp_path, TRAILING)
        await manager.start()
        await stay(at, 3)
        assert at.received, "it was at 3.50"
        await manager.end()

    drive(story)


# ----- every history of trades


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from([-3, -2, -1, 1, 2, 3]), max_size=4),
        max_size=8,
    ),
    st.sampled_from([-2, 2]),
)
def test_a_new_episode_starts_exactly_when_a_position_was_flat(syncs: list[list[int]], first: int) -> None:
    """Trades of others between full syncs; the model counts an episode for each time that zero is left."""
    ids = iter(range(10_000))
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:  # noqa: S108
        journal = Journal(
            Path(directory) / "journal.db", Stamp("paper", frozenset({ACCOUNT})), clock=lambda: BEGIN,
            new_id=lambda: f"{next(ids)}",
        )  # fmt: skip
        journal.recover()
        executions: list[Execution] = []
        held, episode, seen = Decimal(first), 1, []
        searches = Searches()
        for trades in [[], *syncs]:
            for size in trades:
                before, held = held, held + size
                episode += bool(held) and before * held <= 0
                side = Side.BUY if size > 0 else Side.SELL
                time = BEGIN + timedelta(seconds=len(executions))
                fill = Fill(f"e{len(executions)}", Decimal(abs(size)), Decimal(1), time)
                executions.append(Execution(ACCOUNT, 42, side, fill, 0))
            positions = {(ACCOUNT, 42): held} if held else {}
            snapshot = Snapshot(BEGIN, positions, (), (), tuple(executions))
            sync = Sync(snapshot, {42: put(42)}, frozenset({ACCOUNT}), Patience(), ZoneInfo("UTC"), 100)
            reconcile(journal, sync, searches)
            holding = journal.holding(ACCOUNT, 42)
            assert holding is not None
            assert holding.quantity == held
            assert bool(holding.episode) is bool(held)
            if held:
                seen.append((episode, holding.episode))
        journal.close()
    # Two syncs saw the same episode if, and only if, the position was not flat in between.
    for one, named in seen:
        for other, named_other in seen:
            assert (one == other) is (named == named_other)


def test_a_stop_that_has_fired_still_closes_once(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach(at)
        (order,) = at.ours(42)
        at.fill(order, 1)
        await settle()
        at.fill(order, 1)
        await at.clock.advance(60)
        assert at.positions[42] == 0
        holding = manager.engine.shared.access.journal.holding(ACCOUNT, 42)
        assert holding is not None
        assert holding.episode == ""
        assert holding.quantity == 0

    play(tmp_path, short_puts(), story)


# ----- what a restart must not lose


@pytest.mark.parametrize("rule", ["trailing", "breakeven"])
def test_a_kill_loses_no_trailing_stop_and_no_breakeven_however_seldom_books_are_read(
    tmp_path: Path, rule: str
) -> None:
    """Up to 30 s were lost, and an hour with the longest poll."""
    rules = {"trailing": {"activate_percent": 40, "distance_percent": 20}, "breakeven": {"after_percent": 40}}
    config = {**CONFIG, "poll_seconds": 3600, "defaults": {rule: rules[rule]}}

    async def story() -> None:
        at = long_put()
        manager = Manager(at, tmp_path, config)
        await manager.start()
        await at.clock.advance(40)
        for bid in ("3.60", "3.80", "4.00"):
            for _ in range(3):
                at.quote(42, bid, "4.02")
                await at.clock.advance(0.6)
        await at.clock.advance(0.3)
        await manager.kill()
        again = Manager(at, tmp_path, config, seed=1)
        await again.start()
        memory = again.engine.shared.guard._memories[f"{ACCOUNT} contract 42"]
        assert memory.breakeven if rule == "breakeven" else memory.best == 4
        await stay(at, 3)
        assert at.received
        await again.end()

    drive(story)


def test_moves_of_a_moment_share_one_write_and_none_is_made_while_nothing_moves(tmp_path: Path) -> None:
    config = {
        **CONFIG,
        "poll_seconds": 3600,
        "defaults": {"trailing": {"activate_percent": 40, "distance_percent": 20}},
    }

    async def story(at: World, manager: Manager) -> None:
        journal, written = manager.engine.shared.access.journal, []
        journal._db.set_trace_callback(lambda sql: written.append(sql) if sql.startswith("COMMIT") else None)
        await at.clock.advance(6)
        for con_id in range(42, 62):
            at.quote(con_id, "4.00", "4.02")
        await at.clock.advance(6)
        written.clear()
        for bid in ("4.10", "4.10", "4.10"):
            for con_id in range(42, 62):
                at.quote(con_id, bid, "4.12")
            await at.clock.advance(1)
        assert 1 <= len(written) <= 3, "twenty units moved; the writes are as many as the moments"
        written.clear()
        for _ in range(10):
            await at.clock.advance(5)
        assert written == []

    at = long_put()
    for con_id in range(43, 62):
        at.hold(put(con_id, con_id * 10), 2, "2.50")
        at.quote(con_id, "2.50", "2.52")
    play(tmp_path, at, story, config)


def test_the_loop_rests_while_an_order_is_sent_and_a_trailing_stop_waits_to_be_stored(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        turns, turn = [], manager.engine._turn

        def counted() -> None:
            turns.append(at.clock.now())
            turn()

        manager.engine._turn = counted  # type: ignore[method-assign]
        await rise(at)
        shared = manager.engine.shared
        other = (ACCOUNT, 43)
        shared.in_flight.add([other])
        for _ in range(3):
            at.quote(42, "4.50", "4.52")
            await at.clock.advance(1)
        assert shared.guard.moved
        turns.clear()
        await at.clock.advance(1)
        assert len(turns) < 10
        shared.in_flight.remove([other])
        shared.agenda.wake()
        await at.clock.advance(1)
        assert not shared.guard.moved

    play(tmp_path, long_put(), story, TRAILING)


# ----- one list that lacks a position


def test_one_list_that_lacks_a_position_is_no_close_of_it(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await rise(at)
        at.unlisted = {42}
        await at.clock.advance(31)
        assert manager.engine.shared.guard.units, "it is held as far as anybody knows"
        at.quote(42, "4.00", "4.02")
        at.unlisted = set()
        await at.clock.advance(31)
        await stay(at, 3)
        assert at.received, "its trailing stop is still at 3.50"
        assert "position_closed" not in manager.kinds

    play(tmp_path, long_put(), story, TRAILING)


def test_nor_does_it_end_a_decision(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.quote(42, "0.80", "2.60")
        await manager.engine.close("42", by="a test")
        at.unlisted = {42}
        await at.clock.advance(31)
        assert manager.engine.closer.closings
        at.unlisted = set()
        for _ in range(40):
            at.quote(42, "2.50", "2.52")
            for order in at.live(42):
                at.fill(order, int(order.remaining))
            await at.clock.advance(1)
        assert at.positions[42] == 0
        assert len(at.received) == 1

    play(tmp_path, long_put(), story)


def test_one_that_stays_away_is_locked_and_a_release_counts_it_as_gone(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        del at.positions[42]
        await at.clock.advance(150)
        assert manager.kinds.count("position_unexplained") == 1
        assert not at.received
        said = manager.engine.release("42", by="a test")
        assert "0 are held" in said
        await at.clock.advance(31)
        assert not manager.engine.shared.guard.units

    play(tmp_path, long_put(), story)


def test_the_broker_of_the_tests_gives_no_perm_id_twice(tmp_path: Path) -> None:
    """It did after a gateway had forgotten an order, and a random history could turn the tests red."""

    async def story(at: World, manager: Manager) -> None:
        await breach(at)
        (lost,) = at.ours(42)
        at.forget(lost)
        assert at.foreign(42, Side.BUY, 1).perm_id != lost.perm_id
        assert manager.engine.ready

    play(tmp_path, short_puts(), story)


@pytest.mark.parametrize("opens", [True, False])
def test_a_trade_between_the_lists_of_positions_and_executions_is_explained_by_the_next_sync(
    tmp_path: Path, opens: bool
) -> None:
    """The list of positions is older than that of executions: counted with it, the trade would be missing later, and
    the position would be locked."""

    async def story(at: World, manager: Manager) -> None:
        traded: list[str] = []

        def trade_once(question: str) -> None:
            if question == "completed orders" and not traded:
                traded.append(question)
                before, side = at.positions[42], Side.SELL if opens else Side.BUY
                at.positions[42] = before + side.sign * 2
                fill = Fill("between", Decimal(2), Decimal("2.50"), at.clock.now())
                at.executions.append(Execution(ACCOUNT, 42, side, fill, at.new_perm_id(), ""))

        at.on_ask = trade_once
        await at.clock.advance(35)
        assert traded
        for _ in range(100):
            at.quote(42, "2.45", "2.55")
            await at.clock.advance(2)
        assert manager.engine.shared.locks.present == {}
        assert "position_unexplained" not in manager.kinds
        held = manager.engine.shared.access.journal.holdings()[ACCOUNT, 42].quantity
        assert held == at.positions[42] == (-4 if opens else 0)

    play(tmp_path, short_puts(), story)
