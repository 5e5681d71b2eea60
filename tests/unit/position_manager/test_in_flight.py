"""While an order is on its way, nothing else takes time."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from tests.unit.position_manager.engine_world import ACCOUNT, Manager, World, short_puts
from tests.unit.position_manager.test_engine import play

from position_manager.engine.in_flight import InFlight
from position_manager.journal.journal import Journal


def test_no_garbage_is_collected_while_an_order_is_on_its_way() -> None:
    in_flight, first, second = InFlight(), ("DU1", 1), ("DU1", 2)
    assert gc.isenabled()
    try:
        in_flight.add([first])
        in_flight.add(iter([second]))
        in_flight.remove([first])
        assert in_flight
        assert not gc.isenabled()
        in_flight.remove([second])
        assert not in_flight
        assert gc.isenabled()
        in_flight.remove([second])
        in_flight.add([])
        assert gc.isenabled()
        in_flight.add([first, second])
        in_flight.clear()
        assert not in_flight
        assert gc.isenabled()
    finally:
        gc.enable()


def test_the_write_ahead_log_is_copied_in_each_loop_but_not_while_an_order_is_on_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[None] = []
    monkeypatch.setattr(Journal, "checkpoint", lambda _journal: copied.append(None))

    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(20)
        assert copied
        manager.engine.shared.in_flight.add([(ACCOUNT, 43)])
        copied.clear()
        await at.clock.advance(20)
        assert not copied
        manager.engine.shared.in_flight.clear()
        await at.clock.advance(20)
        assert copied

    play(tmp_path, short_puts(), story)
