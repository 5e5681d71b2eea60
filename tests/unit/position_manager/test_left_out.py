"""What cannot be guarded (a CFD, a bond, …) is shown, reported, and counts as unprotected."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.position_manager.engine_world import ACCOUNT, BEGIN, Manager, ManualClock, World, short_puts
from tests.unit.position_manager.test_engine import play

from ib_connection.ib_library import Contract
from position_manager.brokers.broker import BrokerEvent, LeftOut, LeftOutReceived
from position_manager.brokers.ib_broker import IbBroker
from position_manager.config.schema import Config
from position_manager.engine.engine_status import status_of
from position_manager.model import Kind

BOND = LeftOut(ACCOUNT, 77, "IBM 4.15 39", "BOND", Decimal(5000), "USD")
OTHERS = LeftOut("DU0000009", 78, "EUR.USD", "CASH", Decimal(10), "USD")


def test_a_bond_is_shown_reported_once_and_counts_as_unprotected(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        for _ in range(13):
            at.emit(LeftOutReceived((BOND, OTHERS)))
            await at.clock.advance(5)
        guarded, bond = status_of(manager.engine, "").units
        assert (guarded.name, bond.name, bond.quantity) == ("SPY 2026-12-21 450P", "IBM 4.15 39", Decimal(5000))
        assert (bond.verdict, bond.account) == ("unprotected", "DU*****67")
        assert bond.text.startswith("kind not supported: a bond (BOND); guarded are stocks")
        assert 55 <= bond.unprotected_seconds <= 65
        (reported,) = [message for message in manager.reported if message.kind == "not_supported"]
        assert "5000 held" in reported.text()
        at.emit(LeftOutReceived(()))
        assert [unit.name for unit in status_of(manager.engine, "").units] == [guarded.name]
        assert not at.received

    play(tmp_path, short_puts(), story)


KINDS = ["STK", "OPT", "FUT", "FOP", "CFD", "BOND", "FUND", "CASH", "CRYPTO", "WAR", "BILL", "CMDTY", "NEWS"]


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from([-1.0, 0.0, 2.5])), max_size=6))
def test_every_holding_is_either_guarded_or_left_out(held: list[tuple[str, float]]) -> None:
    async def story() -> None:
        config = Config.model_validate({"mode": "paper"})
        broker, heard = IbBroker(config, ManualClock(BEGIN)), list[BrokerEvent]()
        broker.listen(heard.append)
        shown = [
            SimpleNamespace(
                account=ACCOUNT,
                contract=Contract(secType=kind, conId=number, symbol=f"S{number}", currency="USD"),
                position=quantity,
                avgCost=1.0,
            )
            for number, (kind, quantity) in enumerate(held, 1)
        ]

        async def answer(*_: Any, **__: Any) -> Any:
            return shown

        async def no_details(_contracts: object) -> None: ...

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(broker, "_ask", answer)
            patched.setattr(broker, "_details", no_details)
            patched.setattr(broker, "_refreshing", object())
            positions = await broker.positions()
        (left_out,) = [event.held for event in heard if isinstance(event, LeftOutReceived)]
        guarded, unguarded = {p.instrument.con_id for p in positions}, {each.con_id for each in left_out}
        assert not guarded & unguarded
        assert guarded | unguarded == {number for number, (_, quantity) in enumerate(held, 1) if quantity}
        assert all(each.kind not in set(Kind) for each in left_out)

    asyncio.run(story())
