"""A notice about a data farm blinds what that farm quotes, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.position_manager.engine_world import CONFIG, HOURS, Manager, World, put, short_puts
from tests.unit.position_manager.test_engine import play

from position_manager.brokers.broker import CodeReceived
from position_manager.connection_state import farm_of
from position_manager.engine.engine_status import status_of
from position_manager.model import Instrument, Kind
from position_manager.rules.data_farms import quotes

STOCK = Instrument(1, "SPY", Kind.STOCK)
FUTURE = Instrument(2, "ES", Kind.FUTURE)
GERMAN = Instrument(3, "SAP", Kind.STOCK, currency="EUR", local_symbol="SAP", liquid_hours=HOURS)
JAPANESE = Instrument(4, "7203", Kind.STOCK, currency="JPY")
OPTION = put(5)


@pytest.mark.parametrize(
    ("farm", "blinded"),
    [
        ("usfarm", [STOCK, FUTURE, OPTION]),
        ("usfarm.nj", [STOCK, FUTURE, OPTION]),
        ("usopt", [OPTION]),
        ("usfuture", [FUTURE]),
        ("eufarm", [GERMAN]),
        ("hfarm", [JAPANESE]),
        ("cashfarm", []),
        ("ushmds", []),
        ("euhmds", []),
        ("secdefil", []),
        ("a farm of next year", [STOCK, FUTURE, OPTION, GERMAN, JAPANESE]),
    ],
)
def test_a_farm_blinds_what_it_may_quote(farm: str, blinded: list[Instrument]) -> None:
    assert [each for each in (STOCK, FUTURE, OPTION, GERMAN, JAPANESE) if quotes(farm, each)] == blinded


@pytest.mark.parametrize(
    ("text", "farm"),
    [
        ("Market data farm connection is broken:usfarm.nj", "usfarm.nj"),
        ("Market data farm connection is broken:eufarm", "eufarm"),
        ("HMDS data farm connection is inactive but should be available upon demand.ushmds", "ushmds"),
    ],
)
def test_the_name_is_the_whole_name(text: str, farm: str) -> None:
    assert farm_of(text) == farm


@pytest.mark.parametrize(
    ("notice", "unprotected"),
    [
        ((2103, "Market data farm connection is broken:eufarm"), {"SAP"}),
        ((2103, "Market data farm connection is broken:usopt"), {"SPY 2026-12-21 450P"}),
        ((2105, "HMDS data farm connection is broken:ushmds"), set()),
        ((2157, "Sec-def data farm connection is broken:secdefil"), set()),
        ((2103, "Market data farm connection is broken:newfarm"), {"SAP", "SPY 2026-12-21 450P"}),
    ],
)
def test_a_notice_leaves_the_others_guarded(tmp_path: Path, notice: tuple[int, str], unprotected: set[str]) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(5)
        at.emit(CodeReceived(*notice))
        await at.clock.advance(60)
        units = status_of(manager.engine, "").units
        assert {unit.name for unit in units if unit.verdict == "unprotected"} == unprotected
        at.emit(CodeReceived(2104, notice[1].replace("broken", "OK")))
        await at.clock.advance(40)
        assert all(unit.verdict == "guarded" for unit in status_of(manager.engine, "").units)

    at = short_puts()
    at.hold(replace(GERMAN, con_id=43), 10, "100")
    at.quote(43, "100.00", "100.05")
    play(tmp_path, at, story, CONFIG)


def test_a_farm_that_was_down_is_forgotten_with_the_session_that_reported_it(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.emit(CodeReceived(2103, "Market data farm connection is broken:usfarm.nj"))
        await at.clock.advance(6)
        assert manager.engine.shared.connection.state.degraded == {"usfarm.nj"}
        assert at.port is not None
        at.port.drop()
        for _ in range(10):
            await at.clock.advance(5)
            at.quote(42, "2.45", "2.55")
        assert manager.engine.ready
        assert manager.engine.shared.connection.state.degraded == frozenset()
        assert not manager.engine.shared.guard.blinded
        assert "farm_unknown" in manager.kinds

    play(tmp_path, short_puts(), story)
